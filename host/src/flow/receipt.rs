//! The right to settle a delivery. It is used up by settling, so that a delivery is settled at most
//! once, and it knows nothing of the broker that gave it out.

use tokio::sync::mpsc::UnboundedSender;

/// What becomes of one delivery at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done: the broker may forget it.
    Ack,
    /// Deliver it again, and count this delivery (`basic.reject` with requeue).
    Requeue,
    /// Deliver it again as if nothing had happened (`basic.nack` with requeue): the delivery was
    /// given back for a reason that is not the event's fault.
    GiveBack,
}

/// Settles one delivery, once. Dropping it unsettled means [`Verdict::Requeue`]: a task that died
/// must not hold its event for ever.
#[derive(Debug)]
pub struct Receipt {
    tag: u64,
    verdicts: Option<UnboundedSender<(u64, Verdict)>>,
}

impl Receipt {
    /// A receipt for the delivery `tag` of the channel whose settling task reads `verdicts`.
    pub fn new(tag: u64, verdicts: UnboundedSender<(u64, Verdict)>) -> Self {
        Self { tag, verdicts: Some(verdicts) }
    }

    /// Tells the broker. False if the channel that the delivery came on is gone: the broker
    /// delivers the event again.
    pub fn settle(mut self, verdict: Verdict) -> bool {
        self.send(verdict)
    }

    /// Whether the channel that the delivery came on is gone already, see [`Receipt::stale`].
    pub fn is_stale(&self) -> bool {
        self.verdicts.as_ref().is_some_and(UnboundedSender::is_closed)
    }

    /// Waits until the channel that the delivery came on is gone: the broker delivers the event
    /// again, and settling has no effect any more.
    pub async fn stale(&self) {
        if let Some(verdicts) = &self.verdicts {
            verdicts.closed().await;
        }
    }

    fn send(&mut self, verdict: Verdict) -> bool {
        self.verdicts.take().is_some_and(|to| to.send((self.tag, verdict)).is_ok())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.send(Verdict::Requeue);
    }
}
