//! Where a plugin may send HTTP requests: `https://api.example.com`, `http://10.0.0.0/8:8080`.
//! Next: `target`, what is asked of such grants.

use super::address::has_special;
use super::list::Scope;
use super::target::{Host, Scheme, Target};
use ipnet::IpNet;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// `SCHEME://HOST[:PORT]`. The host is a name, `*.` before one for all names below it, `*` for any,
/// or an address or a network. Without a port it is the scheme's own; `:*` is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostGrant {
    scheme: Scheme,
    host: Pattern,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Name(String),
    /// All names below it.
    Below(String),
    Net(IpNet),
}

impl HostGrant {
    /// Whether a request to `target` is allowed, as far as its name says.
    pub fn allows(&self, target: &Target) -> bool {
        self.leads(target) && self.host.fits(&target.host)
    }

    /// Whether it names `address`, which is not simply somewhere in the internet, so that a request
    /// to `target` may go there.
    pub fn names(&self, target: &Target, address: IpAddr) -> bool {
        self.leads(target)
            && match &self.host {
                Pattern::Net(net) => net.contains(&address),
                Pattern::Name(name) => {
                    name == "localhost" && self.host.fits(&target.host) && address.is_loopback()
                }
                Pattern::Any | Pattern::Below(_) => false,
            }
    }

    /// Whether it would allow a request to `target` but for its scheme or port.
    pub fn is_near(&self, target: &Target) -> bool {
        self.host != Pattern::Any && self.host.fits(&target.host)
    }

    fn leads(&self, target: &Target) -> bool {
        self.scheme == target.scheme && self.port.is_none_or(|port| port == target.port)
    }
}

impl Pattern {
    fn fits(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Name(name), Host::Name(asked)) => name == asked,
            (Self::Below(domain), Host::Name(asked)) => is_below(asked, domain),
            (Self::Net(net), Host::Address(address)) => net.contains(address),
            _ => false,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            // Any is anywhere in the internet.
            (Self::Any, Self::Net(net)) => !has_special(net),
            // This name alone may also be the machine itself.
            (Self::Any, Self::Name(name)) => name != "localhost",
            (Self::Any, _) => true,
            (Self::Below(domain), Self::Name(name) | Self::Below(name)) if name != domain => {
                is_below(name, domain)
            }
            (Self::Net(net), Self::Net(other)) => net.contains(other),
            _ => self == other,
        }
    }
}

impl Scope for HostGrant {
    fn covers(&self, other: &Self) -> bool {
        let port = self.port.is_none() || self.port == other.port;
        self.scheme == other.scheme && port && self.host.covers(&other.host)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let port = self.port.is_none() || other.port.is_none() || self.port == other.port;
        let hosts = self.host.covers(&other.host) || other.host.covers(&self.host);
        self.scheme == other.scheme && port && hosts
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Why a text is no [`HostGrant`], and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct HostGrantError {
    problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

fn wrong<T>(problem: impl Into<String>, hint: Option<String>) -> Result<T, HostGrantError> {
    Err(HostGrantError { problem: problem.into(), hint })
}

impl FromStr for HostGrant {
    type Err = HostGrantError;

    fn from_str(text: &str) -> Result<Self, HostGrantError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let hint = format!("write `https://{text}`");
            return wrong(
                format!("must begin with `https://` or `http://`, is `{text}`"),
                Some(hint),
            );
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => {
                return wrong(format!("the scheme must be `https` or `http`, is `{other}`"), None);
            }
        };
        if rest.contains('@') {
            return wrong("must not hold a user or a password", None);
        }
        let (host, port) = host(rest, scheme)?;
        Ok(Self { scheme, host, port: read_port(port, scheme)? })
    }
}

/// The host that `rest` begins with, and what comes after it.
fn host(rest: &str, scheme: Scheme) -> Result<(Pattern, &str), HostGrantError> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        let Some((inner, port)) = bracketed.split_once(']') else {
            return wrong(format!("`[` without its `]` in `{rest}`"), None);
        };
        return match read_net(inner)? {
            Some(net @ IpNet::V6(_)) => Ok((Pattern::Net(net), port)),
            _ => {
                let hint = "e.g. `[fd00::1]`, or `[fd00::/8]` for a network".to_owned();
                wrong(format!("`[{inner}]` is not an IPv6 address"), Some(hint))
            }
        };
    }
    let end = rest.find(['/', '?', '#', ':']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if let (Ok(_), Some(prefix)) = (name.parse::<Ipv4Addr>(), after.strip_prefix('/')) {
        let digits = prefix.find(':').unwrap_or(prefix.len());
        let (prefix, port) = prefix.split_at(digits);
        if let Some(net) = read_net(&format!("{name}/{prefix}"))? {
            return Ok((Pattern::Net(net), port));
        }
        return wrong(format!("`{name}/{prefix}` is not a network"), None);
    }
    if after.matches(':').count() > 1 {
        let hint = format!("write `{scheme}://[{rest}]` if it is an IPv6 address");
        return wrong(format!("`{rest}` has more than one colon"), Some(hint));
    }
    if let Some(at) = after.find(['/', '?', '#']) {
        let hint = format!("write `{scheme}://{name}{}`", &after[..at]);
        return wrong(format!("must end after host and port, is `{scheme}://{rest}`"), Some(hint));
    }
    Ok((pattern(name)?, after))
}

fn pattern(name: &str) -> Result<Pattern, HostGrantError> {
    if name == "*" {
        return Ok(Pattern::Any);
    }
    let (below, name) = match name.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, name),
    };
    if name.contains('*') {
        let hint = "`*.example.com` is every name below `example.com`, `*` is any".to_owned();
        return wrong(
            format!("`*` stands for whole names before a domain, is in `{name}`"),
            Some(hint),
        );
    }
    match Host::parse(name) {
        Some(Host::Name(name)) if below => Ok(Pattern::Below(name)),
        Some(Host::Name(name)) => Ok(Pattern::Name(name)),
        Some(Host::Address(address)) if !below => Ok(Pattern::Net(address.into())),
        _ => wrong(format!("`{name}` is no host"), None),
    }
}

/// An address or a network, `None` if it is neither.
fn read_net(text: &str) -> Result<Option<IpNet>, HostGrantError> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    match net {
        Some(net) if net.trunc() != net => {
            let hint = Some(format!("write `{}`", net.trunc()));
            wrong(format!("`{net}` has digits beyond its network"), hint)
        }
        net => Ok(net),
    }
}

fn read_port(text: &str, scheme: Scheme) -> Result<Option<u16>, HostGrantError> {
    match text.strip_prefix(':') {
        Some("*") => Ok(None),
        Some(digits) => match digits.parse() {
            Ok(port @ 1..) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(port)),
            _ => wrong(format!("the port must be 1 to 65535, or `*` for any, is `{digits}`"), None),
        },
        None if text.is_empty() => Ok(Some(scheme.port())),
        None => wrong(format!("`{text}` after the host is no port"), None),
    }
}

impl Display for HostGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            Pattern::Any => write!(f, "*")?,
            Pattern::Name(name) => write!(f, "{name}")?,
            Pattern::Below(domain) => write!(f, "*.{domain}")?,
            Pattern::Net(net) => {
                let whole = net.prefix_len() == net.max_prefix_len();
                let text = if whole { net.addr().to_string() } else { net.to_string() };
                if net.addr().is_ipv6() { write!(f, "[{text}]")? } else { write!(f, "{text}")? }
            }
        }
        match self.port {
            None => write!(f, ":*"),
            Some(port) if port == self.scheme.port() => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_as_it_is_meant() {
        let table = [
            ("https://api.example.com", "https://api.example.com"),
            ("HTTPS://API.Example.COM.", "https://api.example.com"),
            ("https://api.example.com:443", "https://api.example.com"),
            ("http://api.example.com:8080", "http://api.example.com:8080"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("https://*", "https://*"),
            ("https://*:*", "https://*:*"),
            ("http://10.0.0.0/8:8080", "http://10.0.0.0/8:8080"),
            ("http://10.0.0.0/8", "http://10.0.0.0/8"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[FD00:0::/8]", "http://[fd00::/8]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://my_service:8080", "http://my_service:8080"),
        ];
        for (text, expected) in table {
            let read = text.parse::<HostGrant>().map(|grant| grant.to_string());
            assert_eq!(read.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_bad_grant_is_explained() {
        let table = [
            ("api.example.com", "must begin with `https://`", "write `https://api.example.com`"),
            ("ftp://a", "the scheme must be `https` or `http`, is `ftp`", ""),
            ("*://a", "the scheme must be `https` or `http`, is `*`", ""),
            ("https://u:p@a.b", "must not hold a user or a password", ""),
            ("https://a.b/v1", "must end after host and port", "write `https://a.b`"),
            ("https://a.b:8443/v1", "must end after host and port", "write `https://a.b:8443`"),
            ("https://a.b/", "must end after host and port", "write `https://a.b`"),
            ("https://a.b?q", "must end after host and port", "write `https://a.b`"),
            ("http://10.1.2.3/8", "`10.1.2.3/8` has digits beyond its network", "`10.0.0.0/8`"),
            ("http://10.0.0.0/33", "`10.0.0.0/33` is not a network", ""),
            ("http://10.0.0.0/x:1", "`10.0.0.0/x` is not a network", ""),
            ("http://::1:80", "more than one colon", "[::1:80]"),
            ("http://[::1", "`[` without its `]`", ""),
            ("http://[10.0.0.1]", "`[10.0.0.1]` is not an IPv6 address", "`[fd00::1]`"),
            ("http://[::1]x", "`x` after the host is no port", ""),
            ("https://a.b:0", "the port must be 1 to 65535", ""),
            ("https://a.b:+1", "the port must be 1 to 65535", ""),
            ("https://a.b:65536", "the port must be 1 to 65535", ""),
            ("https://a.*.b", "`*` stands for whole names", "`*.example.com`"),
            ("https://*a.b", "`*` stands for whole names", ""),
            ("https://*.10.0.0.1", "`10.0.0.1` is no host", ""),
            ("https://127.1", "`127.1` is no host", ""),
            ("https://0x7f000001", "`0x7f000001` is no host", ""),
            ("https://2130706433", "`2130706433` is no host", ""),
            ("https://a..b", "`a..b` is no host", ""),
            ("https://a b", "`a b` is no host", ""),
            ("https://", "`` is no host", ""),
        ];
        for (text, problem, hint) in table {
            let error = text.parse::<HostGrant>().expect_err(text);
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}: {error:?}");
        }
    }

    #[test]
    fn what_holds_what() {
        let table = [
            ("https://a.b", "https://a.b", true),
            ("https://a.b", "http://a.b", false),
            ("https://a.b:*", "https://a.b", true),
            ("https://a.b", "https://a.b:*", false),
            ("https://*.b", "https://a.b", true),
            ("https://*.b", "https://b", false),
            ("https://*.b", "https://*.a.b", true),
            ("https://*.b", "https://ab", false),
            ("https://*", "https://*.b", true),
            ("https://*", "https://8.8.8.8", true),
            ("https://*", "https://10.0.0.1", false),
            ("https://*", "https://localhost", false),
            ("http://10.0.0.0/8", "http://10.0.0.1", true),
            ("http://10.0.0.0/8", "http://11.0.0.1", false),
        ];
        for (one, other, expected) in table {
            let [a, b] = [one, other].map(|text| text.parse::<HostGrant>().unwrap());
            assert_eq!(a.covers(&b), expected, "{one} {other}");
        }
    }
}
