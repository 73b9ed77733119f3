//! The stores of a host: those that `[stores]` names, and embedded ones in the data folder for names
//! that it does not. Each is opened once, for the first plugin that asks, and connects when it is
//! first used. Next: [`super::key_value`] and [`super::sql`], which they are.

use super::key_value::{Embedded, RedisStore};
use super::location::{Engine, Location};
use super::{Database, Inbox, KeyValue, sql};
use crate::telemetry::report;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The store in which the host remembers what plugins have done that have none of their own.
const OWN: &str = "host";

/// How often what expired is removed.
const UPKEEP: Duration = Duration::from_secs(3600);

/// See the module.
pub struct Registry {
    named: BTreeMap<String, Location>,
    dir: PathBuf,
    /// By url, and as it is shown: two names of one file are one store.
    open: Mutex<BTreeMap<String, (String, Open)>>,
}

#[derive(Clone)]
enum Open {
    Sql(Arc<dyn Database>),
    KeyValue(Arc<dyn KeyValue>),
}

/// Why a plugin does not get a store that it was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What is there is no database, or no key-value store.
    #[error("the store `{name}` is `{location}`, which is no {wanted}")]
    Kind {
        /// As it was granted.
        name: String,
        /// Without its password.
        location: String,
        /// What it was granted as.
        wanted: &'static str,
    },
    /// Its settings make no sense.
    #[error("the store `{name}`, `{location}`, can't be used: {cause}")]
    Settings {
        /// As it was granted.
        name: String,
        /// Without its password.
        location: String,
        /// Why.
        cause: String,
    },
}

impl OpenError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Kind { .. } => {
                "grant it as `key-value` (`redb:`, `redis://`) or `sql` (`sqlite:`, `postgres://`, \
                 `mysql://`), whichever it is, or name another store"
            }
            Self::Settings { .. } => "see `[stores]` of the host's configuration",
        }
    }
}

impl Registry {
    /// The stores `named` in the configuration; others are files in `dir`.
    pub fn new(named: BTreeMap<String, Location>, dir: impl Into<PathBuf>) -> Self {
        Self { named, dir: dir.into(), open: Mutex::default() }
    }

    /// The database that is granted as `name`.
    ///
    /// # Errors
    /// What is there is something else.
    pub fn database(&self, name: &str) -> Result<Arc<dyn Database>, OpenError> {
        match self.open(name, true)? {
            Open::Sql(database) => Ok(database),
            Open::KeyValue(_) => Err(self.kind(name, true)),
        }
    }

    /// The key-value store that is granted as `name`.
    ///
    /// # Errors
    /// What is there is something else.
    pub fn key_value(&self, name: &str) -> Result<Arc<dyn KeyValue>, OpenError> {
        match self.open(name, false)? {
            Open::KeyValue(store) => Ok(store),
            Open::Sql(_) => Err(self.kind(name, false)),
        }
    }

    /// The host's own key-value store.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn own(&self) -> Result<Arc<dyn KeyValue>, OpenError> {
        let location = Location::embedded(false, &self.dir.join("host.redb"));
        match self.open_at(OWN, &location)? {
            Open::KeyValue(store) => Ok(store),
            Open::Sql(_) => Err(self.kind(OWN, false)),
        }
    }

    /// Removes what expired from every store that is open, now and then: first after a while, so that
    /// a host that was down for long still knows what it did. Never ends: to be spawned.
    pub async fn upkeep(&self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            let open: Vec<_> = self.opened().values().cloned().collect();
            for (shown, store) in open {
                let inbox: &dyn Inbox = match &store {
                    Open::Sql(database) => &**database,
                    Open::KeyValue(store) => &**store,
                };
                if let Err(error) = inbox.expire(SystemTime::now()).await {
                    report::RecordsKept { store: &shown, cause: &error.to_string() }.emit();
                }
            }
        }
    }

    fn open(&self, name: &str, sql: bool) -> Result<Open, OpenError> {
        match self.named.get(name) {
            Some(location) if location.engine.is_sql() == sql => self.open_at(name, location),
            Some(_) => Err(self.kind(name, sql)),
            None => {
                let suffix = if sql { "sqlite" } else { "redb" };
                let file = self.dir.join(format!("{name}.{suffix}"));
                self.open_at(name, &Location::embedded(sql, &file))
            }
        }
    }

    fn open_at(&self, name: &str, location: &Location) -> Result<Open, OpenError> {
        let mut opened = self.opened();
        if let Some((_, open)) = opened.get(location.url()) {
            return Ok(open.clone());
        }
        let open = connect(name, location).map_err(|cause| OpenError::Settings {
            name: name.to_owned(),
            location: location.to_string(),
            cause,
        })?;
        opened.insert(location.url().to_owned(), (location.to_string(), open.clone()));
        Ok(open)
    }

    fn kind(&self, name: &str, sql: bool) -> OpenError {
        OpenError::Kind {
            name: name.to_owned(),
            location: self.named.get(name).map(Location::to_string).unwrap_or_default(),
            wanted: if sql { "SQL database" } else { "key-value store" },
        }
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<String, (String, Open)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is at `location`; nothing is connected to yet.
fn connect(name: &str, location: &Location) -> Result<Open, String> {
    match location.engine {
        Engine::Redb => Ok(Open::KeyValue(Arc::new(Embedded::new(location.path())))),
        Engine::Redis => {
            RedisStore::new(location.url()).map(|store| Open::KeyValue(Arc::new(store)))
        }
        Engine::Sqlite | Engine::Postgres | Engine::Mysql => {
            sql::open(name, location, sql::Settings::default()).map(Open::Sql)
        }
    }
}
