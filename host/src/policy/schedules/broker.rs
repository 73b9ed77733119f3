//! A model of the broker: one queue with its unsettled deliveries, and what waits in delay queues.
//! What it is told twice, or about what it never delivered, is an error. Next: [`super::world`].

use crate::flow::Verdict;
use std::collections::BTreeMap;
use std::time::Duration;

/// A message in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) event: usize,
    pub(super) attempt: u32,
    /// It was delivered before.
    redelivered: bool,
    /// How often it came back, but for what was given back.
    returned: u32,
}

impl Message {
    pub(super) fn new(event: usize, attempt: u32) -> Self {
        Self { event, attempt, redelivered: false, returned: 0 }
    }

    fn again(self, counts: bool) -> Self {
        Self { redelivered: true, returned: self.returned + u32::from(counts), ..self }
    }
}

/// A delivery with its receipt: used up where it is settled.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) event: usize,
    pub(super) attempt: u32,
    pub(super) redelivered: bool,
    pub(super) returned: u32,
    pub(super) channel: u64,
    pub(super) tag: u64,
    /// It rests until then, at least.
    pub(super) until: Duration,
}

#[derive(Debug)]
struct Unsettled {
    channel: u64,
    tag: u64,
    /// Where in the queue it was, and would be again.
    position: u64,
    message: Message,
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    ready: BTreeMap<u64, Message>,
    delayed: Vec<(Duration, Message)>,
    unsettled: Vec<Unsettled>,
    /// The channel of the consumer, and how much it takes.
    consumer: Option<(u64, usize)>,
    /// Channels, tags and positions are counted from 1.
    channels: u64,
    tags: u64,
    positions: u64,
    /// The channels up to this one are gone.
    pub(super) lost: u64,
}

impl Broker {
    pub(super) fn publish(&mut self, message: Message) {
        self.positions += 1;
        self.ready.insert(self.positions, message);
    }

    pub(super) fn delay(&mut self, until: Duration, message: Message) {
        self.delayed.push((until, message));
    }

    /// What has waited long enough is at the end of the queue.
    pub(super) fn pass(&mut self, now: Duration) {
        self.delayed.sort_by_key(|(until, _)| *until);
        let due = self.delayed.partition_point(|(until, _)| *until <= now);
        let due: Vec<_> = self.delayed.drain(..due).collect();
        due.into_iter().for_each(|(_, message)| self.publish(message));
    }

    /// When [`Broker::pass`] changes something.
    pub(super) fn due(&self) -> Option<Duration> {
        self.delayed.iter().map(|(until, _)| *until).min()
    }

    /// The new channel.
    pub(super) fn consume(&mut self, prefetch: usize) -> u64 {
        self.channels += 1;
        self.consumer = Some((self.channels, prefetch));
        self.channels
    }

    pub(super) fn cancel(&mut self) {
        self.consumer = None;
    }

    pub(super) fn deliver(&mut self) -> Option<Parcel> {
        let (channel, prefetch) = self.consumer?;
        if self.unsettled.iter().filter(|it| it.channel == channel).count() >= prefetch {
            return None;
        }
        let (position, message) = self.ready.pop_first()?;
        self.tags += 1;
        let tag = self.tags;
        self.unsettled.push(Unsettled { channel, tag, position, message });
        let Message { event, attempt, redelivered, returned } = message;
        Some(Parcel { event, attempt, redelivered, returned, channel, tag, until: Duration::ZERO })
    }

    /// Acknowledges it or takes it back; what is rejected comes again then, if the queue delays.
    ///
    /// # Errors
    /// It waits for no such verdict, which would end the channel.
    pub(super) fn settle(
        &mut self,
        channel: u64,
        tag: u64,
        verdict: Verdict,
        until: Option<Duration>,
    ) -> Result<(), ()> {
        if channel <= self.lost {
            return Ok(());
        }
        let is_it = |it: &Unsettled| (it.channel, it.tag) == (channel, tag);
        let at = self.unsettled.iter().position(is_it).ok_or(())?;
        let Unsettled { position, message, .. } = self.unsettled.swap_remove(at);
        match (verdict, until) {
            (Verdict::Ack, _) => {}
            (Verdict::Requeue, Some(until)) => self.delay(until, message.again(true)),
            _ => _ = self.ready.insert(position, message.again(verdict == Verdict::Requeue)),
        }
        Ok(())
    }

    /// All channels are gone; these events are delivered again.
    pub(super) fn lose(&mut self) -> Vec<usize> {
        self.lost = self.channels;
        self.consumer = None;
        let back = std::mem::take(&mut self.unsettled);
        self.ready.extend(back.iter().map(|it| (it.position, it.message.again(true))));
        back.into_iter().map(|it| it.message.event).collect()
    }

    /// Whether all channels are gone.
    pub(super) fn is_lost(&self) -> bool {
        self.lost == self.channels
    }

    /// How many are in the queue, in delay queues, and unsettled.
    pub(super) fn depth(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.delayed.len(), self.unsettled.len())
    }
}
