//! The systems of `examples/`: folders with handlers, the producers that feed them, and a scenario
//! that shows them at work, which `cargo xtask example` and the tests run. examples/README.md has the
//! rules of such a folder. Next: machine.rs.

use crate::machine::{install, venv};
use crate::process::{on_path, root, run_quietly, say, scratch};
use crate::services::Service;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file by which a system is known.
const SCENARIO: &str = "scenario.py";
/// The variable of a database's URL, as a system's `wabbit.toml` calls it, and how to start one.
pub type Database = (&'static str, fn() -> Result<Service>);

const DATABASES: [Database; 3] = [
    ("POSTGRES_URL", Service::postgres),
    ("MYSQL_URL", Service::mariadb),
    ("REDIS_URL", Service::redis),
];

/// A folder of `examples/` with a scenario.
pub struct System {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
}

impl System {
    /// All, by name.
    pub fn all() -> Result<Vec<System>> {
        let folders = folders(&root().join("examples"))?.into_iter();
        let systems = folders.filter(|(_, dir)| dir.join(SCENARIO).is_file());
        Ok(systems.map(|(name, dir)| System { name, dir }).collect())
    }

    /// The one that is called so.
    pub fn named(name: &str) -> Result<System> {
        let mut all = Self::all()?;
        let names: Vec<_> = all.iter().map(|system| system.name.clone()).collect();
        let found = names.iter().position(|it| it == name);
        let found = found.with_context(|| {
            format!("no system is called `{name}`\nhint: there are {}", names.join(", "))
        })?;
        Ok(all.swap_remove(found))
    }

    /// The databases that its `wabbit.toml` names: the variables of their URLs, and how to start them.
    pub fn databases(&self) -> Result<Vec<Database>> {
        let file = self.dir.join("wabbit.toml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let named = |(variable, _): &(&str, _)| text.contains(&format!("${{{variable}"));
        Ok(DATABASES.into_iter().filter(named).collect())
    }

    /// Installs the libraries of its producers and of its scenario.
    pub fn install(&self) -> Result<()> {
        self.python()?;
        if self.dir.join("package.json").is_file() {
            self.install_npm().with_context(|| format!("libraries of `{}`", self.name))?;
        }
        Ok(())
    }

    fn install_npm(&self) -> Result<()> {
        if !on_path("npm") {
            install("npm", &["nodejs", "npm"])?;
        }
        let lock = fs::read_to_string(self.dir.join("package-lock.json"))?;
        let installed = self.dir.join("node_modules/.installed");
        if fs::read_to_string(&installed).is_ok_and(|text| text == lock) {
            return Ok(());
        }
        say(&format!("installing the libraries of {}", self.name));
        let arguments = ["ci", "--no-audit", "--no-fund"];
        run_quietly(Command::new("npm").args(arguments).current_dir(&self.dir))?;
        Ok(fs::write(installed, lock)?)
    }

    /// A Python with its libraries.
    fn python(&self) -> Result<PathBuf> {
        match fs::read_to_string(self.dir.join("requirements.txt")) {
            Ok(requirements) => venv(&format!("python-{}", self.name), &requirements),
            Err(_) => Ok("python3".into()),
        }
    }

    /// Its scenario, which takes `wabbit` from the folder of that binary, built handlers from
    /// `guests`, and puts what it makes into `work`, which is emptied. What else it needs to know is
    /// set by who runs it: `AMQP_URL`, `RABBITMQCTL`, and the URLs of [`System::databases`].
    pub fn scenario(&self, wabbit: &Path, guests: &Path, work: &Path) -> Result<Command> {
        let handlers = work.join("handlers");
        let _ = fs::remove_dir_all(work);
        fs::create_dir_all(&handlers)?;
        for (name, dir) in self::handlers(&self.dir)? {
            let component = format!("{name}.wasm");
            fs::copy(guests.join(&component), handlers.join(&component)).context(component)?;
            let manifest = format!("{name}.toml");
            fs::copy(dir.join(&manifest), handlers.join(&manifest)).context(manifest)?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found_first = wabbit.parent().context("a binary is in a folder")?.to_owned();
        let path =
            std::env::join_paths([found_first].into_iter().chain(std::env::split_paths(&path)));
        let mut command = Command::new(self.python()?);
        command.arg("-u").arg(SCENARIO).current_dir(&self.dir).env("PATH", path?);
        command.env("HANDLERS", handlers).env("WORK", work);
        command.env("PYTHONPATH", root().join("examples")).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// A folder for what its scenario makes.
    pub fn work(&self) -> PathBuf {
        scratch().join("examples").join(&self.name)
    }
}

/// The handlers whose folders are in `dir`, by name: `NAME/NAME.toml`.
pub fn handlers(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut handlers = folders(dir)?;
    handlers.retain(|(name, dir)| dir.join(format!("{name}.toml")).is_file());
    Ok(handlers)
}

fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir)? {
        let dir = entry?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if dir.is_dir() {
            folders.push((name, dir));
        }
    }
    folders.sort();
    Ok(folders)
}
