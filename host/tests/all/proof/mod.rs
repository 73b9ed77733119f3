//! The whole job at once: a producer with pika, handlers in four languages, retries, bad events,
//! handlers that are replaced and connections that are closed meanwhile; at the end every event is
//! accounted for. Next: account.rs, the accounts.

mod account;
mod journal;

use crate::support::guest;
use crate::support::process::{Place, Wabbit};
use crate::support::python::Script;
use crate::support::rabbit::Vhost;
use account::Account;
use journal::Journal;
use lapin::ExchangeKind;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const EVENTS: usize = 20_000;
const REPLACEMENTS: usize = 20;
const CLOSURES: usize = 5;
const LANGUAGES: [&str; 4] = ["rust", "javascript", "python", "c"];
/// As the manifests leave it.
const PREFETCH: usize = 32;
/// A step of the run; two busy cores need a fourth of it for all of them.
const STEP_MAX: Duration = Duration::from_secs(300);

/// The number of the event; its language is its remainder.
type Number = usize;

/// What becomes of an event, as `python/orders.py` makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// One in fifty: comes again.
    Pending,
    /// One in a hundred: a dead letter.
    Bad,
}

impl Kind {
    fn of(number: Number) -> Self {
        match number / LANGUAGES.len() % 100 {
            7 => Self::Bad,
            3 | 53 => Self::Pending,
            _ => Self::Plain,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_accounted_for() {
    let vhost = Vhost::new().await;
    vhost.exchange("shop", ExchangeKind::Topic).await;
    vhost.queue("totals", &[]).await;
    vhost.bind("shop", "totals", "order.totalled").await;
    let place = examples().env("RUST_LOG", "info,wabbit=trace,lapin=off");
    let mut host = place.run(&vhost.url).await;
    host.ready().await;

    let started = Instant::now();
    let producer = Script::start("orders", &[&vhost.url, &EVENTS.to_string()]);
    disturb(&host, &vhost).await;
    assert_eq!(producer.finish().await, [EVENTS.to_string()]);
    all_settled(&host, &vhost).await;
    let took = started.elapsed();
    let ack_lost = host.metric("wabbit_ack_lost_total", &[]).await;
    assert_eq!(host.terminate().await.code(), Some(0));

    let journal = Journal::read(&host.log_lines());
    let account = Account::collect(&vhost).await;
    account.print(&journal, ack_lost, took);
    account.check(&journal);
}

/// The examples, with the manifests that they come with.
fn examples() -> Place {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut place = Place::new();
    for name in LANGUAGES.map(|language| format!("orders-{language}")) {
        let manifest = root.join(&name).join(format!("{name}.toml"));
        let manifest = std::fs::read_to_string(manifest).unwrap();
        place = place.plugin(&name, &name, &manifest);
    }
    place
}

/// Another build of the same component: a custom section more, which does nothing.
fn rebuilt(component: &[u8]) -> Vec<u8> {
    let section = b"\x07another build";
    let length = u8::try_from(section.len()).unwrap();
    [component, &[0, length], section].concat()
}

/// Replaces handlers and closes connections, evenly over the run.
async fn disturb(host: &Wabbit, vhost: &Vhost) {
    let builds = LANGUAGES.map(|language| {
        let first = guest(&format!("orders-{language}"));
        [rebuilt(&first), first]
    });
    let every = REPLACEMENTS / CLOSURES;
    for turn in 0..REPLACEMENTS {
        reached(host, EVENTS * (turn + 1) / (REPLACEMENTS + 2)).await;
        let (which, build) = (turn % LANGUAGES.len(), turn / LANGUAGES.len() % 2);
        let name = format!("orders-{}", LANGUAGES[which]);
        host.place.replace(&name, &builds[which][build]);
        let plugin = format!("plugin=\"{name}\"");
        let times = (turn / LANGUAGES.len() + 1) as f64;
        let labels = [plugin.as_str(), "result=\"reloaded\""];
        host.metric_reaches("wabbit_plugin_reloads_total", &labels, times).await;
        if turn % every == every / 2 {
            for role in ["consume", "publish"] {
                let label = format!("role=\"{role}\"");
                let before = host.metric("wabbit_reconnects_total", &[&label]).await;
                vhost.close_connections(role).await;
                host.metric_reaches("wabbit_reconnects_total", &[&label], before + 1.0).await;
            }
        }
    }
}

/// Waits until so many deliveries came.
async fn reached(host: &Wabbit, deliveries: usize) {
    let began = Instant::now();
    while (host.metric("wabbit_deliveries_total", &[]).await as usize) < deliveries {
        assert!(began.elapsed() < STEP_MAX, "no {deliveries} deliveries");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until no queue but those of results has anything, delay queues included.
async fn all_settled(host: &Wabbit, vhost: &Vhost) {
    let began = Instant::now();
    loop {
        let depths = vhost.depths().await;
        let result = |name: &str| name == "totals" || name.ends_with(".dlq");
        let rest = depths.iter().filter(|(name, ..)| !result(name));
        let idle = host.metric("wabbit_inflight", &[]).await == 0.0;
        if rest.map(|(_, ready, unsettled)| ready + unsettled).sum::<u64>() == 0 && idle {
            return;
        }
        assert!(began.elapsed() < STEP_MAX, "still at work: {depths:?}");
    }
}
