//! A running host, seen from outside: publish to it, [`take`](TestHost::take) what comes out, change
//! its plugins, and look at what it says. It begins in `setup`.

use super::setup::Names;
use super::{PATIENCE, eventually, log};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wabbit::broker::memory::MemoryBroker;
use wabbit::broker::{Broker, Consume, Mode, Queue, State, Status, Subscription, Topology};
use wabbit::dispatch::host::{Host, PluginStatus};
use wabbit::flow::{Event, Properties, Publication, Verdict};
use wabbit::plugin::watch::Digest;
use wabbit::telemetry::metrics;

/// A running host, seen from outside.
pub struct TestHost {
    /// The host.
    pub host: Arc<Host>,
    /// The plugins folder.
    pub plugins: PathBuf,
    /// Another client of its broker.
    pub(super) spy: Arc<dyn Broker>,
    pub(super) names: Names,
    pub(super) memory: Option<Arc<MemoryBroker>>,
    pub(super) readers: tokio::sync::Mutex<HashMap<String, Subscription>>,
    #[expect(dead_code, reason = "removed when it is dropped")]
    pub(super) dir: TempDir,
    pub(super) stop: CancellationToken,
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestHost {
    /// `name` as this test has it.
    pub fn own(&self, name: &str) -> String {
        self.names.own(name)
    }

    /// `text` with the names of this test.
    pub fn text(&self, text: &str) -> String {
        self.names.text(text)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let began = std::time::Instant::now();
        while !self.host.unready().is_empty() {
            assert!(began.elapsed() < PATIENCE, "not ready: {:?}", self.host.unready());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Publishes a script to a queue.
    pub async fn send(&self, queue: &str, script: &str) {
        self.send_with(queue, script, Properties::default()).await;
    }

    /// Publishes a script to a queue, with properties.
    pub async fn send_with(&self, queue: &str, script: &str, properties: Properties) {
        let body = self.text(script).into_bytes();
        let routing_key = queue.to_owned();
        let publication = Publication { routing_key, properties, body, ..Publication::default() };
        self.publish(publication).await;
    }

    /// Publishes.
    pub async fn publish(&self, mut it: Publication) {
        if it.exchange.is_empty() {
            it.routing_key = self.own(&it.routing_key);
        }
        it.exchange = self.own(&it.exchange);
        self.spy.publish(it).await.unwrap();
    }

    /// Takes the next event out of a queue, in which there must be one soon.
    pub async fn take(&self, queue: &str) -> Event {
        let queue = self.own(queue);
        let mut readers = self.readers.lock().await;
        let reader = readers.entry(queue.clone()).or_insert_with(|| {
            self.spy.subscribe(Consume {
                queue: Queue::durable(&queue),
                topology: Topology::default(),
                mode: Mode::Off,
                prefetch: 100,
            })
        });
        let delivery = match timeout(PATIENCE, reader.deliveries.recv()).await {
            Ok(Some(delivery)) => delivery,
            Ok(None) => panic!("reading `{queue}` ended"),
            Err(_) => panic!("nothing in `{queue}`; the log: {:#?}", log::lines(&self.text("~"))),
        };
        delivery.receipt.settle(Verdict::Ack);
        delivery.event
    }

    /// Takes the next body out of a queue.
    pub async fn take_text(&self, queue: &str) -> String {
        String::from_utf8(self.take(queue).await.body).expect("text")
    }

    /// Sees that there is nothing in a queue before what is published to it now.
    pub async fn finds_empty(&self, queue: &str) {
        self.send(queue, "sentinel").await;
        assert_eq!(self.take_text(queue).await, "sentinel", "in `{queue}`");
    }

    /// How many messages of a queue of the embedded broker wait, and how many are out.
    pub fn depth(&self, queue: &str) -> (usize, usize) {
        let memory = self.memory.as_ref().expect("the embedded broker");
        memory.queue_depth(&self.own(queue)).unwrap_or_default()
    }

    /// Waits until a queue of the embedded broker has this many messages that wait and are out.
    pub async fn has_depth(&self, queue: &str, depth: (usize, usize)) {
        eventually(&format!("`{queue}` never had {depth:?}"), || self.depth(queue) == depth).await;
    }

    /// Deletes a queue of the embedded broker.
    pub fn delete_queue(&self, queue: &str) {
        let memory = self.memory.as_ref().expect("the embedded broker");
        assert!(memory.delete_queue(&self.own(queue)), "there is no queue `{queue}`");
    }

    /// The sum of all series of a metric with these labels; `plugin` and `queue` as names.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(label, value)| {
            let ours = matches!(*label, "plugin" | "queue");
            let value = if ours { self.own(value) } else { (*value).to_owned() };
            format!("{label}=\"{value}\"")
        });
        let labels: Vec<_> = labels.collect();
        let text = metrics::init().unwrap().render();
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let series = series.filter(|line| labels.iter().all(|label| line.contains(label)));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric has this value.
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let what = format!("{name}{labels:?} never was {value}");
        eventually(&what, || (self.metric(name, labels) - value).abs() < 0.5).await;
    }

    /// The lines of the log that are about a plugin.
    pub fn log(&self, plugin: &str) -> Vec<Arc<str>> {
        log::lines(&format!("plugin=\"{}\"", self.own(plugin)))
    }

    /// A file of the plugins folder, e.g. `orders.wasm`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.plugins.join(self.own(name))
    }

    /// Puts a component in place in one step.
    pub fn put(&self, plugin: &str, component: impl AsRef<[u8]>) {
        self.move_in(&format!("{plugin}.wasm"), component.as_ref());
    }

    /// Puts a manifest in place in one step.
    pub fn put_manifest(&self, plugin: &str, manifest: &str) {
        self.move_in(&format!("{plugin}.toml"), self.text(manifest).as_bytes());
    }

    fn move_in(&self, file: &str, content: &[u8]) {
        let beside = self.file(&format!("{file}.new"));
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.file(file)).unwrap();
    }

    /// What the host says about a plugin.
    pub fn status(&self, plugin: &str) -> Option<PluginStatus> {
        let name = self.own(plugin);
        self.host.plugins().into_iter().find(|plugin| plugin.name == name)
    }

    /// What is wrong with a plugin's files, once that holds all of `parts`.
    pub async fn trouble(&self, plugin: &str, parts: &[&str]) -> String {
        let began = std::time::Instant::now();
        loop {
            let trouble = self.status(plugin).and_then(|status| status.trouble);
            let trouble = trouble.unwrap_or_default();
            if !trouble.is_empty() && parts.iter().all(|part| trouble.contains(part)) {
                return trouble;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "`{plugin}` is in no trouble with {parts:?}: {trouble}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a queue is consumed.
    pub async fn consumes(&self, queue: &str) {
        let queue = self.own(queue);
        let live = |status: &Status| matches!(status.state, State::Live { .. });
        let consumed =
            || self.host.consumers().iter().any(|it| it.queue == queue && live(&it.status));
        eventually(&format!("`{queue}` is not consumed"), consumed).await;
    }

    /// Waits until this version of a plugin is served, and all is well with it.
    pub async fn serves(&self, plugin: &str, component: impl AsRef<[u8]>) {
        let digest = Digest::of(component.as_ref()).to_string();
        let served = || {
            let status = self.status(plugin);
            status.is_some_and(|it| it.digest.as_ref() == Some(&digest) && it.trouble.is_none())
        };
        eventually(&format!("`{plugin}` is not served as it should be"), served).await;
    }
}
