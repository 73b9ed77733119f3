//! A model of the home store: which events it has recorded as handled, and how much was left to be
//! published for them. It outlives hosts. Next: [`super::ledger`], where effects are noted.

use super::cover::Seen;
use super::ledger::{Broken, Invariant, hold};
use super::schedule::Answer;
use super::task::At;
use super::world::World;
use crate::flow::{Fault, Outcome, Publication};
use crate::policy::course::Happened;
use std::collections::BTreeMap;

/// How many publications are left, by event and plugin.
#[derive(Debug, Default)]
pub(super) struct Store(BTreeMap<(usize, usize), usize>);

impl Store {
    /// Whether this plugin has handled this event.
    pub(super) fn knows(&self, event: usize, plugin: Option<usize>) -> bool {
        plugin.is_some_and(|plugin| self.0.contains_key(&(event, plugin)))
    }
}

impl World<'_> {
    /// The store does something for this event.
    pub(super) fn answer(&mut self, event: usize, answer: Answer) -> Result<bool, Broken> {
        let asks = |at| matches!(at, At::Recall | At::Commit | At::Forget);
        let Some(at) = self.find(event, asks) else { return Ok(false) };
        match (self.task(at).at, answer) {
            (At::Recall, Answer::Yes | Answer::Away) => self.recalled(at, answer),
            (At::Commit, answer) => self.commits(at, answer),
            (At::Forget, Answer::Yes | Answer::Away) => self.forgets(at, answer),
            _ => Ok(false),
        }
    }

    fn recalled(&mut self, at: usize, answer: Answer) -> Result<bool, Broken> {
        if self.is_lost(at) {
            return self.lost(at);
        }
        let (event, plugin) = (self.task(at).event, self.task(at).plugin);
        let known = match answer {
            Answer::Away => {
                self.cover.note(Seen::StoreAway);
                Some(away())
            }
            _ => plugin.and_then(|plugin| self.store.0.get(&(event, plugin))).map(|left| {
                let seen = [Seen::RecalledNothingLeft, Seen::RecalledWithLeft];
                self.cover.note(seen[usize::from(*left > 0)]);
                Outcome::Ok(vec![Publication::default(); *left])
            }),
        };
        let done = matches!(known, Some(Outcome::Ok(_)));
        let task = self.task(at);
        if done && std::mem::take(&mut task.in_the_way) {
            self.cover.note(Seen::SameEventInTheWay);
        }
        let task = self.task(at);
        let step = match known {
            Some(known) => {
                (task.outcome, task.concluded, task.committed) = (known, true, done);
                task.course.next(Happened::Recalled(Some(&task.outcome)))
            }
            None => task.course.next(Happened::Recalled(None)),
        };
        self.go_on(at, step).map(|()| true)
    }

    fn commits(&mut self, at: usize, answer: Answer) -> Result<bool, Broken> {
        let (event, plugin) = (self.task(at).event, self.task(at).plugin);
        let recorded = self.task(at).terms.recalls && self.store.knows(event, plugin);
        let applied = self.task(at).committed;
        if self.is_lost(at) {
            self.cover.note(Seen::CommitBegunWhenLost);
        }
        if applied && !matches!(answer, Answer::Yes | Answer::Away) {
            return Ok(false);
        }
        let failed = |fault| Some(Outcome::Failed { fault, reason: String::new() });
        let failure = match answer {
            // A record that is there keeps another one out.
            Answer::Yes | Answer::Applies if recorded && !applied => failed(Fault::Conflict),
            Answer::Conflict => failed(Fault::Conflict),
            Answer::Fails => {
                self.cover.note(Seen::CommitFails);
                failed(Fault::Store)
            }
            Answer::Away => {
                let seen = if applied { Seen::CommitUnknown } else { Seen::StoreAway };
                self.cover.note(seen);
                self.ledger.accounts[event].excuses += u32::from(applied);
                Some(away())
            }
            Answer::Yes if applied => None,
            Answer::Yes | Answer::Applies => {
                self.apply(at)?;
                if answer == Answer::Applies {
                    return Ok(true);
                }
                None
            }
        };
        let account = &mut self.ledger.accounts[event];
        if matches!(&failure, Some(Outcome::Failed { fault: Fault::Conflict, .. })) {
            self.cover.note(Seen::CalledAnew);
            account.anew += 1;
            self.task(at).in_the_way = true;
        }
        let task = self.task(at);
        task.outcome = failure.unwrap_or_else(|| std::mem::replace(&mut task.outcome, away()));
        let step = task.course.next(Happened::Committed(&task.outcome));
        self.go_on(at, step).map(|()| true)
    }

    /// What the handler did is visible from now on, with the record of it.
    fn apply(&mut self, at: usize) -> Result<(), Broken> {
        let task = self.task(at);
        task.committed = true;
        let (event, recalls, left) = (task.event, task.terms.recalls, task.outcome.publications());
        let (in_order, plugin) = (task.terms.in_order, task.plugin.unwrap_or_default());
        if recalls {
            self.store.0.insert((event, plugin), left);
            let account = &mut self.ledger.accounts[event];
            account.recorded[plugin] += 1;
            account.owed[plugin] = left > 0;
            let times = account.recorded[plugin];
            hold(Invariant::NoSilentDuplicate, times == 1, || {
                format!("what is done for event {event} is committed {times} times")
            })?;
        }
        self.effect(event, in_order)
    }

    fn forgets(&mut self, at: usize, answer: Answer) -> Result<bool, Broken> {
        let task = self.task(at);
        let (event, plugin) = (task.event, task.plugin.unwrap_or_default());
        let step = task.course.next(Happened::Forgotten);
        if answer == Answer::Yes {
            self.store.0.insert((event, plugin), 0);
        } else {
            self.cover.note(Seen::ForgetMissed);
        }
        self.go_on(at, step).map(|()| true)
    }
}

fn away() -> Outcome {
    Outcome::Unavailable { after: None, reason: String::new() }
}
