//! What all verbs share: the global flags and the configuration under them.

use super::exit::{Exit, Failure};
use super::output::Format;
use crate::broker::amqp::{self, AmqpBroker};
use crate::broker::memory::MemoryBroker;
use crate::broker::{Broker, TopologyError};
use crate::capability::http::Tls;
use crate::capability::secrets::Secrets;
use crate::config::{AdminConfig, BrokerConfig, Config, ConfigError};
use crate::plugin::catalogue::Layers;
use crate::plugin::engine::EngineLimits;
use crate::plugin::{Loader, Outside};
use crate::store::Registry;
use crate::telemetry::log;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The tables of the configuration that a verb needs to talk to a running host.
pub const OF_CLIENTS: [&str; 2] = ["admin", "log"];

/// Flags that every verb takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// How results are written
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// The host's configuration [default: wabbit.toml if present]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
}

impl Global {
    /// The configuration: flags lie over the environment, that over the file.
    ///
    /// # Errors
    /// With [`Exit::Mismatch`] if it is wrong.
    pub fn load(&self) -> Result<Config, Failure> {
        self.loaded(Config::load)
    }

    /// The same, of these tables only; see [`Config::load_only`].
    ///
    /// # Errors
    /// With [`Exit::Mismatch`] if one of them is wrong.
    pub fn load_only(&self, tables: &[&str]) -> Result<Config, Failure> {
        self.loaded(|path, explicit, env| Config::load_only(tables, path, explicit, env))
    }

    fn loaded(
        &self,
        load: impl FnOnce(&Path, bool, &BTreeMap<String, String>) -> Result<Config, ConfigError>,
    ) -> Result<Config, Failure> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = self.config.as_deref().unwrap_or(Path::new("wabbit.toml"));
        load(path, self.config.is_some(), &env).map_err(|error| Failure::new(Exit::Mismatch, error))
    }

    /// Starts the log; `filter` is what is shown unless `RUST_LOG` says.
    ///
    /// # Errors
    /// With [`Exit::Mismatch`] for a filter that is wrong.
    pub fn start_log(&self, config: &Config, filter: &str) -> Result<(), Failure> {
        let format = match self.log_format {
            Some(Format::Human) => log::Format::Human,
            Some(Format::Json) => log::Format::Json,
            None => config.log.format,
        };
        log::init(format, Some(filter)).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Mismatch, error).hint(Some(hint))
        })
    }
}

/// Loads plugins as the configuration says.
///
/// # Errors
/// With [`Exit::Failed`] if the machine does not have what the engine needs, with [`Exit::Mismatch`]
/// for certificates that can't be used.
pub fn loader(config: &Config) -> Result<Loader, Failure> {
    let limits = EngineLimits { instances: config.limits.instances, memory: config.limits.memory };
    let stores = Arc::new(Registry::new(config.stores.clone(), &config.data));
    let tls = Tls::new(config.http_ca.as_deref());
    let tls = tls.map_err(|error| Failure::new(Exit::Mismatch, error))?;
    let outside = Outside { secrets: Arc::new(Secrets::new(config.secrets.clone())), tls };
    Loader::new(limits, Some(&config.cache.join("compiled")), stores)
        .map(|loader| loader.reaching(outside))
        .map_err(|error| Failure::say(Exit::Failed, format!("can't start the engine: {error:#}")))
}

/// Where the running host is asked: what the flag `--admin` says, or else the configuration.
///
/// # Errors
/// With [`Exit::Usage`] if that is no address.
pub fn admin_address(config: &Config, flag: Option<&str>) -> Result<SocketAddr, Failure> {
    let usage = |text: String| Failure::say(Exit::Usage, text);
    match flag {
        None => config.admin.address.ok_or_else(|| usage("`[admin] address` is off".to_owned())),
        Some(text) => AdminConfig::parse_address(text)
            .map_err(|rule| usage(format!("`--admin` {rule}")))?
            .ok_or_else(|| usage("`--admin` must be an address".to_owned())),
    }
}

/// What the configuration says about plugins.
pub fn layers(config: &Config) -> Layers {
    Layers {
        defaults: Some(config.plugins.defaults.clone()),
        overrides: config.plugins.overrides.clone(),
        prefetch: config.broker.prefetch_default,
        memory_max: config.limits.memory,
    }
}

/// The broker that the configuration names.
pub enum Named {
    /// Embedded in this process.
    Memory,
    /// RabbitMQ.
    Amqp(amqp::Config),
}

impl Named {
    /// Reads `broker`'s URLs; `None` if there are none.
    ///
    /// # Errors
    /// With [`Exit::Mismatch`] for one that can't be read.
    pub fn read(broker: &BrokerConfig) -> Result<Option<Self>, Failure> {
        match broker.urls.as_slice() {
            [] => Ok(None),
            [url] if url.starts_with("memory:") => Ok(Some(Self::Memory)),
            urls => {
                let mut config = amqp::Config::from_uris(urls)
                    .map_err(|error| Failure::new(Exit::Mismatch, error))?;
                config.heartbeat = broker.heartbeat.unwrap_or(config.heartbeat);
                config.tls = Some(amqp::Tls {
                    ca_file: broker.tls.ca.clone(),
                    cert_file: broker.tls.certificate.clone(),
                    key_file: broker.tls.key.clone(),
                });
                Ok(Some(Self::Amqp(config)))
            }
        }
    }

    /// What tells hosts of the same broker and plugins from others on this machine; `None` if
    /// nothing of them outlives a host.
    pub fn scope(&self, plugins: &Path) -> Option<String> {
        let Self::Amqp(config) = self else { return None };
        let plugins = std::path::absolute(plugins).unwrap_or_else(|_| plugins.to_owned());
        Some(format!("{:?} {}", config.uris, plugins.display()))
    }

    /// Starts it.
    pub fn start(self) -> Arc<dyn Broker> {
        match self {
            Self::Memory => MemoryBroker::new(),
            Self::Amqp(config) => AmqpBroker::connect(config),
        }
    }
}

/// How long a broker may take to answer all that a verb asks.
const ANSWERS_MAX: Duration = Duration::from_secs(60);

/// Connects, asks, and closes.
///
/// # Errors
/// With [`Exit::Unreachable`] if the broker is not there or does not answer in time, and with
/// [`Exit::NotPermitted`] if it refuses the user.
pub async fn ask<T>(
    config: amqp::Config,
    questions: impl AsyncFnOnce(&dyn Broker) -> Result<T, TopologyError>,
) -> Result<T, Failure> {
    amqp::probe(&config).await.map_err(super::publish::unreachable)?;
    let broker = Named::Amqp(config).start();
    let answers = tokio::time::timeout(ANSWERS_MAX, questions(&*broker)).await;
    broker.close().await;
    let answers = answers.map_err(|_| {
        let seconds = ANSWERS_MAX.as_secs();
        Failure::say(Exit::Unreachable, format!("the broker did not answer within {seconds} s"))
    })?;
    answers.map_err(|error| Failure::new(Exit::Unreachable, error))
}
