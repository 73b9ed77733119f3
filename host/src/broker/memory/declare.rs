//! Creates exchanges, queues and bindings, or finds that they are there; refusals are in
//! RabbitMQ's words. Next: [`super::consume`], which declares before it consumes.

use super::core::Core;
use super::exchange::Exchange;
use super::queue::Queue;
use super::settings::Settings;
use crate::broker::{self, Binding, Consume, Mode, QueueType, Topology, TopologyError};
use crate::flow::{Field, Headers};
use std::fmt::Display;

impl Core {
    /// Declares or checks `topology`, without the exclusive queues in it, which their subscriptions
    /// declare. One bad item does not keep the others from being declared; the first error is
    /// returned.
    pub fn declare(&mut self, topology: &Topology, mode: Mode) -> Result<(), TopologyError> {
        self.topology(topology, mode, None)
    }

    /// What must be there before `consume`; returns the name of its queue. Nobody else can have
    /// declared an exclusive queue, so that it is created, and bound, with `verify` too, and one
    /// that the server names in every mode.
    pub fn prepare(&mut self, consume: &Consume) -> Result<String, TopologyError> {
        let Consume { queue, topology, mode, .. } = consume;
        let own = queue.name.is_empty() || queue.exclusive && *mode != Mode::Off;
        let name = if own { self.ensure_queue(queue)? } else { queue.name.clone() };
        self.topology(topology, *mode, own.then_some((&queue.name, &name)))?;
        match self.queues.contains_key(&name) {
            true => Ok(name),
            false => Err(missing("queue", &name)),
        }
    }

    /// `own` is the queue of the subscription: its name in `topology` and the one that it has.
    fn topology(
        &mut self,
        topology: &Topology,
        mode: Mode,
        own: Option<(&str, &str)>,
    ) -> Result<(), TopologyError> {
        let mut errors = Vec::new();
        if mode != Mode::Off {
            for exchange in &topology.exchanges {
                errors.extend(self.exchange(exchange, mode).err());
            }
            let others =
                topology.queues.iter().filter(|queue| !queue.name.is_empty() && !queue.exclusive);
            for queue in others {
                errors.extend(self.queue(queue, mode).err());
            }
        }
        // Every queue is bound to the default exchange already.
        for binding in topology.bindings.iter().filter(|binding| !binding.exchange.is_empty()) {
            match own {
                Some((stated, name)) if binding.queue == stated => {
                    errors.extend(self.bind(binding, name).err());
                }
                _ if mode == Mode::Ensure && !binding.queue.is_empty() => {
                    errors.extend(self.bind(binding, &binding.queue).err());
                }
                _ => {}
            }
        }
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    fn exchange(&mut self, wanted: &broker::Exchange, mode: Mode) -> Result<(), TopologyError> {
        let broker::Exchange { name, kind, durable, auto_delete } = wanted;
        match (self.exchanges.get(name), kind) {
            (Some(_), _) if mode == Mode::Verify => Ok(()),
            (Some(_), None) => Ok(()),
            (Some(found), Some(kind)) => {
                let of = Item { what: "exchange", name };
                of.agrees("type", kind.name(), found.kind.name())?;
                of.flags_agree((*durable, found.durable), (*auto_delete, found.auto_delete))
            }
            (None, Some(kind)) if mode == Mode::Ensure => {
                not_reserved("exchange", name)?;
                self.exchanges.insert(name.clone(), Exchange::new(*kind, *durable, *auto_delete));
                Ok(())
            }
            (None, _) => Err(missing("exchange", name)),
        }
    }

    fn queue(&mut self, wanted: &broker::Queue, mode: Mode) -> Result<(), TopologyError> {
        if mode == Mode::Ensure {
            return self.ensure_queue(wanted).map(drop);
        }
        let now = self.now;
        let name = &wanted.name;
        self.queues.get_mut(name).ok_or_else(|| missing("queue", name))?.used(now);
        self.touch(name);
        Ok(())
    }

    /// Returns its name, the server's if it has none.
    fn ensure_queue(&mut self, wanted: &broker::Queue) -> Result<String, TopologyError> {
        let now = self.now;
        if let Some(found) = self.queues.get_mut(&wanted.name) {
            equivalent(wanted, &found.spec)?;
            found.used(now);
            self.touch(&wanted.name);
            return Ok(wanted.name.clone());
        }
        not_reserved("queue", &wanted.name)?;
        let mut spec = wanted.clone();
        spec.kind = Some(spec.kind.unwrap_or(QueueType::Classic));
        if spec.name.is_empty() {
            spec.name = self.fresh_name();
            spec.exclusive = true;
        }
        let name = spec.name.clone();
        let settings = Settings::read(&spec)
            .map_err(|reason| TopologyError::Other { what: format!("queue `{name}`"), reason })?;
        self.queues.insert(name.clone(), Queue::new(spec, settings, now));
        self.touch(&name);
        Ok(name)
    }

    fn bind(&mut self, wanted: &Binding, queue: &str) -> Result<(), TopologyError> {
        if !self.queues.contains_key(queue) {
            return Err(missing("queue", queue));
        }
        let Some(exchange) = self.exchanges.get_mut(&wanted.exchange) else {
            return Err(missing("exchange", &wanted.exchange));
        };
        exchange.bind(Binding { queue: queue.to_owned(), ..wanted.clone() });
        Ok(())
    }

    fn fresh_name(&self) -> String {
        loop {
            let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(22).collect();
            let name = format!("amq.gen-{random}");
            if !self.queues.contains_key(&name) {
                return name;
            }
        }
    }
}

/// What is stated of `wanted` must be so; what is left out may be anything.
fn equivalent(wanted: &broker::Queue, found: &broker::Queue) -> Result<(), TopologyError> {
    let of = Item { what: "queue", name: &wanted.name };
    of.flags_agree((wanted.durable, found.durable), (wanted.auto_delete, found.auto_delete))?;
    of.agrees("exclusive", &wanted.exclusive, &found.exclusive)?;
    if let (Some(wanted), Some(found)) = (wanted.kind, found.kind) {
        of.agrees("x-queue-type", wanted.name(), found.name())?;
    }
    of.arguments_agree(&wanted.arguments, &found.arguments)
}

/// What is compared, as RabbitMQ names it.
#[derive(Clone, Copy)]
struct Item<'a> {
    what: &'static str,
    name: &'a str,
}

impl Item<'_> {
    fn agrees<T: PartialEq + Display + ?Sized>(
        self,
        argument: &str,
        received: &T,
        current: &T,
    ) -> Result<(), TopologyError> {
        if received == current {
            return Ok(());
        }
        Err(self.mismatch(argument, &format!("'{received}'"), &format!("'{current}'")))
    }

    /// Takes what was wanted and what was found of each. A flag at its default was not stated.
    fn flags_agree(
        self,
        durable: (bool, bool),
        auto_delete: (bool, bool),
    ) -> Result<(), TopologyError> {
        if !durable.0 {
            self.agrees("durable", &durable.0, &durable.1)?;
        }
        if auto_delete.0 {
            self.agrees("auto_delete", &auto_delete.0, &auto_delete.1)?;
        }
        Ok(())
    }

    fn arguments_agree(self, wanted: &Headers, found: &Headers) -> Result<(), TopologyError> {
        for (argument, received) in &wanted.0 {
            match found.get(argument) {
                Some(current) if received.same(current) => {}
                Some(current) => {
                    let [received, current] =
                        [received, current].map(|field| format!("'{}'", value(field)));
                    return Err(self.mismatch(argument, &received, &current));
                }
                None => {
                    let received = format!(
                        "the value '{}' of type '{}'",
                        value(received),
                        type_name(received)
                    );
                    return Err(self.mismatch(argument, &received, "none"));
                }
            }
        }
        Ok(())
    }

    fn mismatch(self, argument: &str, received: &str, current: &str) -> TopologyError {
        let Self { what, name } = self;
        TopologyError::Mismatch {
            what: format!("{what} `{name}`"),
            difference: format!(
                "inequivalent arg '{argument}' for {what} '{name}' in vhost '/': received \
                 {received} but current is {current}"
            ),
        }
    }
}

fn not_reserved(what: &str, name: &str) -> Result<(), TopologyError> {
    if !name.starts_with("amq.") {
        return Ok(());
    }
    Err(TopologyError::Forbidden {
        what: format!("{what} `{name}`"),
        reason: format!("{what} name '{name}' contains reserved prefix 'amq.*'"),
    })
}

fn missing(what: &str, name: &str) -> TopologyError {
    TopologyError::Missing { what: format!("{what} `{name}`") }
}

fn value(field: &Field) -> String {
    match (field, field.as_integer()) {
        (_, Some(number)) => number.to_string(),
        (Field::Text(text), _) => text.clone(),
        (Field::Bool(flag), _) => flag.to_string(),
        _ => format!("{field:?}"),
    }
}

/// As RabbitMQ's messages name the types of arguments that people use.
fn type_name(field: &Field) -> &'static str {
    match field {
        Field::Text(_) | Field::RawText(_) => "longstr",
        Field::Bool(_) => "bool",
        Field::I8(_) => "byte",
        Field::U8(_) => "unsignedbyte",
        Field::I16(_) => "short",
        Field::U16(_) => "unsignedshort",
        Field::I32(_) => "signedint",
        Field::U32(_) => "unsignedint",
        Field::I64(_) => "long",
        Field::F32(_) => "float",
        Field::F64(_) => "double",
        Field::Decimal { .. } => "decimal",
        Field::Timestamp(_) => "timestamp",
        Field::Bytes(_) => "binary",
        Field::Void => "void",
        Field::Array(_) => "array",
        Field::Table(_) => "table",
    }
}
