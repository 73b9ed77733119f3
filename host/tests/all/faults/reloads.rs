//! Handlers that are replaced, well or badly, and taken away while events flow.

use super::oracle::{Account, Pass};
use super::run::{Plan, Run};
use super::workload::id;
use super::{full, ms, secs};
use crate::support::guest;
use crate::support::process::{PATIENCE, Wabbit, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};
use wabbit::plugin::watch::Digest;

const SWAP_MAX: Duration = ms(50);
/// A version is announced a little before it is the one that events are given to.
const SLACK: Duration = secs(1);
/// What is incomplete is waited for before it is refused.
const EMPTY_TOLD: Duration = secs(5);
/// Where the guest has the number of its build.
const BUILD: &[u8] = b"build 0000000001";

/// Sections of a component that say nothing: without some of them it is one, too, and another.
const NOTES: [&[u8]; 3] = [b"\0\x05\x04note", b"\0\x05\x04more", b"\0\x05\x04last"];

/// A build of the same handler.
struct Version {
    name: String,
    bytes: Vec<u8>,
    digest: String,
}

impl Version {
    fn new(number: u8) -> Self {
        let mut bytes = guest("scripted");
        let places = bytes.windows(BUILD.len()).enumerate().filter(|(_, it)| *it == BUILD);
        let places: Vec<_> = places.map(|(at, _)| at).collect();
        assert_eq!(places.len(), 1, "a guest with the number of its build: `cargo xtask guests`");
        let name = format!("build {number:010}");
        bytes[places[0]..][..BUILD.len()].copy_from_slice(name.as_bytes());
        bytes.extend(NOTES.concat());
        Self::of(name, bytes)
    }

    /// The one that is there from the start.
    fn first() -> Self {
        Self::of(String::from_utf8_lossy(BUILD).into_owned(), guest("scripted"))
    }

    fn of(name: String, bytes: Vec<u8>) -> Self {
        Self { name, digest: Digest::of(&bytes).to_string(), bytes }
    }

    /// As somebody may write it who is slow.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (component, notes) = self.bytes.split_at(self.bytes.len() - NOTES.concat().len());
        component.chunks(component.len() / 6 + 1).chain(notes.chunks(NOTES[0].len()))
    }
}

/// Each is done in turn; the good ones to the other version.
const WAYS: [Way; 8] = [
    Way::CopiedInPlace,
    Way::Garbage,
    Way::MovedOver,
    Way::Empty,
    Way::WrittenSlowly,
    Way::WrongWorld,
    Way::DeletedAndRestored,
    Way::MoreThanGranted,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    CopiedInPlace,
    MovedOver,
    WrittenSlowly,
    DeletedAndRestored,
    Garbage,
    Empty,
    WrongWorld,
    MoreThanGranted,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_under_load() {
    let times = if full() { 200 } else { 40 };
    let during = secs(if full() { 300 } else { 30 });
    let mut run =
        Plan::new("200 reloads v1 to v2 and back under load").during(during).start().await;
    let versions = [Version::new(1), Version::new(2), Version::first()];
    let (mut active, mut swaps) = (0, Vec::new());
    for time in 0..times {
        let way = WAYS[time % WAYS.len()];
        match way {
            Way::Garbage | Way::Empty | Way::WrongWorld | Way::MoreThanGranted => {
                // Refusing what is empty takes its time.
                let told = way != Way::Empty || full() || time < WAYS.len();
                put_bad(&mut run, way, told, &versions[active]).await;
            }
            _ => {
                active = 1 - active;
                let whole = put_good(&mut run, way, &versions[active]).await;
                swaps.push(serves(&run.host, &versions[active], whole).await);
                sleep(ms(run.report.random.u64(100..300))).await;
            }
        }
    }
    let ok = run.host.metric("wabbit_outcomes_total", &["outcome=\"ok\""]).await;
    run.report.note(format!("{ok} events were handled when the last version was there"));
    swaps.sort();
    let (median, late) = (swaps[swaps.len() / 2], swaps[swaps.len() * 99 / 100]);
    run.report.note(format!("swapped in {median:.0?}, p99 {late:.0?}"));
    let most = if full() { SWAP_MAX } else { secs(5) };
    run.report.expect(late < most, format!("p99 of the swaps is {late:?}"));
    let mut account = run.account().await;
    by_active_versions(&mut account, &versions);
    account.passes(&Pass::default());
}

/// Puts a version in place; the moment when it was whole.
async fn put_good(run: &mut Run, way: Way, next: &Version) -> SystemTime {
    let file = run.host.place.path("plugins/work.wasm");
    let (digest, _) = status(&run.host).await;
    match way {
        Way::CopiedInPlace => fs::write(&file, &next.bytes).unwrap(),
        Way::MovedOver => run.host.place.replace("work", &next.bytes),
        Way::WrittenSlowly => {
            let mut writing = fs::File::create(&file).unwrap();
            for piece in next.pieces() {
                writing.write_all(piece).unwrap();
                sleep(ms(run.report.random.u64(1..150))).await;
                let there = status(&run.host).await.0;
                let kept =
                    there == digest || writing.metadata().unwrap().len() == next.bytes.len() as u64;
                run.report.expect(kept, "what was half written is not served");
            }
        }
        _ => {
            fs::remove_file(&file).unwrap();
            // Some are back before anybody has noticed.
            sleep(ms(run.report.random.u64(0..400))).await;
            fs::write(&file, &next.bytes).unwrap();
        }
    }
    SystemTime::now()
}

/// Puts something in place that can't be served, and sees that the last good version stays.
async fn put_bad(run: &mut Run, way: Way, told: bool, active: &Version) {
    let place = &run.host.place;
    let manifest = fs::read_to_string(place.path("plugins/work.toml")).unwrap();
    match way {
        Way::Garbage => place.replace("work", b"garbage"),
        Way::Empty => place.replace("work", b""),
        Way::WrongWorld => place.replace("work", &guest("other-world")),
        _ => put_manifest(&run.host, manifest.split("[grants]").next().unwrap()),
    }
    let began = Instant::now();
    let limit = if told { PATIENCE + EMPTY_TOLD } else { ms(300) };
    while began.elapsed() < limit {
        let (digest, trouble) = status(&run.host).await;
        let kept = digest.as_ref() == Some(&active.digest);
        run.report.expect(kept, format!("{way:?}: {digest:?} is served"));
        if trouble.is_some() {
            break;
        }
        sleep(ms(20)).await;
    }
    let said = began.elapsed() < limit || !told;
    run.report.expect(said, format!("{way:?} is not refused"));
    if way == Way::MoreThanGranted {
        put_manifest(&run.host, &manifest);
        serves(&run.host, active, SystemTime::now()).await;
    }
}

fn put_manifest(host: &Wabbit, text: &str) {
    let beside = host.place.path("plugins/.work.toml.new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, host.place.path("plugins/work.toml")).unwrap();
}

/// The digest that is served, and what is wrong with the files.
async fn status(host: &Wabbit) -> (Option<String>, Option<String>) {
    let (_, plugins) = host.get("/api/plugins").await;
    let plugins: Value = serde_json::from_str(&plugins).unwrap();
    let text = |name: &str| plugins[0][name].as_str().map(str::to_owned);
    (text("digest"), text("trouble"))
}

/// Waits until a version is served; how long that took since `whole`, by the host's log.
async fn serves(host: &Wabbit, version: &Version, whole: SystemTime) -> Duration {
    eventually(&format!("{} is served", version.name), async || {
        let served = (Some(version.digest.clone()), None);
        (status(host).await == served).then_some(())
    })
    .await;
    let log = host.log_lines();
    let said = log.iter().rev().find_map(|line| activated(line).map(|(at, _)| at));
    said.and_then(|at| at.duration_since(whole).ok()).unwrap_or_default()
}

/// If a line says that a version is active from now on: when, and its digest.
fn activated(line: &Value) -> Option<(SystemTime, &str)> {
    let message = line["message"].as_str()?;
    let is = ["plugin loaded", "plugin reloaded"].contains(&message);
    is.then(|| (at(line), line["digest"].as_str().unwrap_or_default()))
}

fn at(line: &Value) -> SystemTime {
    humantime::parse_rfc3339(line["timestamp"].as_str().unwrap_or_default()).unwrap()
}

/// Every effect is by the code of the version that the host says has handled it, and that one was
/// active between the event's receipt and its end.
fn by_active_versions(account: &mut Account, versions: &[Version]) {
    let log = &account.evidence.log;
    let active: Vec<_> = log.iter().filter_map(activated).collect();
    let unknown: Vec<_> = active
        .iter()
        .filter(|(_, digest)| !versions.iter().any(|version| version.digest == *digest))
        .collect();
    let mut problems = Vec::new();
    if !unknown.is_empty() {
        problems.push(format!("activated, and never whole in the folder: {unknown:?}"));
    }
    let was_active = |digest: &str, from: SystemTime, to: SystemTime| {
        active.iter().enumerate().any(|(nth, (begin, of))| {
            let end = active.get(nth + 1).map(|(end, _)| *end + SLACK);
            of.starts_with(digest) && *begin <= to && end.is_none_or(|end| end >= from)
        })
    };
    let (mut received, mut by) = (BTreeMap::new(), BTreeMap::new());
    for line in log {
        let message_id = line["message_id"].as_str().unwrap_or_default();
        match line["message"].as_str() {
            Some("received") => _ = received.insert(message_id, at(line)),
            Some("handled") => {
                let digest = line["digest"].as_str().unwrap_or_default();
                by.insert(message_id, digest);
                if digest.is_empty() || !was_active(digest, received[message_id], at(line)) {
                    problems.push(format!("{message_id} was handled by `{digest}`"));
                }
            }
            _ => {}
        }
    }
    let mut each = BTreeMap::<_, usize>::new();
    for (number, build) in account.builds() {
        let digest = by.get(id(number).as_str()).copied().unwrap_or_default();
        let is = |it: &&Version| it.name == build && it.digest.starts_with(digest);
        if !versions.iter().any(|it| is(&it)) {
            problems.push(format!("the effect of {number} is by `{build}`, not `{digest}`"));
        }
        *each.entry(build).or_default() += 1;
    }
    if each.len() != 2 {
        problems.push(format!("effects by each version: {each:?}"));
    }
    account.report.note(format!("{} activations, effects by each version {each:?}", active.len()));
    problems.into_iter().for_each(|problem| account.report.expect(false, problem));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_away() {
    let mut run = Plan::new("plugin removed").during(secs(10)).start().await;
    let file = run.host.place.path("plugins/work.wasm");
    let component = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    eventually("the consumer is cancelled", async || {
        let ours = run.host.get("/api/consumers").await.1 == "[]";
        let columns = ["list_consumers", "-p", &run.vhost.name, "queue_name"];
        let brokers = run.vhost.broker.ctl(&columns).await;
        (ours && !brokers.contains("work")).then_some(())
    })
    .await;
    eventually("nothing in hand", async || {
        (run.host.metric("wabbit_inflight", &[]).await == 0.0).then_some(())
    })
    .await;
    let label = ["outcome=\"ok\""];
    let before = run.host.metric("wabbit_outcomes_total", &label).await;
    sleep(secs(2)).await;
    let after = run.host.metric("wabbit_outcomes_total", &label).await;
    run.report.expect(before == after, format!("{before} were handled, and then {after}"));
    let depths = run.vhost.depths().await;
    let work = depths.iter().find(|(name, ..)| name == "work");
    let waits = work.is_some_and(|(_, ready, unsettled)| *ready > 0 && *unsettled == 0);
    run.report.expect(waits, format!("the events wait in the queue: {work:?}"));
    run.host.place.replace("work", &component);
    run.over();
    let account = run.account().await;
    let back = if full() { secs(2) } else { secs(10) };
    account.passes(&Pass { back, ..Pass::default() });
}
