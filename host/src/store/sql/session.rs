//! One transaction on one connection: statements within their limits, and an end that is clean
//! whatever happened. Next: `inbox`, what the host itself writes.

use super::backend::{Backend, Problem, fits};
use super::errors::{is_stale, is_stopped, judge, judge_own};
use super::forms::canonical;
use super::found::Found;
use super::inbox;
use super::pool::{Held, Pool};
use super::statement::check;
use super::{Limits, Rows, SqlError, StoreError, Unit, Value};
use crate::store::Record;
use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a statement that was told to end may take to.
const GRACE: Duration = Duration::from_secs(5);

/// PostgreSQL and MySQL count the parameters of a statement with 16 bits; SQLite has this limit.
const PARAMETERS_MAX: usize = 32_766;

/// See the module.
pub(super) struct Session<B: Backend> {
    pool: Arc<Pool<B>>,
    /// `None` after its end.
    held: Option<Held<B>>,
    /// Something is asked of the connection right now: seen by who drops this meanwhile.
    busy: bool,
    /// Nothing was done since the savepoint.
    saved: bool,
    /// Why the transaction is over before its end.
    over: Option<StoreError>,
}

impl<B: Backend> Session<B> {
    /// Begins a transaction.
    pub(super) async fn begin(pool: Arc<Pool<B>>) -> Result<Self, StoreError> {
        let held = Some(pool.take_to_write().await?);
        let mut session = Self { pool, held, busy: false, saved: true, over: None };
        session.own(|held| B::plain(&mut held.connection, B::BEGIN)).await?;
        Ok(session)
    }

    /// Does what the host itself asks for, in the time that is set for that.
    async fn own<T>(
        &mut self,
        ask: impl for<'h> FnOnce(&'h mut Held<B>) -> BoxFuture<'h, Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let place = &self.pool.place;
        let Some(held) = self.held.as_mut() else { return Err(place.failed("it has ended")) };
        self.busy = true;
        let limit = self.pool.settings.answer;
        let error = match timeout(limit, ask(held)).await {
            Ok(Ok(done)) => {
                self.busy = false;
                return Ok(done);
            }
            Ok(Err(error)) => {
                self.busy = false;
                judge_own(B::DIALECT, place, Problem::Sql(error))
            }
            Err(_) => place.unavailable(late(limit)),
        };
        self.over = Some(error.clone());
        Err(error)
    }

    async fn carry_out(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
        limits: &Limits,
        mut found: Found,
    ) -> Result<(u64, Rows), SqlError> {
        if let Some(over) = &self.over {
            return Err(over.clone().into());
        }
        let checked = check(B::DIALECT, statement).map_err(SqlError::Refused)?;
        let parameters = canonical_all::<B>(parameters)?;
        if let Some(held) = &self.held {
            fits::<B>(&held.key, statement, &parameters).map_err(SqlError::Limit)?;
        }
        if let (false, Some(save)) = (self.saved, B::SAVE) {
            self.own(|held| B::plain(&mut held.connection, save)).await?;
        }
        self.saved = false;
        let result = self.limited(statement, &parameters, limits.time, &mut found).await;
        let error = match result {
            Ok(changed) => match found.done() {
                Ok(rows) => return Ok((if checked.writes { changed } else { 0 }, rows)),
                Err(problem) => problem,
            },
            Err(error) => error,
        };
        match &error {
            SqlError::Store(over) => self.over = Some(over.clone()),
            _ => self.recover(&error).await?,
        }
        Err(error)
    }

    /// Carries out a statement, and ends it when it takes longer than `time` or returns too much.
    async fn limited(
        &mut self,
        statement: &str,
        parameters: &[Value],
        time: Duration,
        found: &mut Found,
    ) -> Result<u64, SqlError> {
        let place = &self.pool.place;
        let Some(Held { connection, key, worn, .. }) = self.held.as_mut() else {
            return Err(place.failed("it has ended").into());
        };
        self.busy = true;
        B::ready(key);
        let full = found.full();
        let mut too_long = false;
        let ended = {
            let key = key.clone();
            let mut running = pin!(B::run(connection, statement, parameters, found));
            let ended = tokio::select! {
                ended = &mut running => Some(ended),
                () = full.notified() => None,
                () = sleep(time) => { too_long = true; None }
            };
            let stopped = async {
                self.pool.backend.stop(key, false).await?;
                Ok::<_, sqlx::Error>(running.await)
            };
            // Where it can't be stopped it stays busy, so that its connection is not used again.
            match ended {
                Some(ended) => ended,
                None => match timeout(GRACE, stopped).await {
                    Ok(Ok(ended)) => ended,
                    Ok(Err(error)) => return Err(place.unavailable(error).into()),
                    Err(_) => return Err(place.unavailable(late(time + GRACE)).into()),
                },
            }
        };
        if too_long || found.ended() {
            // Should the end of it come after all, then not to the next statement.
            let _ = timeout(GRACE, connection.ping()).await;
        }
        self.busy = false;
        match ended {
            Ok(changed) => Ok(changed),
            Err(problem) if is_stopped(B::DIALECT, &problem) && found.ended() => Ok(0),
            Err(problem) if is_stopped(B::DIALECT, &problem) && too_long => {
                let limit = humantime::format_duration(time);
                Err(SqlError::Limit(format!("one statement may take {limit}")))
            }
            Err(problem) => {
                *worn |= is_stale(B::DIALECT, &problem);
                Err(judge(B::DIALECT, place, problem))
            }
        }
    }

    /// After a statement that failed with `error`.
    async fn recover(&mut self, error: &SqlError) -> Result<(), StoreError> {
        if self.own(|held| B::recover(&mut held.connection)).await? {
            self.saved = true;
            return Ok(());
        }
        let why = format!("the transaction ended with a statement of the handler ({error})");
        self.over = Some(self.pool.place.failed(why));
        Ok(())
    }

    async fn finish(&mut self, record: Option<Record<'_>>) -> Result<(), StoreError> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        let pool = self.pool.clone();
        if let Some(record) = record {
            let Some(held) = self.held.as_mut() else {
                return Err(pool.place.failed("it has ended"));
            };
            self.busy = true;
            let limit = pool.settings.answer;
            match timeout(limit, inbox::record(&pool.place, held, record)).await {
                Ok(recorded) => {
                    self.busy = false;
                    recorded?;
                }
                Err(_) => return Err(pool.place.unavailable(late(limit))),
            }
        }
        self.own(|held| B::plain(&mut held.connection, "COMMIT")).await?;
        if let Some(held) = self.held.take() {
            pool.put_back(held);
        }
        Ok(())
    }
}

/// What a database that does not answer is said to be.
pub(super) fn late(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

fn canonical_all<B: Backend>(parameters: Vec<Value>) -> Result<Vec<Value>, SqlError> {
    if parameters.len() > PARAMETERS_MAX {
        let count = parameters.len();
        let limit = format!("one statement may have {PARAMETERS_MAX} parameters, has {count}");
        return Err(SqlError::Limit(limit));
    }
    let numbered = parameters.into_iter().enumerate();
    let values = numbered.map(|(index, value)| canonical(B::DIALECT, index + 1, value));
    values.collect::<Result<_, _>>().map_err(SqlError::Type)
}

/// Ends what is open on `held` and gives it back; what can't be ended is closed.
async fn clean_up<B: Backend>(pool: Arc<Pool<B>>, mut held: Held<B>, busy: bool) {
    if busy {
        let key = held.key.clone();
        let stopped = timeout(GRACE, pool.backend.stop(key, true)).await;
        if !B::SURVIVES || !matches!(stopped, Ok(Ok(()))) {
            return;
        }
    }
    for _ in 0..2 {
        // What was stopped may say so in answer to the first.
        let ended = timeout(GRACE, B::plain(&mut held.connection, "ROLLBACK")).await;
        if matches!(ended, Ok(Ok(()))) {
            return pool.put_back(held);
        }
    }
}

impl<B: Backend> Unit for Session<B> {
    fn execute<'a>(
        &'a mut self,
        statement: &'a str,
        parameters: Vec<Value>,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<u64, SqlError>> {
        Box::pin(async move {
            let found = Found::nothing();
            Ok(self.carry_out(statement, parameters, limits, found).await?.0)
        })
    }

    fn query<'a>(
        &'a mut self,
        statement: &'a str,
        parameters: Vec<Value>,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Rows, SqlError>> {
        Box::pin(async move {
            let found = Found::rows(limits);
            Ok(self.carry_out(statement, parameters, limits, found).await?.1)
        })
    }

    fn commit<'a>(
        mut self: Box<Self>,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.finish(record).await })
    }

    fn rollback(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(held) = self.held.take() {
                clean_up(self.pool.clone(), held, self.busy).await;
            }
        })
    }
}

impl<B: Backend> Drop for Session<B> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        // Without a runtime the host is at its end: the connection closes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(clean_up(self.pool.clone(), held, self.busy));
        }
    }
}
