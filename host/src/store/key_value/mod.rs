//! Key-value stores. What an event reads and writes is collected in a [`Unit`], which sees its own
//! writes; on success they are applied together, if what was read is still so. Next: `unit.rs`, then
//! `embedded.rs` and `redis_store`, which are the stores.

mod embedded;
mod redis_store;
mod unit;

use super::{Inbox, Recalled, Record, StoreError, outbox};
use futures_util::future::BoxFuture;

pub use embedded::Embedded;
pub use redis_store::RedisStore;
pub use unit::{BYTES_MAX, Refused, Unit};

/// Keys in one page of a listing, about.
const PAGE: usize = 1000;

/// Some keys, and from where to go on; `None` at the end.
pub type Page = (Vec<String>, Option<String>);

/// A key-value store.
pub trait KeyValue: Inbox {
    /// The values of `keys`, in their order, as they are at one moment; `None`: no such key.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the values have more than `room` bytes together, or one of them is
    /// not a plain value.
    fn get<'a>(
        &'a self,
        keys: &'a [String],
        room: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Vec<u8>>>, StoreError>>;

    /// Some keys after `cursor` in the store's own order. A key may come twice.
    fn keys<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// Applies all writes of `unit` and `record` together.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if what the unit has read is not so any more, or if the event is
    /// recorded as done already: nothing was applied. Before the event is handled again, it must be
    /// recalled.
    fn commit<'a>(
        &'a self,
        unit: &'a Unit,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

fn too_large(room: usize) -> StoreError {
    StoreError::Failed(format!(
        "the values have more than {room} bytes, which is what the event may still read of the {BYTES_MAX}"
    ))
}

/// What is known of an event that is done, of which `outbox` is kept.
fn done(store: &str, outbox: Option<&[u8]>) -> Result<Recalled, StoreError> {
    let left = outbox.map_or(Ok(Vec::new()), outbox::read);
    let unreadable =
        |why| StoreError::Failed(format!("the store {store}: its outbox can't be read: {why}"));
    left.map(Recalled::Done).map_err(unreadable)
}

fn changed(key: &str) -> StoreError {
    StoreError::Conflict(format!("another event changed `{key}`"))
}

fn done_meanwhile() -> StoreError {
    StoreError::Conflict("the event was done meanwhile".to_owned())
}
