//! `NAME.toml` beside `NAME.wasm`: what a plugin consumes, how its failures are settled, what it
//! may use up and do. Reading begins here; next come [`layers`], which lays the host's
//! configuration over the manifest, and [`subscription`].

mod build;
mod dead_letter;
mod dedupe;
mod grants;
mod key;
mod layers;
mod matching;
mod order;
mod policy;
mod queue;
mod subscription;
pub mod written;

#[cfg(test)]
mod tests;

pub use build::Build;
pub use dead_letter::DeadLetter;
pub use dedupe::{Dedupe, DedupeKey};
pub use key::Key;
pub use layers::check_layer;
pub use matching::Match;
pub use order::OrderBy;
pub use subscription::Subscription;

use crate::capability::grants::Grants;
use crate::plugin::limits::Limits;
use crate::policy::Policy;
use std::path::Path;
use std::sync::Arc;
use written::{Place, Problems, Report, Section, Table};

/// What is used of a plugin's manifest, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// In the author's words.
    pub description: Option<String>,
    /// What it consumes; never empty.
    pub subscriptions: Vec<Subscription>,
    /// How failures are settled. `unmatched` is the subscription's to say.
    pub policy: Policy,
    /// What it may use up.
    pub limits: Limits,
    /// What it may do.
    pub grants: Grants,
    /// How events are recognized that it has handled, if it says so.
    pub dedupe: Option<Dedupe>,
    /// How it is built from source.
    pub build: Option<Build>,
}

/// What the host's configuration says about one plugin.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// `[plugins.defaults]`: for what the manifest does not state; the lists of its grants narrow.
    pub defaults: Option<&'a Table>,
    /// `[plugins.NAME]`: in place of what the manifest states; narrows its grants and limits.
    pub overrides: Option<&'a Table>,
    /// The prefetch of subscriptions that state none.
    pub prefetch: u16,
    /// The most memory that a plugin may ask for, in bytes.
    pub memory_max: usize,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self { defaults: None, overrides: None, prefetch: 32, memory_max: 512 << 20 }
    }
}

/// A manifest that cannot be used; every mistake in it with its place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct ManifestError(#[from] pub Problems);

impl Manifest {
    /// Reads the manifest `text` of the plugin `name` from the file `path`; without text, the
    /// defaults. The host's defaults lie under it, its overrides over it.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn read(
        name: &str,
        path: &Path,
        text: Option<&str>,
        rules: &Rules<'_>,
    ) -> Result<Self, ManifestError> {
        let (manifest, report) = Self::read_leniently(name, path, text, rules)?;
        Ok(report.result(manifest)?)
    }

    /// The queues that the plugin consumes, as far as its manifest can be read.
    pub fn queues(name: &str, path: &Path, text: Option<&str>, rules: &Rules<'_>) -> Vec<String> {
        match Self::read_leniently(name, path, text, rules) {
            Ok((manifest, _)) => {
                manifest.subscriptions.into_iter().map(|it| it.consume.queue.name).collect()
            }
            Err(_) => vec![name.to_owned()],
        }
    }

    /// What is wrong is in the report, and is as if it were not there in the manifest.
    fn read_leniently(
        name: &str,
        path: &Path,
        text: Option<&str>,
        rules: &Rules<'_>,
    ) -> Result<(Self, Report), ManifestError> {
        let file: Arc<str> = path.display().to_string().into();
        let own = text.map_or(Ok(Table::default()), |text| Table::parse(&file, text))?;
        let at = Place::File(file);
        let layers = layers::lay(&own, &at, rules);
        let report = Report::default();
        let reader =
            Reader { name, prefetch: rules.prefetch, memory_max: rules.memory_max, whole: true };
        let read = |root: &Section<'_>| reader.manifest(root);
        let mut manifest = Section::read(("", at.clone(), &layers.manifest), None, &report, read);
        manifest.grants.named = layers.named;
        let path = format!("plugins.{name}");
        let manifest = Section::read((&path, at, &layers.narrowing), None, &report, |root| {
            reader.narrow(root, manifest)
        });
        Ok((manifest, report))
    }
}

/// Reads sections into what is used.
struct Reader<'a> {
    name: &'a str,
    prefetch: u16,
    memory_max: usize,
    /// Not for one layer alone, in which a key may be missing that another layer states.
    whole: bool,
}

impl Reader<'_> {
    fn manifest(&self, root: &Section<'_>) -> Manifest {
        let mut policy = root.table("retry", |retry| self.retry(retry));
        let base =
            Limits { memory: Limits::default().memory.min(self.memory_max), ..Limits::default() };
        let mut subscriptions = self.subscriptions(root);
        let (dead_letter, on_exhausted) =
            root.table("dead-letter", |dead_letter| self.dead_letter(dead_letter, &subscriptions));
        policy.on_exhausted = on_exhausted;
        policy.circuit = root.table("circuit", |circuit| self.circuit(circuit));
        for subscription in &mut subscriptions {
            dead_letter.join(subscription);
        }
        Manifest {
            description: root.text("description"),
            subscriptions,
            policy,
            limits: root.table("limits", |limits| Limits::read(limits, &base, self.memory_max)),
            grants: root.table("grants", |grants| self.grants(grants)),
            dedupe: root.table("dedupe", |dedupe| self.dedupe(dedupe)),
            build: root.table("build", |build| self.build(build)),
        }
    }

    fn narrow(&self, root: &Section<'_>, mut manifest: Manifest) -> Manifest {
        let limits =
            root.table("limits", |limits| Limits::read(limits, &manifest.limits, self.memory_max));
        manifest.limits = manifest.limits.min(&limits);
        manifest.grants =
            root.table("grants", |grants| self.narrow_grants(grants, &manifest.grants));
        manifest
    }
}
