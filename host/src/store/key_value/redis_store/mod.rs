//! A key-value store on a Redis server. Values are Redis strings under the guest's own keys, so that
//! other programs read and write them too; a unit of work is one script (`commit.lua`), which Redis
//! runs whole and alone. Next: `link.rs`, the connection.

mod failure;
mod link;
mod settings;

use super::{KeyValue, PAGE, Page, Unit, changed, done, done_meanwhile, too_large};
use crate::store::{EventId, Inbox, OWED, Recalled, Record, StoreError, outbox};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use link::{Link, Script};
use redis::{Cmd, Value, cmd};
use settings::Settings;
use std::fmt::Write;
use std::time::SystemTime;

/// See the module.
pub struct RedisStore {
    link: Link,
    /// What every key begins with that is used there, the host's own as well.
    prefix: String,
    read: Script,
    commit: Script,
    published: Script,
}

impl RedisStore {
    /// The store at `url`: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?prefix=PREFIX]`, or
    /// `rediss://` for TLS. It is connected to when it is first used, and again whenever that is
    /// lost.
    ///
    /// # Errors
    /// What is wrong with the url; it does not show the password.
    pub fn new(url: &str) -> Result<Self, String> {
        let Settings { client, address, prefix } = Settings::parse(url)?;
        Ok(Self {
            link: Link::new(client, address),
            prefix,
            read: Script::new(include_str!("read.lua"), true),
            commit: Script::new(include_str!("commit.lua"), false),
            published: Script::new(include_str!("published.lua"), true),
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of the record of `event`, whose value is what is still to be published for it. One key,
    /// as Redis may evict each key by itself: without its record an event is handled again, without
    /// its publications they would be lost.
    fn own_key(&self, EventId(id): EventId) -> String {
        let hex = id.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.key(&format!("wabbit:inbox:{hex}"))
    }

    async fn get(&self, keys: &[String], room: usize) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
        match self.link.script(&self.read, &keys, &[room.to_string().as_bytes()]).await? {
            Value::Int(_) => Err(too_large(room)),
            values => self.link.expect(values),
        }
    }

    async fn keys(&self, cursor: Option<&str>) -> Result<Page, StoreError> {
        let cursor = cursor.unwrap_or("0");
        if cursor.parse::<u64>().is_err() {
            return Err(StoreError::Failed(format!("`{cursor}` is no cursor of a Redis server")));
        }
        let pattern = format!("{}*", literal(&self.prefix));
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
        let (next, found): (String, Vec<Vec<u8>>) = self.query(&scan).await?;
        // Other programs may have keys that no guest can name.
        let text = |key: Vec<u8>| {
            String::from_utf8(key).ok()?.strip_prefix(&self.prefix).map(str::to_owned)
        };
        Ok((found.into_iter().filter_map(text).collect(), Some(next).filter(|next| next != "0")))
    }

    async fn commit(&self, unit: &Unit, record: Option<Record<'_>>) -> Result<(), StoreError> {
        let mut keys: Vec<_> = record.iter().map(|record| self.own_key(record.event)).collect();
        let outbox = record.and_then(|record| outbox::write(record.publications));
        let owed = if outbox.is_some() { OWED.as_secs() } else { 0 };
        let keeps = record.map_or(0, |record| seconds_until(record.expires) + owed).to_string();
        let reads = unit.read().len().to_string();
        let mut arguments = vec![
            reads.as_bytes(),
            keeps.as_bytes(),
            outbox.as_deref().unwrap_or_default().as_bytes(),
        ];
        for (key, value) in unit.read().chain(unit.written()) {
            keys.push(self.key(key));
            let there: &[u8] = if value.is_some() { b"1" } else { b"0" };
            arguments.extend([there, value.unwrap_or_default()]);
        }
        let answer = self.link.script(&self.commit, &keys, &arguments).await?;
        match self.link.expect(answer)? {
            0_i64 => Ok(()),
            number => Err(match usize::try_from(number) {
                Ok(number) => changed(unit.read().nth(number - 1).map_or("", |(key, _)| key)),
                Err(_) => done_meanwhile(),
            }),
        }
    }

    async fn recall(&self, event: EventId) -> Result<Recalled, StoreError> {
        let known: Option<Vec<u8>> = self.query(cmd("GET").arg(self.own_key(event))).await?;
        let Some(left) = known else { return Ok(Recalled::New) };
        let left = (!left.is_empty()).then_some(&*left);
        done(&format!("`{}`", self.link.address()), left)
    }

    async fn published(&self, event: EventId) -> Result<(), StoreError> {
        let owed = OWED.as_secs().to_string();
        let key = [self.own_key(event)];
        self.link.script(&self.published, &key, &[owed.as_bytes()]).await.map(drop)
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let answer = self.link.run(command).await?;
        self.link.expect(answer)
    }
}

impl KeyValue for RedisStore {
    fn get<'a>(
        &'a self,
        keys: &'a [String],
        room: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        self.get(keys, room).boxed()
    }

    fn keys<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.keys(cursor).boxed()
    }

    fn commit<'a>(
        &'a self,
        unit: &'a Unit,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.commit(unit, record).boxed()
    }
}

impl Inbox for RedisStore {
    fn recall(&self, event: EventId) -> BoxFuture<'_, Result<Recalled, StoreError>> {
        self.recall(event).boxed()
    }

    fn published(&self, event: EventId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.published(event).boxed()
    }

    /// Redis itself forgets what expired.
    fn expire(&self, _: SystemTime) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

/// Redis takes nothing less than a second.
fn seconds_until(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs()).max(1)
}

/// A pattern that fits `text` and nothing else.
fn literal(text: &str) -> String {
    let escape = |c| "*?[]\\".contains(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_pattern() {
        for (prefix, pattern) in [("", ""), ("shop:", "shop:"), ("a*[b]?\\", "a\\*\\[b\\]\\?\\\\")]
        {
            assert_eq!(literal(prefix), pattern);
        }
    }
}
