//! The arguments of a queue, read once when it is declared.
//! Next: [`super::queue`], which obeys them.

use crate::broker::{Queue, QueueType};
use crate::flow::{Field, Headers};
use std::time::Duration;

/// What a queue's arguments ask for.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Messages come with `x-delivery-count`.
    pub counts: bool,
    pub message_ttl: Option<Duration>,
    pub expires: Option<Duration>,
    pub max_length: Option<usize>,
    pub max_bytes: Option<usize>,
    pub overflow: Overflow,
    pub dead_letter: Option<DeadLetter>,
    pub delivery_limit: Option<usize>,
    pub single_active_consumer: bool,
}

/// `x-overflow`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    RejectPublishDeadLetter,
}

/// Where dead messages go.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    pub exchange: String,
    /// `None`: the keys that the message was published with.
    pub routing_key: Option<String>,
}

impl Settings {
    /// The error is in the broker's words.
    pub fn read(queue: &Queue) -> Result<Self, String> {
        let counts = queue.kind == Some(QueueType::Quorum);
        if counts {
            quorum_can(queue)?;
        }
        let read = Reader { queue: &queue.name, arguments: &queue.arguments };
        let exchange = read.text("x-dead-letter-exchange")?;
        let routing_key = read.text("x-dead-letter-routing-key")?;
        if routing_key.is_some() && exchange.is_none() {
            return Err(read.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"));
        }
        let expires = read.number("x-expires")?;
        if expires == Some(0) {
            return Err(read.invalid("x-expires", "{value_zero,0}"));
        }
        let ms = |ms: usize| Duration::from_millis(ms as u64);
        Ok(Self {
            counts,
            message_ttl: read.number("x-message-ttl")?.map(ms),
            expires: expires.map(ms),
            max_length: read.number("x-max-length")?,
            max_bytes: read.number("x-max-length-bytes")?,
            overflow: read.overflow()?,
            dead_letter: exchange.map(|exchange| DeadLetter { exchange, routing_key }),
            delivery_limit: read.number("x-delivery-limit")?.filter(|_| counts),
            single_active_consumer: read.flag("x-single-active-consumer")?,
        })
    }
}

fn quorum_can(queue: &Queue) -> Result<(), String> {
    let cannot = [
        (!queue.durable, "non-durable"),
        (queue.auto_delete, "auto-delete"),
        (queue.exclusive, "exclusive-owner"),
    ];
    match cannot.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, property)) => {
            Err(format!("invalid property '{property}' for queue '{}' in vhost '/'", queue.name))
        }
        None => Ok(()),
    }
}

struct Reader<'a> {
    queue: &'a str,
    arguments: &'a Headers,
}

impl Reader<'_> {
    fn number(&self, name: &str) -> Result<Option<usize>, String> {
        let Some(field) = self.arguments.get(name) else {
            return Ok(None);
        };
        let number = field.as_integer().and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.unacceptable(name, field))
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let Some(field) = self.arguments.get(name) else {
            return Ok(None);
        };
        let text = field.as_text().map(str::to_owned);
        text.map(Some).ok_or_else(|| self.unacceptable(name, field))
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.arguments.get(name) {
            None => Ok(false),
            Some(Field::Bool(flag)) => Ok(*flag),
            Some(field) => Err(self.unacceptable(name, field)),
        }
    }

    fn overflow(&self) -> Result<Overflow, String> {
        match self.text("x-overflow")?.as_deref() {
            None | Some("drop-head") => Ok(Overflow::DropHead),
            Some("reject-publish") => Ok(Overflow::RejectPublish),
            Some("reject-publish-dlx") => Ok(Overflow::RejectPublishDeadLetter),
            Some(_) => Err(self.invalid("x-overflow", "invalid_overflow")),
        }
    }

    fn unacceptable(&self, name: &str, field: &Field) -> String {
        self.invalid(name, &format!("{{unacceptable_value,{field:?}}}"))
    }

    fn invalid(&self, name: &str, why: &str) -> String {
        let queue = self.queue;
        format!(
            "PRECONDITION_FAILED - invalid arg '{name}' for queue '{queue}' in vhost '/': {why}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(arguments: &[(&str, Field)]) -> Queue {
        Queue { arguments: arguments.iter().cloned().collect(), ..Queue::durable("q") }
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_by_name() {
        let cases: [(&str, Field); 7] = [
            ("x-message-ttl", Field::I32(-1)),
            ("x-message-ttl", "10".into()),
            ("x-expires", Field::I32(0)),
            ("x-dead-letter-exchange", Field::I32(1)),
            ("x-dead-letter-routing-key", "no exchange".into()),
            ("x-overflow", "burst".into()),
            ("x-single-active-consumer", "yes".into()),
        ];
        for (name, value) in cases {
            let error = Settings::read(&queue(&[(name, value)])).unwrap_err();
            assert!(error.contains(&format!("invalid arg '{name}' for queue 'q'")), "{error}");
        }
    }

    #[test]
    fn a_quorum_queue_is_durable_shared_and_lasting() {
        let quorum = Queue { kind: Some(QueueType::Quorum), ..queue(&[]) };
        assert!(Settings::read(&quorum).unwrap().counts);
        for (property, queue) in [
            ("non-durable", Queue { durable: false, ..quorum.clone() }),
            ("auto-delete", Queue { auto_delete: true, ..quorum.clone() }),
            ("exclusive-owner", Queue { exclusive: true, ..quorum.clone() }),
        ] {
            assert!(Settings::read(&queue).unwrap_err().contains(property));
        }
    }
}
