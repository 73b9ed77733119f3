//! `wasi:keyvalue`: what a guest reads and writes goes through the event's unit of work. Here is what
//! both drafts do; `draft.rs` and `draft2.rs` say it in the words of theirs.

mod draft;
mod draft2;

use super::Guest;
use crate::store::StoreError;
use crate::store::key_value::{BYTES_MAX, KeyValue, Page, Refused, Unit};
use crate::wit::key_value::{Bucket, Cas, Error};
use crate::wit::v0_1::import::wasi::logging::logging;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use wasmtime::component::{Linker, Resource};

type Result<T> = std::result::Result<T, Error>;

/// The store that the empty name opens.
const DEFAULT: &str = "default";

fn open(guest: &mut Guest, identifier: String) -> Result<Resource<Bucket>> {
    let name = if identifier.is_empty() { DEFAULT.to_owned() } else { identifier };
    if guest.transaction.key_value(&name).is_none() {
        // The guest's error has no room for that.
        let missing = format!(
            "the key-value store `{name}` is not granted; add to the manifest: \
             `[grants]` `key-value = [\"{name}\"]`"
        );
        logging::Host::log(guest, logging::Level::Warn, "wasi:keyvalue".to_owned(), missing)
            .map_err(Error::Trap)?;
        return Err(Error::NoSuchStore);
    }
    Ok(guest.resources.push(Bucket(name))?)
}

fn store_name(guest: &Guest, bucket: &Resource<Bucket>) -> Result<String> {
    Ok(guest.resources.get(bucket)?.0.clone())
}

fn unit<'a>(guest: &'a mut Guest, store: &str) -> Result<(Arc<dyn KeyValue>, &'a mut Unit)> {
    guest.transaction.key_value(store).ok_or(Error::NoSuchStore)
}

/// What the guest is told of a store that failed. If the handler can't do anything about it, its event
/// comes again.
fn failed(guest: &mut Guest, error: &StoreError) -> Error {
    guest.transaction.note(error);
    Error::Other(error.to_string())
}

async fn get_many(guest: &mut Guest, store: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
    let (place, unit) = unit(guest, store)?;
    let unseen = unit.unseen(keys)?;
    if !unseen.is_empty() {
        match place.get(&unseen, unit.room()).await {
            Ok(values) => {
                for (key, value) in unseen.into_iter().zip(values) {
                    unit.keep(key, value)?;
                }
            }
            Err(error) => return Err(failed(guest, &error)),
        }
    }
    let seen = |key: &String| unit.seen(key).flatten();
    // The same key may be asked for any number of times.
    let bytes: usize = keys.iter().filter_map(seen).map(<[u8]>::len).sum();
    if bytes > BYTES_MAX {
        return Err(Refused::Bytes.into());
    }
    Ok(keys.iter().map(|key| seen(key).map(<[u8]>::to_vec)).collect())
}

async fn get(guest: &mut Guest, store: &str, key: String) -> Result<Option<Vec<u8>>> {
    Ok(get_many(guest, store, &[key]).await?.pop().flatten())
}

fn write(
    guest: &mut Guest,
    store: &str,
    entries: impl IntoIterator<Item = (String, Option<Vec<u8>>)>,
) -> Result<()> {
    let (_, unit) = unit(guest, store)?;
    for (key, value) in entries {
        unit.write(key, value)?;
    }
    Ok(())
}

async fn list(guest: &mut Guest, store: &str, cursor: Option<String>) -> Result<Page> {
    let (place, unit) = unit(guest, store)?;
    match place.keys(cursor.as_deref()).await {
        Ok((keys, next)) => Ok((unit.list(cursor.is_none(), keys), next)),
        Err(error) => Err(failed(guest, &error)),
    }
}

/// The sum, as a number that the guest's type holds.
async fn increment<N: TryFrom<i128>>(
    guest: &mut Guest,
    store: &str,
    key: String,
    delta: impl Into<i128>,
) -> Result<N> {
    let value = get(guest, store, key.clone()).await?;
    let number = match &value {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<i128>().ok()),
    };
    let wrong = |what: &str| Error::Other(format!("the value of `{key}` {what}"));
    let number = number.ok_or_else(|| wrong("is no number"))?;
    let sum = number.checked_add(delta.into()).ok_or_else(|| wrong("is too large"))?;
    let fits =
        N::try_from(sum).map_err(|_| wrong(&format!("would be {sum}, which does not fit")))?;
    write(guest, store, [(key, Some(sum.to_string().into_bytes()))])?;
    Ok(fits)
}

fn digest(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

async fn remember(guest: &mut Guest, store: String, key: String) -> Result<Resource<Cas>> {
    let value = get(guest, &store, key.clone()).await?.as_deref().map(digest);
    Ok(guest.resources.push(Cas { store, key, value })?)
}

/// `Some` with a new handle if the value is another one by now.
async fn swap(
    guest: &mut Guest,
    cas: Resource<Cas>,
    value: Vec<u8>,
) -> Result<Option<Resource<Cas>>> {
    let Cas { store, key, value: before } = guest.resources.delete(cas)?;
    if get(guest, &store, key.clone()).await?.as_deref().map(digest) != before {
        return remember(guest, store, key).await.map(Some);
    }
    write(guest, &store, [(key, Some(value))])?;
    Ok(None)
}

/// Links both drafts.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}
