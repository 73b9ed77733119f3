//! What a statement returns, gathered row by row within its limits.

use super::{Limits, Rows, SqlError, Value};
use std::sync::Arc;
use tokio::sync::Notify;

/// The rows of one statement so far.
pub(super) struct Found {
    pub(super) rows: Rows,
    bytes: usize,
    /// Rows are wanted; else they are passed over.
    keep: bool,
    most: (usize, usize),
    /// Why no further row is taken.
    problem: Option<SqlError>,
    /// Told when there is a [`Self::problem`], so that the statement is ended.
    full: Arc<Notify>,
}

impl Found {
    /// For the rows of a guest's query.
    pub(super) fn rows(limits: &Limits) -> Self {
        Self { keep: true, most: (limits.rows, limits.bytes), ..Self::nothing() }
    }

    /// For a statement whose rows nobody wants.
    pub(super) fn nothing() -> Self {
        let (rows, full) = (Rows::default(), Arc::default());
        Self { rows, bytes: 0, keep: false, most: (0, 0), problem: None, full }
    }

    /// Told when no further row is taken.
    pub(super) fn full(&self) -> Arc<Notify> {
        self.full.clone()
    }

    /// Takes the names of the columns.
    pub(super) fn name<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        if self.keep && self.rows.columns.is_empty() {
            self.rows.columns = names.map(str::to_owned).collect();
        }
    }

    /// Takes one row, read by `read`, which says what is wrong with it.
    pub(super) fn take(&mut self, read: impl FnOnce() -> Result<Vec<Value>, String>) {
        if !self.keep || self.problem.is_some() {
            return;
        }
        let (rows, bytes) = self.most;
        if self.rows.rows.len() >= rows {
            return self.end(SqlError::Limit(format!("one query may return {rows} rows")));
        }
        match read() {
            Ok(row) => {
                self.bytes = row.iter().map(size).fold(self.bytes, usize::saturating_add);
                if self.bytes > bytes {
                    let limit = format!("the rows of one query may hold {bytes} bytes");
                    return self.end(SqlError::Limit(limit));
                }
                self.rows.rows.push(row);
            }
            Err(problem) => self.end(SqlError::Type(problem)),
        }
    }

    fn end(&mut self, problem: SqlError) {
        self.problem = Some(problem);
        self.rows.rows.clear();
        self.full.notify_one();
    }

    /// The rows, or why they are not all.
    pub(super) fn done(self) -> Result<Rows, SqlError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.rows),
        }
    }

    /// Whether a row was not taken.
    pub(super) fn ended(&self) -> bool {
        self.problem.is_some()
    }
}

/// How many bytes a value is counted as.
pub(super) fn size(value: &Value) -> usize {
    /// What any value takes beside its text.
    const EACH: usize = 8;
    EACH + match value {
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Real(_) => 0,
        Value::Bytes(bytes) => bytes.len(),
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Timestamp(text)
        | Value::TimestampTz(text)
        | Value::Uuid(text)
        | Value::Json(text) => text.len(),
    }
}
