//! What the tools ask of the broker, and the events that they put into it. Next: fill.rs.

use anyhow::Result;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// A connection with one channel.
pub struct Broker {
    pub channel: Channel,
    connection: Connection,
}

impl Broker {
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { channel, connection })
    }

    pub async fn close(self) -> Result<()> {
        Ok(self.connection.close(200, "done".into()).await?)
    }

    /// Declares a durable classic queue anew, empty.
    pub async fn renew(&self, queue: &str) -> Result<()> {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(queue.into(), durable, FieldTable::default()).await?;
        Ok(())
    }

    /// The messages in the queue that no consumer holds.
    pub async fn depth(&self, queue: &str) -> Result<u64> {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        Ok(queue.await?.message_count().into())
    }

    /// Publishes a transient JSON message to a queue, unconfirmed.
    pub async fn publish(&self, queue: &ShortString, body: &[u8]) -> Result<()> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(1);
        let options = BasicPublishOptions::default();
        self.channel.basic_publish("".into(), queue.clone(), options, body, properties).await?;
        Ok(())
    }
}

/// The dead-letter queue that a host gives a plugin that consumes `queue`.
pub fn dead_letters(queue: &str) -> String {
    format!("{queue}.dlq")
}

/// A JSON object of `bytes` bytes, 80 at least.
pub fn body(sequence: u64, bytes: usize) -> Vec<u8> {
    let (id, amount) = (1_000_000_000 + sequence, 1000 + sequence % 9000);
    let start = format!(r#"{{"id":{id},"type":"order.created","amount":{amount},"note":""#);
    let end = r#""}"#;
    let padding = bytes.saturating_sub(start.len() + end.len());
    format!("{start}{}{end}", "x".repeat(padding)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_size_asked_for() {
        for sequence in [0, 7, 123_456, 999_999_999] {
            let body = body(sequence, 100);
            assert_eq!(body.len(), 100);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(value["amount"].is_i64());
        }
    }
}
