//! Where an HTTP request goes, and whether grants allow that: first by name, then each address that
//! the name has.

use super::address::special;
use super::{Granted, HostGrant};
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};

/// A scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "its own names")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Its own port.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In lower case, as DNS has it, without a dot at its end.
    Name(String),
    /// As such.
    Address(IpAddr),
}

impl Host {
    /// Reads a host without brackets; `None` if it is none. What other programs take for a number
    /// that is an address (`127.1`, `0x7f000001`) is none.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let ascii = idna::domain_to_ascii(text).ok()?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        let of_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_label);
        let last = name.rsplit('.').next().unwrap_or(name);
        let digits = last.strip_prefix("0x").unwrap_or(last);
        let number = last.bytes().all(|byte| byte.is_ascii_digit())
            || (digits != last && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let whole = name.len() <= 253 && name.split('.').all(label) && !number;
        whole.then(|| Self::Name(name.to_owned()))
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// To whom.
    pub host: Host,
    /// Of the host.
    pub port: u16,
}

impl Target {
    /// Reads `authority`: a host, perhaps with a port.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(scheme: Scheme, authority: &str) -> Result<Self, Denied> {
        let wrong = |rule: &str| Denied { rule: rule.to_owned(), add: None };
        if authority.contains('@') {
            return Err(wrong("its URL holds a user or a password"));
        }
        let after = authority.rfind(']').map_or(0, |at| at + 1);
        let colon = authority[after..].find(':').map(|at| after + at);
        let (host, port) = match colon {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (authority, ""),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse().ok().map(IpAddr::V6).map(Host::Address),
            None => Host::parse(host),
        };
        let port = match port {
            "" => Some(scheme.port()),
            digits => digits.parse().ok().filter(|port| *port > 0),
        };
        let host = host.ok_or_else(|| wrong("its URL names no host"))?;
        let port = port.ok_or_else(|| wrong("its URL has a port that is none"))?;
        Ok(Self { scheme, host, port })
    }

    /// As it would be written in a grant, with `host` in place of its own.
    fn with(&self, host: &Host) -> String {
        Self { host: host.clone(), ..self.clone() }.to_string()
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            Host::Name(name) => write!(f, "{name}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Why a request is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Denied {
    /// What refuses it.
    pub rule: String,
    /// What to add to `allowed-outbound-hosts` to allow it.
    pub add: Option<String>,
}

impl Granted<HostGrant> {
    /// Whether a request to `target` may be sent, as far as its name says.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, target: &Target) -> Result<(), Denied> {
        let lists = self.lists().enumerate();
        let mut refusing = lists.filter(|(_, list)| !list.iter().any(|it| it.allows(target)));
        let Some((at, list)) = refusing.next() else { return Ok(()) };
        let near = list.iter().find(|it| it.is_near(target));
        let whose = whose(at);
        let rule = match near {
            Some(near) => format!("{whose} has it only as `{near}`"),
            None if list.is_empty() => format!("{whose} has no entry"),
            None => format!("no entry of {whose} names it"),
        };
        Err(Denied { rule, add: Some(target.to_string()) })
    }

    /// Whether a request to `target`, which may be sent by its name, may go to `address`.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge_address(&self, target: &Target, address: IpAddr) -> Result<(), Denied> {
        let Some((what, net)) = special(address) else { return Ok(()) };
        let lists = self.lists().enumerate();
        let mut refusing =
            lists.filter(|(_, list)| !list.iter().any(|it| it.names(target, address)));
        let Some((at, _)) = refusing.next() else { return Ok(()) };
        let whose = whose(at);
        let rule = format!("{address} is {what} ({net}), which no entry of {whose} names");
        Err(Denied { rule, add: Some(target.with(&Host::Address(address))) })
    }
}

/// What the list number `at` is called.
fn whose(at: usize) -> &'static str {
    match at {
        0 => "`allowed-outbound-hosts` of the plugin",
        _ => "`allowed-outbound-hosts` of the host's configuration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, Denied> {
        let (scheme, authority) = url.split_once("://").unwrap();
        Target::new(if scheme == "http" { Scheme::Http } else { Scheme::Https }, authority)
    }

    fn grants(texts: &[&str]) -> Granted<HostGrant> {
        texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<HostGrant>>().into()
    }

    #[test]
    fn a_url_is_read_in_one_way() {
        let table = [
            ("https://API.example.com.", "https://api.example.com"),
            ("https://api.example.com:443", "https://api.example.com"),
            ("http://a:443", "http://a:443"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://127.0.0.1:", "http://127.0.0.1"),
            ("https://u@a.b", "its URL holds a user or a password"),
            ("https://a.b@10.0.0.1", "its URL holds a user or a password"),
            ("https://", "its URL names no host"),
            ("https://127.1", "its URL names no host"),
            ("https://0x7f.1", "its URL names no host"),
            ("https://[::1%25eth0]", "its URL names no host"),
            ("https://a.b:0", "its URL has a port that is none"),
            ("https://a.b:1:2", "its URL has a port that is none"),
        ];
        for (url, expected) in table {
            let read = target(url).map_or_else(|denied| denied.to_string(), |it| it.to_string());
            assert_eq!(read, expected, "{url}");
        }
    }

    #[test]
    fn requests_go_where_grants_name_them() {
        let own = "`allowed-outbound-hosts` of the plugin";
        let table: [(&[&str], &str, Option<String>); 14] = [
            (&["https://a.b"], "https://a.b", None),
            (&["https://a.b"], "https://A.B.:443", None),
            (&["https://a.b"], "https://c.b", Some(format!("no entry of {own} names it"))),
            (&["https://a.b"], "http://a.b", Some(format!("{own} has it only as `https://a.b`"))),
            (
                &["https://a.b"],
                "https://a.b:8443",
                Some(format!("{own} has it only as `https://a.b`")),
            ),
            (&["https://*.b"], "https://x.a.b", None),
            (&["https://*.b"], "https://b", Some(format!("no entry of {own} names it"))),
            (&["https://*.b"], "https://xb", Some(format!("no entry of {own} names it"))),
            (&["https://*"], "https://x.y", None),
            (&["https://*"], "http://x.y", Some(format!("no entry of {own} names it"))),
            (&["https://*:*"], "https://x.y:9", None),
            (&[], "https://x.y", Some(format!("{own} has no entry"))),
            (&["http://10.0.0.0/8:*"], "http://10.1.2.3:99", None),
            (
                &["http://10.0.0.0/8:*"],
                "http://ten.example:99",
                Some(format!("no entry of {own} names it")),
            ),
        ];
        for (texts, url, refused) in table {
            let judged = grants(texts).judge(&target(url).unwrap()).map_err(|it| it.rule);
            assert_eq!(judged.err(), refused, "{texts:?} {url}");
        }
    }

    #[test]
    fn addresses_outside_the_internet_are_named_or_refused() {
        let table: [(&[&str], &str, &str, bool); 14] = [
            (&["https://*"], "https://a.b", "8.8.8.8", true),
            (&["https://*"], "https://a.b", "10.0.0.1", false),
            (&["https://*"], "https://10.0.0.1", "10.0.0.1", false),
            (&["http://a.b"], "http://a.b", "127.0.0.1", false),
            (&["http://a.b", "http://127.0.0.1"], "http://a.b", "127.0.0.1", true),
            (&["http://a.b", "http://127.0.0.1:81"], "http://a.b", "127.0.0.1", false),
            (&["http://a.b", "https://127.0.0.1"], "http://a.b", "127.0.0.1", false),
            (&["http://a.b", "http://10.0.0.0/8"], "http://a.b", "10.9.9.9", true),
            (&["http://localhost"], "http://localhost", "127.0.0.1", true),
            (&["http://localhost"], "http://localhost", "::1", true),
            (&["http://localhost"], "http://localhost", "10.0.0.1", false),
            (&["http://localhost", "http://a.b"], "http://a.b", "127.0.0.1", false),
            (&["http://127.0.0.1"], "http://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", false),
            (&["http://10.0.0.0/8"], "http://10.0.0.1", "10.0.0.1", true),
        ];
        for (texts, url, address, allowed) in table {
            let judged =
                grants(texts).judge_address(&target(url).unwrap(), address.parse().unwrap());
            assert_eq!(judged.is_ok(), allowed, "{texts:?} {url} {address} {judged:?}");
        }
    }

    #[test]
    fn a_refused_address_is_explained() {
        let (asked, target) = (grants(&["http://a.b:8080"]), target("http://a.b:8080").unwrap());
        let denied = asked.judge_address(&target, "127.0.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(
            (denied.rule.as_str(), denied.add.as_deref()),
            (
                "127.0.0.1 is a loopback address (127.0.0.0/8), which no entry of \
                 `allowed-outbound-hosts` of the plugin names",
                Some("http://127.0.0.1:8080")
            )
        );
        let list = vec!["http://a.b:8080".parse().unwrap()];
        let named = grants(&["http://a.b:8080", "http://127.0.0.1:8080"]).narrow(Some(&list));
        let denied = named.judge_address(&target, "127.0.0.1".parse().unwrap()).unwrap_err();
        assert!(denied.rule.ends_with("of the host's configuration names"), "{denied}");
    }
}
