//! Reports about plugins: what happened to their files, and how they are set up.

use super::metrics::name;
use super::report::reason;
use metrics::{counter, gauge};
use std::{fmt::Display, time::Duration};
use tracing::{error, info, warn};

/// A plugin that was not there before is active.
pub struct PluginLoaded<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// Its version.
    pub digest: &'a dyn Display,
    /// From reading it to being ready.
    pub elapsed: Duration,
}

impl PluginLoaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, digest, elapsed } = self;
        count_reload(plugin, "loaded");
        set_active(plugin, digest, true);
        info!(plugin, %digest, seconds = elapsed.as_secs_f64(), "plugin loaded");
    }
}

/// A plugin has a new version, or a new manifest.
pub struct PluginReloaded<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The version until now.
    pub old: &'a dyn Display,
    /// The version from now on; may be the same.
    pub digest: &'a dyn Display,
    /// From reading it to being ready.
    pub elapsed: Duration,
}

impl PluginReloaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, old, digest, elapsed } = self;
        count_reload(plugin, "reloaded");
        set_active(plugin, old, false);
        set_active(plugin, digest, true);
        info!(plugin, %old, %digest, seconds = elapsed.as_secs_f64(), "plugin reloaded");
    }
}

/// A plugin's files cannot be used.
pub struct PluginRefused<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// What is wrong, with all causes.
    pub cause: &'a dyn Display,
    /// What a person can do about it.
    pub hint: Option<&'a str>,
    /// The version that stays active, if there is one.
    pub kept: Option<&'a dyn Display>,
}

impl PluginRefused<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, cause, hint, kept } = self;
        count_reload(plugin, "refused");
        let cause = cause.to_string();
        let hint = hint.map(tracing::field::display);
        match kept {
            Some(digest) => error!(
                plugin,
                %digest,
                hint,
                "plugin refused, the version before stays active: {}",
                reason(&cause)
            ),
            None => error!(plugin, hint, "plugin refused: {}", reason(&cause)),
        }
    }
}

/// Something about how a plugin is set up that somebody should know.
pub struct PluginFinding<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The queue that it is about; empty if it is none.
    pub queue: &'a str,
    /// What it is.
    pub problem: &'a str,
    /// What to do about it.
    pub hint: &'a str,
}

impl PluginFinding<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, queue, problem, hint } = self;
        let queue = (!queue.is_empty()).then_some(queue);
        warn!(plugin, queue, hint, "{}", reason(problem));
    }
}

/// The host's configuration speaks of a plugin that is not in the folder.
pub struct PluginAbsent<'a> {
    /// The name in the configuration.
    pub plugin: &'a str,
}

impl PluginAbsent<'_> {
    /// Logs it.
    pub fn emit(self) {
        let plugin = self.plugin;
        warn!(plugin, "`[plugins.{plugin}]` is configured, and there is no such plugin");
    }
}

/// A plugin is gone from the folder.
pub struct PluginRemoved<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The version that was active, if one was.
    pub digest: Option<&'a dyn Display>,
}

impl PluginRemoved<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, digest } = self;
        count_reload(plugin, "removed");
        if let Some(digest) = digest {
            set_active(plugin, digest, false);
        }
        info!(plugin, digest = digest.map(tracing::field::display), "plugin removed");
    }
}

fn count_reload(plugin: &str, result: &'static str) {
    counter!(name::PLUGIN_RELOADS, "plugin" => plugin.to_owned(), "result" => result).increment(1);
}

fn set_active(plugin: &str, digest: &dyn Display, active: bool) {
    let labels = [("plugin", plugin.to_owned()), ("digest", digest.to_string())];
    gauge!(name::PLUGIN_INFO, &labels).set(if active { 1.0 } else { 0.0 });
}
