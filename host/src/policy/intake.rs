//! Which event of a queue is begun when, as a pure state machine: so many at once in each lane, in
//! order where that was asked for, none while a lane's circuit is open but for its probes, none
//! after a stop. It owns what waits, and answers with what is to be done.
//! Next: [`super::course`], which goes on once an event is begun.

use super::circuit::{self, Change, Sign};
use super::lane::{Item, Lane};
use std::sync::Arc;
use std::time::Duration;

/// A plugin's share of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(u64);

/// What holds in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRules {
    /// The plugin's.
    pub name: Arc<str>,
    /// Differs from version to version of the plugin: a new one may have mended things.
    pub version: String,
    /// Events at once, 1 or more.
    pub concurrency: usize,
    /// When it stops calling its handler for a while.
    pub circuit: circuit::Rules,
}

/// What a circuit that opens does to what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pausing {
    /// Nothing is consumed, and it goes back to the queue: others may take it.
    #[default]
    GiveBack,
    /// It stays in its place: other lanes or the order of events depend on it, or the queue would
    /// go with its consumer.
    Hold,
}

/// How much is to be consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Appetite {
    /// As many as the prefetch says.
    #[default]
    Full,
    /// One at a time.
    One,
    /// Nothing.
    None,
}

/// How a queue is to be consumed from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// How much.
    pub appetite: Appetite,
    /// When [`Intake::tick`] is due, since the start of the host.
    pub due: Option<Duration>,
}

/// An event that was begun; to be handed in when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) lane: LaneId,
    pub(super) key: Option<u64>,
    pub(super) probe: bool,
    /// Which version of the lane's plugin it was begun with.
    pub(super) version: u64,
}

/// What is done about a failed event because of its lane's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelter {
    /// It is the event's own failure.
    None,
    /// It comes again after this delay, and no attempt is used up.
    Postpone(Duration),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<T> {
    /// Begin the course of this event.
    Begin(Ticket, T),
    /// Give this one back to the broker.
    GiveBack(T),
    /// Say that the lane's circuit is open now.
    Opened(LaneId),
    /// Say that it is closed again.
    Closed(LaneId),
}

/// See the module. `T` is a delivery.
#[derive(Debug)]
pub struct Intake<T> {
    lanes: Vec<Lane<T>>,
    /// Lanes that were taken away, until their last event has ended: one that comes back before
    /// goes on with its keys and permits.
    leaving: Vec<Lane<T>>,
    pausing: Pausing,
    stopping: bool,
    /// While stopping: nothing is consumed any more.
    withdrawn: bool,
    /// The number of lanes there ever were.
    named: u64,
}

impl<T> Default for Intake<T> {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            leaving: Vec::new(),
            pausing: Pausing::default(),
            stopping: false,
            withdrawn: false,
            named: 0,
        }
    }
}

impl<T> Intake<T> {
    /// Takes over these lanes, in this order, and gives each its id: that of before where there was
    /// one of the same name. What waits in others is given back.
    pub fn reload(
        &mut self,
        rules: Vec<LaneRules>,
        pausing: Pausing,
        now: Duration,
        actions: &mut Vec<Action<T>>,
    ) -> Vec<LaneId> {
        self.pausing = pausing;
        let mut old = std::mem::take(&mut self.lanes);
        old.append(&mut self.leaving);
        for rules in rules {
            let lane = match old.iter().position(|lane| lane.rules.name == rules.name) {
                Some(at) => {
                    let mut lane = old.swap_remove(at);
                    lane.reload(rules, now);
                    lane
                }
                None => {
                    self.named += 1;
                    Lane::new(LaneId(self.named), rules)
                }
            };
            self.lanes.push(lane);
        }
        for mut gone in old {
            actions.extend(gone.leave().into_iter().map(Action::GiveBack));
            if gone.busy > 0 {
                self.leaving.push(gone);
            }
        }
        self.begin(actions);
        self.lanes.iter().map(|lane| lane.id).collect()
    }

    /// An event has come for a lane. Those with the same `key` are handled in the order in which
    /// they come.
    pub fn arrived(&mut self, lane: LaneId, key: Option<u64>, it: T, actions: &mut Vec<Action<T>>) {
        let stopping = self.stopping;
        match self.lane(lane) {
            Some(lane) => {
                lane.add(Item { it, key });
                if !stopping {
                    lane.begin(actions);
                }
            }
            None => actions.push(Action::GiveBack(it)),
        }
    }

    /// It is known how an event went: what its lane's circuit makes of it.
    pub fn concluded(
        &mut self,
        ticket: &Ticket,
        sign: Sign,
        now: Duration,
        actions: &mut Vec<Action<T>>,
    ) -> Shelter {
        let Some(lane) = self.lane(ticket.lane) else { return Shelter::None };
        // A version that is gone says nothing about the one that is there.
        let sign_of_now = if ticket.version == lane.version { sign } else { Sign::Neutral };
        match lane.circuit.sign(sign_of_now, ticket.probe, now) {
            Change::None | Change::Reopened => {}
            Change::Opened => actions.push(Action::Opened(lane.id)),
            Change::Closed => actions.push(Action::Closed(lane.id)),
        }
        let failed = matches!(sign, Sign::Unwell | Sign::Away(_));
        match lane.circuit.due() {
            Some(due) if failed => Shelter::Postpone(due.saturating_sub(now)),
            // The next probe is under way.
            None if failed && !lane.circuit.is_closed() => Shelter::Postpone(Duration::ZERO),
            _ => Shelter::None,
        }
    }

    /// An event's course has ended, its permit and its key are free: unless it begins `again` after
    /// this delay, and keeps its key until then.
    pub fn ended(
        &mut self,
        ticket: Ticket,
        again: Option<(T, Duration)>,
        now: Duration,
        actions: &mut Vec<Action<T>>,
    ) {
        let (stopping, withdrawn) = (self.stopping, self.withdrawn);
        let Some(lane) = self.lane(ticket.lane) else {
            actions.extend(again.map(|(it, _)| Action::GiveBack(it)));
            return self.left(ticket);
        };
        lane.free(ticket);
        match again {
            Some((it, delay)) => lane.rest(now + delay, Item { it, key: ticket.key }),
            None => lane.release(ticket.key),
        }
        if withdrawn {
            // Only now: what is behind an event must not come to the queue before it.
            actions.extend(lane.take_free().into_iter().map(Action::GiveBack));
        } else if !stopping {
            lane.begin(actions);
        }
    }

    /// Forgets what waits and fits: the broker delivers it again.
    pub fn purge(&mut self, stale: impl Fn(&T) -> bool, actions: &mut Vec<Action<T>>) {
        for lane in &mut self.lanes {
            lane.purge(&stale);
        }
        self.begin(actions);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Duration, actions: &mut Vec<Action<T>>) {
        for lane in &mut self.lanes {
            lane.circuit.tick(now);
            lane.wake(now);
        }
        self.begin(actions);
    }

    /// Begins nothing any more.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Nothing is consumed at the moment, as [`Intake::pace`] or a stop asked for: gives back what
    /// waits for that reason. Earlier it would come right back. While stopping, what is behind an
    /// event that was begun follows when that has ended.
    pub fn withdraw(&mut self, actions: &mut Vec<Action<T>>) {
        self.withdrawn = self.stopping;
        // The reason may be gone meanwhile: then what comes next would overtake what goes back.
        let gives_back = self.pausing == Pausing::GiveBack;
        for lane in &mut self.lanes {
            if self.stopping || gives_back && !lane.circuit.is_closed() {
                actions.extend(lane.take_free().into_iter().map(Action::GiveBack));
            }
        }
    }

    /// How the queue is to be consumed now.
    pub fn pace(&self) -> Pace {
        let due = self.lanes.iter().filter_map(Lane::due).min();
        let gives_back = self.pausing == Pausing::GiveBack;
        let appetite = match self.lanes.iter().find(|lane| !lane.circuit.is_closed()) {
            Some(lane) if gives_back && lane.circuit.is_probing() => Appetite::One,
            Some(_) if gives_back => Appetite::None,
            _ => Appetite::Full,
        };
        Pace { appetite, due: due.filter(|_| !self.stopping) }
    }

    /// The number of events that wait, and of those that are begun.
    pub fn held(&self) -> (usize, usize) {
        let count = |(waiting, busy), lane: &Lane<T>| (waiting + lane.waiting(), busy + lane.busy);
        self.lanes.iter().chain(&self.leaving).fold((0, 0), count)
    }

    /// An event has ended whose lane was taken away.
    fn left(&mut self, ticket: Ticket) {
        if let Some(lane) = self.leaving.iter_mut().find(|lane| lane.id == ticket.lane) {
            lane.free(ticket);
            lane.release(ticket.key);
        }
        self.leaving.retain(|lane| lane.busy > 0);
    }

    fn begin(&mut self, actions: &mut Vec<Action<T>>) {
        if !self.stopping {
            self.lanes.iter_mut().for_each(|lane| lane.begin(actions));
        }
    }

    fn lane(&mut self, id: LaneId) -> Option<&mut Lane<T>> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }
}

impl Ticket {
    #[cfg(test)]
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Where it was begun.
    pub fn lane(&self) -> LaneId {
        self.lane
    }
}

#[cfg(test)]
mod tests;
