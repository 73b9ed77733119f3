//! What one event does in the stores that its plugin was granted: units of work that wait until the
//! handler has succeeded, and then become visible with the record that the event is done.

use crate::store::key_value::{self, KeyValue};
use crate::store::sql::{self, Database};
use crate::store::{Inbox, Record, StoreError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The stores that a plugin was granted, open.
#[derive(Clone, Default)]
pub struct Stores {
    /// Databases, by the names that the guest uses.
    pub sql: BTreeMap<String, Arc<dyn Database>>,
    /// Key-value stores, likewise.
    pub key_value: BTreeMap<String, Arc<dyn KeyValue>>,
    /// Where it is recorded which events are done; `None`: nowhere.
    pub home: Option<Home>,
}

/// The store whose commit says that an event is done. What an event does in other stores is committed
/// before, and may be there twice after a crash between the two.
#[derive(Clone)]
pub enum Home {
    /// One of [`Stores::sql`].
    Sql(String, Arc<dyn Database>),
    /// One of [`Stores::key_value`], or the host's own.
    KeyValue(String, Arc<dyn KeyValue>),
}

impl Home {
    /// What it remembers.
    pub fn inbox(&self) -> &dyn Inbox {
        match self {
            Self::Sql(_, database) => &**database,
            Self::KeyValue(_, store) => &**store,
        }
    }
}

/// See the module. Dropped, it leaves nothing behind.
#[derive(Default)]
pub struct Transaction {
    stores: Arc<Stores>,
    sql: BTreeMap<String, Box<dyn sql::Unit>>,
    key_value: BTreeMap<String, key_value::Unit>,
    /// Why the event can't go on, whatever its handler makes of it.
    trouble: Option<StoreError>,
}

impl Transaction {
    /// An empty one, in `stores`.
    pub fn new(stores: Arc<Stores>) -> Self {
        Self { stores, ..Self::default() }
    }

    /// The unit of work in the database `name`, begun if it is the first statement there; `None` if
    /// there is no such grant.
    ///
    /// # Errors
    /// The database is not there. The event will come again, whatever its handler makes of that.
    pub async fn sql(&mut self, name: &str) -> Result<Option<&mut Box<dyn sql::Unit>>, StoreError> {
        let Some(database) = self.stores.sql.get(name) else { return Ok(None) };
        match self.sql.entry(name.to_owned()) {
            Entry::Occupied(begun) => Ok(Some(begun.into_mut())),
            Entry::Vacant(place) => match database.begin().await {
                Ok(unit) => Ok(Some(place.insert(unit))),
                Err(error) => {
                    self.trouble.get_or_insert_with(|| error.clone());
                    Err(error)
                }
            },
        }
    }

    /// The key-value store `name` and the unit of work in it; `None` if there is no such grant.
    pub fn key_value(&mut self, name: &str) -> Option<(Arc<dyn KeyValue>, &mut key_value::Unit)> {
        let store = self.stores.key_value.get(name)?.clone();
        Some((store, self.key_value.entry(name.to_owned()).or_default()))
    }

    /// Notes why a store did not do what it was asked for, so that the event comes again.
    pub fn note(&mut self, error: &StoreError) {
        self.trouble.get_or_insert_with(|| error.clone());
    }

    /// Why the event can't be done now, if a store said so.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// Makes visible what the event did, with `record` in the home store, which comes last.
    ///
    /// # Errors
    /// The first store that fails. What other stores have committed by then stays; that the event is
    /// done is not recorded, unless the home store failed while it was committing.
    pub async fn commit(mut self, record: Option<Record<'_>>) -> Result<(), StoreError> {
        let home = record.and(self.stores.home.clone());
        let (home_sql, home_key_value) = match &home {
            Some(Home::Sql(name, _)) => (Some(name), None),
            Some(Home::KeyValue(name, _)) => (None, Some(name)),
            None => (None, None),
        };
        let last_sql = home_sql.and_then(|name| self.sql.remove(name));
        let last_key_value = home_key_value.and_then(|name| self.key_value.remove(name));
        for (name, unit) in std::mem::take(&mut self.key_value) {
            if let Some(store) = self.stores.key_value.get(&name).filter(|_| !unit.is_empty()) {
                store.commit(&unit, None).await?;
            }
        }
        for unit in std::mem::take(&mut self.sql).into_values() {
            unit.commit(None).await?;
        }
        match home {
            Some(Home::Sql(_, database)) => {
                let unit = match last_sql {
                    Some(unit) => unit,
                    None => database.begin().await?,
                };
                unit.commit(record).await
            }
            Some(Home::KeyValue(_, store)) => {
                store.commit(&last_key_value.unwrap_or_default(), record).await
            }
            None => Ok(()),
        }
    }
}
