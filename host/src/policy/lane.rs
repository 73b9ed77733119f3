//! One lane of an [intake](super::intake): what waits in it, and what of that may begin.

use super::circuit::Circuit;
use super::intake::{Action, LaneId, LaneRules, Ticket};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// An event that waits.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) it: T,
    /// It is handled after those of the same key that came before it.
    pub(super) key: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) id: LaneId,
    pub(super) rules: LaneRules,
    pub(super) circuit: Circuit,
    /// Counts the versions of its plugin.
    pub(super) version: u64,
    /// Events that are begun.
    pub(super) busy: usize,
    /// One of them is a probe.
    pub(super) probe_is_out: bool,
    /// These may begin, in this order.
    ready: VecDeque<Item<T>>,
    /// The keys of events that are ready, begun or resting, and what waits behind each.
    behind: HashMap<u64, VecDeque<T>>,
    /// These begin again when their time has come; they keep their key.
    resting: Vec<(Duration, Item<T>)>,
}

impl<T> Lane<T> {
    pub(super) fn new(id: LaneId, rules: LaneRules) -> Self {
        Self {
            id,
            circuit: Circuit::new(rules.circuit),
            rules,
            version: 0,
            busy: 0,
            probe_is_out: false,
            ready: VecDeque::new(),
            behind: HashMap::new(),
            resting: Vec::new(),
        }
    }

    pub(super) fn reload(&mut self, rules: LaneRules, now: Duration) {
        self.circuit.set_rules(rules.circuit);
        if rules.version != self.rules.version {
            self.circuit.hasten(now);
            self.version += 1;
        }
        self.rules = rules;
    }

    /// It is taken away: everything that waits. What is begun keeps its key and its permit.
    pub(super) fn leave(&mut self) -> Vec<T> {
        self.circuit = Circuit::new(self.rules.circuit);
        self.version += 1;
        let mut all = self.take_free();
        all.extend(self.behind.values_mut().flat_map(|behind| behind.drain(..)));
        all
    }

    pub(super) fn add(&mut self, item: Item<T>) {
        match item.key.map(|key| (key, self.behind.get_mut(&key))) {
            Some((_, Some(behind))) => return behind.push_back(item.it),
            Some((key, None)) => _ = self.behind.insert(key, VecDeque::new()),
            None => {}
        }
        self.ready.push_back(item);
    }

    pub(super) fn begin(&mut self, actions: &mut Vec<Action<T>>) {
        loop {
            let probe = self.circuit.is_probing();
            let may = self.circuit.is_closed() || probe && !self.probe_is_out;
            if !may || self.busy >= self.rules.concurrency {
                return;
            }
            let Some(Item { it, key }) = self.ready.pop_front() else { return };
            self.busy += 1;
            self.probe_is_out |= probe;
            let ticket = Ticket { lane: self.id, key, probe, version: self.version };
            actions.push(Action::Begin(ticket, it));
        }
    }

    /// The permit of an event that has ended.
    pub(super) fn free(&mut self, ticket: Ticket) {
        self.busy = self.busy.saturating_sub(1);
        self.probe_is_out &= !ticket.probe;
    }

    /// The event of this key is done: the next one may begin.
    pub(super) fn release(&mut self, key: Option<u64>) {
        let Some(key) = key else { return };
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(it) => self.ready.push_back(Item { it, key: Some(key) }),
            None => _ = self.behind.remove(&key),
        }
    }

    pub(super) fn rest(&mut self, until: Duration, item: Item<T>) {
        self.resting.push((until, item));
    }

    pub(super) fn wake(&mut self, now: Duration) {
        let awake = self.resting.extract_if(.., |(until, _)| *until <= now);
        self.ready.extend(awake.map(|(_, item)| item));
    }

    /// When something is to happen in this lane by itself.
    pub(super) fn due(&self) -> Option<Duration> {
        let resting = self.resting.iter().map(|(until, _)| *until);
        resting.chain(self.circuit.due()).min()
    }

    pub(super) fn waiting(&self) -> usize {
        let behind: usize = self.behind.values().map(VecDeque::len).sum();
        self.ready.len() + self.resting.len() + behind
    }

    /// Everything that waits and is not behind an event that was begun.
    pub(super) fn take_free(&mut self) -> Vec<T> {
        let resting = std::mem::take(&mut self.resting).into_iter().map(|(_, item)| item);
        let free: Vec<_> = resting.chain(std::mem::take(&mut self.ready)).collect();
        let mut all = Vec::new();
        for Item { it, key } in free {
            all.push(it);
            let behind = key.and_then(|key| self.behind.remove(&key));
            all.extend(behind.into_iter().flatten());
        }
        all
    }

    pub(super) fn purge(&mut self, stale: impl Fn(&T) -> bool) {
        self.behind.values_mut().for_each(|behind| behind.retain(|it| !stale(it)));
        let resting = std::mem::take(&mut self.resting);
        let (gone, kept): (Vec<_>, _) = resting.into_iter().partition(|(_, item)| stale(&item.it));
        self.resting = kept;
        let ready = std::mem::take(&mut self.ready);
        let (dead, kept): (VecDeque<_>, _) = ready.into_iter().partition(|item| stale(&item.it));
        self.ready = kept;
        for item in gone.into_iter().map(|(_, item)| item).chain(dead) {
            self.release(item.key);
        }
    }
}
