//! Key-value stores: what every one of them promises, on each; what goes wrong with a file and with a
//! server; and what guests see of it.

mod embedded;
mod guests;
mod redis_server;
mod secured;
mod stores;

use std::time::{Duration, SystemTime};
use wabbit::flow::Publication;
use wabbit::store::key_value::{KeyValue, Unit};
use wabbit::store::{EventId, Record, StoreError};

/// A unit that has read and written this, by key; `None`: no such key.
type Entries<'a> = &'a [(&'a str, Option<&'a str>)];

fn unit(read: Entries<'_>, written: Entries<'_>) -> Unit {
    let mut unit = Unit::default();
    let bytes = |value: &Option<&str>| value.map(|text| text.as_bytes().to_vec());
    for (key, value) in read {
        unit.keep((*key).to_owned(), bytes(value)).unwrap();
    }
    for (key, value) in written {
        unit.write((*key).to_owned(), bytes(value)).unwrap();
    }
    unit
}

async fn write(store: &dyn KeyValue, written: Entries<'_>) -> Result<(), StoreError> {
    store.commit(&unit(&[], written), None).await
}

async fn read(store: &dyn KeyValue, key: &str) -> Result<Option<String>, StoreError> {
    let values = store.get(&[key.to_owned()], usize::MAX >> 12).await?;
    Ok(values.into_iter().next().flatten().map(|value| String::from_utf8(value).unwrap()))
}

/// Of the event `id`, remembered for an hour.
fn record(id: u8, publications: &[Publication]) -> Record<'_> {
    let expires = SystemTime::now() + Duration::from_secs(3600);
    Record { event: EventId([id; 32]), publications, expires }
}

/// What makes it unavailable.
fn away<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("it is not unavailable: {other:?}"),
    }
}
