//! The README as a new user would take it: every command in it, in order, as printed. Only the
//! folder beside the repository is another one, and the demo and the tests are not run again here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The fenced blocks of a language, in order.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let after = markdown.split(fence.as_str()).skip(1);
    after.map(|text| text.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// What is needed to build for wasm on this machine where rustup has no target for it, as
/// `NAME=VALUE` lines.
fn guest_environment() -> Vec<(String, String)> {
    let lines = std::env::var("WABBIT_TEST_GUEST_ENV").unwrap_or_default();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn bash(script: &str) -> (bool, String) {
    let environment = guest_environment();
    // The way without rustup's target needs no `rustup target add`.
    let skip = if environment.is_empty() { "" } else { "rustup() { :; }\n" };
    // What the host says, too; and no host of this script may outlive it.
    let script =
        format!("exec 2>&1\nset -euo pipefail\ntrap 'kill $(jobs -p) || :' EXIT\n{skip}{script}");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).current_dir(root()).envs(environment);
    bash.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env("NO_COLOR", "1");
    let output = bash.output().expect("bash runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_first_handler_in_five_minutes() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let blocks = blocks(&readme, "sh");
    assert!(blocks.len() >= 5, "the README has its commands");
    let beside = tempfile::tempdir().expect("a folder");
    let hello = beside.path().join("hello").display().to_string();
    let (done, said) = bash(&blocks.concat().replace("../hello", &hello));
    assert!(done, "{said}");
    for expected in ["hello, world", "hello, wabbit", "published and confirmed", "hello: ok"] {
        assert!(said.contains(expected), "`{expected}` is missing:\n{said}");
    }
    let imports = "wabbit:handler/types@0.1.0";
    assert!(said.contains(imports), "inspect names `{imports}`:\n{said}");
}

#[test]
fn the_manifest_and_the_configuration_are_good_ones() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let [manifest, config]: [String; 2] =
        blocks(&readme, "toml").try_into().expect("a manifest and a configuration");
    let guests = std::env::var("WABBIT_TEST_GUESTS").expect("run `cargo xtask test`");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::copy(Path::new(&guests).join("noop.wasm"), at("catalogue.wasm")).expect("a component");
    fs::write(at("catalogue.toml"), manifest).expect("a manifest");
    fs::write(at("wabbit.toml"), config).expect("a configuration");
    let checked = Command::new(env!("CARGO_BIN_EXE_wabbit"))
        .env("SHOP_API_KEY", "a secret")
        .env("DB_PASSWORD", "a secret")
        .arg("--config")
        .arg(at("wabbit.toml"))
        .arg("check")
        .arg(at("catalogue.wasm"))
        .output()
        .expect("wabbit runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let talk = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("catalogue: ok"), "{said}{talk}");
}

#[test]
fn the_two_commands_are_named() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for command in ["cargo xtask demo", "cargo xtask test"] {
        assert!(readme.contains(command), "{command}");
    }
}
