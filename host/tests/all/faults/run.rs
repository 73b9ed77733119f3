//! A host under load: [`Plan`] says which, [`Run`] is that while the row does something to it, and
//! its end is an [`Account`]. Next: workload.rs, the load.

use super::oracle::{Account, Evidence};
use super::report::Report;
use super::workload::{Load, Workload};
use super::{events, full, ms, secs};
use crate::support::broker::Broker;
use crate::support::process::{LOOK, Place, Wabbit};
use crate::support::rabbit::Vhost;
use lapin::types::AMQPValue;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// Of every consumer.
pub const PREFETCH: u32 = 32;
/// How many events are handled at once: the others wait inside the host.
pub const CONCURRENCY: u32 = 8;

/// All that the host says of each event.
const LOG: &str = "info,wabbit=trace,lapin=off";

/// A row's host and load.
pub struct Plan {
    report: Report,
    broker: Broker,
    addresses: Vec<String>,
    heartbeat: Option<Duration>,
    quorum: bool,
    events: u32,
    during: Duration,
    at_once: u32,
    keys: u32,
    retried: Option<Duration>,
    subscription: String,
    queues: Vec<String>,
    /// Names and manifests.
    others: Vec<(String, String)>,
}

impl Plan {
    /// On the run's node, with default settings, and a second third that is handled at once.
    pub fn new(row: &'static str) -> Self {
        Self::on(row, Broker::shared())
    }

    /// On another node.
    pub fn on(row: &'static str, broker: Broker) -> Self {
        Self {
            report: Report::new(row),
            addresses: vec![broker.address.clone()],
            broker,
            heartbeat: None,
            quorum: false,
            events: events(),
            during: Duration::ZERO,
            at_once: CONCURRENCY,
            keys: 0,
            retried: None,
            subscription: String::new(),
            queues: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Other than [`events`], where the fault lets only few through.
    pub fn events(self, events: u32) -> Self {
        Self { events, ..self }
    }

    /// How long the second third of the events takes the handlers.
    pub fn during(self, during: Duration) -> Self {
        Self { during, ..self }
    }

    /// How many events the subscription lets the host handle at once, if not [`CONCURRENCY`].
    pub fn at_once(self, at_once: u32) -> Self {
        Self { at_once, ..self }
    }

    /// Each event has one of so many keys in the header `key`, and some ask to come again.
    pub fn keys(self, keys: u32) -> Self {
        Self { keys, ..self }
    }

    /// Each event asks to come again, once, and does so after this delay.
    pub fn retried(self, delay: Duration) -> Self {
        Self { retried: Some(delay), ..self }
    }

    /// More of the subscription, e.g. `order-by`.
    pub fn subscription(self, subscription: &str) -> Self {
        Self { subscription: subscription.to_owned(), ..self }
    }

    /// Where the host is told that the broker is, e.g. at a proxy.
    pub fn at(self, addresses: impl IntoIterator<Item = String>) -> Self {
        Self { addresses: addresses.into_iter().collect(), ..self }
    }

    /// What the host asks for in its URLs.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// All queues are quorum queues, and the workload knows all addresses as well.
    pub fn quorum(self) -> Self {
        Self { quorum: true, ..self }
    }

    /// Queues that are there before the host.
    pub fn before(self, queues: &[&str]) -> Self {
        Self { queues: queues.iter().map(|queue| (*queue).to_owned()).collect(), ..self }
    }

    /// Another plugin of the same guest, which has nothing to do with the workload.
    pub fn other(mut self, name: &str, manifest: &str) -> Self {
        self.others.push((name.to_owned(), manifest.to_owned()));
        self
    }

    /// Starts it. Returns when the first third of the events is handled and the second under way.
    pub async fn start(self) -> Run {
        let vhost = Vhost::on(self.broker.clone()).await;
        let kind = ("x-queue-type", AMQPValue::LongString("quorum".into()));
        let arguments = if self.quorum { vec![kind] } else { Vec::new() };
        vhost.queue("effects", &arguments).await;
        for queue in &self.queues {
            vhost.queue(queue, &arguments).await;
        }
        let heartbeat = self.heartbeat.map(|every| format!("?heartbeat={}", every.as_secs()));
        let url = |address: &String, query: &str| {
            format!("amqp://guest:guest@{address}/{}{query}", vhost.name)
        };
        let query = heartbeat.unwrap_or_default();
        let urls: Vec<_> = self.addresses.iter().map(|it| url(it, &query)).collect();
        let flags: Vec<_> = urls.iter().flat_map(|url| ["--broker", url.as_str()]).collect();
        let mut place =
            Place::new().env("RUST_LOG", LOG).plugin("work", "scripted", &self.written());
        for (name, manifest) in &self.others {
            place = place.plugin(name, "scripted", manifest);
        }
        let mut host = place.run_with(&flags).await;
        host.keep_log(self.report.file("log"));
        host.ready().await;
        let direct = if self.quorum { self.addresses } else { vec![self.broker.address] };
        let load = Load {
            urls: direct.iter().map(|address| url(address, "?heartbeat=5")).collect(),
            events: self.events,
            during: self.during,
            concurrency: self.at_once,
            keys: self.keys,
            retried: self.retried.is_some(),
        };
        let thirds = load.thirds();
        let workload = Workload::start(load);
        let first = thirds[0].end;
        handled(&host, first).await;
        let (resident, began) = (host.resident(), SystemTime::now());
        workload.release();
        let (report, others) = (self.report, Vec::new());
        let run =
            Run { vhost, host, others, workload, report, thirds, resident, began, over: None };
        handled(&run.host, first + CONCURRENCY).await;
        run
    }

    fn written(&self) -> String {
        let kind = if self.quorum { "type = \"quorum\"\n" } else { "" };
        let delay = self.retried.unwrap_or(ms(50)).as_millis();
        // That all fail once is as it should be.
        let circuit = if self.retried.is_some() { "[circuit]\nfailures = 0\n" } else { "" };
        format!(
            "[[subscription]]\n{kind}prefetch = {PREFETCH}\nconcurrency = {CONCURRENCY}\n{}\n\
             [retry]\ndelays = [\"{delay}ms\"]\n{circuit}[grants]\npublish = [\":effects\"]\n",
            self.subscription
        )
    }
}

/// Waits until the host has handled so many events.
async fn handled(host: &Wabbit, count: u32) {
    let began = Instant::now();
    let label = ["outcome=\"ok\"", "plugin=\"work\""];
    while host.metric("wabbit_outcomes_total", &label).await < f64::from(count) {
        assert!(began.elapsed() < settled_max(), "{count} events are not handled");
        sleep(LOOK).await;
    }
}

/// For a third of the events to be handled.
fn settled_max() -> Duration {
    if full() { secs(300) } else { secs(120) }
}

/// A host under load, while something is done to it.
pub struct Run {
    pub vhost: Vhost,
    pub host: Wabbit,
    /// More of the same, see [`Run::join`].
    pub others: Vec<Wabbit>,
    pub workload: Workload,
    pub report: Report,
    thirds: [std::ops::Range<u32>; 3],
    /// Before the fault, in bytes.
    resident: u64,
    began: SystemTime,
    over: Option<SystemTime>,
}

impl Run {
    /// The fault is over now: the broker can be reached. The rest of the events is published.
    pub fn over(&mut self) {
        self.over_since(SystemTime::now());
    }

    /// The same, since this time.
    pub fn over_since(&mut self, time: SystemTime) {
        if self.over.is_none() {
            self.over = Some(time);
            self.workload.release();
        }
    }

    /// Starts another host of the same plugin, on the same broker.
    pub async fn join(&mut self) {
        let manifest = self.host.place.path("plugins/work.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let place = Place::new().env("RUST_LOG", LOG).plugin("work", "scripted", &manifest);
        let mut other = place.run(&self.vhost.url).await;
        other.keep_log(self.report.file(&format!("{}.log", self.others.len() + 2)));
        other.ready().await;
        self.others.push(other);
    }

    /// Waits until every event is settled, and counts. The fault is over, if it was not before.
    pub async fn account(mut self) -> Account {
        self.over();
        let published = self.workload.done(settled_max()).await;
        self.report.expect(published, "the workload is published");
        self.vhost.reconnect().await;
        let settled = self.settle().await;
        self.report.expect(settled, "all events are settled");
        let growth = self.host.resident().saturating_sub(self.resident);
        let mut reconnects = [0; 2];
        for (count, role) in reconnects.iter_mut().zip(["consume", "publish"]) {
            let label = format!("role=\"{role}\"");
            *count = self.host.metric("wabbit_reconnects_total", &[&label]).await as usize;
        }
        let prefetch = self.prefetch().await;
        let ack_lost = self.host.metric("wabbit_ack_lost_total", &[]).await as usize;
        let code = self.host.terminate().await.code();
        self.report.expect(code == Some(0), format!("SIGTERM ends it with {code:?}"));
        let mut log = self.host.log_lines();
        for other in &mut self.others {
            let code = other.terminate().await.code();
            self.report.expect(code == Some(0), format!("SIGTERM ends another with {code:?}"));
            log.extend(other.log_lines());
        }
        let evidence = Evidence {
            ledger: self.workload.ledger(),
            log,
            began: self.began,
            over: self.over.unwrap_or(self.began),
            thirds: self.thirds.clone(),
            growth,
            reconnects,
            ack_lost,
            prefetch,
        };
        Account::draw_up(&self.vhost, evidence, self.report).await
    }

    /// Waits until nothing is in hand any more.
    async fn settle(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < settled_max() {
            let idle = self.host.metric("wabbit_inflight", &[]).await == 0.0;
            if idle && self.vhost.count("work").await == 0 {
                let depths = self.vhost.depths().await;
                let moves = |name: &str| name == "work" || name.starts_with("wabbit.delay.");
                let rest = depths.iter().filter(|(name, ..)| moves(name));
                if rest.map(|(_, ready, unsettled)| ready + unsettled).sum::<u64>() == 0 {
                    return true;
                }
            }
            sleep(LOOK).await;
        }
        false
    }

    /// The prefetch of each consumer.
    async fn prefetch(&self) -> Vec<u32> {
        let args = ["list_consumers", "--formatter", "json", "-p", &self.vhost.name];
        let columns = ["queue_name", "prefetch_count"];
        let listed = self.vhost.broker.ctl(&[&args[..], &columns].concat()).await;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let ours = listed.iter().filter(|consumer| consumer["queue_name"] == "work");
        let prefetch = |consumer: &serde_json::Value| consumer["prefetch_count"].as_u64();
        ours.filter_map(prefetch).filter_map(|count| count.try_into().ok()).collect()
    }
}
