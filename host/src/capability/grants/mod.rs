//! What a plugin may do beyond handling its event: nothing that is not listed here. It asks for
//! grants, the host's configuration narrows them, and what both allow is in effect. Next: `list`,
//! how two lists become one; [`crate::plugin`]'s manifest reads them.

mod address;
mod hosts;
mod list;
mod more;
mod publish;
mod target;

pub use hosts::{HostGrant, HostGrantError};
pub use list::{Granted, Scope};
pub use more::{More, Named};
pub use publish::{GrantError, PublishGrant};
pub use target::{Denied, Host, Scheme, Target};

use std::collections::BTreeMap;
use std::fmt::Display;

/// What a plugin was granted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// Where it may publish.
    pub publish: Granted<PublishGrant>,
    /// Where it may send HTTP requests.
    pub hosts: Granted<HostGrant>,
    /// The key-value stores that it may use.
    pub key_value: Granted<String>,
    /// The databases that it may use.
    pub sql: Granted<String>,
    /// What it reads through `wasi:config`.
    pub variables: BTreeMap<String, Variable>,
    /// What the host's configuration grants to this plugin by name.
    pub named: Named,
}

/// What a guest gets for the name of a variable.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable {
    /// This text.
    Text(String),
    /// A secret, or what stands for it.
    Secret(SecretGrant),
}

/// A secret that a plugin may use.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretGrant {
    /// Its name in `[secrets]`.
    pub secret: String,
    /// The guest gets a placeholder, which becomes the secret in the headers of requests to these;
    /// `None`: it gets the secret.
    pub hosts: Option<Granted<HostGrant>>,
}

impl Grants {
    /// Whether publishing to `exchange` (empty: the default exchange) with `key` is granted.
    pub fn allows_publish(&self, exchange: &str, key: &str) -> bool {
        self.publish.allows(|grant| grant.allows(exchange, key))
    }

    /// Each kind of which something is asked for, as it is written, with what is granted and what is
    /// not. Of variables only the names are told, since a text may be one that nobody should see.
    pub fn told(&self) -> Vec<Told> {
        let variables = self.variables.iter().map(|(name, variable)| match variable {
            Variable::Text(_) => name.clone(),
            Variable::Secret(grant) => format!("{name} = {}", grant.toml()),
        });
        let mut told = vec![
            Told::of("publish", &self.publish),
            Told::of("allowed-outbound-hosts", &self.hosts),
            Told::of("key-value", &self.key_value),
            Told::of("sql", &self.sql),
            Told { kind: "variables", granted: variables.collect(), refused: Vec::new() },
        ];
        told.retain(|it| !it.granted.is_empty() || !it.refused.is_empty());
        told
    }

    /// What is granted by both. Variables take the values that `by` has for them.
    #[must_use]
    pub fn narrow(&self, by: &Narrowing) -> Grants {
        let mut variables = self.variables.clone();
        for (name, value) in &mut variables {
            if let Some(other) = by.variables.get(name) {
                *value = value.narrow(other);
            }
        }
        Self {
            publish: self.publish.narrow(by.publish.as_ref()),
            hosts: self.hosts.narrow(by.hosts.as_ref()),
            key_value: self.key_value.narrow(by.key_value.as_ref()),
            sql: self.sql.narrow(by.sql.as_ref()),
            variables,
            named: self.named.clone(),
        }
    }
}

/// One kind of grants, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As it is written.
    pub kind: &'static str,
    /// What is in effect.
    pub granted: Vec<String>,
    /// What is asked for, and not given by the host's configuration.
    pub refused: Vec<String>,
}

impl Told {
    fn of<T: Scope + Display>(kind: &'static str, list: &Granted<T>) -> Self {
        let texts = |list: Vec<T>| list.iter().map(T::to_string).collect();
        Self { kind, granted: texts(list.effective()), refused: texts(list.refused()) }
    }
}

impl Variable {
    /// What the host says in place of what is asked for; where both name hosts, those of both.
    fn narrow(&self, by: &Variable) -> Variable {
        match (self, by) {
            (Self::Secret(SecretGrant { hosts: Some(asked), .. }), Self::Secret(given)) => {
                let hosts =
                    asked.narrow(given.hosts.as_ref().map(|it| it.asked().to_vec()).as_ref());
                Self::Secret(SecretGrant { secret: given.secret.clone(), hosts: Some(hosts) })
            }
            (_, given) => given.clone(),
        }
    }
}

/// What the host's configuration says about the grants of a plugin: of each kind what it may have at
/// most, `None` being whatever it asks for.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "as in `Grants`")]
pub struct Narrowing {
    pub publish: Option<Vec<PublishGrant>>,
    pub hosts: Option<Vec<HostGrant>>,
    pub key_value: Option<Vec<String>>,
    pub sql: Option<Vec<String>>,
    /// Other values for variables that the plugin asks for.
    pub variables: BTreeMap<String, Variable>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[&str]) -> Vec<HostGrant> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn secret(name: &str, of: Option<&[&str]>) -> Variable {
        let hosts = of.map(|texts| hosts(texts).into());
        Variable::Secret(SecretGrant { secret: name.to_owned(), hosts })
    }

    #[test]
    fn the_host_says_what_a_variable_is_and_a_placeholder_stays_one() {
        let text = |text: &str| Variable::Text(text.to_owned());
        let table = [
            (text("EUR"), text("CHF"), text("CHF")),
            (secret("A", None), text("none"), text("none")),
            (secret("A", None), secret("B", None), secret("B", None)),
            (
                secret("A", None),
                secret("A", Some(&["https://a"])),
                secret("A", Some(&["https://a"])),
            ),
            (
                secret("A", Some(&["https://a"])),
                secret("A", None),
                secret("A", Some(&["https://a"])),
            ),
        ];
        for (asked, given, both) in table {
            assert_eq!(asked.narrow(&given), both, "{asked:?} {given:?}");
        }
        let asked = secret("A", Some(&["https://a", "https://b"]));
        let both = asked.narrow(&secret("A", Some(&["https://b", "https://c"])));
        let Variable::Secret(SecretGrant { hosts: Some(both), .. }) = both else {
            panic!("{both:?}")
        };
        assert_eq!(both.effective(), hosts(&["https://b"]));
    }
}
