//! Key-value stores. What an event reads and writes is collected in a [`Unit`], which sees its own
//! writes; on success they are applied together, if what was read is still so.

mod unit;

use super::{Inbox, Record, StoreError};
use futures_util::future::BoxFuture;

pub use unit::Unit;

/// A key-value store.
pub trait KeyValue: Inbox {
    /// The value of `key`.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>>;

    /// Some keys after `cursor` in the store's own order, and the next cursor; `None` at the end.
    fn keys<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(Vec<String>, Option<String>), StoreError>>;

    /// Applies all writes of `unit` and `record` together.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if what the unit has read is not so any more: nothing was applied.
    fn commit<'a>(
        &'a self,
        unit: &'a Unit,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
