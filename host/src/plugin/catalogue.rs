//! The plugins that a host has: for each name the last version that was good, and what is wrong
//! with the files of others. Next in the flow: [`crate::dispatch`], which gives them events.

use super::load::{LoadError, Loader, Plugin};
use super::manifest::written::{Problem, Table};
use super::manifest::{Manifest, ManifestError, Rules};
use super::watch::{Files, Found, WatchError};
use crate::capability::grants::More;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the host's configuration says about plugins.
#[derive(Debug, Clone)]
pub struct Layers {
    /// `[plugins.defaults]`
    pub defaults: Option<Table>,
    /// `[plugins.NAME]`, by name.
    pub overrides: BTreeMap<String, Table>,
    /// The prefetch of subscriptions that state none.
    pub prefetch: u16,
    /// The most memory that a plugin may ask for, in bytes.
    pub memory_max: usize,
}

impl Default for Layers {
    fn default() -> Self {
        let Rules { prefetch, memory_max, .. } = Rules::default();
        Self { defaults: None, overrides: BTreeMap::new(), prefetch, memory_max }
    }
}

impl Layers {
    /// What it says about the plugin `name`.
    pub fn rules(&self, name: &str) -> Rules<'_> {
        Rules {
            defaults: self.defaults.as_ref(),
            overrides: self.overrides.get(name),
            prefetch: self.prefetch,
            memory_max: self.memory_max,
        }
    }
}

/// Why the files of a plugin are not served.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// They can't be read.
    #[error(transparent)]
    Files(#[from] WatchError),
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The component is wrong.
    #[error("`{path}`: {error}")]
    Component {
        /// Its file.
        path: String,
        /// Why.
        error: LoadError,
    },
    /// It does not go with another plugin, or with what runs.
    #[error("{0}")]
    Conflict(String, Option<String>),
    /// It asks for more than the version before it had, whether that still runs or was removed.
    #[error("it asks for more than the version before: {}", told(.more))]
    More {
        /// Its name.
        plugin: String,
        /// What is new.
        more: Vec<More>,
    },
}

fn told(more: &[More]) -> String {
    let told = more.iter().map(|more| format!("{} {}", more.kind, more.entries.join(", ")));
    told.collect::<Vec<_>>().join("; ")
}

impl Trouble {
    /// Everything that is wrong, each with what a person can do about it.
    pub fn problems(&self) -> Vec<(String, Option<String>)> {
        match self {
            Self::Manifest(ManifestError(problems)) => {
                let told = |it: &Problem| (format!("{}: {}", it.at, it.message), it.hint.clone());
                problems.0.iter().map(told).collect()
            }
            _ => vec![(self.to_string(), self.hint())],
        }
    }

    /// What a person can do about it. Manifests carry their hints in the message, with each place.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint().map(str::to_owned),
            Self::Manifest(_) => None,
            Self::Component { error, .. } => error.hint(),
            Self::Conflict(_, hint) => hint.clone(),
            Self::More { plugin, more } => {
                let lines: Vec<_> = more.iter().map(|more| format!("`{}`", more.line)).collect();
                let lines = lines.join(", ");
                Some(format!(
                    "to allow it, add to the host's configuration, in `[plugins.{plugin}.grants]`: \
                     {lines}; then start the host again"
                ))
            }
        }
    }
}

/// The manifest of the plugin `name`, whose component is at `path`.
///
/// # Errors
/// What is wrong with it.
pub fn manifest(
    name: &str,
    path: &Path,
    text: Option<&str>,
    layers: &Layers,
) -> Result<Manifest, ManifestError> {
    Manifest::read(name, &path.with_extension("toml"), text, &layers.rules(name))
}

/// The queues that the plugin `name` consumes, as far as its manifest can be read.
pub fn queues(name: &str, path: &Path, text: Option<&str>, layers: &Layers) -> Vec<String> {
    Manifest::queues(name, &path.with_extension("toml"), text, &layers.rules(name))
}

/// From the files of the plugin `name` to one that can be called.
///
/// # Errors
/// See [`Trouble`].
pub async fn load(
    loader: &Loader,
    layers: &Layers,
    name: &str,
    found: Found,
) -> Result<Plugin, Trouble> {
    let Files { component, manifest: written } = found?;
    let text = written.as_ref().map(|written| written.text.as_str());
    let manifest = manifest(name, &component.path, text, layers)?;
    let digest = component.digest.to_string();
    let loaded = loader.load(name, component.bytes.into(), digest, manifest).await;
    let path = component.path.display().to_string();
    loaded.map_err(|error| Trouble::Component { path, error })
}

/// What is loaded.
#[derive(Default)]
pub struct Catalogue {
    /// The last good version of each plugin.
    pub good: BTreeMap<String, Arc<Plugin>>,
    /// What is wrong with the files as they are now, by plugin.
    pub troubles: BTreeMap<String, Trouble>,
}
