//! The host's consumer, as `dispatch/consumer.rs` and the broker's client: it consumes as much as the
//! core has an appetite for, through lost connections, until it is to end. Next: [`super::desk`].

use super::cover::Seen;
use super::ledger::Broken;
use super::world::World;
use crate::policy::intake::Appetite;

/// Where a consumer is in its life.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    /// How much it consumes, which is what it goes by until it has seen that this has changed.
    pub(super) appetite: Appetite,
    /// Its channel, which may be gone.
    channel: Option<u64>,
    /// It is not to consume like this any more.
    ending: bool,
    /// Nothing more will be delivered.
    cancelled: bool,
    /// It is over.
    ended: bool,
}

impl Consumer {
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the broker might deliver, for all it knows.
    pub(super) fn consumes(&self) -> bool {
        !self.ended && self.appetite != Appetite::None
    }
}

impl World<'_> {
    pub(super) fn deliver(&mut self) -> bool {
        let Some(parcel) = self.broker.deliver() else { return false };
        self.host().inbox.push_back(parcel);
        true
    }

    pub(super) fn connect(&mut self) -> bool {
        let (lost, most) = (self.broker.lost, self.setup.prefetch);
        let host = self.host.as_mut().expect("there is a host");
        let consumer = &host.consumer;
        let is_live = consumer.channel.is_some_and(|channel| channel > lost);
        if !consumer.consumes() || consumer.cancelled || consumer.ending || is_live {
            return false;
        }
        if std::mem::take(&mut host.down) {
            self.cover.note(Seen::DownMissed);
        }
        let one = host.consumer.appetite == Appetite::One;
        if one {
            self.cover.note(Seen::ProbeWithOneConsumed);
        }
        host.consumer.channel = Some(self.broker.consume(if one { 1 } else { most }));
        true
    }

    /// The acker of a lost channel has ended: its receipts are stale, and what was not written is
    /// lost.
    pub(super) fn turn_stale(&mut self) -> bool {
        let lost = self.broker.lost;
        let host = self.host.as_mut().expect("there is a host");
        if host.stale == lost {
            return false;
        }
        host.stale = lost;
        let before = host.verdicts.len();
        host.verdicts.retain(|(channel, ..)| *channel > lost);
        if host.verdicts.len() < before {
            self.cover.note(Seen::AckLost);
        }
        host.down |= host.consumer.channel.is_some_and(|channel| channel <= lost);
        true
    }

    /// Forgets what has come by the lost channel.
    pub(super) fn see_down(&mut self) -> Result<bool, Broken> {
        let host = self.host();
        if host.consumer.ending || !host.consumer.consumes() || !std::mem::take(&mut host.down) {
            return Ok(false);
        }
        self.purge().map(|()| true)
    }

    /// Sees that the appetite is another one, or that it is to end.
    pub(super) fn observe(&mut self) -> Result<bool, Broken> {
        let host = self.host();
        let changed = host.pace.appetite != host.consumer.appetite;
        if host.consumer.ended || host.consumer.ending || !(changed || host.stop) {
            return Ok(false);
        }
        if !host.consumer.consumes() {
            return self.next().map(|()| true);
        }
        let quiet = host.tasks.iter().all(|task| task.ticket.is_none());
        if !changed && host.in_order && !quiet {
            return Ok(false);
        }
        host.consumer.ending = true;
        Ok(true)
    }

    pub(super) fn cancelled(&mut self) -> bool {
        let consumer = &mut self.host().consumer;
        if !consumer.ending || consumer.cancelled {
            return false;
        }
        consumer.cancelled = true;
        self.broker.cancel();
        true
    }

    /// The last delivery was handed out: nothing is consumed now.
    pub(super) fn closed(&mut self) -> Result<bool, Broken> {
        let host = self.host();
        if !host.consumer.cancelled || !host.inbox.is_empty() {
            return Ok(false);
        }
        host.consumer = Consumer { appetite: Appetite::None, ..Consumer::default() };
        self.withdraw()?;
        self.next().map(|()| true)
    }

    /// Consumes as the core wishes now, or ends.
    fn next(&mut self) -> Result<(), Broken> {
        let host = self.host();
        if !host.stop {
            host.down = false;
            host.consumer = Consumer { appetite: host.pace.appetite, ..Consumer::default() };
            return Ok(());
        }
        if host.pace.appetite == Appetite::None {
            self.cover.note(Seen::StopWhilePaused);
        }
        self.withdraw()?;
        self.host().consumer.ended = true;
        Ok(())
    }
}
