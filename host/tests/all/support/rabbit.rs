//! A virtual host of the test's own on the private RabbitMQ, and what is done to it from outside.
//! Next: database.rs.

use super::broker::Broker;
use super::process::eventually;
use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind, Queue};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A virtual host that goes with this, and a channel of the user `guest` to it.
pub struct Vhost {
    pub name: String,
    /// Where it is, for the user `guest`.
    pub url: String,
    pub channel: Channel,
    pub broker: Broker,
    _connection: Connection,
}

/// The AMQP address of the node that all tests share.
pub fn address() -> String {
    Broker::shared().address
}

impl Vhost {
    /// A new one, on the node that all tests share.
    pub async fn new() -> Self {
        Self::on(Broker::shared()).await
    }

    /// A new one.
    pub async fn on(broker: Broker) -> Self {
        let name = format!("test-{:012x}", fastrand::u64(..1 << 48));
        assert_eq!(broker.api("PUT", &format!("vhosts/{name}"), &json!({})).await.0, 201);
        let url = format!("amqp://guest:guest@{}/{name}", broker.address);
        let (connection, channel) = connect(&url).await;
        let vhost = Self { name, url, channel, broker, _connection: connection };
        vhost.allow("guest", [".*"; 3]).await;
        vhost
    }

    /// Connects again, as one must after the broker was hurt.
    pub async fn reconnect(&mut self) {
        let (connection, channel) = connect(&self.url).await;
        (self._connection, self.channel) = (connection, channel);
    }

    /// Where it is for another user.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@{}/{}", self.broker.address, self.name)
    }

    /// Gives a user these permissions here: configure, write, read.
    pub async fn allow(&self, user: &str, [configure, write, read]: [&str; 3]) {
        let permissions = json!({ "configure": configure, "write": write, "read": read });
        let path = format!("permissions/{}/{user}", self.name);
        let (status, answer) = self.broker.api("PUT", &path, &permissions).await;
        assert!(status < 300, "{status}: {answer}");
    }

    /// Publishes a persistent message, mandatory and confirmed.
    pub async fn publish(&self, exchange: &str, key: &str, body: &str) {
        self.publish_with(exchange, key, body, BasicProperties::default()).await;
    }

    /// The same, with properties.
    pub async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        body: &str,
        properties: BasicProperties,
    ) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let sent = self.channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        let confirm = sent.await.unwrap().await.unwrap();
        assert!(confirm.is_ack() && confirm.take_message().is_none(), "`{exchange}:{key}`");
    }

    /// Declares a durable queue.
    pub async fn queue(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(name.into(), options, table(arguments));
        declared.await.unwrap();
    }

    /// Declares a durable exchange.
    pub async fn exchange(&self, name: &str, kind: ExchangeKind) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        declared.await.unwrap();
    }

    /// Binds a queue.
    pub async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound =
            self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments);
        bound.await.unwrap();
    }

    /// Deletes a queue.
    pub async fn delete(&self, queue: &str) {
        let deleted = self.channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }

    /// Takes the next message of a queue, if there is one.
    pub async fn take(&self, queue: &str) -> Option<Delivery> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), options).await.unwrap();
        got.map(|message| message.delivery)
    }

    /// Waits for the next message of a queue, and takes it.
    pub async fn next(&self, queue: &str) -> Delivery {
        eventually(&format!("a message in `{queue}`"), async || self.take(queue).await).await
    }

    /// The bodies of what is ready in a queue now, taken from it.
    pub async fn drain(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Some(message) = self.take(queue).await {
            bodies.push(body(&message));
        }
        bodies
    }

    /// How many messages are ready in a queue: the truth, at once.
    pub async fn count(&self, queue: &str) -> u32 {
        self.passive(queue).await.message_count()
    }

    /// How many consumers a queue has: the truth, at once.
    pub async fn consumers(&self, queue: &str) -> u32 {
        self.passive(queue).await.consumer_count()
    }

    async fn passive(&self, queue: &str) -> Queue {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        declared.await.unwrap()
    }

    /// Waits until so many messages are ready in a queue.
    pub async fn reaches(&self, queue: &str, count: u32) {
        let what = format!("{count} messages in `{queue}`");
        eventually(&what, async || (self.count(queue).await >= count).then_some(())).await;
    }

    /// The ready and the unsettled messages of each queue: the truth, in a second.
    pub async fn depths(&self) -> Vec<(String, u64, u64)> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let args = [&["list_queues", "--formatter", "json", "-p", &self.name], &columns[..]];
        let listed: Vec<Value> =
            serde_json::from_str(&self.broker.ctl(&args.concat()).await).unwrap();
        let number = |queue: &Value, column: &str| queue[column].as_u64().unwrap();
        let depth = |queue: &Value| {
            let name = queue["name"].as_str().unwrap().to_owned();
            (name, number(queue, columns[1]), number(queue, columns[2]))
        };
        listed.iter().map(depth).collect()
    }

    /// The names of the queues here.
    pub async fn queues(&self) -> BTreeSet<String> {
        let path = format!("queues/{}?columns=name", self.name);
        let (_, queues) = self.broker.api("GET", &path, &json!({})).await;
        let name = |queue: &Value| queue["name"].as_str().unwrap().to_owned();
        queues.as_array().unwrap().iter().map(name).collect()
    }

    /// Closes the host's connections here, as an operator does; at least one of them was there.
    pub async fn close_connections(&self, role: &str) -> usize {
        let wanted = format!("wabbit {role}");
        eventually(&format!("a connection `{wanted}`"), async || {
            let path = format!("vhosts/{}/connections", self.name);
            let (_, connections) = self.broker.api("GET", &path, &json!({})).await;
            let mut closed = 0;
            for connection in connections.as_array().unwrap() {
                let name = &connection["client_properties"]["connection_name"];
                if name.as_str() == Some(&wanted) {
                    let id = encode(connection["name"].as_str().unwrap());
                    let path = format!("connections/{id}");
                    let (status, _) = self.broker.api("DELETE", &path, &json!({})).await;
                    closed += usize::from(status == 204);
                }
            }
            (closed > 0).then_some(closed)
        })
        .await
    }
}

impl Vhost {
    /// Closes every connection to here, as an operator does.
    pub async fn close_all_connections(&self) {
        self.broker.ctl(&["close_all_connections", "-p", &self.name, "by the test"]).await;
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What is in its queues tells why; the node is private and ends with the run.
            return;
        }
        let (broker, path) = (self.broker.clone(), format!("vhosts/{}", self.name));
        // Without waiting: a host that still runs must not wait for it either.
        std::thread::spawn(move || broker.ask("DELETE", &path, &json!({}))).join().ok();
    }
}

async fn connect(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// A user of the shared node, who may do nothing yet. Goes with this.
pub struct User {
    pub name: String,
    pub password: String,
}

impl User {
    pub async fn new() -> Self {
        let user = Self {
            name: format!("user-{:012x}", fastrand::u64(..1 << 48)),
            password: format!("sesame-{:012x}", fastrand::u64(..1 << 48)),
        };
        let account = json!({ "password": user.password, "tags": "" });
        assert_eq!(api("PUT", &format!("users/{}", user.name), &account).await.0, 201);
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let path = format!("users/{}", self.name);
        let delete = move || Broker::shared().ask("DELETE", &path, &json!({}));
        std::thread::spawn(delete).join().ok();
    }
}

/// A message's body as text.
pub fn body(message: &Delivery) -> String {
    String::from_utf8(message.data.clone()).unwrap()
}

/// A header of a message.
pub fn header<'a>(message: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    message.properties.headers().as_ref()?.inner().get(name)
}

/// A header of a message, which is a text.
pub fn text(message: &Delivery, name: &str) -> String {
    match header(message, name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("the header `{name}` is {other:?}"),
    }
}

/// A table of arguments or headers.
pub fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

/// Asks the management API of the node that all tests share.
pub async fn api(method: &'static str, path: &str, body: &Value) -> (u16, Value) {
    Broker::shared().api(method, path, body).await
}

/// A name as a part of a path.
fn encode(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let code =
        |byte: u8| if plain(&byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    name.bytes().map(code).collect()
}
