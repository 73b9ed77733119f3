//! A host in this process, as a sentence: [`TestHost::new`], plugins and queues, then
//! [`start`](Setup::start). Next: `host`, which is what has started. Every test has names of its own,
//! so that tests share a broker: those that methods take are changed by themselves, and in
//! manifests and scripts `~` stands for what makes them differ.

use super::host::TestHost;
use super::{environment, guest, log};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wabbit::broker::amqp::{AmqpBroker, Config};
use wabbit::broker::memory::MemoryBroker;
use wabbit::broker::{
    Binding, Broker, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, Topology,
};
use wabbit::dispatch::host::Host;
use wabbit::flow::Headers;
use wabbit::plugin::catalogue::Layers;
use wabbit::plugin::engine::EngineLimits;
use wabbit::plugin::manifest::written::Table;
use wabbit::plugin::watch::{Folder, WatchMode};
use wabbit::plugin::{Loader, Outside};
use wabbit::store::{Location, Registry};
use wabbit::telemetry::metrics;

/// As the configuration has it by default.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;

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
                super::$name(crate::support::setup::Site::Memory).await;
            })*
        }
        mod rabbit {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::setup::Site::Rabbit).await;
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
    let stores = Arc::new(Registry::new(BTreeMap::new(), "there are none"));
    Loader::new(limits, Some(&cache), stores).expect("an engine")
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
    topology: Topology,
    stores: BTreeMap<String, Location>,
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

    /// What plugins may be granted of what is outside.
    pub fn outside(mut self, outside: Outside) -> Self {
        self.loader = self.loader.reaching(outside);
        self
    }

    /// What the host's configuration says in `[plugins.NAME]`.
    pub fn overrides(mut self, plugin: &str, toml: &str) -> Self {
        let table = Table::parse("wabbit.toml", &self.names.text(toml)).expect("TOML");
        self.layers.overrides.insert(self.names.own(plugin), table);
        self
    }

    /// The store `name` is at `url`.
    pub fn store(mut self, name: &str, url: &str) -> Self {
        self.stores.insert(name.to_owned(), Location::parse(url).expect("the url of a store"));
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
        let folder = Folder::new(&plugins, WatchMode::Auto, COMPONENT_BYTES_MAX).unwrap();
        let host = Arc::new(Host::new(self.broker));
        let stop = CancellationToken::new();
        let stores = Registry::new(self.stores, self.dir.path().join("data"));
        let (loader, layers) = (self.loader.with_stores(Arc::new(stores)), self.layers);
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
            topology: Topology::default(),
            stores: BTreeMap::new(),
        }
    }
}
