//! Where handlers keep data: key-value stores and SQL databases, opened once for all plugins, which
//! grants name. What one event does in one of them is a unit of work that becomes visible with its
//! commit, together with the [`Record`] that the event is done and what is still to be published for
//! it. Guests reach this through [`crate::capability`]; [`crate::dispatch`] commits.

pub mod file;
pub mod key_value;
pub mod location;
pub mod outbox;
mod registry;
pub mod sql;

use crate::flow::{Fault, Outcome, Publication};
use futures_util::future::BoxFuture;
use std::time::{Duration, SystemTime};

pub use key_value::KeyValue;
pub use location::Location;
pub use registry::{OpenError, Registry};
pub use sql::Database;

/// What tells one event of one plugin and queue from all others, the same each time that it comes:
/// a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 32]);

/// How much longer than others an event is remembered whose publications nobody has taken: as long as
/// that they can still be sent. They are forgotten together.
pub const OWED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is kept of an event that was handled.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which.
    pub event: EventId,
    /// What is to be published for it, with message-ids.
    pub publications: &'a [Publication],
    /// Until when it is remembered; with publications that nobody has taken, [`OWED`] longer.
    pub expires: SystemTime,
}

/// What a store knows of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Recalled {
    /// Nothing.
    New,
    /// It was handled, and these were not known to be published when that was last looked at.
    Done(Vec<Publication>),
}

/// Why a store did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is not there, or went away: the same may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// Another event changed what this one has read, or they waited for each other: the same
    /// succeeds when it is done again from the start.
    #[error("{0}")]
    Conflict(String),
    /// It will not do this.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for Outcome {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => Outcome::Unavailable { after: None, reason },
            StoreError::Conflict(reason) => Outcome::Failed { fault: Fault::Conflict, reason },
            StoreError::Failed(reason) => Outcome::Failed { fault: Fault::Store, reason },
        }
    }
}

/// The part of every store that remembers which events are done.
pub trait Inbox: Send + Sync {
    /// What is known of `event`.
    fn recall(&self, event: EventId) -> BoxFuture<'_, Result<Recalled, StoreError>>;

    /// The publications of `event` have been taken by the broker: they need not be kept.
    fn published(&self, event: EventId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets what expired before `now`. Called now and then.
    fn expire(&self, now: SystemTime) -> BoxFuture<'_, Result<(), StoreError>>;
}
