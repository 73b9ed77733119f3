//! `[grants]`: what the plugin asks for, and how the host's configuration narrows it.

use super::Reader;
use super::written::{Section, Value};
use crate::capability::grants::{Grants, Narrowing, PublishGrant};
use std::collections::BTreeMap;

impl Reader<'_> {
    pub(super) fn grants(&self, grants: &Section<'_>) -> Grants {
        let Narrowing { publish, variables } = read(grants);
        Grants::new(publish.unwrap_or_default(), variables)
    }

    pub(super) fn narrow_grants(&self, grants: &Section<'_>, asked: &Grants) -> Grants {
        let narrowing = read(grants);
        for name in narrowing.variables.keys().filter(|name| !asked.variables.contains_key(*name)) {
            let known: Vec<_> = asked.variables.keys().map(String::as_str).collect();
            grants.unknown_entry("variables", name, "the plugin asks for no variable", &known);
        }
        asked.narrow(&narrowing)
    }
}

fn read(grants: &Section<'_>) -> Narrowing {
    for later in ["allowed-outbound-hosts", "key-value", "sql"] {
        grants.unsupported(later);
    }
    Narrowing { publish: publish(grants), variables: variables(grants) }
}

fn publish(grants: &Section<'_>) -> Option<Vec<PublishGrant>> {
    let texts = grants.texts("publish")?;
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<PublishGrant>() {
            Ok(grant) => list.push(grant),
            Err(error) => {
                let rule = format!("has a bad entry: {error}");
                grants.wrong_with("publish", rule, error.hint().as_deref());
            }
        }
    }
    Some(list)
}

fn variables(grants: &Section<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, entry) in grants.map("variables").into_iter().flat_map(|table| &table.0) {
        let what = grants.key(&format!("variables.{name}"));
        match &entry.node.value {
            Value::Text(text) | Value::Loose(text) => {
                variables.insert(name.clone(), text.clone());
            }
            Value::Table(table) if table.0.contains_key("secret") => {
                let message = format!("{what} as a secret is not supported yet by this version");
                grants.problem(entry.node.at.clone(), message, Some("leave it out".to_owned()));
            }
            other => {
                let message = format!("{what} must be a string, is {}", other.kind());
                grants.problem(entry.node.at.clone(), message, None);
            }
        }
    }
    variables
}
