//! The queue of a subscription and its bindings.

use super::Reader;
use super::written::{Node, Section, Value};
use crate::broker::{
    Binding, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, QueueType, Topology,
};
use crate::flow::{Field, Headers};

impl Reader<'_> {
    pub(super) fn queue(&self, section: &Section<'_>, mode: Mode) -> Queue {
        let name = section.name("queue").unwrap_or_else(|| self.name.to_owned());
        let kinds = [("classic", QueueType::Classic), ("quorum", QueueType::Quorum)];
        let kind = section.choice("type", &kinds);
        let by_server = name.is_empty();
        let (durable, exclusive) = (section.flag("durable"), section.flag("exclusive"));
        let queue = Queue {
            kind,
            durable: durable.unwrap_or(!by_server && exclusive != Some(true)),
            exclusive: exclusive.unwrap_or(by_server),
            auto_delete: section.flag("auto-delete").unwrap_or(by_server),
            arguments: fields(section, "arguments"),
            name,
        };
        check_queue(section, &queue, mode);
        queue
    }

    /// The exchanges and bindings of `queue`, and the queue itself.
    pub(super) fn topology(&self, section: &Section<'_>, queue: &Queue) -> Topology {
        let mut topology = Topology { queues: vec![queue.clone()], ..Topology::default() };
        let bindings = section.tables("bindings", |section| {
            let (exchange, binding) = self.binding(section, queue);
            (section.place("exchange"), exchange, binding)
        });
        for (at, exchange, binding) in bindings {
            topology.bindings.push(binding);
            // The broker has these from the start.
            if exchange.name.is_empty() || exchange.name.starts_with("amq.") {
                continue;
            }
            let Some(known) = topology.exchanges.iter_mut().find(|e| e.name == exchange.name)
            else {
                topology.exchanges.push(exchange);
                continue;
            };
            if known.kind.is_none() {
                *known = exchange;
            } else if exchange.kind.is_some() && *known != exchange {
                let message =
                    format!("exchange `{}` is described twice, differently", exchange.name);
                section.problem(at, message, None);
            }
        }
        topology
    }

    fn binding(&self, section: &Section<'_>, queue: &Queue) -> (Exchange, Binding) {
        let name = section.name("exchange");
        if name.is_none() && section.node("exchange").is_none() {
            section.missing("exchange");
        } else if name.as_ref().is_some_and(String::is_empty) {
            let hint =
                "leave the binding out: every queue is bound to the default exchange by its name";
            section.wrong_with("exchange", "must not be the default exchange", Some(hint));
        }
        let kinds = [
            ExchangeKind::Direct,
            ExchangeKind::Topic,
            ExchangeKind::Fanout,
            ExchangeKind::Headers,
        ]
        .map(|kind| (kind.name(), kind));
        let exchange = Exchange {
            name: name.unwrap_or_default(),
            kind: section.choice("type", &kinds),
            durable: section.flag("durable").unwrap_or(true),
            auto_delete: section.flag("auto-delete").unwrap_or(false),
        };
        let matches = [("all", HeadersMatch::All), ("any", HeadersMatch::Any)];
        let headers_match = section.choice("match", &matches);
        let mut headers = fields(section, "headers");
        let arguments = fields(section, "arguments");
        let by_headers = headers_match.is_some() || !headers.is_empty();
        if by_headers && exchange.kind.is_some_and(|kind| kind != ExchangeKind::Headers) {
            let key = if headers.is_empty() { "match" } else { "headers" };
            section.wrong(key, "is for exchanges of the type `headers`");
        }
        headers.0.extend(arguments.0);
        let binding = Binding {
            exchange: exchange.name.clone(),
            queue: queue.name.clone(),
            routing_key: section.name("key").unwrap_or_default(),
            // AMQP's own default is `all`.
            headers_match: match headers_match {
                Some(stated) => stated,
                None if by_headers || exchange.kind == Some(ExchangeKind::Headers) => {
                    HeadersMatch::All
                }
                None => HeadersMatch::None,
            },
            headers,
        };
        (exchange, binding)
    }
}

fn check_queue(section: &Section<'_>, queue: &Queue, mode: Mode) {
    let by_server = queue.name.is_empty();
    if queue.name.starts_with("amq.") {
        section.wrong("queue", "must not begin with `amq.`, which is the broker's own");
    }
    if by_server && !queue.exclusive {
        section.wrong("exclusive", "must be `true` for a queue that the server names");
    }
    if by_server && mode != Mode::Ensure {
        section.wrong("topology", "must be `ensure` for a queue that the server names");
    }
    if queue.exclusive && queue.durable {
        section.wrong(
            "durable",
            "must not be `true` for an exclusive queue, which goes with its connection",
        );
    }
    if queue.kind == Some(QueueType::Quorum) {
        for (bad, what) in [
            (!queue.durable && !queue.exclusive, "one that is not durable"),
            (queue.exclusive, "an exclusive one"),
            (queue.auto_delete && !by_server, "one that deletes itself"),
        ] {
            if bad {
                section.wrong("type", format!("must not be `quorum` for {what}"));
            }
        }
    }
    if queue.arguments.get("x-queue-type").is_some() {
        section.wrong("arguments", "must not hold `x-queue-type`, which is the key `type`");
    }
}

/// The table `key` as AMQP fields.
pub(super) fn fields(section: &Section<'_>, key: &'static str) -> Headers {
    let entries = section.map(key).into_iter().flat_map(|table| &table.0);
    let mut headers = Headers::default();
    for (name, entry) in entries {
        if name.len() > 255 {
            section.problem(entry.at.clone(), "names of fields are 255 bytes or less", None);
        }
        headers.0.extend(field(section, &entry.node).map(|field| (name.clone(), field)));
    }
    headers
}

fn field(section: &Section<'_>, node: &Node) -> Option<Field> {
    Some(match &node.value {
        Value::Text(text) | Value::Loose(text) => Field::Text(text.clone()),
        Value::Integer(n) => Field::I64(*n),
        Value::Float(n) => Field::F64(*n),
        Value::Bool(flag) => Field::Bool(*flag),
        Value::Date(_) => {
            let hint = "write a string, or seconds since 1970".to_owned();
            section.problem(node.at.clone(), "a field of AMQP can't be a date", Some(hint));
            return None;
        }
        Value::Array(items) => {
            Field::Array(items.iter().filter_map(|item| field(section, item)).collect())
        }
        Value::Table(table) => Field::Table(Headers(
            table
                .0
                .iter()
                .filter_map(|(name, entry)| Some((name.clone(), field(section, &entry.node)?)))
                .collect(),
        )),
    })
}
