//! The tables of the host's configuration: what each holds, its defaults and its rules.

use crate::capability::secrets::Source;
use crate::plugin::limits::MEMORY_MIN;
use crate::plugin::manifest::check_layer;
use crate::plugin::manifest::written::{Place, Report, Section, Table};
use crate::plugin::watch::WatchMode;
use crate::telemetry::log::Format;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const MIB: usize = 1 << 20;
/// The table that is not for one plugin but for all.
const DEFAULTS: &str = "defaults";
const HOUR: Duration = Duration::from_secs(3600);

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Tried in this order: `amqp://`, `amqps://` or `memory:`. Empty if nobody said.
    pub urls: Vec<String>,
    /// Asked for at the broker; `None`: what the URL says.
    pub heartbeat: Option<Duration>,
    /// The prefetch of subscriptions that state none.
    pub prefetch_default: u16,
    /// For `amqps://`.
    pub tls: TlsConfig,
}

/// `[broker.tls]`: PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// The host's own certificate; together with `key`.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl BrokerConfig {
    pub(super) fn read(broker: &Section<'_>) -> Self {
        let (urls, url) = (broker.texts("urls"), broker.filled("url"));
        let by_env = |key| matches!(broker.place(key), Place::Variable(_));
        if urls.is_some() && url.is_some() && by_env("urls") == by_env("url") {
            broker.wrong("url", "and `urls` exclude each other");
        }
        let urls = match (urls, url) {
            (Some(_), Some(url)) if by_env("url") => vec![url],
            (Some(urls), _) => urls,
            (None, url) => url.into_iter().collect(),
        };
        if urls.iter().any(|url| url.trim().is_empty()) {
            broker.wrong("urls", "must not hold an empty one");
        }
        Self {
            urls,
            heartbeat: broker.duration("heartbeat", Duration::from_secs(1)..=HOUR),
            prefetch_default: broker.integer("prefetch-default", 1..=u16::MAX).unwrap_or(32),
            tls: broker.table("tls", TlsConfig::read),
        }
    }
}

impl TlsConfig {
    fn read(tls: &Section<'_>) -> Self {
        let file = |key| tls.filled(key).map(PathBuf::from);
        let read = Self { ca: file("ca"), certificate: file("certificate"), key: file("key") };
        match (&read.certificate, &read.key) {
            (Some(_), None) => tls.wrong("certificate", "needs its private key, `key`"),
            (None, Some(_)) => tls.wrong("key", "needs its certificate, `certificate`"),
            _ => {}
        }
        read
    }
}

/// `[plugins]`
#[derive(Debug, Clone, PartialEq)]
pub struct PluginsConfig {
    /// The folder, as written: relative to the current folder.
    pub dir: PathBuf,
    /// How changes are noticed.
    pub watch: WatchMode,
    /// `[plugins.defaults]`: for what manifests do not state.
    pub defaults: Table,
    /// `[plugins.NAME]` by name.
    pub overrides: BTreeMap<String, Table>,
}

impl PluginsConfig {
    pub(super) fn read(plugins: &Section<'_>, limits: &HostLimits, report: &Report) -> Self {
        let watches =
            [("auto", WatchMode::Auto), ("poll", WatchMode::Poll), ("off", WatchMode::Off)];
        let dir = plugins.filled("dir").unwrap_or_else(|| "plugins".to_owned());
        let watch = plugins.choice("watch", &watches).unwrap_or_default();
        let mut overrides = BTreeMap::new();
        for (name, at, table) in plugins.other_tables() {
            let path = format!("plugins.{name}");
            check_layer((&path, at.clone(), table), limits.memory, report);
            if name != DEFAULTS {
                overrides.insert(name.to_owned(), table.clone());
            }
        }
        let defaults = plugins.map(DEFAULTS).cloned().unwrap_or_default();
        Self { dir: dir.into(), watch, defaults, overrides }
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `None`: off.
    pub address: Option<SocketAddr>,
    /// Asked of every request that may change something.
    pub token: Option<String>,
}

impl AdminConfig {
    pub(super) fn read(admin: &Section<'_>) -> Self {
        let address = admin.filled("address").map(|text| Self::parse_address(&text));
        let address = address.unwrap_or(Ok(Some(Self::ADDRESS))).unwrap_or_else(|rule| {
            admin.wrong_with("address", rule, Some("e.g. `127.0.0.1:9464`, or `off`"));
            None
        });
        let config = Self { address, token: admin.text("token").filter(|token| !token.is_empty()) };
        if let Err((rule, hint)) = config.check() {
            admin.wrong_with("address", rule, Some(hint));
        }
        config
    }

    /// Only this machine, on the port that OpenTelemetry gives to Prometheus exporters.
    pub const ADDRESS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

    /// `off`, or an IP address and a port; else the rule that `text` breaks.
    pub fn parse_address(text: &str) -> Result<Option<SocketAddr>, String> {
        if text == "off" {
            return Ok(None);
        }
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| format!("must be an IP address and a port, is `{text}`"))
    }

    /// Whether the address may be opened; else the rule that it breaks, and a hint.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        match self.address {
            Some(address) if !address.ip().is_loopback() && self.token.is_none() => Err((
                format!("is open to other machines and needs a `token`, is `{address}`"),
                "set `token` in `[admin]` (`WABBIT_ADMIN_TOKEN`), or use `127.0.0.1`",
            )),
            _ => Ok(()),
        }
    }
}

/// `[secrets.NAME]`, by name.
pub(super) fn secrets(secrets: &Section<'_>, report: &Report) -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    for (name, at, table) in secrets.other_tables() {
        let path = format!("secrets.{name}");
        let source = Section::read((&path, at.clone(), table), None, report, |secret| {
            match (secret.filled("env"), secret.filled("file")) {
                (Some(env), None) => Some(Source::Env(env)),
                (None, Some(file)) => Some(Source::File(file.into())),
                (Some(_), Some(_)) => {
                    secret.wrong("env", "and `file` exclude each other");
                    None
                }
                (None, None) => {
                    let message = format!("`[{path}]` must say where the secret is");
                    let hint = "give `env`, a variable's name, or `file`, a path".to_owned();
                    secret.problem(at.clone(), message, Some(hint));
                    None
                }
            }
        });
        sources.extend(source.map(|source| (name.to_owned(), source)));
    }
    sources
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: Format,
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` says it in more detail.
    pub level: String,
}

impl LogConfig {
    pub(super) fn read(log: &Section<'_>) -> Self {
        let formats = [("human", Format::Human), ("json", Format::Json)];
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        Self {
            format: log.choice("format", &formats).unwrap_or_default(),
            level: log.choice("level", &levels).unwrap_or("info").to_owned(),
        }
    }
}

/// `[limits]`: of the host as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimits {
    /// Slots for instances, of all plugins together.
    pub instances: u32,
    /// The most memory that a plugin may ask for, in bytes.
    pub memory: usize,
    /// The largest `.wasm` file that is loaded, in bytes.
    pub component: u64,
    /// How long a stop waits for the events in flight.
    pub shutdown_grace: Duration,
}

impl HostLimits {
    pub(super) fn read(limits: &Section<'_>) -> Self {
        // A linear memory of 32 bits holds no more than 4 GiB.
        let memory = limits.size("memory", MEMORY_MIN..=4096 * MIB);
        let component = limits.size("component", 1024..=1024 * MIB);
        Self {
            instances: limits.integer("instances", 1..=100_000).unwrap_or(1000),
            memory: memory.unwrap_or(512 * MIB),
            component: u64::try_from(component.unwrap_or(128 * MIB)).unwrap_or(u64::MAX),
            shutdown_grace: limits
                .duration("shutdown-grace", Duration::ZERO..=HOUR)
                .unwrap_or(Duration::from_secs(25)),
        }
    }
}
