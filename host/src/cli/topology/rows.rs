//! Everything that a host would declare for its plugins, piece by piece, and how each of them
//! stands at a broker.

use super::super::exit::Exit;
use crate::broker::{
    Access, Binding, Difference, Exchange, HeadersMatch, Item, Mode, Name, Queue, Refused, Seen,
    Topology, TopologyError,
};
use crate::dispatch::audit::facts::Facts;
use crate::dispatch::audit::{Subject, creates};
use crate::dispatch::moves;
use crate::dispatch::plan::Planned;
use crate::policy::delays;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::time::Duration;

/// One piece.
#[derive(Debug)]
pub struct Row {
    what: What,
    /// What the manifest says is to be done about it.
    mode: Mode,
    /// The delay, if it is a delay queue.
    delay: Option<Duration>,
    /// Whose it is.
    pub plugins: BTreeSet<String>,
    /// How it stands.
    pub state: State,
}

#[derive(Debug, PartialEq)]
enum What {
    Item(Item),
    Binding(Binding),
}

/// How a piece stands.
#[derive(Debug)]
pub enum State {
    /// As stated.
    There,
    /// Not there; the host creates it.
    Create,
    /// A delay queue that is not there; the host creates it when an event is to wait in it.
    OnDemand,
    /// It goes with the connection that consumes from it.
    Own,
    /// Nobody knows.
    NotChecked,
    /// Created a moment ago.
    Created,
    /// It is there, now or since before.
    Bound,
    /// There, with other settings.
    Differs(Vec<Difference>),
    /// Not there, and not the host's to create.
    Absent,
    /// The user may not do it.
    Refused(Refused),
    /// What the broker said.
    Failed(TopologyError),
}

/// The pieces of the consumers `planned`, in the order in which they can be declared.
pub fn rows(planned: &BTreeMap<String, Planned>) -> Vec<Row> {
    let mut rows = Vec::<Row>::new();
    for Planned { consume, lanes, .. } in planned.values() {
        let plugins: BTreeSet<_> = lanes.iter().map(|lane| lane.plugin.name.to_string()).collect();
        let mut add = |what, mode, delay, plugins: &BTreeSet<String>| match rows
            .iter_mut()
            .find(|row| row.what == what)
        {
            Some(row) => {
                row.plugins.extend(plugins.iter().cloned());
                if mode == Mode::Ensure {
                    row.mode = mode;
                }
            }
            None => {
                let (plugins, state) = (plugins.clone(), State::NotChecked);
                rows.push(Row { what, mode, delay, plugins, state });
            }
        };
        let Topology { exchanges, queues, bindings } = &consume.topology;
        let exchanges = exchanges.iter().cloned().map(Item::Exchange);
        for item in exchanges.chain(queues.iter().cloned().map(Item::Queue)) {
            add(What::Item(item), consume.mode, None, &plugins);
        }
        for binding in bindings {
            add(What::Binding(binding.clone()), consume.mode, None, &plugins);
        }
        for lane in lanes {
            let subject = Subject::of(&lane.plugin);
            let plugins = BTreeSet::from([lane.plugin.name.to_string()]);
            let waits = subject.retries_by_delay(&lane.subscription);
            let delays = waits.then(|| delays::of(&lane.plugin.manifest.policy));
            for delay in delays.into_iter().flatten() {
                let queue = moves::delay_topology(delay).queues;
                for queue in queue {
                    add(What::Item(Item::Queue(queue)), Mode::Ensure, Some(delay), &plugins);
                }
            }
        }
    }
    fold(&mut rows);
    rows.sort_by_key(|row| (row.delay, row.what.order()));
    rows
}

/// An exchange of which only the name is stated is the one that is stated in full elsewhere.
fn fold(rows: &mut Vec<Row>) {
    let is_name =
        |row: &mut Row| matches!(row.item(), Some(Item::Exchange(it)) if it.kind.is_none());
    for named in rows.extract_if(.., is_name).collect::<Vec<_>>() {
        let same = |row: &&mut Row| row.is_declared() && row.name() == named.name();
        match rows.iter_mut().find(same) {
            Some(row) => row.plugins.extend(named.plugins),
            None => rows.push(named),
        }
    }
}

/// What is declared by one of `rows`.
pub fn declared(rows: &[Row]) -> BTreeSet<Name> {
    rows.iter().filter(|row| row.is_declared()).filter_map(Row::name).collect()
}

impl What {
    fn order(&self) -> u8 {
        match self {
            Self::Item(Item::Exchange(_)) => 0,
            Self::Item(Item::Queue(_)) => 1,
            Self::Binding(_) => 2,
        }
    }
}

impl Row {
    /// The exchange or queue that it is, if others than its consumer may look at it.
    pub fn item(&self) -> Option<&Item> {
        match &self.what {
            What::Item(item) => Some(item).filter(|_| !self.is_own()),
            What::Binding(_) => None,
        }
    }

    fn name(&self) -> Option<Name> {
        self.item().map(Item::name)
    }

    /// The delay and the name, if it is a delay queue.
    pub fn delay(&self) -> Option<(Duration, &str)> {
        let (Some(delay), What::Item(Item::Queue(queue))) = (self.delay, &self.what) else {
            return None;
        };
        Some((delay, &queue.name))
    }

    /// Whether it is the host's to declare, before it runs.
    pub fn is_declared(&self) -> bool {
        let creatable = match &self.what {
            What::Item(item) => creates(item, self.mode),
            What::Binding(_) => self.mode == Mode::Ensure,
        };
        creatable && self.delay.is_none() && !self.is_own()
    }

    /// It goes with the connection that consumes from it.
    pub fn is_own(&self) -> bool {
        match &self.what {
            What::Item(Item::Queue(queue)) => queue.exclusive || queue.name.is_empty(),
            What::Item(Item::Exchange(_)) => false,
            What::Binding(binding) => binding.queue.is_empty(),
        }
    }

    /// It, and nothing else.
    pub fn alone(&self) -> Topology {
        let mut topology = Topology::default();
        match &self.what {
            What::Item(Item::Exchange(exchange)) => topology.exchanges.push(exchange.clone()),
            What::Item(Item::Queue(queue)) => topology.queues.push(queue.clone()),
            What::Binding(binding) => topology.bindings.push(binding.clone()),
        }
        topology
    }

    /// Says how it stands, by what is known of the broker, and what is to be `declared` there.
    pub fn judge(&mut self, facts: &Facts, declared: &BTreeSet<Name>) {
        self.state = match &self.what {
            _ if self.is_own() => State::Own,
            What::Item(item) => match self.item_state(item, facts) {
                State::Absent if declared.contains(&item.name()) => State::Create,
                state => state,
            },
            What::Binding(binding) => self.binding_state(binding, facts),
        };
    }

    fn item_state(&self, item: &Item, facts: &Facts) -> State {
        let refused = || match self.delay {
            None => facts.refused(&Access::Declare(item.name())).cloned(),
            // One of them was asked for in the place of all.
            Some(_) => facts.refused.iter().find_map(|(access, refused)| match access {
                Access::Declare(Name::Queue(name)) if name.starts_with(moves::DELAY_PREFIX) => {
                    Some(refused.clone())
                }
                _ => None,
            }),
        };
        let created = creates(item, self.mode);
        match facts.of(item) {
            None => State::NotChecked,
            Some(Err(error)) => State::Failed(error.clone()),
            Some(Ok(Seen::Differs(found))) if created => State::Differs(found.clone()),
            Some(Ok(Seen::There(_) | Seen::Differs(_))) => match refused() {
                Some(refused) if created && compares(item) => State::Refused(refused),
                _ => State::There,
            },
            Some(Ok(Seen::Absent)) => match refused() {
                _ if !created => State::Absent,
                Some(refused) => State::Refused(refused),
                None if self.delay.is_some() => State::OnDemand,
                None => State::Create,
            },
        }
    }

    fn binding_state(&self, binding: &Binding, facts: &Facts) -> State {
        if self.mode != Mode::Ensure {
            return State::NotChecked;
        }
        let Binding { exchange, queue, .. } = binding;
        let access = Access::Bind { exchange: exchange.clone(), queue: queue.clone() };
        if let Some(refused) = facts.refused(&access) {
            return State::Refused(refused.clone());
        }
        let ends = [Name::Exchange(exchange.clone()), Name::Queue(queue.clone())];
        match ends.iter().any(|end| facts.is_there(end) == Some(false)) {
            true => State::Create,
            false => State::NotChecked,
        }
    }

    /// What it is, for programs.
    pub fn to_json(&self) -> Value {
        match &self.what {
            What::Item(Item::Exchange(Exchange { name, kind, .. })) => {
                json!({ "kind": "exchange", "name": name, "type": kind.map(|kind| kind.name()) })
            }
            What::Item(Item::Queue(Queue { name, kind, .. })) => {
                let kind = kind.map(|kind| kind.name());
                let delay = self.delay.map(|delay| delay.as_millis());
                match delay {
                    Some(ms) => json!({ "kind": "delay-queue", "name": name, "delay-ms": ms }),
                    None => json!({ "kind": "queue", "name": name, "type": kind }),
                }
            }
            What::Binding(Binding { exchange, queue, routing_key, .. }) => json!({
                "kind": "binding", "exchange": exchange, "queue": queue, "routing-key": routing_key,
            }),
        }
    }
}

/// Whether a host that finds it there declares it nevertheless, so that the broker compares it.
fn compares(item: &Item) -> bool {
    match item {
        Item::Exchange(_) => true,
        Item::Queue(queue) => queue.states_something(),
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Item(item @ Item::Exchange(exchange)) => match exchange.kind {
                Some(kind) => write!(f, "{} ({})", item.name(), kind.name()),
                None => write!(f, "{}", item.name()),
            },
            What::Item(item @ Item::Queue(queue)) => match queue.kind {
                Some(kind) => write!(f, "{} ({})", item.name(), kind.name()),
                None => write!(f, "{}", item.name()),
            },
            What::Binding(Binding { exchange, queue, routing_key, headers_match, .. }) => {
                write!(f, "binding of {} to exchange `{exchange}`", Name::Queue(queue.clone()))?;
                match headers_match {
                    HeadersMatch::None if routing_key.is_empty() => Ok(()),
                    HeadersMatch::None => write!(f, " by `{routing_key}`"),
                    HeadersMatch::All | HeadersMatch::Any => f.write_str(" by headers"),
                }
            }
        }
    }
}

impl State {
    /// For people and programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Create => "to create",
            Self::OnDemand => "on demand",
            Self::Own => "by the host",
            Self::NotChecked => "not checked",
            Self::Created => "created",
            Self::Bound => "bound",
            Self::Differs(_) => "differs",
            Self::Absent => "missing",
            Self::Refused(_) => "not permitted",
            Self::Failed(_) => "failed",
        }
    }

    /// What it means for the verb.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Failed(TopologyError::Forbidden { .. }) => Exit::NotPermitted,
            Self::Differs(_) | Self::Absent | Self::Failed(_) => Exit::Mismatch,
            _ => Exit::Ok,
        }
    }

    /// What there is to say beyond its name.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Differs(differences) => differences.iter().map(ToString::to_string).collect(),
            Self::Absent => {
                vec!["it is not the host's to create: create it by other means".to_owned()]
            }
            Self::Refused(Refused { right, on }) => {
                vec![format!("the user has no {right} permission on {on}")]
            }
            Self::Failed(error) => {
                let hint = error.hint().map(|hint| format!("hint: {hint}"));
                [error.to_string()].into_iter().chain(hint).collect()
            }
            _ => Vec::new(),
        }
    }
}
