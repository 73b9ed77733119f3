//! `[grants]`: what the plugin asks for, and how the host's configuration narrows it.

use super::Reader;
use super::written::{Node, Section, Table, Value};
use crate::capability::grants::{
    Granted, Grants, HostGrant, Narrowing, PublishGrant, SecretGrant, Variable,
};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The kinds of grants that are lists, which the host narrows.
pub(super) const LISTS: [&str; 4] = ["publish", "allowed-outbound-hosts", "key-value", "sql"];

impl Reader<'_> {
    pub(super) fn grants(&self, grants: &Section<'_>) -> Grants {
        let Narrowing { publish, hosts, key_value, sql, variables } = read(grants);
        let hosts: Granted<HostGrant> = hosts.unwrap_or_default().into();
        if self.whole {
            for (name, variable) in &variables {
                within(grants, name, variable, &hosts);
            }
        }
        Grants {
            publish: publish.unwrap_or_default().into(),
            hosts,
            key_value: key_value.unwrap_or_default().into(),
            sql: sql.unwrap_or_default().into(),
            variables,
            ..Grants::default()
        }
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
    Narrowing {
        publish: list(grants, "publish", |error: &<PublishGrant as FromStr>::Err| error.hint()),
        hosts: list(grants, "allowed-outbound-hosts", |error: &<HostGrant as FromStr>::Err| {
            error.hint.clone()
        }),
        key_value: stores(grants, "key-value"),
        sql: stores(grants, "sql"),
        variables: variables(grants),
    }
}

/// Names of stores. They are names of files as well, where the host's configuration has none.
fn stores(grants: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let names = grants.texts(key)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = |name: &str| (1..=64).contains(&name.len()) && name.chars().all(fits);
    for (at, name) in names.iter().enumerate() {
        if !good(name) {
            let rule = format!("must hold names of letters, digits, `-` and `_`, one is `{name}`");
            grants.wrong_with(key, rule, Some("where it is, `[stores.NAME] url` of the host says"));
        } else if names[..at].contains(name) {
            grants.wrong(key, format!("names `{name}` twice"));
        }
    }
    Some(names)
}

fn list<T: FromStr<Err: std::fmt::Display>>(
    grants: &Section<'_>,
    key: &'static str,
    hint: impl Fn(&T::Err) -> Option<String>,
) -> Option<Vec<T>> {
    let texts = grants.texts(key)?;
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<T>() {
            Ok(grant) => list.push(grant),
            Err(error) => {
                let rule = format!("has a bad entry: {error}");
                grants.wrong_with(key, rule, hint(&error).as_deref());
            }
        }
    }
    Some(list)
}

fn variables(grants: &Section<'_>) -> BTreeMap<String, Variable> {
    let mut variables = BTreeMap::new();
    for (name, entry) in grants.map("variables").into_iter().flat_map(|table| &table.0) {
        let what = grants.key(&format!("variables.{name}"));
        match &entry.node.value {
            Value::Text(text) | Value::Loose(text) => {
                variables.insert(name.clone(), Variable::Text(text.clone()));
            }
            Value::Table(table) => {
                if let Some(grant) = secret(grants, &what, &entry.node, table) {
                    variables.insert(name.clone(), Variable::Secret(grant));
                }
            }
            other => {
                let message = format!("{what} must be a string, is {}", other.kind());
                grants.problem(entry.node.at.clone(), message, None);
            }
        }
    }
    variables
}

/// `{ secret = "NAME", hosts = ["https://…"] }`
fn secret(grants: &Section<'_>, what: &str, node: &Node, table: &Table) -> Option<SecretGrant> {
    let form = || Some("write `{ secret = \"NAME\" }`".to_owned());
    for (key, entry) in &table.0 {
        if key != "secret" && key != "hosts" {
            let message = format!("unknown key `{key}` in {what}");
            grants.problem(entry.at.clone(), message, form());
        }
    }
    let Some(Value::Text(secret) | Value::Loose(secret)) = table.get("secret").map(|it| &it.value)
    else {
        grants.problem(node.at.clone(), format!("{what} must name its `secret`"), form());
        return None;
    };
    let Some(hosts) = table.get("hosts") else {
        return Some(SecretGrant { secret: secret.clone(), hosts: None });
    };
    let Value::Array(items) = &hosts.value else {
        let message = format!("the hosts of {what} must be an array, is {}", hosts.value.kind());
        grants.problem(hosts.at.clone(), message, None);
        return None;
    };
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        let (Value::Text(text) | Value::Loose(text)) = &item.value else {
            let message = format!("the hosts of {what} must be strings");
            grants.problem(item.at.clone(), message, None);
            continue;
        };
        match text.parse::<HostGrant>() {
            Ok(host) => list.push(host),
            Err(error) => {
                let message = format!("the hosts of {what} have a bad entry: {error}");
                grants.problem(item.at.clone(), message, error.hint);
            }
        }
    }
    Some(SecretGrant { secret: secret.clone(), hosts: Some(list.into()) })
}

/// What a secret is for must be where requests may go.
fn within(grants: &Section<'_>, name: &str, variable: &Variable, allowed: &Granted<HostGrant>) {
    let Variable::Secret(SecretGrant { hosts: Some(hosts), .. }) = variable else { return };
    for host in hosts.asked().iter().filter(|host| !allowed.covers(host)) {
        let what = grants.key(&format!("variables.{name}"));
        let message = format!("{what} is for `{host}`, where no request may go");
        let hint = format!("add \"{host}\" to `allowed-outbound-hosts`");
        grants.problem(grants.place("variables"), message, Some(hint));
    }
}
