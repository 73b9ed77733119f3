//! What ARCHITECTURE.md says about the layout of the code, held by the build.

use std::fs;
use std::path::{Path, PathBuf};

/// The order of the flow: a module may name those before it, and itself.
const FLOW: [&str; 12] = [
    "flow",
    "policy",
    "telemetry",
    "broker",
    "store",
    "wit",
    "capability",
    "plugin",
    "dispatch",
    "admin",
    "config",
    "cli",
];

/// What only some rooms may name.
const ROOMS: [(&str, &[&str]); 13] = [
    ("lapin::", &["broker/amqp/"]),
    ("wasmtime::", &["wit/", "capability/", "plugin/"]),
    ("wasmtime_wasi::", &["capability/", "plugin/instance.rs"]),
    ("sqlx::", &["store/sql/"]),
    ("redb::", &["store/key_value/embedded"]),
    ("redis::", &["store/key_value/redis"]),
    ("wasmtime_wasi_http::", &["capability/guest.rs", "capability/http/"]),
    ("hyper::", &["capability/http/"]),
    ("notify::", &["plugin/watch/"]),
    ("axum::", &["admin/"]),
    ("clap::", &["cli/"]),
    ("anyhow::", &["cli/"]),
    ("stdout()", &["cli/output.rs"]),
];

/// Whatever is longer is two files.
const LINES_MAX: usize = 400;

fn sources() -> Vec<(String, String)> {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources are there");
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&root).expect("it is inside").display().to_string();
        (name, fs::read_to_string(&path).expect("it can be read"))
    });
    named.collect()
}

/// The code of a file without comments and without what follows its first `mod tests`.
fn code(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().take_while(|line| !line.starts_with("mod tests"));
    lines.map(|line| line.split("//").next().unwrap_or_default())
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn a_module_imports_only_what_stands_before_it_in_the_flow() {
    let mut problems = Vec::new();
    for (file, source) in sources() {
        let module = file.split(['/', '.']).next().unwrap_or_default();
        let Some(own) = FLOW.iter().position(|name| *name == module) else { continue };
        for (number, line) in source.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for later in &FLOW[own + 1..] {
                if line.contains(&format!("crate::{later}")) {
                    problems.push(format!("{file}:{}: `{module}` names `{later}`", number + 1));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut problems = Vec::new();
    for (file, source) in sources() {
        for (library, rooms) in ROOMS {
            let named = code(&source).any(|line| line.contains(library));
            if named && !rooms.iter().any(|room| file.starts_with(room)) {
                problems.push(format!("{file} names `{library}`, which belongs to {rooms:?}"));
            }
        }
    }
    report(problems);
}

#[test]
fn files_stay_short_and_say_what_they_are_for() {
    let mut problems = Vec::new();
    for (file, source) in sources() {
        let lines = source.lines().count();
        if lines > LINES_MAX {
            problems.push(format!("{file} has {lines} lines, {LINES_MAX} are the most"));
        }
        if !source.starts_with("//!") && !file.ends_with("tests.rs") {
            problems.push(format!("{file} does not open with what it is for"));
        }
    }
    report(problems);
}

#[test]
fn every_module_of_the_flow_is_there() {
    let declared = sources().into_iter().find(|(file, _)| file == "lib.rs").expect("lib.rs").1;
    for module in FLOW {
        assert!(declared.contains(&format!("pub mod {module};")), "{module}");
    }
}
