//! Publishing on behalf of events: what a handler asked for, which may be refused, and the moves of
//! the host itself, which must arrive. Next: `handle`, which waits for both before it settles.

use super::moves::Move;
use crate::broker::{Broker, Mode, PublishError, Topology};
use crate::flow::Publication;
use crate::telemetry::report;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a topology that was declared is taken to be there still. Delay queues live longer.
const TRUSTED: Duration = Duration::from_secs(300);

/// How long a move waits for the broker to take it before what it goes to is declared again: beyond
/// `TRUSTED`, a delay queue that nobody uses may be gone before the delay is over.
const CARRY_MAX: Duration = Duration::from_secs(60);

/// The pause after a first failure; it doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Its headers are larger than the broker takes.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Publishes, by way of one broker.
pub struct Outbound {
    broker: Arc<dyn Broker>,
    /// When each topology that moves need was declared, by the name of its queue.
    declared: Mutex<HashMap<String, Instant>>,
}

impl Outbound {
    /// By way of `broker`.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, declared: Mutex::default() }
    }

    /// Publishes what a handler asked for, and waits for the confirms. A connection that was lost
    /// before its confirm is no refusal: it is published again, with the same message-id.
    ///
    /// # Errors
    /// The first publication that the broker does not take.
    pub async fn publish(&self, publications: &[Publication]) -> Result<(), PublishError> {
        for publication in publications {
            loop {
                match self.broker.publish(publication.clone()).await {
                    Ok(()) => break,
                    Err(PublishError::Lost(_)) => tokio::time::sleep(PAUSE_MIN).await,
                    Err(refused) => return Err(refused),
                }
            }
        }
        Ok(())
    }

    /// Publishes a move of the host. Goes on until the broker has taken it: an event that can't be
    /// moved is held, never lost.
    ///
    /// # Errors
    /// The broker will never take it as it is.
    pub async fn carry(&self, it: &Move) -> Result<(), TooLarge> {
        let mut pause = PAUSE_MIN;
        loop {
            let cause = match self.try_carry(it).await {
                Ok(carried) => return carried,
                Err(cause) => cause,
            };
            let Publication { exchange, routing_key, .. } = &it.publication;
            report::MoveFailed { exchange, routing_key, cause: &cause, pause }.emit();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Why it did not come to an answer, for people.
    async fn try_carry(&self, it: &Move) -> Result<Result<(), TooLarge>, String> {
        self.declare(&it.topology).await?;
        let published = self.broker.publish(it.publication.clone());
        let result = match tokio::time::timeout(CARRY_MAX, published).await {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(PublishError::TooLarge { .. })) => Ok(Err(TooLarge)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the broker takes no publications at the moment".to_owned()),
        };
        if result.is_err() {
            // Perhaps it is not there any more.
            self.forget(&it.topology);
        }
        result
    }

    async fn declare(&self, topology: &Topology) -> Result<(), String> {
        let Some(queue) = topology.queues.first() else { return Ok(()) };
        let trusted = |at: &Instant| at.elapsed() < TRUSTED;
        if self.declared().get(&queue.name).is_some_and(trusted) {
            return Ok(());
        }
        let declared = self.broker.declare(topology, Mode::Ensure).await;
        declared.map_err(|error| error.to_string())?;
        self.declared().insert(queue.name.clone(), Instant::now());
        Ok(())
    }

    fn forget(&self, topology: &Topology) {
        if let Some(queue) = topology.queues.first() {
            self.declared().remove(&queue.name);
        }
    }

    fn declared(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
