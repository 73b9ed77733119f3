//! Where a plugin may publish: `EXCHANGE:KEY`.

use super::list::Scope;
use crate::flow::{PatternError, TopicPattern};
use std::fmt::{self, Display};
use std::str::FromStr;

/// `EXCHANGE:KEY`: the exchange's name or `*` for any, nothing for the default exchange; the key
/// as a topic pattern. As names of exchanges may hold colons and keys hardly do, the last colon
/// counts, unless the first character is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishGrant {
    exchange: String,
    key: TopicPattern,
}

impl PublishGrant {
    /// Whether it allows publishing to `exchange` with `key`.
    pub fn allows(&self, exchange: &str, key: &str) -> bool {
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

impl Scope for PublishGrant {
    fn covers(&self, other: &Self) -> bool {
        (self.exchange == "*" || self.exchange == other.exchange) && self.key.covers(&other.key)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let any = self.exchange == "*" || other.exchange == "*";
        (any || self.exchange == other.exchange) && self.key.overlaps(&other.key)
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
    use super::super::{Grants, Narrowing};
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
            let publish = vec![grant.parse().unwrap()].into();
            let grants = Grants { publish, ..Grants::default() };
            let said = grants.allows_publish(exchange, key);
            assert_eq!(said, allowed, "`{grant}`: {exchange} {key}");
        }
        assert!(!Grants::default().allows_publish("", "orders"));
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
    fn every_list_must_allow_a_publication() {
        let list = |list: &[&str]| list.iter().map(|grant| grant.parse().unwrap()).collect();
        let asked: Vec<PublishGrant> = list(&["shop:order.*", ":queue"]);
        let asked = Grants { publish: asked.into(), ..Grants::default() };
        let publish =
            |grants: &[&str]| Narrowing { publish: Some(list(grants)), ..Narrowing::default() };
        let both = asked.narrow(&publish(&["*:#.paid"]));
        assert!(both.allows_publish("shop", "order.paid"));
        assert!(!both.allows_publish("shop", "order.made"));
        assert!(!both.allows_publish("", "queue"));
        assert!(!both.allows_publish("else", "invoice.paid"));
        let neither = both.narrow(&publish(&["shop:order.made"]));
        assert!(!neither.allows_publish("shop", "order.paid"));
        assert_eq!(asked.narrow(&Narrowing::default()), asked);
    }
}
