//! From the bytes of a component and its manifest to a [`Plugin`] that can be called: every check
//! that can be made before the first event is made here. Next: `catalogue`, which keeps the good
//! versions.

use super::abi::{self, Refusal};
use super::compile::Compiler;
use super::engine::{EngineLimits, engine};
use super::inspect::{NotAComponent, inspect};
use super::instance::{Called, Instances, Spares};
use super::manifest::Manifest;
use crate::capability::http::{Client, Tls};
use crate::capability::secrets::{SecretError, Secrets};
use crate::capability::transaction::Stores;
use crate::capability::{self, Guest, Means};
use crate::flow::{Event, Outcome};
use crate::store::{OpenError, Registry};
use crate::wit::v0_1::export::HandlerPre;
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::Linker;

/// One version of a plugin: a component with its manifest, ready to be called.
pub struct Plugin {
    /// Its name: that of its file, without `.wasm`.
    pub name: Arc<str>,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// What it consumes, how it is settled and what it may do.
    pub manifest: Manifest,
    /// Where it keeps data, and where it is recorded which events it has handled.
    pub stores: Arc<Stores>,
    instances: Instances,
}

impl Plugin {
    /// Gives it one event.
    pub async fn call(&self, event: &Event) -> Called {
        self.instances.call(event).await
    }

    /// `outcome` without its secrets.
    pub fn redact(&self, outcome: Outcome) -> Outcome {
        self.instances.redact(outcome)
    }

    /// Lets go of instances that nobody needed for a while.
    pub fn sweep(&self) {
        self.instances.sweep();
    }

    /// The first digits of the digest, which tell versions apart in logs.
    pub fn short_digest(&self) -> &str {
        &self.digest[..12.min(self.digest.len())]
    }
}

/// Why a component can't be a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a component.
    #[error(transparent)]
    NotAComponent(#[from] NotAComponent),
    /// Its interfaces or its grants do not fit.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
    /// A store that it asks for can't be had.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// It is a component, but not one that the engine takes.
    #[error("it can't be compiled: {0}")]
    Compile(String),
    /// An import or export has other types than this host's.
    #[error("its interface does not fit: {0}")]
    Interface(String),
    /// Its own start-up code failed, or it needs more than its limits.
    #[error("it can't be started: {0}")]
    Start(String),
    /// A secret that it was granted is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

impl LoadError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAComponent(error) => Some(error.hint().to_owned()),
            Self::Refused(refusals) => {
                let mut hints: Vec<_> = refusals.iter().map(Refusal::hint).collect();
                hints.dedup();
                Some(hints.join("; "))
            }
            Self::Interface(_) => Some("build it with the WIT of this host (wit/)".to_owned()),
            Self::Start(_) => Some("see `[limits]` of its manifest, and its log".to_owned()),
            Self::Store(error) => Some(error.hint().to_owned()),
            Self::Secret(error) => Some(error.hint.clone()),
            Self::Compile(_) => None,
        }
    }
}

/// Loads plugins.
#[derive(Clone)]
pub struct Loader {
    compiler: Compiler,
    linker: Arc<Linker<Guest>>,
    spares: Spares,
    stores: Arc<Registry>,
    outside: Outside,
}

/// What plugins may be granted of what is outside.
#[derive(Clone, Default)]
pub struct Outside {
    /// Those that variables may be.
    pub secrets: Arc<Secrets>,
    /// Whom requests trust.
    pub tls: Tls,
}

impl Loader {
    /// A loader with an engine of this size, which keeps compiled code in `cache` and gives plugins what
    /// they are granted of `stores`.
    ///
    /// # Errors
    /// Settings that this machine does not have.
    pub fn new(
        limits: EngineLimits,
        cache: Option<&Path>,
        stores: Arc<Registry>,
    ) -> wasmtime::Result<Self> {
        let engine = engine(limits)?;
        let mut linker = Linker::new(&engine);
        capability::add_to_linker(&mut linker)?;
        let compiler = Compiler::new(engine, cache);
        let (spares, outside) = (Spares::default(), Outside::default());
        Ok(Self { compiler, linker: Arc::new(linker), spares, stores, outside })
    }

    /// The same engine, with other stores.
    #[must_use]
    pub fn with_stores(self, stores: Arc<Registry>) -> Self {
        Self { stores, ..self }
    }

    /// The same engine; what is loaded may be granted what is `outside`.
    #[must_use]
    pub fn reaching(self, outside: Outside) -> Self {
        Self { outside, ..self }
    }

    /// The stores that it gives to plugins.
    pub fn stores(&self) -> &Arc<Registry> {
        &self.stores
    }

    /// Checks, compiles and starts the component `bytes` with this `digest`.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(
        &self,
        name: &str,
        bytes: Arc<[u8]>,
        digest: String,
        manifest: Manifest,
    ) -> Result<Plugin, LoadError> {
        let found = inspect(&bytes)?;
        abi::judge(&found, &manifest.grants).map_err(LoadError::Refused)?;
        let name: Arc<str> = name.into();
        let stores = Stores::open(&self.stores, &manifest.grants, manifest.dedupe.is_some())?;
        let stores = Arc::new(stores);
        let means = self.means(&name, &manifest, stores.clone())?;
        let component = self.compiler.component(bytes, &digest).await;
        let component = component.map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let pre = self.linker.instantiate_pre(&component);
        let pre = pre.and_then(HandlerPre::new);
        let pre = pre.map_err(|error| LoadError::Interface(format!("{error:#}")))?;
        let (limits, spares) = (manifest.limits.clone(), self.spares.clone());
        let instances = Instances::new(name.clone(), pre, limits, Arc::new(means), spares);
        let probed = instances.probe().await;
        probed.map_err(|outcome| LoadError::Start(outcome.reason().to_owned()))?;
        Ok(Plugin { name, digest, manifest, stores, instances })
    }

    /// What the guests of `plugin` have at hand.
    fn means(
        &self,
        plugin: &Arc<str>,
        manifest: &Manifest,
        stores: Arc<Stores>,
    ) -> Result<Means, LoadError> {
        let grants = Arc::new(manifest.grants.clone());
        let given = self.outside.secrets.given(plugin, &grants)?;
        let secrets = (given.placeholders.clone(), given.redact.clone());
        let limits = &manifest.limits.http;
        let client = Client::new(plugin, &grants, secrets, limits, &self.outside.tls);
        Ok(Means { grants, given, stores, client: Arc::new(client) })
    }
}
