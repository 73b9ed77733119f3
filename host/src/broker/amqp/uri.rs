//! Where the broker is and how it is reached: `amqp://` and `amqps://` URIs as RabbitMQ and pika
//! write them. Next in the flow: [`super::wire`], the bytes of a connection.

use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Noticed after twice this time; RabbitMQ's own default of a minute is long for a consumer.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Nothing delivers so slowly while it is well.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Parameters that other clients act on and that have no meaning here: the host retries without
/// end, with its own backoff and its own limits, and always verifies certificates.
const IGNORED: [&str; 12] = [
    "client_properties",
    "blocked_connection_timeout",
    "connection_timeout",
    "connection_attempts",
    "retry_delay",
    "socket_timeout",
    "stack_timeout",
    "locale",
    "tcp_options",
    "verify",
    "fail_if_no_peer_cert",
    "depth",
];

/// How the broker is reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tried in turn; never empty if it comes from [`Config::from_uris`].
    pub uris: Vec<Uri>,
    /// The connection is given up after twice this time of silence; in whole seconds, 0: never.
    /// A `heartbeat` in a URI has precedence.
    pub heartbeat: Duration,
    /// For `amqps://`, beside what a URI says.
    pub tls: Option<Tls>,
    /// A consumer that gets nothing for this long while its queue has something, and again for as
    /// long, is begun anew.
    pub watchdog: Duration,
    /// What the connections are called at the broker, before ` consume` and ` publish`.
    pub name: String,
}

/// PEM files for `amqps://`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tls {
    /// Certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The client's key, with `cert_file`.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One URI, taken apart. Its text and its `Debug` are without the password.
#[derive(Clone)]
pub struct Uri {
    pub(super) amqp: AMQPUri,
    pub(super) tls: Tls,
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority: AMQPAuthority { userinfo, host, port }, vhost, .. } =
            &self.amqp;
        let bracket = if host.contains(':') { ("[", "]") } else { ("", "") };
        let (open, close) = bracket;
        write!(f, "{scheme}://{}@{open}{host}{close}:{port}", userinfo.username)?;
        if vhost == "/" { Ok(()) } else { write!(f, "/{vhost}") }
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a URI. None of these texts contains the URI itself: it may hold a password.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The list is empty.
    #[error("no broker URI is given")]
    None,
    /// Neither `amqp://` nor `amqps://`.
    #[error("the broker URI must begin with `amqp://` or `amqps://`")]
    Scheme,
    /// A port that is no number up to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
    /// `%` without two hex digits, or bytes that are not UTF-8.
    #[error("the {0} of the broker URI is not valid percent-encoded UTF-8")]
    Encoding(&'static str),
    /// A parameter with a value that it cannot have.
    #[error("the parameter `{name}` of the broker URI cannot be `{value}`")]
    Value {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
    },
    /// pika's way to name certificates, a Python literal.
    #[error(
        "the parameter `ssl_options` of the broker URI is not understood, name the files by \
         `cacertfile`, `certfile` and `keyfile`"
    )]
    SslOptions,
    /// A parameter that no AMQP client knows.
    #[error("the broker URI has an unknown parameter `{0}`")]
    Parameter(String),
}

impl Config {
    /// Reads URIs; everything else has its default.
    pub fn from_uris<S: AsRef<str>>(uris: &[S]) -> Result<Self, ConfigError> {
        let uris = uris.iter().map(|uri| parse(uri.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if uris.is_empty() {
            return Err(ConfigError::None);
        }
        let name = "wabbit".to_owned();
        Ok(Self { uris, heartbeat: HEARTBEAT, tls: None, watchdog: WATCHDOG, name })
    }
}

fn parse(text: &str) -> Result<Uri, ConfigError> {
    let (scheme, rest) = match text.trim().split_once("://") {
        Some(("amqp", rest)) => (AMQPScheme::AMQP, rest),
        Some(("amqps", rest)) => (AMQPScheme::AMQPS, rest),
        _ => return Err(ConfigError::Scheme),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, vhost) = match rest.split_once('/') {
        // `amqp://host/` means the default vhost to people, and the vhost with the empty name to
        // the specification; RabbitMQ never has one of that name unless somebody insists.
        None | Some((_, "")) => (rest.trim_end_matches('/'), "/".to_owned()),
        Some((authority, vhost)) => (authority, decode(vhost, "virtual host")?),
    };
    let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let userinfo = if user.is_empty() {
        AMQPUserInfo::default()
    } else {
        AMQPUserInfo {
            username: decode(username, "user")?,
            password: decode(password, "password")?,
        }
    };
    let (host, port) = host_and_port(address, scheme.default_port())?;
    let authority = AMQPAuthority { userinfo, host, port };
    let amqp = AMQPUri { scheme, authority, vhost, query: AMQPQueryString::default() };
    let mut uri = Uri { amqp, tls: Tls::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        uri.set(&decode(name, "query")?, &decode(&value.replace('+', " "), "query")?)?;
    }
    Ok(uri)
}

fn host_and_port(address: &str, default: u16) -> Result<(String, u16), ConfigError> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        None | Some("") => default,
        Some(port) => port.parse().map_err(|_| ConfigError::Port(port.to_owned()))?,
    };
    let host = if host.is_empty() { "localhost".to_owned() } else { decode(host, "host")? };
    Ok((host, port))
}

impl Uri {
    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let wrong = || ConfigError::Value { name: name.to_owned(), value: value.to_owned() };
        let path = || Some(PathBuf::from(value));
        let query = &mut self.amqp.query;
        match name {
            "heartbeat" => query.heartbeat = Some(value.parse().map_err(|_| wrong())?),
            "channel_max" => query.channel_max = Some(value.parse().map_err(|_| wrong())?),
            "frame_max" => query.frame_max = Some(value.parse().map_err(|_| wrong())?),
            "auth_mechanism" => {
                let mechanism: SASLMechanism = value.parse().map_err(|_| wrong())?;
                query.auth_mechanism = Some(mechanism);
            }
            "cacertfile" => self.tls.ca_file = path(),
            "certfile" => self.tls.cert_file = path(),
            "keyfile" => self.tls.key_file = path(),
            "server_name_indication" if value == self.amqp.authority.host => {}
            "ssl_options" => return Err(ConfigError::SslOptions),
            ignored if IGNORED.contains(&ignored) => {}
            unknown => return Err(ConfigError::Parameter(unknown.to_owned())),
        }
        Ok(())
    }
}

fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(ConfigError::Encoding(part)),
        }
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::Encoding(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String, u16, String) {
        let amqp = parse(text).expect("is a URI").amqp;
        let AMQPAuthority { userinfo, host, port } = amqp.authority;
        (userinfo.username, userinfo.password, host, port, amqp.vhost)
    }

    #[test]
    fn uris_are_taken_apart() {
        let table = [
            ("amqp://", ("guest", "guest", "localhost", 5672, "/")),
            ("amqp://broker", ("guest", "guest", "broker", 5672, "/")),
            ("amqp://broker/", ("guest", "guest", "broker", 5672, "/")),
            ("amqp://broker/%2f", ("guest", "guest", "broker", 5672, "/")),
            ("amqps://a:b@broker/shop", ("a", "b", "broker", 5671, "shop")),
            ("amqp://a%40b:p%3A%2F@10.0.0.1:5673/v%20w", ("a@b", "p:/", "10.0.0.1", 5673, "v w")),
            ("amqp://a:@[::1]:99", ("a", "", "::1", 99, "/")),
            ("amqp://a@[::1]/x", ("a", "", "::1", 5672, "x")),
        ];
        for (text, (user, password, host, port, vhost)) in table {
            let expected = (user.into(), password.into(), host.into(), port, vhost.into());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn parameters_of_pika_and_rabbitmq_are_known() {
        let text = "amqps://h?heartbeat=7&blocked_connection_timeout=300&connection_timeout=9\
            &connection_attempts=3&retry_delay=2&socket_timeout=1&channel_max=50&frame_max=8192\
            &locale=en_US&cacertfile=/a%20b.pem&certfile=c.pem&keyfile=k.pem&verify=verify_peer";
        let uri = parse(text).expect("is a URI");
        let query = &uri.amqp.query;
        assert_eq!(
            (query.heartbeat, query.channel_max, query.frame_max),
            (Some(7), Some(50), Some(8192))
        );
        assert_eq!(uri.tls.ca_file, Some(PathBuf::from("/a b.pem")));
        assert_eq!(uri.tls.cert_file, Some(PathBuf::from("c.pem")));
        assert_eq!(uri.tls.key_file, Some(PathBuf::from("k.pem")));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        let table = [
            ("http://u:sesame@h", "the broker URI must begin with `amqp://` or `amqps://`"),
            ("amqp://u:sesame@h:x", "`x` is not a port"),
            (
                "amqp://u:%zzsesame@h",
                "the password of the broker URI is not valid percent-encoded UTF-8",
            ),
            ("amqp://u:sesame@h?hartbeat=1", "the broker URI has an unknown parameter `hartbeat`"),
            (
                "amqp://u:sesame@h?heartbeat=often",
                "the parameter `heartbeat` of the broker URI cannot be `often`",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).map(|_| ()).expect_err(text).to_string(), expected);
        }
        let config = Config::from_uris(&["amqp://u:sesame@h/v"]).expect("is a URI");
        assert!(!format!("{config:?}").contains("sesame"), "{config:?}");
        assert_eq!(config.uris[0].to_string(), "amqp://u@h:5672/v");
        assert_eq!(Config::from_uris::<&str>(&[]).map(|_| ()), Err(ConfigError::None));
    }
}
