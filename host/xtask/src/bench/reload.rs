//! How soon a changed handler serves: from its component being whole in the plugins folder to the
//! first event that the new code has handled, as a consumer of its publications sees it.
//! Next: rest.rs.

use super::{Bench, median, stamped};
use crate::process::{say, show};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Reloads that are timed.
const TIMES: usize = 20;
/// The queue, and the plugin that consumes it.
const QUEUE: &str = "bench-reload";
/// Guests that publish their names.
const VERSIONS: [&str; 2] = ["version-a", "version-b"];
const MANIFEST: &str = "[grants]\npublish = [\"versions:versions\"]\n";

/// Measures code that is compiled for the first time, and code that was compiled before.
pub fn run(bench: &Bench) -> Result<()> {
    say("reloading");
    show("\nFrom the component being whole to the first event handled by its code, ms\n");
    show("| component | compiled code | least | median | most |\n|---|---|---:|---:|---:|");
    let dir = bench.plugins("versions")?;
    let mut never_seen = Vec::new();
    for number in 0..=TIMES {
        never_seen.push(dir.join(format!("{number}.wasm")).display().to_string());
        let guest = VERSIONS[number % VERSIONS.len()];
        fs::write(dir.join(format!("{number}.wasm")), stamped(guest, &format!("{number}"))?)?;
    }
    let kib = fs::metadata(dir.join("0.wasm"))?.len() >> 10;
    row(kib, "made", &times(bench, &never_seen)?);
    let seen: Vec<String> =
        never_seen.iter().cycle().take(2).cycle().take(TIMES + 1).cloned().collect();
    row(kib, "kept from before", &times(bench, &seen)?);
    Ok(())
}

fn times(bench: &Bench, components: &[String]) -> Result<Vec<f64>> {
    let plugins = bench.plugins("reload")?;
    let place = plugins.join(format!("{QUEUE}.wasm"));
    let first = components.first().map(Path::new).context("no components")?;
    fs::copy(first, &place)?;
    fs::write(place.with_extension("toml"), MANIFEST)?;
    let host = bench.host(&plugins, "off", "cache-reload")?;
    let place = place.display().to_string();
    let mut reload = vec!["reload", "--queue", QUEUE, "--place", &place];
    reload.extend(components.iter().map(String::as_str));
    let result = bench.tool(&reload)?;
    drop(host);
    let times = result["milliseconds"].as_array().context("no times")?;
    Ok(times.iter().filter_map(serde_json::Value::as_f64).collect())
}

fn row(kib: u64, code: &str, times: &[f64]) {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(0.0, f64::max);
    let middle = median(times.to_vec());
    show(&format!("| {kib} KiB | {code} | {least:.0} | {middle:.0} | {most:.0} |"));
}
