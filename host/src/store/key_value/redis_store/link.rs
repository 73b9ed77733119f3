//! The connection to a Redis server: one for all, over which commands follow each other without
//! waiting; a new one when it is needed and the last one was lost. Next: `failure.rs`, which says what
//! errors mean.

use super::failure::{is_broken, judge};
use crate::store::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, RedisResult, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may take. A server that is later than that is stuck or cut off.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
pub struct Link {
    client: Client,
    address: String,
    /// How often connecting has ended, one way or the other.
    tries: AtomicU64,
    current: Mutex<Current>,
}

enum Current {
    Connected(MultiplexedConnection),
    /// The last try has failed like this, or there was none.
    Away(Option<StoreError>),
}

/// A script, which the server knows by its hash once it has seen it.
pub struct Script {
    code: &'static str,
    hash: String,
    repeatable: bool,
}

impl Script {
    /// One with this `code`; `repeatable`: running it twice does no more than running it once.
    pub fn new(code: &'static str, repeatable: bool) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned(), repeatable }
    }

    fn call(&self, verb: &str, keys: &[String], arguments: &[&[u8]]) -> Cmd {
        let mut call = redis::cmd(verb);
        call.arg(if verb == "EVAL" { self.code } else { &self.hash });
        call.arg(keys.len()).arg(keys).arg(arguments);
        call
    }
}

impl Link {
    /// To the server of `client`, which errors call `address`. Connects when it is first used.
    pub fn new(client: Client, address: String) -> Self {
        let current = Mutex::new(Current::Away(None));
        Self { client, address, tries: AtomicU64::new(0), current }
    }

    /// What errors call the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the server answers to `command`, which may be repeated.
    ///
    /// # Errors
    /// There is no server, or it refuses.
    pub async fn run(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.ask(command, true).await?.map_err(|error| judge(&self.address, &error))
    }

    /// What `script` returns.
    ///
    /// # Errors
    /// There is no server, or it refuses.
    pub async fn script(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let by_hash = script.call("EVALSHA", keys, arguments);
        let mut answer = self.ask(&by_hash, script.repeatable).await?;
        if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
            let in_full = script.call("EVAL", keys, arguments);
            answer = self.ask(&in_full, script.repeatable).await?;
        }
        answer.map_err(|error| judge(&self.address, &error))
    }

    /// The `answer` as it should be.
    ///
    /// # Errors
    /// It is something else.
    pub fn expect<T: FromRedisValue>(&self, answer: Value) -> Result<T, StoreError> {
        T::from_redis_value(answer).map_err(|error| {
            StoreError::Failed(format!("the store `{}` answers otherwise: {error}", self.address))
        })
    }

    /// The server's answer, also if it is an error; the outer error is that there is no server. That
    /// a connection has ended while nobody used it is seen only now: what may be repeated is.
    async fn ask(&self, command: &Cmd, repeatable: bool) -> Result<RedisResult<Value>, StoreError> {
        let mut tries = if repeatable { 2 } else { 1 };
        loop {
            tries -= 1;
            let (mut connection, number) = self.connection().await?;
            let answer = command.query_async(&mut connection).await;
            let Err(error) = &answer else { return Ok(answer) };
            if is_broken(error) {
                self.lost(number, error).await;
            }
            if tries == 0 || !error.is_connection_dropped() {
                return Ok(answer);
            }
        }
    }

    /// The connection, and its number.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let before = self.tries.load(Ordering::Acquire);
        let mut current = self.current.lock().await;
        let number = self.tries.load(Ordering::Acquire);
        match &*current {
            Current::Connected(connection) => return Ok((connection.clone(), number)),
            // Whoever waited here for a try that failed has tried, too.
            Current::Away(Some(error)) if number != before => return Err(error.clone()),
            Current::Away(_) => {}
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await;
        self.tries.fetch_add(1, Ordering::Release);
        match made {
            Ok(connection) => {
                *current = Current::Connected(connection.clone());
                Ok((connection, number + 1))
            }
            Err(error) => {
                let error = self.unreachable(&error);
                *current = Current::Away(Some(error.clone()));
                Err(error)
            }
        }
    }

    /// Whatever goes wrong while connecting, no event can do anything about it.
    fn unreachable(&self, error: &RedisError) -> StoreError {
        let (StoreError::Unavailable(text) | StoreError::Failed(text) | StoreError::Conflict(text)) =
            judge(&self.address, error);
        StoreError::Unavailable(text)
    }

    async fn lost(&self, number: u64, error: &RedisError) {
        let mut current = self.current.lock().await;
        if self.tries.load(Ordering::Acquire) == number {
            *current = Current::Away(Some(self.unreachable(error)));
        }
    }
}
