//! The plugins that a verb is about, loaded as a host would load them.

use super::exit::{Exit, Failure};
use super::settings::{layers, loader};
use crate::config::Config;
use crate::dispatch::audit::Subject;
use crate::dispatch::plan::{self, Planned};
use crate::plugin::watch::{Found, read_one, scan_once};
use crate::plugin::{Plugin, catalogue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The flags that say which plugins.
#[derive(Debug, clap::Args)]
pub struct Sources {
    /// Components, or folders with plugins [default: the plugins folder]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The folder with the plugins [default: plugins]
    #[arg(long, value_name = "DIR", conflicts_with = "paths")]
    plugins: Option<PathBuf>,
}

/// What came of loading them.
pub struct Loaded {
    /// Those that a host would serve.
    pub good: Vec<Arc<Plugin>>,
    /// The consumers that it would have, by queue.
    pub planned: BTreeMap<String, Planned>,
    /// Those that it would refuse.
    pub bad: Vec<Bad>,
}

/// A plugin that would be refused.
pub struct Bad {
    /// Its name.
    pub plugin: String,
    /// What is wrong, each with what a person can do about it.
    pub problems: Vec<(String, Option<String>)>,
    /// What that means for the verb.
    pub exit: Exit,
}

impl Sources {
    /// Reads, compiles and plans.
    ///
    /// # Errors
    /// With [`Exit::BadFile`] if a folder can't be read.
    pub async fn load(&self, config: &Config) -> Result<Loaded, Failure> {
        let folder = self.plugins.as_ref().unwrap_or(&config.plugins.dir);
        let most = config.limits.component;
        let found =
            if self.paths.is_empty() { scan(folder, most)? } else { read(&self.paths, most)? };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let (loader, layers) = (loader(config)?, layers(config));
        for (name, found) in found {
            match catalogue::load(&loader, &layers, &name, found).await {
                Ok(plugin) => good.push(Arc::new(plugin)),
                Err(trouble) => {
                    let (plugin, problems) = (name, trouble.problems());
                    bad.push(Bad { plugin, problems, exit: Exit::BadFile });
                }
            }
        }
        let planned = loop {
            let (plugin, conflict) = match plan::plan(&good) {
                Ok(planned) => break planned,
                Err(conflict) => conflict,
            };
            good.retain(|good: &Arc<Plugin>| *good.name != *plugin);
            let problems = vec![(conflict.to_string(), Some(conflict.hint().to_owned()))];
            bad.push(Bad { plugin, problems, exit: Exit::Mismatch });
        };
        Ok(Loaded { good, planned, bad })
    }
}

impl Loaded {
    /// The good ones, to be judged.
    pub fn subjects(&self) -> Vec<Subject<'_>> {
        self.good.iter().map(|plugin| Subject::of(plugin)).collect()
    }
}

fn read(paths: &[PathBuf], component_bytes_max: u64) -> Result<Vec<(String, Found)>, Failure> {
    let mut plugins = Vec::new();
    for path in paths {
        if path.is_dir() {
            plugins.extend(scan(path, component_bytes_max)?);
        } else {
            plugins.push(read_one(path, component_bytes_max));
        }
    }
    Ok(plugins)
}

fn scan(folder: &Path, component_bytes_max: u64) -> Result<Vec<(String, Found)>, Failure> {
    let scanned = scan_once(folder, component_bytes_max);
    scanned.map_err(|error| {
        Failure::say(Exit::BadFile, format!("can't read `{}`: {error}", folder.display()))
    })
}
