//! A host in this process, as a sentence: plugins and queues in, [`start`](Setup::start), then
//! publish, [`take`](TestHost::take) and look. Every test has names of its own, so that tests share
//! a broker: those that the methods take are changed by themselves, and in manifests and scripts
//! `~` stands for what makes them differ.

use super::{PATIENCE, environment, eventually, guest, log};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wabbit::broker::amqp::{AmqpBroker, Config};
use wabbit::broker::memory::MemoryBroker;
use wabbit::broker::{
    Binding, Broker, Consume, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, State, Status,
    Subscription, Topology,
};
use wabbit::dispatch::host::{Host, PluginStatus};
use wabbit::flow::{Event, Headers, Properties, Publication, Verdict};
use wabbit::plugin::Loader;
use wabbit::plugin::catalogue::Layers;
use wabbit::plugin::engine::EngineLimits;
use wabbit::plugin::watch::{Digest, Folder, WatchMode};
use wabbit::telemetry::metrics;

/// The broker that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// The embedded one, which nobody else uses.
    Memory,
    /// The RabbitMQ that all tests share.
    Rabbit,
}

/// Makes each function a test on both brokers.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::host::Site::Memory).await;
            })*
        }
        mod rabbit {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::host::Site::Rabbit).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// An engine is large, so the hosts of all tests share one, and what it compiled is kept.
fn shared_loader() -> Loader {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    LOADER.get_or_init(|| loader(EngineLimits::default())).clone()
}

/// A loader of its own size.
pub fn loader(limits: EngineLimits) -> Loader {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    Loader::new(limits, Some(&cache)).expect("an engine")
}

/// What makes the names of one test differ from those of others.
#[derive(Debug, Clone)]
pub struct Names(String);

impl Names {
    fn new() -> Self {
        Self(format!("t{:08x}-", fastrand::u32(..)))
    }

    /// `name` as this test has it; names that are the broker's own stay.
    pub fn own(&self, name: &str) -> String {
        let brokers = name.is_empty() || name.starts_with("amq.") || name == "versions";
        if brokers { name.to_owned() } else { format!("{}{name}", self.0) }
    }

    /// `text` with the names in it that have a `~` before them.
    pub fn text(&self, text: &str) -> String {
        text.replace('~', &self.0)
    }
}

/// A host that is about to start.
pub struct Setup {
    names: Names,
    broker: Arc<dyn Broker>,
    spy: Arc<dyn Broker>,
    memory: Option<Arc<MemoryBroker>>,
    dir: TempDir,
    loader: Loader,
    layers: Layers,
    component_bytes_max: u64,
    topology: Topology,
}

impl Setup {
    /// A plugin: its component and its manifest, which may be empty.
    pub fn plugin(self, name: &str, component: impl AsRef<[u8]>, manifest: &str) -> Self {
        let file = |suffix| self.plugins().join(format!("{}.{suffix}", self.names.own(name)));
        if !manifest.is_empty() {
            std::fs::write(file("toml"), self.names.text(manifest)).unwrap();
        }
        std::fs::write(file("wasm"), component).unwrap();
        self
    }

    /// The plugin that does what the body of an event says. It may publish to the queue `out`,
    /// unless its manifest says otherwise.
    pub fn scripted(self, name: &str, manifest: &str) -> Self {
        self.plugin(name, guest("scripted"), &granted(manifest))
    }

    /// A queue that is there from the start.
    pub fn queue(mut self, name: &str) -> Self {
        self.topology.queues.push(Queue::durable(self.names.own(name)));
        self
    }

    /// An exchange that is there from the start, with a queue behind it.
    pub fn exchange(mut self, name: &str, kind: ExchangeKind, key: &str, queue: &str) -> Self {
        let (exchange, queue) = (self.names.own(name), self.names.own(queue));
        self.topology.exchanges.push(Exchange {
            name: exchange.clone(),
            kind: Some(kind),
            durable: true,
            auto_delete: false,
        });
        self.topology.queues.push(Queue::durable(&queue));
        self.topology.bindings.push(Binding {
            exchange,
            queue,
            routing_key: key.to_owned(),
            headers_match: HeadersMatch::None,
            headers: Headers::default(),
        });
        self
    }

    /// With an engine of its own.
    pub fn loader(mut self, loader: Loader) -> Self {
        self.loader = loader;
        self
    }

    /// Components of more bytes are not read.
    pub fn component_bytes_max(mut self, bytes: u64) -> Self {
        self.component_bytes_max = bytes;
        self
    }

    /// The plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    /// Starts it, and waits until every plugin is served.
    pub async fn start(self) -> TestHost {
        let host = self.start_unready().await;
        host.ready().await;
        host
    }

    /// Starts it.
    pub async fn start_unready(self) -> TestHost {
        self.spy.declare(&self.topology, Mode::Ensure).await.unwrap();
        let plugins = self.plugins();
        let folder = Folder::new(&plugins, WatchMode::Auto, self.component_bytes_max).unwrap();
        let host = Arc::new(Host::new(self.broker));
        let stop = CancellationToken::new();
        let (loader, layers) = (self.loader, self.layers);
        let (serving, until) = (host.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(folder, loader, layers, until).await });
        TestHost {
            host,
            names: self.names,
            plugins,
            spy: self.spy,
            memory: self.memory,
            readers: tokio::sync::Mutex::default(),
            dir: self.dir,
            stop,
        }
    }
}

/// `manifest` with the grant to publish to the queue `out`, unless it has grants of its own.
pub fn granted(manifest: &str) -> String {
    if manifest.contains("[grants]") {
        return manifest.to_owned();
    }
    format!("{manifest}\n[grants]\npublish = [\":~out\"]")
}

/// A running host, seen from outside.
pub struct TestHost {
    /// The host.
    pub host: Arc<Host>,
    /// The plugins folder.
    pub plugins: PathBuf,
    /// Another client of its broker.
    pub spy: Arc<dyn Broker>,
    names: Names,
    memory: Option<Arc<MemoryBroker>>,
    readers: tokio::sync::Mutex<HashMap<String, Subscription>>,
    #[expect(dead_code, reason = "removed when it is dropped")]
    dir: TempDir,
    stop: CancellationToken,
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestHost {
    /// On the embedded broker.
    #[expect(clippy::new_ret_no_self, reason = "it reads as the sentence that it begins")]
    pub fn new() -> Setup {
        Self::on(Site::Memory)
    }

    /// On the broker of `site`.
    pub fn on(site: Site) -> Setup {
        log::keep();
        metrics::init().expect("metrics");
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        let connect = || {
            let uri = environment("WABBIT_TEST_AMQP");
            AmqpBroker::connect(Config::from_uris(&[uri]).expect("an AMQP URI"))
        };
        let memory = (site == Site::Memory).then(MemoryBroker::new);
        let (broker, spy): (Arc<dyn Broker>, Arc<dyn Broker>) = match &memory {
            Some(memory) => (memory.clone(), memory.clone()),
            None => (connect(), connect()),
        };
        Setup {
            names: Names::new(),
            broker,
            spy,
            memory,
            dir,
            loader: shared_loader(),
            layers: Layers::default(),
            component_bytes_max: 128 << 20,
            topology: Topology::default(),
        }
    }

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
            Err(_) => panic!("nothing in `{queue}`; the log: {:#?}", log::lines(&self.names.0)),
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
