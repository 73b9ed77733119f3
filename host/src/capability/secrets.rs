//! Secrets: where they come from, a value that never shows itself, and what of them a plugin gets.
//! Next: `redact`, which takes them out of what a guest says.

use super::grants::{Granted, Grants, HostGrant, SecretGrant, Variable};
use super::redact::Redact;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What every placeholder begins with.
pub const PLACEHOLDER: &str = "wabbit-secret-";

/// A value that is neither printed nor left in memory.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// `text`, which is not shown from now on.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The value: for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In this environment variable.
    Env(String),
    /// In this file; one line end at its end is not part of it.
    File(PathBuf),
}

/// The secrets that the host's configuration names.
#[derive(Debug, Clone)]
pub struct Secrets {
    sources: BTreeMap<String, Source>,
    /// Makes placeholders different from those of every other start.
    seed: u128,
}

/// Why a plugin does not get a secret that it was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its variable `{variable}` is the secret `{secret}`, {cause}")]
pub struct SecretError {
    variable: String,
    secret: String,
    cause: String,
    /// What a person can do about it.
    pub hint: String,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Secrets {
    /// Those in `sources`, by name.
    pub fn new(sources: BTreeMap<String, Source>) -> Self {
        Self { sources, seed: fastrand::u128(..) }
    }

    /// What `plugin` gets by its `grants`. Each secret is read now, and not before.
    ///
    /// # Errors
    /// The first secret that is not there.
    pub fn given(&self, plugin: &str, grants: &Grants) -> Result<Given, SecretError> {
        let mut given = Given::default();
        let mut known = Vec::new();
        for (name, variable) in &grants.variables {
            let text = match variable {
                Variable::Text(text) => text.clone(),
                Variable::Secret(SecretGrant { secret, hosts }) => {
                    let value = self.read(name, secret)?;
                    known.push((secret.clone(), value.clone()));
                    match hosts {
                        None => value.reveal().to_owned(),
                        Some(hosts) => {
                            let text = self.placeholder(plugin, name);
                            let (hosts, secret) = (hosts.clone(), secret.clone());
                            let placeholder =
                                Placeholder { text: text.clone(), secret, value, hosts };
                            given.placeholders.push(placeholder);
                            text
                        }
                    }
                }
            };
            given.variables.insert(name.clone(), Secret::new(text));
        }
        given.redact = Redact::new(known);
        Ok(given)
    }

    fn read(&self, variable: &str, secret: &str) -> Result<Secret, SecretError> {
        let wrong = |cause: String, hint: String| {
            let (variable, secret) = (variable.to_owned(), secret.to_owned());
            Err(SecretError { variable, secret, cause, hint })
        };
        let text = match self.sources.get(secret) {
            None => {
                let hint = format!(
                    "add to the host's configuration: `[secrets.{secret}]` with `env = \"…\"` or \
                     `file = \"…\"`"
                );
                return wrong("which the host's configuration does not name".to_owned(), hint);
            }
            Some(Source::Env(name)) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => {
                    let hint = format!("set `{name}` where the host is started");
                    let cause = format!("and the environment variable `{name}` is not set");
                    return wrong(cause, hint);
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    let cause = format!("and the environment variable `{name}` is not UTF-8");
                    return wrong(cause, "secrets are text".to_owned());
                }
            },
            Some(Source::File(path)) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let line = text.strip_suffix('\n').unwrap_or(&text);
                    line.strip_suffix('\r').unwrap_or(line).to_owned()
                }
                Err(error) => {
                    let cause = format!("and `{}` can't be read: {error}", path.display());
                    return wrong(cause, "the host reads it as its own user".to_owned());
                }
            },
        };
        if text.is_empty() {
            return wrong("which is empty".to_owned(), "give it a value".to_owned());
        }
        Ok(Secret::new(text))
    }

    fn placeholder(&self, plugin: &str, variable: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.seed.to_le_bytes(), plugin.as_bytes(), b"\0", variable.as_bytes()] {
            hash.update(part);
        }
        let digits = hash.finalize().into_iter().take(16).map(|byte| format!("{byte:02x}"));
        PLACEHOLDER.to_owned() + &digits.collect::<String>()
    }
}

/// What a plugin gets of its variables.
#[derive(Debug, Default)]
pub struct Given {
    /// What its guests read, by name, secret or not.
    pub variables: BTreeMap<String, Secret>,
    /// What stands for secrets among them.
    pub placeholders: Vec<Placeholder>,
    /// Takes the secrets out of what its guests say.
    pub redact: Redact,
}

/// Stands for a secret in what a guest sends, and is known to this plugin alone.
#[derive(Debug, Clone)]
pub struct Placeholder {
    /// What the guest has.
    pub text: String,
    /// The name of the secret.
    pub secret: String,
    /// The secret.
    pub value: Secret,
    /// Where it is meant for.
    pub hosts: Granted<HostGrant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(secret: &str, hosts: Option<&str>) -> Grants {
        let hosts = hosts.map(|it| vec![it.parse().unwrap()].into());
        let grant = Variable::Secret(SecretGrant { secret: secret.to_owned(), hosts });
        Grants { variables: [("key".to_owned(), grant)].into(), ..Grants::default() }
    }

    fn file(text: &str) -> (tempfile::TempDir, Secrets) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        (dir, Secrets::new([("KEY".to_owned(), Source::File(path))].into()))
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_end() {
        for (text, expected) in [
            ("swordfish", "swordfish"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a ", "a "),
        ] {
            let (_dir, secrets) = file(text);
            let given = secrets.given("orders", &granted("KEY", None)).unwrap();
            assert_eq!(given.variables["key"].reveal(), expected);
            assert!(given.placeholders.is_empty());
            assert!(!format!("{given:?}").contains("swordfish"));
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_named_with_what_to_do() {
        let source = |source| Secrets::new([("KEY".to_owned(), source)].into());
        let table = [
            (Secrets::default(), "which the host's configuration does not name", "[secrets.KEY]"),
            (
                source(Source::Env("WABBIT_TEST_NOWHERE".to_owned())),
                "the environment variable `WABBIT_TEST_NOWHERE` is not set",
                "set `WABBIT_TEST_NOWHERE`",
            ),
            (source(Source::File("/nowhere/key".into())), "`/nowhere/key` can't be read", "user"),
            (file("\n").1, "`", ""),
        ];
        for (secrets, cause, hint) in table {
            let error = secrets.given("orders", &granted("KEY", None)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("its variable `key` is the secret `KEY`, "), "{text}");
            assert!(text.contains(cause) && error.hint.contains(hint), "{error:?}");
        }
    }

    #[test]
    fn a_placeholder_is_of_one_start_plugin_and_variable() {
        let (_dir, secrets) = file("swordfish");
        let grants = granted("KEY", Some("https://a"));
        let given = |secrets: &Secrets, plugin| secrets.given(plugin, &grants).unwrap();
        let orders = given(&secrets, "orders");
        let text = orders.variables["key"].reveal();
        assert!(text.starts_with(PLACEHOLDER) && text.len() == PLACEHOLDER.len() + 32, "{text:?}");
        assert_eq!(orders.placeholders[0].text, text);
        assert_eq!(given(&secrets, "orders").variables["key"].reveal(), text);
        assert_ne!(given(&secrets, "other").variables["key"].reveal(), text);
        let next = Secrets::new(secrets.sources.clone());
        assert_ne!(given(&next, "orders").variables["key"].reveal(), text);
        let shown = format!(
            "{orders:?} {} {:?}",
            orders.placeholders[0].value,
            Secret::new("swordfish".into())
        );
        assert!(!shown.contains("swordfish"), "{shown}");
    }
}
