//! What one event does in the stores that its plugin was granted: units of work that wait until the
//! handler has succeeded, and then become visible with the record that the event is done.

use super::grants::Grants;
use crate::store::key_value::{self, KeyValue};
use crate::store::sql::{self, Database};
use crate::store::{Inbox, OpenError, Record, Registry, StoreError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long the end of a transaction that failed is waited for.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);

/// The stores that a plugin was granted, open.
#[derive(Clone, Default)]
pub struct Stores {
    /// Databases, by the names that the guest uses.
    pub sql: BTreeMap<String, Arc<dyn Database>>,
    /// Key-value stores, likewise.
    pub key_value: BTreeMap<String, Arc<dyn KeyValue>>,
    /// Where it is recorded which events are done; `None`: nowhere.
    pub home: Option<Home>,
    /// Held by an event that is handled anew since it was in another's way: of those, one at a time
    /// has the others' writes to fear, so that each gets through.
    pub turn: Arc<Mutex<()>>,
}

impl Stores {
    /// Those of `grants`, from `registry`. The home store is the first database that is granted, else
    /// the first key-value store, else the host's own if the plugin wants its events to be `deduped`.
    ///
    /// # Errors
    /// The first that can't be had.
    pub fn open(registry: &Registry, grants: &Grants, deduped: bool) -> Result<Self, OpenError> {
        let mut stores = Self::default();
        for name in grants.sql.effective() {
            let database = registry.database(&name)?;
            stores.home.get_or_insert_with(|| Home::Sql(name.clone(), database.clone()));
            stores.sql.insert(name, database);
        }
        for name in grants.key_value.effective() {
            let store = registry.key_value(&name)?;
            stores.home.get_or_insert_with(|| Home::KeyValue(name.clone(), store.clone()));
            stores.key_value.insert(name, store);
        }
        if deduped && stores.home.is_none() {
            // No grant can have an empty name.
            stores.home = Some(Home::KeyValue(String::new(), registry.own()?));
        }
        Ok(stores)
    }

    /// Whether what an event does may have to be committed.
    pub fn is_empty(&self) -> bool {
        self.sql.is_empty() && self.key_value.is_empty()
    }
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
    trouble: Trouble,
}

/// Why an event can't go on, whatever its handler makes of it. Known to whoever calls the handler, even
/// if the call does not end.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<OnceLock<StoreError>>);

impl Trouble {
    /// The first thing that a store said, if one did.
    pub fn get(&self) -> Option<&StoreError> {
        self.0.get()
    }
}

impl Transaction {
    /// An empty one, in `stores`; what goes wrong there is noted in `trouble`.
    pub fn new(stores: Arc<Stores>, trouble: Trouble) -> Self {
        Self { stores, trouble, ..Self::default() }
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
                    // What the store said first counts.
                    let _ = self.trouble.0.set(error.clone());
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

    /// Notes why a store did not do what it was asked for, so that the event comes again. What the
    /// store will not do at all is the handler's to judge.
    pub fn note(&mut self, error: &StoreError) {
        if !matches!(error, StoreError::Failed(_)) {
            // What the store said first counts.
            let _ = self.trouble.0.set(error.clone());
        }
    }

    /// The stores that the event has used, as they are granted.
    pub fn used(&self) -> Vec<String> {
        let sql = self.sql.keys().map(|name| format!("sql `{name}`"));
        let written = self.key_value.iter().filter(|(_, unit)| !unit.is_empty());
        sql.chain(written.map(|(name, _)| format!("key-value `{name}`"))).collect()
    }

    /// Ends it without a trace, and waits for that, but not for long: what is only dropped ends as well.
    pub async fn rollback(mut self) {
        let units = std::mem::take(&mut self.sql).into_values();
        let ended = futures_util::future::join_all(units.map(|unit| unit.rollback()));
        let _ = tokio::time::timeout(ROLLBACK_MAX, ended).await;
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
