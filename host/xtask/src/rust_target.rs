//! How Rust is compiled to wasm32-wasip2: with rustup's target where there is one or it can be
//! had, otherwise with Debian's compiler and the sources of its standard library. Next: guests.rs.

use crate::machine::install;
use crate::process::{output, say};
use anyhow::{Context, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
/// `debian`: take the fallback even if rustup has the target.
const FORCE: &str = "WABBIT_WASM_TARGET";
/// The standard library's sources for Debian's compiler.
const SOURCES: &str = "/usr/lib/rustlib/src/rust/library";
/// Debian's C library for wasm.
const LIBC: &str = "/usr/lib/wasm32-wasi";

/// Where the standard library for wasm comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A target of rustup's toolchain.
    Rustup,
    /// Built from source by Debian's rustc-web.
    Debian,
}

/// Finds a way to compile for wasm, installing what it takes, and says which way it is.
pub fn choose() -> Result<Target> {
    if std::env::var_os(FORCE).is_some_and(|way| way == "debian") {
        debian()?;
        say(&format!("wasm target: Debian's rustc-web, as {FORCE} asks for"));
        return Ok(Target::Debian);
    }
    if installed() {
        say(&format!("wasm target: {TARGET}, installed"));
        return Ok(Target::Rustup);
    }
    say(&format!("wasm target: rustup target add {TARGET}"));
    if output(Command::new("rustup").args(["target", "add", TARGET])).is_some() && installed() {
        return Ok(Target::Rustup);
    }
    debian().with_context(|| format!("rustup has no {TARGET} target"))?;
    say("wasm target: Debian's rustc-web, as rustup could not add it");
    Ok(Target::Debian)
}

fn installed() -> bool {
    let libdir =
        output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    let files = libdir.and_then(|dir| std::fs::read_dir(dir).ok());
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn debian() -> Result<()> {
    let packages = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];
    if Path::new(SOURCES).is_dir() && Path::new(LIBC).join("libc.a").is_file() {
        return Ok(());
    }
    install(&format!("a Rust standard library for {TARGET}"), &packages)
}

impl Target {
    /// Prepares a command that builds a guest: what would redirect its output or change its
    /// flags is taken out of the environment, and the chosen way put in.
    pub fn prepare(self, command: &mut Command) -> Result<&mut Command> {
        for name in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"]
        {
            command.env_remove(name);
        }
        if self == Target::Debian {
            // `cargo run` points it to rustup's libraries.
            command.env_remove("LD_LIBRARY_PATH");
            command.env("RUSTC", "/usr/bin/rustc").env("PATH", debian_path()?);
            // The standard library's own features are unstable ones.
            command.env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
            let bin = linker_dir()?;
            let flags = format!(
                "-Clink-self-contained=no -Lnative={LIBC} -Clink-arg=--wasm-ld-path={}",
                bin.join("gcc-ld/wasm-ld").display()
            );
            command.env("CARGO_TARGET_WASM32_WASIP2_LINKER", bin.join("wasm-component-ld"));
            command.env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", flags);
        }
        Ok(command)
    }

    /// What [`Self::prepare`] puts into the environment, as `NAME=VALUE` lines.
    pub fn environment(self) -> Result<String> {
        let mut command = Command::new("cargo");
        let prepared = self.prepare(&mut command)?.get_envs();
        let line = |(name, value): (&OsStr, Option<&OsStr>)| {
            Some(format!("{}={}\n", name.to_str()?, value?.to_str()?))
        };
        Ok(prepared.filter_map(line).collect())
    }
}

/// PATH with Debian's cargo before rustup's.
fn debian_path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs)?)
}

/// The folder of the linkers that every toolchain of rustup's has, and Debian's has not.
fn linker_dir() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
    let version = output(Command::new("rustc").arg("-vV"));
    let host =
        version.as_deref().and_then(|text| text.lines().find_map(|l| l.strip_prefix("host: ")));
    let (sysroot, host) = sysroot.zip(host).context("rustc does not name its sysroot and host")?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(host).join("bin"))
}
