//! Finds out what is there and what the user may do, without changing anything. Next in the flow:
//! [`super::consumer`].

use super::convert::table;
use super::declare::{DIFFERENCES_MAX, take_over_argument, take_over_flags};
use super::refusal::Refusal;
use super::request::{Declarer, Request};
use crate::broker::{
    Access, Difference, Exchange, ExchangeKind, Item, Name, Queue, QueueType, Refused, Right, Seen,
    TopologyError,
};
use crate::flow::{Field, Headers};
use lapin::Connection;

/// The type of a queue, as one argument among the others.
const TYPE: &str = "x-queue-type";

/// What there is under the name of `wanted`. What is there is declared as it is, step by step: the
/// broker names one difference after the other.
pub(super) async fn look(connection: &Connection, wanted: &Item) -> Result<Seen, TopologyError> {
    let about = |refusal: Refusal| refusal.about(wanted.name().to_string());
    let mut declarer = Declarer::new(connection);
    let name = wanted.name();
    let find = match &name {
        Name::Exchange(name) => Request::FindExchange(name),
        Name::Queue(name) => Request::FindQueue(name),
    };
    match declarer.ask(&find).await {
        Ok(_) => {}
        Err(refusal) if refusal.is_missing() && !refusal.is_away() => return Ok(Seen::Absent),
        Err(refusal) => return Err(about(refusal)),
    }
    let Some(mut guess) = Guess::new(wanted) else { return Ok(Seen::There(None)) };
    let mut differences = Vec::new();
    for _ in 0..DIFFERENCES_MAX {
        let refusal = match declare(&mut declarer, &guess).await {
            Ok(()) if differences.is_empty() => return Ok(Seen::There(Some(guess.item()))),
            Ok(()) => return Ok(Seen::Differs(differences)),
            Err(refusal) => refusal,
        };
        match refusal.difference() {
            Some(found) if guess.takes_over(&found) => {}
            Some(found) => {
                let found = guess.typed(found);
                let corrected = guess.corrected(&found);
                differences.push(found);
                if !corrected {
                    return Ok(Seen::Differs(differences));
                }
            }
            None if !differences.is_empty() => return Ok(Seen::Differs(differences)),
            None if refusal.protected().is_some() => return Ok(Seen::There(None)),
            None => return Err(about(refusal)),
        }
    }
    Ok(Seen::Differs(differences))
}

/// What the user lacks for `access`, if anything.
pub(super) async fn may(
    connection: &Connection,
    access: &Access,
) -> Result<Option<Refused>, TopologyError> {
    let Err(refusal) = Declarer::new(connection).ask(&Request::May(access)).await else {
        return Ok(None);
    };
    let right = match (access, refusal.protected()) {
        // The broker did not say, or not what; permissions come first, so it is not for want of one.
        (_, None) if refusal.code.is_some() => return Ok(None),
        (_, None) => return Err(refusal.about("asking for permissions".to_owned())),
        (Access::Declare(_), Some(on)) => Refused { right: Right::Configure, on },
        (Access::Consume(_), Some(on)) => Refused { right: Right::Read, on },
        (Access::Publish(exchange), Some(on)) => {
            let default = exchange.is_empty() && on.text() == "amq.default";
            if on.text() != exchange && !default {
                // It is about what we wanted to unbind it from.
                return Ok(None);
            }
            Refused { right: Right::Write, on }
        }
        (Access::Bind { .. }, Some(on @ Name::Queue(_))) => Refused { right: Right::Write, on },
        (Access::Bind { .. }, Some(on)) => Refused { right: Right::Read, on },
    };
    Ok(Some(right))
}

async fn declare(declarer: &mut Declarer<'_>, guess: &Guess) -> Result<(), Refusal> {
    let declared = match guess {
        Guess::Exchange(exchange, kind) => declarer.ask(&Request::Exchange(exchange, *kind)).await,
        Guess::Queue { queue, arguments, .. } => {
            let fields = table(arguments)
                .map_err(|error| Refusal { code: None, text: error.to_string() })?;
            declarer.ask(&Request::Queue(queue, fields)).await
        }
    };
    declared.map(drop)
}

/// What is there, as far as it is known.
enum Guess {
    Exchange(Exchange, ExchangeKind),
    Queue {
        queue: Queue,
        /// With the type.
        arguments: Headers,
        /// Nobody said which type it is to be.
        any_type: bool,
    },
}

impl Guess {
    /// `None` for an exchange of any type: that can't be asked for.
    fn new(wanted: &Item) -> Option<Self> {
        match wanted {
            Item::Exchange(exchange) => Some(Self::Exchange(exchange.clone(), exchange.kind?)),
            Item::Queue(queue) => {
                let mut arguments = queue.arguments.clone();
                arguments.set(TYPE, queue.kind.unwrap_or(QueueType::Classic).name());
                let any_type = queue.kind.is_none();
                Some(Self::Queue { queue: queue.clone(), arguments, any_type })
            }
        }
    }

    /// Takes over what nobody stated; false if it was stated with another value.
    fn takes_over(&mut self, found: &Difference) -> bool {
        match self {
            Self::Exchange(exchange, _) => {
                take_over_flags(found, &mut exchange.durable, &mut exchange.auto_delete)
            }
            Self::Queue { queue, arguments, any_type } => {
                if *any_type && found.setting == TYPE {
                    return correct(arguments, found);
                }
                take_over_flags(found, &mut queue.durable, &mut queue.auto_delete)
                    || take_over_argument(found.clone(), arguments)
            }
        }
    }

    /// With numbers for what the broker writes as texts.
    fn typed(&self, found: Difference) -> Difference {
        let Self::Queue { arguments, .. } = self else { return found };
        let Some(stated) = arguments.get(&found.setting) else { return found };
        let number = |text: &str| stated.as_integer().and(text.parse().ok()).map(Field::I64);
        let current = found.current.map(|current| match &current {
            Field::Text(text) => number(text).unwrap_or(current),
            _ => current,
        });
        Difference { stated: Some(stated.clone()), current, ..found }
    }

    /// Takes over what was stated otherwise, to hear of the next difference.
    fn corrected(&mut self, found: &Difference) -> bool {
        let (durable, auto_delete) = match self {
            Self::Exchange(exchange, _) => (&mut exchange.durable, &mut exchange.auto_delete),
            Self::Queue { queue, .. } => (&mut queue.durable, &mut queue.auto_delete),
        };
        match (found.setting.as_str(), &found.current) {
            ("durable", Some(Field::Bool(is))) => *durable = *is,
            ("auto_delete", Some(Field::Bool(is))) => *auto_delete = *is,
            (setting, _) if setting.starts_with("x-") => match self {
                Self::Queue { arguments, .. } => return correct(arguments, found),
                Self::Exchange(..) => return false,
            },
            ("type", Some(Field::Text(current))) => match (self, ExchangeKind::named(current)) {
                (Self::Exchange(_, kind), Some(current)) => *kind = current,
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    fn item(self) -> Item {
        match self {
            Self::Exchange(exchange, kind) => {
                Item::Exchange(Exchange { kind: Some(kind), ..exchange })
            }
            Self::Queue { queue, mut arguments, .. } => {
                // Without a type, a queue is a classic one; of other types we know nothing.
                let kind = match arguments.take(TYPE).as_ref().and_then(Field::as_text) {
                    Some("quorum") => Some(QueueType::Quorum),
                    Some("classic") | None => Some(QueueType::Classic),
                    Some(_) => None,
                };
                Item::Queue(Queue { kind, arguments, ..queue })
            }
        }
    }
}

fn correct(arguments: &mut Headers, found: &Difference) -> bool {
    match &found.current {
        Some(current) => arguments.set(&found.setting, current.clone()),
        None => _ = arguments.take(&found.setting),
    }
    true
}
