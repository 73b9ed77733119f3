//! What one event has read and written in one key-value store.

use std::collections::BTreeMap;

/// Nothing of it is in the store yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// What the store had when the event first asked, by key; `None`: no such key.
    pub read: BTreeMap<String, Option<Vec<u8>>>,
    /// What is to be there; `None`: no such key.
    pub written: BTreeMap<String, Option<Vec<u8>>>,
}

impl Unit {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }
}
