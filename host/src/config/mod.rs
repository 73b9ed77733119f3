//! The host's configuration: `wabbit.toml`, the environment over it, and the defaults under it.
//! Reading begins here; next come the tables in [`tables`], then [`crate::cli`], which lays flags
//! over the result.

mod stores;
mod tables;

#[cfg(test)]
mod tests;

pub use tables::{AdminConfig, BrokerConfig, HostLimits, LogConfig, PluginsConfig, TlsConfig};

use crate::capability::secrets::Source;
use crate::plugin::manifest::written::{Env, Place, Problems, Report, Section, Table};
use crate::store::Location;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Variables of the environment that stand for keys begin with this.
pub const ENV_PREFIX: &str = "WABBIT_";
/// Variables that tests use, which are no keys.
const ENV_OF_TESTS: &str = "WABBIT_TEST_";
/// The broker's URL where neither the file nor the environment's own variable names one.
const ENV_BROKER_FALLBACK: &str = "AMQP_URL";

/// The host's configuration, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[broker]`
    pub broker: BrokerConfig,
    /// `[plugins]`
    pub plugins: PluginsConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[limits]`
    pub limits: HostLimits,
    /// `[stores.NAME]` by name.
    pub stores: BTreeMap<String, Location>,
    /// `dir` of `[data]`, where embedded stores are: as lasting as what plugins keep there.
    pub data: PathBuf,
    /// `ca` of `[http]`: a PEM file of certificates that requests trust besides the system's.
    pub http_ca: Option<PathBuf>,
    /// `[secrets.NAME]`, by name: where each is.
    pub secrets: BTreeMap<String, Source>,
    /// `dir` of `[cache]`, where compiled code and what is being handled are kept: private to the
    /// user.
    pub cache: PathBuf,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Mistakes in it, each with its place.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl Config {
    /// Reads the file `path`, which need not exist unless it was asked for by name (`explicit`),
    /// and lays `env` over it: `WABBIT_BROKER_URLS` stands for `urls` in `[broker]`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        path: &Path,
        explicit: bool,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let (file, text) = file(path, explicit)?;
        Ok(Self::read(&file, Table::parse(&file, &text)?, env)?)
    }

    /// The same, but only these `tables` are read, from the file and the environment; the others are as
    /// if nobody had written them. So what talks to a running host need not have all that a host needs.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load_only(
        tables: &[&str],
        path: &Path,
        explicit: bool,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let (file, text) = file(path, explicit)?;
        let mut table = Table::parse(&file, &text)?;
        table.0.retain(|key, _| tables.contains(&key.as_str()));
        let read = |name: &str| match name.strip_prefix(ENV_PREFIX) {
            Some(key) => {
                tables.iter().any(|it| key.starts_with(&format!("{}_", it.to_uppercase())))
            }
            None => true,
        };
        let env = env.iter().filter(|(name, _)| read(name));
        let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self::read(&file, table, &env)?)
    }

    fn read(
        file: &str,
        mut table: Table,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, Problems> {
        let report = Report::default();
        table.substitute(env, &report);
        let keys = Env::new(ENV_PREFIX, env);
        let at = Place::File(Arc::from(file));
        let config = Section::read(("", at, &table), Some(&keys), &report, |root| {
            Self::tables(root, env, &report)
        });
        keys.finish(ENV_OF_TESTS, &report);
        report.result(config)
    }

    fn tables(root: &Section<'_>, env: &BTreeMap<String, String>, report: &Report) -> Self {
        let limits = root.table("limits", HostLimits::read);
        let mut broker = root.table("broker", BrokerConfig::read);
        if broker.urls.is_empty() {
            let fallback = env.get(ENV_BROKER_FALLBACK).filter(|url| !url.is_empty());
            broker.urls.extend(fallback.cloned());
        }
        Self {
            broker,
            plugins: root.table("plugins", |section| PluginsConfig::read(section, &limits, report)),
            admin: root.table("admin", AdminConfig::read),
            log: root.table("log", LogConfig::read),
            http_ca: root.table("http", |http| http.filled("ca")).map(PathBuf::from),
            secrets: root.table("secrets", |secrets| tables::secrets(secrets, report)),
            limits,
            stores: root.table("stores", stores::read),
            data: root
                .table("data", |data| data.filled("dir"))
                .map_or_else(|| data_dir(env), PathBuf::from),
            cache: root
                .table("cache", |cache| cache.filled("dir"))
                .map_or_else(|| cache_dir(env), PathBuf::from),
        }
    }
}

/// The name of the file `path`, for people, and what is in it: nothing if it is not there and need not be.
fn file(path: &Path, explicit: bool) -> Result<(String, String), ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if !explicit && error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?,
    };
    Ok((path.display().to_string(), text))
}

/// Where programs of this user keep what they can make again.
fn cache_dir(env: &BTreeMap<String, String>) -> PathBuf {
    user_dir(env, ["XDG_CACHE_HOME", "Library/Caches", ".cache"])
}

/// Where programs of this user keep what nobody else has.
fn data_dir(env: &BTreeMap<String, String>) -> PathBuf {
    user_dir(env, ["XDG_DATA_HOME", "Library/Application Support", ".local/share"])
}

/// What the first variable says, or a folder of the home folder: on macOS, and elsewhere.
fn user_dir(env: &BTreeMap<String, String>, [variable, macos, others]: [&str; 3]) -> PathBuf {
    let dir = |name: &str| env.get(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let of_platform = if cfg!(windows) {
        dir("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        dir("HOME").map(|home| home.join(macos))
    } else {
        dir("HOME").map(|home| home.join(others))
    };
    let base = dir(variable).or(of_platform).unwrap_or_else(std::env::temp_dir);
    base.join("wabbit")
}
