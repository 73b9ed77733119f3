//! What a host takes that has plugins and nothing to do.

use super::{Bench, Host, stamped};
use crate::http;
use crate::process::{pause, say, show, until};
use anyhow::{Context, Result, bail};
use std::fs;
use std::time::{Duration, Instant};

const PLUGINS: usize = 10;
/// What the plugins are made of; each is another version, so that nothing is shared.
const GUESTS: [&str; 4] = ["noop", "json", "scripted", "version-a"];
/// Compiling ten components takes seconds.
const READY_MAX: Duration = Duration::from_secs(120);
/// For what starting has used to be given back.
const CALM: Duration = Duration::from_secs(5);

/// Measures a host that had to compile its plugins, and one that did not.
pub fn run(bench: &Bench) -> Result<()> {
    say("a host at rest");
    let plugins = bench.plugins("rest")?;
    for number in 0..PLUGINS {
        let bytes = stamped(GUESTS[number % GUESTS.len()], &format!("rest {number}"))?;
        let place = plugins.join(format!("bench-rest-{number}.wasm"));
        fs::write(place.with_extension("toml"), "[grants]\npublish = [\"versions:versions\"]\n")?;
        fs::write(place, bytes)?;
    }
    show(&format!("\nA host at rest with {PLUGINS} plugins\n"));
    show("| compiled code | resident MiB |\n|---|---:|");
    for code in ["made", "kept from before"] {
        let admin = http::free_address()?;
        let mut host = bench.host(&plugins, &admin.to_string(), "cache-rest")?;
        until("starting the host", READY_MAX, || {
            if let Some(status) = host.0.try_wait()? {
                bail!("the host ended with {status}");
            }
            let ready = http::get(admin, "/readyz", &[]);
            Ok(ready.is_ok_and(|(status, _)| status == 200).then_some(()))
        })?;
        let ready = Instant::now();
        while ready.elapsed() < CALM {
            pause()?;
        }
        show(&format!("| {code} | {:.0} |", resident_mib(&host)?));
    }
    Ok(())
}

fn resident_mib(host: &Host) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", host.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(kib.context("no size in /proc")?.parse::<f64>()? / 1024.0)
}
