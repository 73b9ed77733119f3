//! A host whose plugin keeps what its events did in a store, of each kind, and what can be seen of that
//! from outside. Next: proof.rs.

use crate::support::database::Database;
use crate::support::process::{Place, eventually};
use crate::support::rabbit::{Vhost, table};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
use redis::AsyncCommands;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::path::PathBuf;
use wabbit::store::Location;
use wabbit::store::sql::{self, Limits, Settings, Value};

/// Where the plugin keeps data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Redis,
    Sqlite,
    Postgres,
    Mysql,
    /// Nowhere: only its events are recorded, in the host's own store.
    DedupeOnly,
}

/// Events by number, and how often each had its effect.
pub type Effects = BTreeMap<u32, usize>;

/// A virtual host with the queues `orders` and `out`, and a store.
pub struct Kit {
    pub kind: Kind,
    pub vhost: Vhost,
    database: Option<Database>,
}

impl Kit {
    pub async fn new(kind: Kind) -> Self {
        let database = match kind {
            Kind::Redis => Some(Database::redis().await),
            Kind::Postgres => Some(Database::postgres().await),
            Kind::Mysql => Some(Database::mysql().await),
            Kind::Embedded | Kind::Sqlite | Kind::DedupeOnly => None,
        };
        Self::with(kind, database).await
    }

    /// With a store on a server that the test may hurt.
    pub async fn with(kind: Kind, database: Option<Database>) -> Self {
        let vhost = Vhost::new().await;
        for queue in ["orders", "out"] {
            vhost.queue(queue, &[]).await;
        }
        Self { kind, vhost, database }
    }

    /// A folder to run in, with the plugin `orders`; `manifest` is added to what it needs.
    pub async fn place(&self, manifest: &str) -> Place {
        let (guest, grant) = match self.kind {
            Kind::DedupeOnly => ("scripted", ""),
            Kind::Embedded | Kind::Redis => ("key-value-draft2", "key-value = [\"default\"]\n"),
            Kind::Sqlite | Kind::Postgres | Kind::Mysql => ("sql", "sql = [\"default\"]\n"),
        };
        let dedupe = match self.kind {
            Kind::DedupeOnly => "[dedupe]\nkey = \"message-id\"\n",
            _ => "",
        };
        let grants = format!("[grants]\npublish = [\":out\", \":later\"]\n{grant}");
        let place = Place::new().plugin("orders", guest, &format!("{manifest}\n{dedupe}{grants}"));
        std::fs::create_dir_all(place.path("data")).unwrap();
        let place = match &self.database {
            Some(database) => {
                place.file("wabbit.toml", format!("[stores.default]\nurl = \"{}\"\n", database.url))
            }
            None => place,
        };
        if self.is_sql() {
            self.statement(&place, "CREATE TABLE effects (event INTEGER NOT NULL)").await;
            self.statement(&place, "CREATE TABLE totals (n INTEGER NOT NULL)").await;
            self.statement(&place, "INSERT INTO totals VALUES (0)").await;
        }
        place
    }

    fn is_sql(&self) -> bool {
        matches!(self.kind, Kind::Sqlite | Kind::Postgres | Kind::Mysql)
    }

    /// What the handler does for this event: notes it, adds 1 to a number that all events share, and
    /// publishes to `queue`.
    pub fn script(&self, event: u32, queue: &str) -> Vec<Json> {
        let place = if self.kind == Kind::Postgres { "$1" } else { "?" };
        let insert = format!("INSERT INTO effects (event) VALUES ({place})");
        match self.kind {
            Kind::DedupeOnly => {
                vec![json!({ "publish": { "key": queue, "body": event.to_string() } })]
            }
            // What is seen is published by itself, to the queue in a header.
            Kind::Embedded | Kind::Redis => {
                vec![json!(["append", "effects", format!("{event},")]), json!(["add", "total", 1])]
            }
            _ => vec![
                json!(["execute", "default", insert, [event]]),
                json!(["execute", "default", "UPDATE totals SET n = n + 1", []]),
                json!(["publish", queue, event.to_string()]),
            ],
        }
    }

    /// Publishes an event that does this; the same number is the same event.
    pub async fn send(&self, event: u32, script: &[Json], queue: &str) {
        let out = table(&[("out", AMQPValue::LongString(queue.into()))]);
        let id = format!("e{event}");
        let properties = BasicProperties::default().with_message_id(id.into()).with_headers(out);
        let body = Json::from(script).to_string();
        self.vhost.publish_with("", "orders", &body, properties).await;
    }

    /// What of the events can be seen in the store, while no host uses it if it is embedded; and the
    /// number that they share.
    pub async fn effects(&self, place: &Place) -> (Effects, usize) {
        let (log, total) = match self.kind {
            Kind::DedupeOnly => return (Effects::new(), 0),
            Kind::Embedded => {
                let data = TableDefinition::<&str, &[u8]>::new("data");
                let database = redb::Database::open(file(place)).unwrap();
                let read = database.begin_read().unwrap();
                // Nothing was ever written.
                let Ok(data) = read.open_table(data) else { return (Effects::new(), 0) };
                let get = |key| data.get(key).unwrap().map(|value| value.value().to_vec());
                (get("effects"), get("total"))
            }
            Kind::Redis => {
                let mut redis = self.database.as_ref().unwrap().connect_redis().await;
                let log: Option<Vec<u8>> = redis.get("effects").await.unwrap();
                (log, redis.get("total").await.unwrap())
            }
            Kind::Sqlite | Kind::Postgres | Kind::Mysql => {
                let log = self.column(place, "SELECT event FROM effects").await;
                let log = log.iter().map(|event| format!("{event},")).collect::<String>();
                let total = self.column(place, "SELECT n FROM totals").await[0];
                (Some(log.into_bytes()), Some(total.to_string().into_bytes()))
            }
        };
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
        let mut effects = Effects::new();
        for event in text(log).split_terminator(',') {
            *effects.entry(event.parse().unwrap()).or_default() += 1;
        }
        (effects, text(total).parse().unwrap_or(0))
    }

    /// Waits until this many events are recorded, and none owes a publication. An embedded store is
    /// told last what was published, and writes that to its file with the next commit: there nobody
    /// can say. While no host uses it, if it is embedded.
    pub async fn has_records(&self, place: &Place, events: usize) {
        let lazy = matches!(self.kind, Kind::Embedded | Kind::DedupeOnly);
        eventually("records of all events, and nothing owed", async || {
            let (inbox, outbox) = self.records(place).await;
            (inbox == events && (lazy || outbox == 0)).then_some(())
        })
        .await;
    }

    /// How many events are recorded, and for how many something is left to be published.
    async fn records(&self, place: &Place) -> (usize, usize) {
        match self.kind {
            Kind::Embedded | Kind::DedupeOnly => {
                let path = match self.kind {
                    Kind::DedupeOnly => place.path("data/host.redb"),
                    _ => file(place),
                };
                let database = redb::Database::open(path).unwrap();
                let read = database.begin_read().unwrap();
                let inbox = TableDefinition::<&[u8; 32], u64>::new("wabbit_inbox");
                let outbox = TableDefinition::<&[u8; 32], &[u8]>::new("wabbit_outbox");
                let inbox = read.open_table(inbox).map_or(0, |table| table.len().unwrap());
                let outbox = read.open_table(outbox).map_or(0, |table| table.len().unwrap());
                (inbox as usize, outbox as usize)
            }
            Kind::Redis => {
                let mut redis = self.database.as_ref().unwrap().connect_redis().await;
                let keys: Vec<String> = redis.keys("wabbit:*").await.unwrap();
                let mut owed = 0;
                for key in &keys {
                    owed += usize::from(redis.strlen::<_, usize>(key).await.unwrap() > 0);
                }
                (keys.len(), owed)
            }
            Kind::Sqlite | Kind::Postgres | Kind::Mysql => {
                (self.rows(place, "wabbit_inbox").await, self.rows(place, "wabbit_outbox").await)
            }
        }
    }

    /// The publications in `out`, each with its message-id: how often each came.
    pub async fn published(&self) -> BTreeMap<String, usize> {
        let mut published = BTreeMap::new();
        while let Some(message) = self.vhost.take("out").await {
            let id = message.properties.message_id().as_ref().expect("a message-id").to_string();
            *published.entry(id).or_default() += 1;
        }
        published
    }

    /// The next publication is that of `event`.
    pub async fn publishes(&self, event: u32) {
        let message = self.vhost.next("out").await;
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        assert_eq!(id, Some(format!("e{event}.orders.0")));
    }

    /// Waits until these events, and no others, have had their effect, once.
    pub async fn has_effects(&self, place: &Place, events: &[u32]) {
        let expected: Effects = events.iter().map(|event| (*event, 1)).collect();
        eventually("the effects of all events", async || {
            let (effects, total) = self.effects(place).await;
            (effects == expected && total == events.len()).then_some(())
        })
        .await;
    }

    /// How many rows a table of the host has, which no unit of work may look at.
    async fn rows(&self, place: &Place, table: &str) -> usize {
        let query = format!("SELECT CAST(count(*) AS CHAR(20)) FROM {table}");
        let text = match &self.database {
            Some(database) => database.texts(&query).await.remove(0),
            None => {
                let url = format!("sqlite:{}", place.path("data/default.sqlite").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                let count = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection);
                count.await.unwrap()
            }
        };
        text.trim().parse().unwrap()
    }

    /// Has the database do this.
    pub async fn statement(&self, place: &Place, statement: &str) {
        if let Some(database) = &self.database {
            return database.execute(statement).await;
        }
        let mut unit = self.open(place).begin().await.unwrap();
        unit.execute(statement, Vec::new(), &limits()).await.unwrap();
        unit.commit(None).await.unwrap();
    }

    /// Waits until this statement runs so many times at once, in PostgreSQL.
    pub async fn runs(&self, statement: &str, times: usize) {
        let running = format!(
            "SELECT query FROM pg_stat_activity WHERE state = 'active' AND query = '{statement}' \
             AND datname = current_database()"
        );
        let database = self.database.as_ref().unwrap();
        eventually(&format!("{times} times `{statement}`"), async || {
            (database.texts(&running).await.len() == times).then_some(())
        })
        .await;
    }

    /// The numbers in the first column of what `query` finds.
    async fn column(&self, place: &Place, query: &str) -> Vec<i64> {
        let mut unit = self.open(place).begin().await.unwrap();
        let found = unit.query(query, Vec::new(), &limits()).await.unwrap();
        unit.rollback().await;
        let number = |row: Vec<Value>| match row[0] {
            Value::Integer(number) => number,
            ref other => panic!("{other:?}"),
        };
        found.rows.into_iter().map(number).collect()
    }

    fn open(&self, place: &Place) -> std::sync::Arc<dyn sql::Database> {
        let location = match &self.database {
            Some(database) => Location::parse(&database.url).unwrap(),
            None => Location::embedded(true, &place.path("data/default.sqlite")),
        };
        sql::open("default", &location, Settings::default()).unwrap()
    }
}

fn file(place: &Place) -> PathBuf {
    place.path("data/default.redb")
}

fn limits() -> Limits {
    Limits { time: std::time::Duration::from_secs(10), rows: 100_000, bytes: 8 << 20 }
}
