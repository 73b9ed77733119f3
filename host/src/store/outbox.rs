//! What is still to be published for an event, as it is kept in a store: a JSON array, see
//! [`crate::flow`]'s `json`, from which each publication comes back as it was.

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
pub fn read(json: &[u8]) -> Result<Vec<Publication>, String> {
    let list: Vec<Value> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let read = |value| Publication::from_json(value).map_err(|error| error.to_string());
    list.into_iter().map(read).collect()
}
