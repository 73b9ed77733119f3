//! Declares exchanges, queues and bindings, or checks that they are there. What is refused closes
//! its channel, so all this happens on channels that nothing else uses. Next in the flow:
//! [`super::consumer`], which consumes from what is declared.
//!
//! `Mode::Ensure` uses what is there: only what somebody stated has to match, and that is a type,
//! an argument, or a flag that is not at its default. The broker compares all of a declaration, so
//! a difference in something else is taken over from what it says and asked again. `Mode::Verify`
//! passes over bindings, for which AMQP has no question.

use super::convert::table;
use super::refusal::Refusal;
use super::request::{Declarer, Request};
use crate::broker::{Consume, Difference, Exchange, Mode, Queue, Topology, TopologyError};
use crate::flow::{Field, Headers};
use lapin::Connection;

/// More differences than RabbitMQ knows settings.
pub(super) const DIFFERENCES_MAX: usize = 24;

/// What the connections share: `topology` without the queues that belong to one connection alone
/// (exclusive ones, named by the server or not), which their subscriptions declare.
pub(super) async fn shared(
    connection: &Connection,
    topology: &Topology,
    mode: Mode,
) -> Result<(), TopologyError> {
    let mut declarer = Declarer::new(connection);
    declarer.topology(topology, mode, None).await
}

/// A subscription's queue.
pub(super) struct Declared {
    pub(super) name: String,
    /// It belongs to this connection alone.
    pub(super) own: bool,
    /// It was not there before.
    pub(super) anew: bool,
}

/// What a subscription needs. `before` is the name that its queue had on this connection, if it
/// belongs to it alone.
pub(super) async fn subscription(
    connection: &Connection,
    consume: &Consume,
    before: Option<&str>,
) -> Result<Declared, TopologyError> {
    let Consume { queue, topology, mode, .. } = consume;
    let mut declarer = Declarer::new(connection);
    // Nobody else can declare it, so `verify` and `off` cannot mean it.
    let own = queue.name.is_empty() || queue.exclusive && *mode != Mode::Off;
    let (name, anew) = match before {
        Some(name) if declarer.ask(&Request::FindQueue(name)).await.is_ok() => {
            (name.to_owned(), false)
        }
        _ if own => (declarer.create(queue).await?, true),
        _ => (queue.name.clone(), false),
    };
    declarer.topology(topology, *mode, own.then_some((queue, name.as_str()))).await?;
    Ok(Declared { name, own, anew })
}

/// Deletes a queue, whatever is in it.
pub(super) async fn delete(connection: &Connection, queue: &str) -> Result<(), String> {
    let mut declarer = Declarer::new(connection);
    declarer.ask(&Request::Delete(queue)).await.map(drop).map_err(|refusal| refusal.text)
}

impl Declarer<'_> {
    /// `own` is the queue of the subscription, declared already, with its name.
    async fn topology(
        &mut self,
        topology: &Topology,
        mode: Mode,
        own: Option<(&Queue, &str)>,
    ) -> Result<(), TopologyError> {
        let is_own = |name: &str| own.is_some_and(|(queue, _)| queue.name == name);
        if mode != Mode::Off {
            for exchange in topology.exchanges.iter().filter(|exchange| !exchange.name.is_empty()) {
                self.exchange(exchange, mode).await?;
            }
            for queue in &topology.queues {
                if !queue.name.is_empty() && !queue.exclusive {
                    self.queue(queue, mode).await?;
                }
            }
        }
        for binding in topology.bindings.iter().filter(|binding| !binding.exchange.is_empty()) {
            let queue = match own {
                Some((_, name)) if is_own(&binding.queue) => name,
                _ if mode != Mode::Ensure || binding.queue.is_empty() => continue,
                _ => binding.queue.as_str(),
            };
            let what = format!("binding of queue `{queue}` to exchange `{}`", binding.exchange);
            self.ask(&Request::Bind { binding, queue })
                .await
                .map_err(|refusal| refusal.about(what))?;
        }
        Ok(())
    }

    async fn exchange(&mut self, exchange: &Exchange, mode: Mode) -> Result<(), TopologyError> {
        let about = |refusal: Refusal| refusal.about(format!("exchange `{}`", exchange.name));
        let found = self.ask(&Request::FindExchange(&exchange.name)).await;
        let kind = match (found, exchange.kind, mode) {
            (Ok(_), Some(kind), Mode::Ensure) => kind,
            (Err(refusal), Some(kind), Mode::Ensure) if refusal.is_missing() => kind,
            (found, ..) => return found.map(drop).map_err(about),
        };
        let mut exchange = exchange.clone();
        for _ in 0..DIFFERENCES_MAX {
            let Err(refusal) = self.ask(&Request::Exchange(&exchange, kind)).await else {
                return Ok(());
            };
            let taken_over = refusal.difference().is_some_and(|found| {
                take_over_flags(&found, &mut exchange.durable, &mut exchange.auto_delete)
            });
            if !taken_over {
                return Err(about(refusal));
            }
        }
        Ok(())
    }

    async fn queue(&mut self, queue: &Queue, mode: Mode) -> Result<(), TopologyError> {
        let about = |refusal: Refusal| refusal.about(format!("queue `{}`", queue.name));
        match self.ask(&Request::FindQueue(&queue.name)).await {
            Ok(_) if mode == Mode::Ensure && queue.states_something() => {}
            Err(refusal) if mode == Mode::Ensure && refusal.is_missing() => {}
            found => return found.map(drop).map_err(about),
        }
        self.create(queue).await.map(drop)
    }

    /// Declares `queue`, with whatever is there already where nothing else was stated.
    async fn create(&mut self, queue: &Queue) -> Result<String, TopologyError> {
        let about = |refusal: Refusal| {
            let name = if queue.name.is_empty() { "(named by the server)" } else { &queue.name };
            refusal.about(format!("queue `{name}`"))
        };
        let mut queue = queue.clone();
        let mut arguments = queue.arguments.clone();
        if let Some(kind) = queue.kind {
            arguments.set("x-queue-type", kind.name());
        }
        for _ in 0..DIFFERENCES_MAX {
            let fields = table(&arguments)
                .map_err(|error| about(Refusal { code: None, text: error.to_string() }))?;
            let refusal = match self.ask(&Request::Queue(&queue, fields)).await {
                Ok(name) => return Ok(name),
                Err(refusal) => refusal,
            };
            let taken_over = refusal.difference().is_some_and(|found| {
                take_over_flags(&found, &mut queue.durable, &mut queue.auto_delete)
                    || take_over_argument(found, &mut arguments)
            });
            if !taken_over {
                return Err(about(refusal));
            }
        }
        let text = "the broker goes on naming differences".to_owned();
        Err(about(Refusal { code: None, text }))
    }
}

/// Takes over a flag that differs, if ours has its default; false if it was stated.
pub(super) fn take_over_flags(
    found: &Difference,
    durable: &mut bool,
    auto_delete: &mut bool,
) -> bool {
    match (found.setting.as_str(), &found.current) {
        ("durable", Some(Field::Bool(false))) if *durable => *durable = false,
        ("auto_delete", Some(Field::Bool(true))) if !*auto_delete => *auto_delete = true,
        _ => return false,
    }
    true
}

/// Takes over an argument that nobody stated; false if it was stated with another value.
pub(super) fn take_over_argument(found: Difference, arguments: &mut Headers) -> bool {
    let Difference { setting, stated, current } = found;
    match (stated, current) {
        (None, Some(current)) if setting.starts_with("x-") => arguments.set(&setting, current),
        // Without a type, a queue is a classic one.
        (Some(Field::Text(stated)), None) if setting == "x-queue-type" && stated == "classic" => {
            arguments.take(&setting);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_stated_is_taken_over() {
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        let table = [
            ("x-max-length", None, Some(Field::I64(5)), true),
            ("x-max-length", Some(Field::I64(6)), Some(Field::I64(5)), false),
            ("x-max-length", Some(Field::I64(6)), None, false),
            ("x-queue-type", None, text("quorum"), true),
            ("x-queue-type", text("classic"), None, true),
            ("x-queue-type", text("classic"), text("quorum"), false),
            ("x-queue-type", text("quorum"), None, false),
            ("exclusive", Some(Field::Bool(false)), Some(Field::Bool(true)), false),
        ];
        for (setting, stated, current, expected) in table {
            let found = Difference { setting: setting.to_owned(), stated, current };
            let mut arguments = Headers::default();
            assert_eq!(take_over_argument(found.clone(), &mut arguments), expected, "{found:?}");
        }
    }

    #[test]
    fn a_flag_is_taken_over_only_from_its_default() {
        let table = [
            ("durable", false, (true, false), Some((false, false))),
            ("durable", true, (false, false), None),
            ("auto_delete", true, (true, false), Some((true, true))),
            ("auto_delete", false, (true, true), None),
            ("exclusive", true, (true, false), None),
        ];
        for (setting, current, (mut durable, mut auto_delete), expected) in table {
            let current = Some(Field::Bool(current));
            let found = Difference { setting: setting.to_owned(), stated: None, current };
            let taken = take_over_flags(&found, &mut durable, &mut auto_delete);
            assert_eq!(taken.then_some((durable, auto_delete)), expected, "{found:?}");
        }
    }
}
