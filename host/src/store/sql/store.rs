//! A database as the rest of the host sees it: one `Store` for all three kinds.

use super::backend::Backend;
use super::errors::Place;
use super::inbox;
use super::pool::Pool;
use super::session::Session;
use super::{Database, Settings, Unit};
use crate::store::{EventId, Inbox, Recalled, StoreError};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::SystemTime;

/// See the module.
pub(super) struct Store<B: Backend> {
    pool: Arc<Pool<B>>,
}

impl<B: Backend> Store<B> {
    /// Nothing is connected before the first use.
    pub(super) fn new(place: Place, backend: B, settings: Settings) -> Self {
        Self { pool: Arc::new(Pool::new(place, backend, settings)) }
    }
}

impl<B: Backend> Database for Store<B> {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Unit>, StoreError>> {
        Box::pin(async {
            let session = Session::begin(self.pool.clone()).await?;
            Ok(Box::new(session) as Box<dyn Unit>)
        })
    }
}

impl<B: Backend> Inbox for Store<B> {
    fn recall(&self, event: EventId) -> BoxFuture<'_, Result<Recalled, StoreError>> {
        Box::pin(inbox::recall(&self.pool, event))
    }

    fn published(&self, event: EventId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(inbox::published(&self.pool, event))
    }

    fn expire(&self, now: SystemTime) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(inbox::expire(&self.pool, now))
    }
}
