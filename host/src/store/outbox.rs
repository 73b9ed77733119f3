//! What is still to be published for an event, as it is kept in a store: a JSON array, see
//! [`crate::flow`]'s `json`, from which each publication comes back as it was.

use super::StoreError;
use crate::flow::Publication;
use serde_json::Value;

/// As it is kept; `None` if there is nothing to be published.
pub fn write(publications: &[Publication]) -> Option<String> {
    let list: Vec<_> = publications.iter().map(Publication::to_json).collect();
    (!list.is_empty()).then(|| Value::from(list).to_string())
}

/// What [`write`] wrote.
///
/// # Errors
/// Something else is there.
pub fn read(json: &[u8]) -> Result<Vec<Publication>, StoreError> {
    let list: Vec<Value> = serde_json::from_slice(json).map_err(|error| foreign(&error))?;
    let publications = list.into_iter().map(Publication::from_json);
    publications.collect::<Result<_, _>>().map_err(|error| foreign(&error))
}

fn foreign(error: &dyn std::error::Error) -> StoreError {
    StoreError::Failed(format!("what is to be published can't be read back: {error}"))
}
