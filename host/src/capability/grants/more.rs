//! What a new version of a plugin asks for beyond the one that runs, and what is said of it: a
//! component that somebody replaced must not give itself more than a person agreed to.

use super::{Granted, Grants, HostGrant, Scope, SecretGrant, Variable};
use std::collections::BTreeSet;
use std::fmt::Display;

/// What `[plugins.NAME.grants]` states, so that a new version may have it: kinds as they are
/// written (`publish`), variables as `variables.NAME`.
pub type Named = BTreeSet<String>;

/// One kind of grants of which a version asks for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct More {
    /// As it is written.
    pub kind: String,
    /// What is new.
    pub entries: Vec<String>,
    /// The line that grants all that the new version asks for, in `[plugins.NAME.grants]`.
    pub line: String,
}

impl Grants {
    /// What is granted here and not by `before`, nor by name in the host's configuration.
    pub fn beyond(&self, before: &Grants) -> Vec<More> {
        let mut all: Vec<More> = Vec::new();
        all.extend(more("publish", &self.publish, &before.publish));
        all.extend(more("allowed-outbound-hosts", &self.hosts, &before.hosts));
        all.extend(more("key-value", &self.key_value, &before.key_value));
        all.extend(more("sql", &self.sql, &before.sql));
        for (name, variable) in &self.variables {
            let Variable::Secret(grant) = variable else { continue };
            let held = before.variables.values().any(|held| match held {
                Variable::Secret(held) => held.covers(grant),
                Variable::Text(_) => false,
            });
            if !held {
                let kind = format!("variables.{name}");
                let line = format!("variables.{} = {}", quoted_key(name), grant.toml());
                all.push(More { kind, entries: vec![grant.toml()], line });
            }
        }
        all.retain(|more| !self.named.contains(&more.kind));
        all
    }
}

fn more<T: Scope + Display>(kind: &str, now: &Granted<T>, before: &Granted<T>) -> Option<More> {
    let entries: Vec<_> = now.beyond(before).iter().map(T::to_string).collect();
    let line = format!("{kind} = {}", toml(&now.effective()));
    (!entries.is_empty()).then(|| More { kind: kind.to_owned(), entries, line })
}

impl SecretGrant {
    /// Whether all that `other` allows is allowed by this one: the secret itself is more than its
    /// placeholder.
    fn covers(&self, other: &SecretGrant) -> bool {
        let hosts = match (&self.hosts, &other.hosts) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(held), Some(asked)) => asked.effective().iter().all(|it| held.covers(it)),
        };
        self.secret == other.secret && hosts
    }

    /// As it would be written.
    pub fn toml(&self) -> String {
        let secret = &self.secret;
        match self.hosts.as_ref().map(Granted::<HostGrant>::effective) {
            None => format!("{{ secret = \"{secret}\" }}"),
            Some(hosts) => format!("{{ secret = \"{secret}\", hosts = {} }}", toml(&hosts)),
        }
    }
}

fn toml<T: Display>(list: &[T]) -> String {
    let quoted = list.iter().map(|it| format!("{:?}", it.to_string()));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// A key that TOML takes without quotes, or quoted.
fn quoted_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(secret: &str, hosts: Option<&[&str]>) -> Grants {
        let hosts = hosts.map(|it| it.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>());
        let grant = SecretGrant { secret: secret.to_owned(), hosts: hosts.map(Granted::from) };
        let variables = [("key".to_owned(), Variable::Secret(grant))].into();
        Grants { variables, ..Grants::default() }
    }

    fn text() -> Grants {
        let variables = [("key".to_owned(), Variable::Text("a".to_owned()))].into();
        Grants { variables, ..Grants::default() }
    }

    fn publish(list: &[&str]) -> Grants {
        let publish = list.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>().into();
        Grants { publish, ..Grants::default() }
    }

    fn hosts(list: &[&str]) -> Grants {
        let hosts = list.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>().into();
        Grants { hosts, ..Grants::default() }
    }

    fn stores(key_value: &[&str], sql: &[&str]) -> Grants {
        let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let (key_value, sql) = (names(key_value).into(), names(sql).into());
        Grants { key_value, sql, ..Grants::default() }
    }

    #[test]
    fn more_is_what_was_not_in_effect() {
        let named = |mut grants: Grants, kind: &str| {
            grants.named.insert(kind.to_owned());
            grants
        };
        let [a, b] = ["https://a", "https://b"];
        let both = format!("variables.key = {{ secret = \"S\", hosts = [\"{a}\", \"{b}\"] }}");
        let plain = "variables.key = { secret = \"S\" }";
        let other = "variables.key = { secret = \"T\" }";
        let table = [
            (publish(&["a:x"]), publish(&["a:x"]), None),
            (publish(&["a:x"]), publish(&[]), None),
            (publish(&["a:x"]), publish(&["a:x", "a:y"]), Some("publish = [\"a:x\", \"a:y\"]")),
            (publish(&["a:x"]), named(publish(&["a:#"]), "publish"), None),
            (publish(&["a:x"]), named(publish(&["a:#"]), "sql"), Some("publish = [\"a:#\"]")),
            (text(), secret("S", None), Some(plain)),
            (secret("S", None), text(), None),
            (secret("S", None), secret("T", None), Some(other)),
            (secret("S", None), secret("S", Some(&[a])), None),
            (secret("S", Some(&[a])), secret("S", None), Some(plain)),
            (secret("S", Some(&[a])), secret("S", Some(&[a, b])), Some(both.as_str())),
            (secret("S", Some(&[a, b])), secret("S", Some(&[b])), None),
            (text(), named(secret("S", None), "variables.key"), None),
            (hosts(&["https://*.a"]), hosts(&["https://b.a"]), None),
            (
                hosts(&[a]),
                hosts(&[a, b]),
                Some("allowed-outbound-hosts = [\"https://a\", \"https://b\"]"),
            ),
            (hosts(&[a]), hosts(&["http://a"]), Some("allowed-outbound-hosts = [\"http://a\"]")),
            (hosts(&[a]), named(hosts(&[b]), "allowed-outbound-hosts"), None),
            (stores(&["a"], &["b"]), stores(&["a"], &[]), None),
            (stores(&["a"], &["b"]), stores(&["a"], &["b", "a"]), Some("sql = [\"b\", \"a\"]")),
            (stores(&["a"], &["b"]), stores(&["b"], &["b"]), Some("key-value = [\"b\"]")),
            (stores(&[], &["b"]), named(stores(&[], &["c"]), "sql"), None),
        ];
        for (before, now, line) in table {
            let more = now.beyond(&before);
            let lines: Vec<_> = more.iter().map(|more| more.line.as_str()).collect();
            assert_eq!(lines, line.into_iter().collect::<Vec<_>>(), "{before:?} {now:?}");
        }
    }
}
