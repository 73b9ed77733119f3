//! What a plugin may do beyond handling its event: nothing that is not listed here. The file that
//! comes next is [`crate::plugin`]'s manifest, which reads grants.

use crate::flow::{PatternError, TopicPattern};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

/// What a plugin was granted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// Where it may publish: one of them must allow a publication.
    pub publish: Vec<PublishGrant>,
    /// What it reads through `wasi:config`.
    pub variables: BTreeMap<String, String>,
    /// One grant of each of these lists must allow a publication as well.
    narrowed: Vec<Vec<PublishGrant>>,
}

impl Grants {
    /// Those that allow publishing with one of `publish`.
    pub fn new(publish: Vec<PublishGrant>, variables: BTreeMap<String, String>) -> Self {
        Self { publish, variables, narrowed: Vec::new() }
    }

    /// Whether publishing to `exchange` (empty: the default exchange) with `key` is granted.
    pub fn allows_publish(&self, exchange: &str, key: &str) -> bool {
        let any = |grants: &Vec<PublishGrant>| grants.iter().any(|g| g.allows(exchange, key));
        any(&self.publish) && self.narrowed.iter().all(any)
    }

    /// Whether there may be a publication that is granted.
    pub fn allows_any_publish(&self) -> bool {
        !self.publish.is_empty() && self.narrowed.iter().all(|list| !list.is_empty())
    }

    /// What both grant: a publication must be allowed by both, and the variables take the values
    /// that `by` has for them.
    #[must_use]
    pub fn narrow(&self, by: &Narrowing) -> Grants {
        let mut both = self.clone();
        both.narrowed.extend(by.publish.clone());
        for (name, value) in &mut both.variables {
            if let Some(other) = by.variables.get(name) {
                value.clone_from(other);
            }
        }
        both
    }
}

/// What the host's configuration says about the grants of a plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Narrowing {
    /// Where the plugin may publish at most; `None`: wherever it asks for.
    pub publish: Option<Vec<PublishGrant>>,
    /// Other values for variables that the plugin asks for.
    pub variables: BTreeMap<String, String>,
}

/// `EXCHANGE:KEY`: the exchange's name or `*` for any, nothing for the default exchange; the key
/// as a topic pattern. As names of exchanges may hold colons and keys hardly do, the last colon
/// counts, unless the first character is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishGrant {
    exchange: String,
    key: TopicPattern,
}

impl PublishGrant {
    fn allows(&self, exchange: &str, key: &str) -> bool {
        (self.exchange == "*" || self.exchange == exchange) && self.key.fits(key)
    }

    /// The exchange, empty for the default one; `None` if it is any.
    pub fn exchange(&self) -> Option<&str> {
        (self.exchange != "*").then_some(&self.exchange)
    }

    /// The only key that fits; `None` if there are others.
    pub fn key(&self) -> Option<String> {
        self.key.literal()
    }
}

/// Why a text is no [`PublishGrant`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It has no colon.
    #[error("must be `EXCHANGE:KEY`, is `{0}`")]
    NoColon(String),
    /// E.g. `shop*`.
    #[error("the exchange must be a name, or `*` for any, is `{0}`")]
    Exchange(String),
    /// See [`PatternError`].
    #[error(transparent)]
    Key(#[from] PatternError),
}

impl GrantError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoColon(text) => {
                Some(format!("`{text}:#` for any key, `:{text}` for the queue of this name"))
            }
            Self::Exchange(_) => None,
            Self::Key(error) => Some(error.hint().to_owned()),
        }
    }
}

impl FromStr for PublishGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let parts = match text.strip_prefix(':') {
            Some(key) => Some(("", key)),
            None => text.rsplit_once(':'),
        };
        let (exchange, key) = parts.ok_or_else(|| GrantError::NoColon(text.to_owned()))?;
        if exchange != "*" && exchange.contains(['*', '#']) {
            return Err(GrantError::Exchange(exchange.to_owned()));
        }
        Ok(Self { exchange: exchange.to_owned(), key: key.parse()? })
    }
}

impl Display for PublishGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.exchange, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_may_be_published() {
        let table = [
            ("shop:invoice.*", "shop", "invoice.paid", true),
            ("shop:invoice.*", "shop", "invoice", false),
            ("shop:invoice.*", "other", "invoice.paid", false),
            ("shop:", "shop", "", true),
            ("shop:", "shop", "a", false),
            (":orders", "", "orders", true),
            (":orders", "orders", "orders", false),
            (":a:b", "", "a:b", true),
            ("*:#", "any", "key.of.any", true),
            ("*:#", "", "queue", true),
            ("Acme.Orders:OrderPlaced:#", "Acme.Orders:OrderPlaced", "", true),
        ];
        for (grant, exchange, key, allowed) in table {
            let grants = Grants::new(vec![grant.parse().unwrap()], BTreeMap::new());
            assert_eq!(
                grants.allows_publish(exchange, key),
                allowed,
                "`{grant}`: {exchange} {key}"
            );
        }
        assert!(!Grants::default().allows_publish("", "orders"));
        assert!(!Grants::default().allows_any_publish());
    }

    #[test]
    fn a_bad_grant_is_explained() {
        let table = [
            ("shop", "must be `EXCHANGE:KEY`, is `shop`"),
            ("shop*:a", "the exchange must be a name, or `*` for any, is `shop*`"),
            ("shop:inv*", "`*` and `#` stand for whole words between dots, is `inv*`"),
        ];
        for (grant, message) in table {
            let error = grant.parse::<PublishGrant>().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn narrowing_never_widens() {
        let list = |list: &[&str]| list.iter().map(|grant| grant.parse().unwrap()).collect();
        let one = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let asked = Grants::new(list(&["shop:order.*", ":queue"]), one("currency", "EUR"));
        let publish =
            |grants: &[&str]| Narrowing { publish: Some(list(grants)), ..Narrowing::default() };

        let both = asked.narrow(&publish(&["*:#.paid"]));
        assert!(both.allows_publish("shop", "order.paid"));
        assert!(!both.allows_publish("shop", "order.made"));
        assert!(!both.allows_publish("", "queue"));
        assert!(!both.allows_publish("else", "invoice.paid"));
        assert!(both.allows_any_publish());
        assert!(!both.narrow(&publish(&[])).allows_any_publish());
        assert!(!both.narrow(&publish(&["shop:order.made"])).allows_publish("shop", "order.paid"));

        assert_eq!(asked.narrow(&Narrowing::default()), asked);
        let variables = |name| Narrowing { variables: one(name, "CHF"), ..Narrowing::default() };
        assert_eq!(asked.narrow(&variables("currency")).variables, one("currency", "CHF"));
        assert_eq!(asked.narrow(&variables("other")).variables, one("currency", "EUR"));
    }
}
