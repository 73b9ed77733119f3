//! `[stores.NAME]`: where the stores are that plugins are granted by name. Next: [`crate::store`],
//! which opens them.

use crate::plugin::manifest::written::Section;
use crate::store::Location;
use std::collections::BTreeMap;

/// All of them, by name. What is wrong with a url is said without the url: it may hold a password.
pub(super) fn read(stores: &Section<'_>) -> BTreeMap<String, Location> {
    stores.named(|store| {
        if store.node("url").is_none() {
            store.missing("url");
        }
        let location = Location::parse(&store.filled("url")?);
        location.map_err(|error| store.wrong("url", error.to_string())).ok()
    })
}
