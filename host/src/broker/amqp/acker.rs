//! Tells the broker what became of the deliveries of one channel: as few acks as possible, and
//! never one for a delivery that nobody settled. Next in the flow: [`super::publisher`].

use super::CLOSE_LIMIT;
use crate::broker::census::Tail;
use crate::flow::Verdict;
use crate::telemetry::report;
use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

/// The most verdicts that are written together.
const BATCH: usize = 1024;

/// Settles the deliveries of one channel, until every receipt is used or the channel is gone.
pub(super) struct Acker {
    pub(super) channel: Channel,
    pub(super) queue: String,
    pub(super) verdicts: UnboundedReceiver<(u64, Verdict)>,
    /// Counts what is settled, once that is written.
    pub(super) written: Arc<AtomicU64>,
    pub(super) _tail: Arc<Tail>,
    /// The channel is lost: the broker delivers again whatever was not settled.
    pub(super) lost: CancellationToken,
    /// The channel is to be closed with all that nobody has settled up to then.
    pub(super) leaving: CancellationToken,
}

impl Acker {
    /// Ends when the last receipt is gone and what was settled is written; `_flushing` is held
    /// until then.
    pub(super) async fn run(mut self, _flushing: mpsc::Sender<()>) {
        let mut window = Window::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = async {
                let received = self.verdicts.recv_many(&mut batch, BATCH);
                match self.leaving.run_until_cancelled(received).await {
                    Some(count) => count,
                    None => {
                        self.verdicts.close();
                        self.verdicts.recv_many(&mut batch, BATCH).await
                    }
                }
            };
            match self.lost.run_until_cancelled(received).await {
                Some(0) => break,
                Some(_) => {}
                None => return self.lose(&batch),
            }
            let plan = window.plan(&batch);
            match self.lost.run_until_cancelled(self.write(&plan)).await {
                Some(Ok(())) => {
                    self.written.fetch_add(batch.len() as u64, Ordering::Release);
                    batch.clear();
                }
                Some(Err(error)) => {
                    tracing::debug!(queue = self.queue, %error, "the channel is gone before an ack");
                    return self.lose(&batch);
                }
                None => return self.lose(&batch),
            }
        }
        // Everything is written: only now, since closing overtakes.
        let closed = self.channel.close(200, "done".into());
        if !matches!(tokio::time::timeout(CLOSE_LIMIT, closed).await, Ok(Ok(()))) {
            tracing::debug!(queue = self.queue, "the broker did not confirm the end of a channel");
        }
    }

    /// Rejections first: an ack of all up to a tag would take them along.
    async fn write(&self, plan: &Plan) -> lapin::Result<()> {
        join_all(plan.back.iter().map(|(tag, verdict)| self.give_back(*tag, *verdict)))
            .await
            .into_iter()
            .collect::<lapin::Result<()>>()?;
        let multiple = BasicAckOptions { multiple: true };
        let up_to = async {
            match plan.up_to {
                Some(tag) => self.channel.basic_ack(tag, multiple).await,
                None => Ok(()),
            }
        };
        let single = BasicAckOptions { multiple: false };
        let single = join_all(plan.single.iter().map(|tag| self.channel.basic_ack(*tag, single)));
        let (up_to, single) = futures_util::future::join(up_to, single).await;
        single.into_iter().chain([up_to]).collect()
    }

    async fn give_back(&self, tag: u64, verdict: Verdict) -> lapin::Result<()> {
        match verdict {
            Verdict::GiveBack => {
                let options = BasicNackOptions { requeue: true, multiple: false };
                self.channel.basic_nack(tag, options).await
            }
            Verdict::Requeue | Verdict::Ack => {
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: true }).await
            }
        }
    }

    /// From here on settling returns false; what came before is counted.
    fn lose(&mut self, batch: &[(u64, Verdict)]) {
        self.verdicts.close();
        let is_ack = |verdict: &Verdict| *verdict == Verdict::Ack;
        let mut lost = batch.iter().filter(|(_, verdict)| is_ack(verdict)).count() as u64;
        while let Ok((_, verdict)) = self.verdicts.try_recv() {
            lost += u64::from(is_ack(&verdict));
        }
        if lost > 0 {
            report::AckLost { queue: &self.queue, lost }.emit();
        }
    }
}

/// What is settled already, of the tags from `first` on: below it everything is.
struct Window {
    first: u64,
    settled: VecDeque<bool>,
}

impl Default for Window {
    /// A channel counts its deliveries from 1.
    fn default() -> Self {
        Self { first: 1, settled: VecDeque::new() }
    }
}

/// What to write for a batch of verdicts.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Given back to the queue, before anything else.
    back: Vec<(u64, Verdict)>,
    /// Acked together with everything below.
    up_to: Option<u64>,
    /// Acked one by one.
    single: Vec<u64>,
}

impl Window {
    fn plan(&mut self, batch: &[(u64, Verdict)]) -> Plan {
        for (tag, _) in batch {
            self.settle(*tag);
        }
        while self.settled.front() == Some(&true) {
            self.settled.pop_front();
            self.first += 1;
        }
        let mut plan = Plan::default();
        for (tag, verdict) in batch {
            match verdict {
                // The highest of this batch, not just any tag: RabbitMQ closes the channel over one
                // that it does not wait for.
                Verdict::Ack if *tag < self.first => plan.up_to = plan.up_to.max(Some(*tag)),
                Verdict::Ack => plan.single.push(*tag),
                Verdict::Requeue | Verdict::GiveBack => plan.back.push((*tag, *verdict)),
            }
        }
        plan
    }

    fn settle(&mut self, tag: u64) {
        let Some(at) = tag.checked_sub(self.first) else { return };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.settled.len() <= at {
            self.settled.resize(at + 1, false);
        }
        if let Some(settled) = self.settled.get_mut(at) {
            *settled = true;
        }
    }
}

/// Knows whether there are ackers at work.
#[derive(Clone)]
pub(super) struct Flushing(Arc<Mutex<Option<Held>>>);

/// The receiver ends when every clone of the sender is gone.
struct Held {
    sender: mpsc::Sender<()>,
    receiver: mpsc::Receiver<()>,
}

impl Default for Flushing {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self(Arc::new(Mutex::new(Some(Held { sender, receiver }))))
    }
}

impl Flushing {
    /// To be held while there is something to write; `None` after [`Flushing::done`].
    pub(super) fn hold(&self) -> Option<mpsc::Sender<()>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| held.sender.clone())
    }

    /// Ready when nothing is held, or when `limit` has passed.
    pub(super) async fn done(&self, limit: Duration) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Held { sender, mut receiver }) = held else { return };
        drop(sender);
        if tokio::time::timeout(limit, receiver.recv()).await.is_err() {
            tracing::warn!(
                "closing while deliveries are unsettled, the broker delivers them again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Ack, GiveBack, Requeue};

    #[test]
    fn acks_cover_the_settled_prefix_and_nothing_else() {
        let mut window = Window::default();
        let plan = |back: &[(u64, Verdict)], up_to, single: &[u64]| Plan {
            back: back.to_vec(),
            up_to,
            single: single.to_vec(),
        };
        let steps: [(&[(u64, Verdict)], Plan); 7] = [
            (&[(1, Ack)], plan(&[], Some(1), &[])),
            (&[(3, Ack), (2, Ack), (4, Ack)], plan(&[], Some(4), &[])),
            (&[(6, Ack), (8, Ack)], plan(&[], None, &[6, 8])),
            (&[(5, Ack)], plan(&[], Some(5), &[])),
            (&[(7, Requeue), (9, Ack)], plan(&[(7, Requeue)], Some(9), &[])),
            (&[(10, GiveBack), (12, Ack)], plan(&[(10, GiveBack)], None, &[12])),
            (&[(11, Ack), (13, Ack)], plan(&[], Some(13), &[])),
        ];
        for (batch, expected) in steps {
            assert_eq!(window.plan(batch), expected, "{batch:?}");
        }
    }

    /// The broker's side: which tags it still waits for.
    #[test]
    fn any_order_of_settling_is_written_without_error() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..2000 {
            let count = random.u64(1..60);
            let mut waiting: std::collections::BTreeSet<u64> = (1..=count).collect();
            let mut tags: Vec<u64> = (1..=count).collect();
            random.shuffle(&mut tags);
            let mut window = Window::default();
            let mut settled = std::collections::BTreeMap::new();
            while !tags.is_empty() {
                let some = tags.split_off(tags.len() - random.usize(1..=tags.len()));
                let batch: Vec<_> = some
                    .into_iter()
                    .map(|tag| (tag, *random.choice(&[Ack, Ack, Requeue]).expect("one")))
                    .collect();
                settled.extend(batch.iter().copied());
                let plan = window.plan(&batch);
                for (tag, verdict) in &plan.back {
                    assert_eq!(settled[tag], *verdict);
                    assert!(waiting.remove(tag), "{tag} is not waited for");
                }
                if let Some(up_to) = plan.up_to {
                    assert!(waiting.contains(&up_to), "{up_to} is not waited for");
                    let acked: Vec<_> = waiting.range(..=up_to).copied().collect();
                    for tag in acked {
                        assert_eq!(settled.get(&tag), Some(&Ack), "{tag} is acked");
                        waiting.remove(&tag);
                    }
                }
                for tag in plan.single {
                    assert!(waiting.remove(&tag), "{tag} is not waited for");
                }
            }
            assert!(waiting.is_empty());
        }
    }
}
