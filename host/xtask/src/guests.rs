//! Builds the examples and the guests for tests, and puts them into one folder. What is up to date
//! is left alone. Next: broker.rs.

use crate::machine::{install, need_venv};
use crate::process::{on_path, root, run_quietly, say, scratch};
use crate::rust_target::{self, Target};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use xtask::systems::{System, handlers};

/// Folders that builds make.
const BUILT: [&str; 4] = ["build", "target", "node_modules", "__pycache__"];
/// The C compiler for the WASI libraries, from Debian.
const CLANG: [&str; 4] = ["clang-22", "lld-22", "libclang-rt-22-dev-wasm32", "wasi-libc"];

/// `cargo xtask guests`
pub fn run() -> Result<ExitCode> {
    let target = rust_target::choose()?;
    fixtures(target)?;
    build_all(target)?;
    say(&format!("guests are in {}", folder().display()));
    Ok(ExitCode::SUCCESS)
}

/// Where the components are: `NAME.wasm`.
pub fn folder() -> PathBuf {
    root().join("target/guests")
}

/// A handler of `examples/`: a folder with `NAME.toml`, which says how it is built.
pub struct Example {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
}

/// The examples that are one handler each, by name: `examples/NAME`.
pub fn examples() -> Result<Vec<Example>> {
    within(&root().join("examples"))
}

/// Builds every handler of `examples/`, those of the systems included: `examples/SYSTEM/NAME`.
pub fn build_all(target: Target) -> Result<()> {
    let mut all = examples()?;
    for system in System::all()? {
        all.extend(within(&system.dir)?);
    }
    let mut names = BTreeSet::new();
    for example in all {
        // They share a folder once they are built.
        ensure!(names.insert(example.name.clone()), "two handlers are `{}`", example.name);
        example.build(target)?;
    }
    Ok(())
}

/// The handlers whose folders are in `dir`.
pub fn within(dir: &Path) -> Result<Vec<Example>> {
    let example = |(name, dir)| Example { name, dir };
    Ok(handlers(dir)?.into_iter().map(example).collect())
}

impl Example {
    /// Its manifest.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.name))
    }

    /// The component, in the folder of guests.
    pub fn component(&self) -> PathBuf {
        folder().join(format!("{}.wasm", self.name))
    }

    /// Builds it by its own `[build]` command, unless nothing has changed since the last time.
    pub fn build(&self, target: Target) -> Result<()> {
        // The other languages have nothing to do with how Rust reaches wasm.
        let rust = self.dir.join("Cargo.toml").is_file();
        let target = if rust { target } else { Target::Rustup };
        build(&self.name, &self.dir, target, &[self.component()], || {
            self.need_toolchain()?;
            let text = std::fs::read_to_string(self.manifest())?;
            let manifest: toml::Table = text.parse()?;
            let command = manifest.get("build").and_then(|build| build.get("command"));
            let command = command.and_then(toml::Value::as_str).context("no `[build] command`")?;
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(&self.dir);
            run_quietly(target.prepare(&mut shell)?)?;
            install_component(&self.output()?, &self.component())
        })
        .with_context(|| format!("example `{}`", self.name))
    }

    /// What the command has made: `build/NAME.wasm`, or where cargo puts a component.
    fn output(&self) -> Result<PathBuf> {
        let cargo = format!("target/wasm32-wasip2/release/{}.wasm", self.name.replace('-', "_"));
        let places =
            [self.dir.join("build").join(format!("{}.wasm", self.name)), self.dir.join(cargo)];
        places.into_iter().find(|file| file.is_file()).context("its command made no component")
    }

    /// Installs what its language needs beside Rust.
    fn need_toolchain(&self) -> Result<()> {
        let has = |file: &str| self.dir.join(file).is_file();
        if has("package.json") && !on_path("npm") {
            install("npm", &["nodejs", "npm"])?;
        }
        if has("requirements.txt") {
            need_venv()?;
        }
        let wasi_sdk = std::env::var_os("WASI_SDK_PATH").is_some();
        let clang = on_path(CLANG[0]) && Path::new("/usr/lib/wasm32-wasi/libc.a").is_file();
        if has("build.sh") && !has("requirements.txt") && !wasi_sdk && !clang {
            install("a C compiler for WebAssembly", &CLANG)?;
        }
        Ok(())
    }
}

/// Builds the guests for tests: one cargo workspace, a component per crate.
pub fn fixtures(target: Target) -> Result<()> {
    let dir = root().join("host/tests/guests");
    let text = std::fs::read_to_string(dir.join("Cargo.toml"))?;
    let workspace: toml::Table = text.parse()?;
    let members = workspace.get("workspace").and_then(|table| table.get("members"));
    let members = members.and_then(toml::Value::as_array).context("no workspace members")?;
    let names: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let components: Vec<PathBuf> =
        names.iter().map(|name| folder().join(format!("{name}.wasm"))).collect();
    build("test guests", &dir, target, &components, || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--target", "wasm32-wasip2"]).current_dir(&dir);
        run_quietly(target.prepare(&mut cargo)?)?;
        for (name, component) in names.iter().zip(&components) {
            let built = dir.join("target/wasm32-wasip2/release");
            let file = built.join(format!("{}.wasm", name.replace('-', "_")));
            install_component(&file, component)?;
        }
        Ok(())
    })
    .context("guests for tests")
}

/// Runs `make` unless its sources, the WIT and the target are those of the last time.
fn build(
    name: &str,
    dir: &Path,
    target: Target,
    made: &[PathBuf],
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = scratch().join("stamps").join(name.replace(' ', "-"));
    let digest = digest(&[dir, &root().join("wit")], target)?;
    let known = std::fs::read_to_string(&stamp).is_ok_and(|text| text == digest);
    if known && made.iter().all(|file| file.is_file()) {
        return Ok(());
    }
    say(&format!("building {name}"));
    make()?;
    std::fs::create_dir_all(scratch().join("stamps"))?;
    // A build may write into its folder (a lock file): what counts is what is there now.
    std::fs::write(stamp, self::digest(&[dir, &root().join("wit")], target)?)?;
    Ok(())
}

/// Puts a component in place in one step, as the host may be watching.
pub fn install_component(from: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("wasm.new");
    std::fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    std::fs::copy(from, &temporary).with_context(|| from.display().to_string())?;
    std::fs::rename(&temporary, to)?;
    Ok(())
}

/// Names and contents of all files below `dirs`, without what builds make and what people read.
fn digest(dirs: &[&Path], target: Target) -> Result<String> {
    let mut files = BTreeSet::new();
    for dir in dirs {
        collect(dir, &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(format!("{target:?}").as_bytes());
    for file in files {
        hasher.write(file.as_os_str().as_encoded_bytes());
        hasher.write(&std::fs::read(&file)?);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(dir: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let built = BUILT.iter().any(|name| path.ends_with(name));
        if path.is_dir() && !built {
            collect(&path, files)?;
        } else if path.is_file() && path.extension().is_none_or(|name| name != "md") {
            files.insert(path);
        }
    }
    Ok(())
}
