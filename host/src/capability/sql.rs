//! `wabbit:sql/database`: statements in the event's transaction, which begins with the first one and
//! is committed when the handler has succeeded (`transaction`).

use super::Guest;
use crate::store::sql::{SqlError, Unit, Value};
use crate::wit::v0_1::{self, import::wabbit::sql::database};
use wasmtime::component::{HasSelf, Linker};

impl Guest {
    /// The transaction in `database`.
    async fn unit(&mut self, database: &str) -> Result<&mut Box<dyn Unit>, database::Error> {
        match self.transaction.sql(database).await {
            Ok(Some(unit)) => Ok(unit),
            Ok(None) => Err(database::Error::NotGranted(format!(
                "the grants do not cover the database `{database}`: add `sql = [\"{database}\"]` to \
                 `[grants]`"
            ))),
            // It is noted already.
            Err(error) => Err(v0_1::sql_error(error.into())),
        }
    }

    /// What the guest is told. What no handler can mend is noted, so that the event comes again
    /// whatever this one makes of it.
    fn told<T>(&mut self, asked: Result<T, SqlError>) -> Result<T, database::Error> {
        if let Err(SqlError::Store(error)) = &asked {
            self.transaction.note(error);
        }
        asked.map_err(v0_1::sql_error)
    }
}

fn values(parameters: Vec<database::Value>) -> Vec<Value> {
    parameters.into_iter().map(v0_1::value).collect()
}

impl database::Host for Guest {
    async fn execute(
        &mut self,
        database: String,
        statement: String,
        parameters: Vec<database::Value>,
    ) -> wasmtime::Result<Result<u64, database::Error>> {
        let (parameters, budget) = (values(parameters), self.budget.clone());
        let asked = match self.unit(&database).await {
            Ok(unit) => unit.execute(&statement, parameters, &budget.statement).await,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.told(asked))
    }

    async fn query(
        &mut self,
        database: String,
        statement: String,
        parameters: Vec<database::Value>,
    ) -> wasmtime::Result<Result<database::Rows, database::Error>> {
        let (parameters, budget) = (values(parameters), self.budget.clone());
        let asked = match self.unit(&database).await {
            Ok(unit) => unit.query(&statement, parameters, &budget.statement).await,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.told(asked).map(v0_1::rows))
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    database::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
