//! The requests of the set-up, one by one. What is refused closes its channel, so all this happens
//! on channels that nothing else uses. Next in the flow: [`super::declare`] and [`super::survey`],
//! which know what to ask.

use super::STEP_LIMIT;
use super::convert::{short, table};
use super::refusal::Refusal;
use crate::broker::{Access, Binding, Exchange, ExchangeKind, HeadersMatch, Name, Queue};
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};
use std::collections::BTreeMap;

/// Asks on a channel of its own, and on a new one after each refusal.
pub(super) struct Declarer<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

/// A request to the broker.
pub(super) enum Request<'a> {
    FindExchange(&'a str),
    Exchange(&'a Exchange, ExchangeKind),
    FindQueue(&'a str),
    Queue(&'a Queue, FieldTable),
    Bind {
        binding: &'a Binding,
        queue: &'a str,
    },
    Delete(&'a str),
    /// Whether the user may: refused with 403 for want of a permission, or answered, or refused
    /// otherwise; nothing is changed.
    May(&'a Access),
}

impl<'a> Declarer<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, channel: None }
    }

    pub(super) async fn ask(&mut self, request: &Request<'_>) -> Result<String, Refusal> {
        let asked = async {
            let channel = match self.channel.take() {
                Some(channel) => channel,
                None => self.connection.create_channel().await?,
            };
            let answer = request.send(&channel).await?;
            self.channel = Some(channel);
            Ok(answer)
        };
        match tokio::time::timeout(STEP_LIMIT, asked).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("no answer from the broker within {} s", STEP_LIMIT.as_secs());
                Err(Refusal { code: None, text })
            }
        }
    }
}

impl Request<'_> {
    async fn send(&self, channel: &Channel) -> Result<String, Refusal> {
        match self {
            Request::FindExchange(exchange) => {
                let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                let exchange = name("the name", exchange)?;
                // The type is not looked at.
                let kind = lapin::ExchangeKind::Direct;
                channel.exchange_declare(exchange, kind, options, FieldTable::default()).await?;
            }
            Request::Exchange(exchange, kind) => {
                let options = ExchangeDeclareOptions {
                    durable: exchange.durable,
                    auto_delete: exchange.auto_delete,
                    ..Default::default()
                };
                let exchange = name("the name", &exchange.name)?;
                let kind = lapin::ExchangeKind::Custom(kind.name().to_owned());
                channel.exchange_declare(exchange, kind, options, FieldTable::default()).await?;
            }
            Request::FindQueue(queue) => {
                let options = QueueDeclareOptions { passive: true, ..Default::default() };
                let queue = name("the name", queue)?;
                channel.queue_declare(queue, options, FieldTable::default()).await?;
            }
            Request::Queue(queue, arguments) => {
                let options = QueueDeclareOptions {
                    durable: queue.durable,
                    exclusive: queue.exclusive || queue.name.is_empty(),
                    auto_delete: queue.auto_delete,
                    ..Default::default()
                };
                let queue = name("the name", &queue.name)?;
                let declared = channel.queue_declare(queue, options, arguments.clone()).await?;
                return Ok(declared.name().as_str().to_owned());
            }
            Request::May(access) => may(channel, access).await?,
            Request::Delete(queue) => {
                let queue = name("the name", queue)?;
                channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
            }
            Request::Bind { binding, queue } => {
                let (queue, exchange) =
                    (name("the queue", queue)?, name("the exchange", &binding.exchange)?);
                let key = name("the routing key", &binding.routing_key)?;
                let mut headers = binding.headers.clone();
                match binding.headers_match {
                    HeadersMatch::None => {}
                    HeadersMatch::All => headers.set("x-match", "all"),
                    HeadersMatch::Any => headers.set("x-match", "any"),
                }
                let arguments = table(&headers)
                    .map_err(|error| Refusal { code: None, text: error.to_string() })?;
                channel
                    .queue_bind(queue, exchange, key, QueueBindOptions::default(), arguments)
                    .await?;
            }
        }
        Ok(String::new())
    }
}

fn name(what: &str, text: &str) -> Result<ShortString, Refusal> {
    short(what, text).map_err(|error| Refusal { code: None, text: error.to_string() })
}

/// RabbitMQ looks at permissions first, so each request is made such that it can't be carried out:
/// with an argument that is never valid, or about a binding that was never made.
async fn may(channel: &Channel, access: &Access) -> Result<(), Refusal> {
    let arguments = |name: &str, value| FieldTable::from(BTreeMap::from([(name.into(), value)]));
    let (source, never) = ("amq.direct".into(), format!("wabbit-{:016x}", fastrand::u64(..)));
    match access {
        Access::Declare(Name::Queue(queue)) => {
            // For the server to name it, it must be its connection's own.
            let exclusive = queue.is_empty();
            let options = QueueDeclareOptions { exclusive, durable: true, ..Default::default() };
            let bad = arguments("x-max-length", AMQPValue::LongLongInt(-1));
            channel.queue_declare(name("the name", queue)?, options, bad).await?;
        }
        Access::Declare(Name::Exchange(exchange)) => {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let bad = arguments("alternate-exchange", AMQPValue::LongLongInt(0));
            let exchange = name("the name", exchange)?;
            let kind = lapin::ExchangeKind::Direct;
            channel.exchange_declare(exchange, kind, options, bad).await?;
        }
        Access::Consume(queue) => {
            let queue = name("the queue", queue)?;
            let bad = arguments("x-priority", AMQPValue::LongString("none".into()));
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue, "".into(), options, bad).await?;
            // A broker that takes it must not go on delivering.
            channel.close(200, "".into()).await?;
            let text = "the broker took an argument that is not valid".to_owned();
            return Err(Refusal { code: Some(200), text });
        }
        Access::Publish(exchange) => {
            let exchange = name("the exchange", exchange)?;
            let options = ExchangeUnbindOptions::default();
            let nothing = FieldTable::default();
            channel.exchange_unbind(exchange, source, never.into(), options, nothing).await?;
        }
        Access::Bind { exchange, queue } => {
            let (queue, exchange) = (name("the queue", queue)?, name("the exchange", exchange)?);
            channel.queue_unbind(queue, exchange, never.into(), FieldTable::default()).await?;
        }
    }
    Ok(())
}
