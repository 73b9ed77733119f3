//! The state behind one instance of a guest: what its imports work on, and the limits that hold
//! for all of them.

use super::grants::Grants;
use super::http::{self, Origin, Requests};
use super::log::{GuestLog, LogLine, Stream};
use super::log_rate::LogRate;
use super::outbox::Outbox;
use super::secrets::Given;
use super::stdio::Lines;
use super::transaction::{Stores, Transaction, Trouble};
use crate::flow::{Event, Publication};
use crate::store::sql;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

/// What one event may use. See the `[limits]` of a manifest.
#[derive(Debug)]
pub struct Budget {
    /// Bytes of linear memory, all memories of an instance together.
    pub memory: usize,
    /// Elements of all tables of an instance together.
    pub table_elements: usize,
    /// Core instances in one component.
    pub instances: usize,
    /// Publications.
    pub publications: usize,
    /// Bytes of all publications' bodies and headers together.
    pub publication_bytes: usize,
    /// What one SQL statement may take.
    pub statement: sql::Limits,
    /// Lines of log, standard output and standard error included.
    pub log_lines: u32,
    /// Lines of all instances of the plugin together, in one second.
    pub log_rate: LogRate,
    /// Bytes of one such line.
    pub log_line_bytes: usize,
}

/// What the guests of one version of a plugin have at hand.
pub struct Means {
    /// What they may do.
    pub grants: Arc<Grants>,
    /// Their variables, and the secrets among them.
    pub given: Given,
    /// The stores that they were granted.
    pub stores: Arc<Stores>,
    /// What sends their requests.
    pub client: Arc<http::Client>,
}

/// The data of a guest's store.
pub struct Guest {
    plugin: Arc<str>,
    wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) requests: Requests,
    pub(super) resources: ResourceTable,
    pub(super) budget: Arc<Budget>,
    memory_used: usize,
    table_elements_used: usize,
    /// The size that a memory was refused to grow to, if one was.
    pub memory_refused: Option<usize>,
    /// Ticks of the epoch that the guest may still run for.
    pub ticks_left: u64,
    /// What the guest says is away, see [`super::breaker`].
    pub(super) unavailable: Option<String>,
    pub(super) log: GuestLog,
    pub(super) outbox: Outbox,
    pub(super) means: Arc<Means>,
    pub(super) transaction: Transaction,
}

impl Guest {
    /// A guest of `plugin`: no files, no sockets, no environment, no arguments.
    pub fn new(plugin: &Arc<str>, means: Arc<Means>, budget: Arc<Budget>) -> Self {
        let log = GuestLog::new(plugin.clone(), budget.clone(), means.given.redact.clone());
        let wasi = WasiCtx::builder()
            .stdout(Lines::new(Stream::Out, log.clone()))
            .stderr(Lines::new(Stream::Err, log.clone()))
            .build();
        Self {
            plugin: plugin.clone(),
            wasi,
            http: WasiHttpCtx::new(),
            requests: Requests::new(means.client.clone()),
            resources: ResourceTable::new(),
            outbox: Outbox::new(means.grants.clone(), &budget),
            budget,
            memory_used: 0,
            table_elements_used: 0,
            memory_refused: None,
            ticks_left: 0,
            unavailable: None,
            log,
            transaction: Transaction::default(),
            means,
        }
    }

    /// Readies it for the next event, which may run for `ticks` of the epoch. What stores have against
    /// it is noted in `trouble`.
    pub fn begin(&mut self, ticks: u64, trouble: Trouble) {
        self.ticks_left = ticks;
        self.memory_refused = None;
        self.unavailable = None;
        self.log.begin();
        self.outbox.clear();
        self.transaction = Transaction::new(self.means.stores.clone(), trouble);
    }

    /// From here on it handles `event`.
    pub fn receive(&mut self, event: &Event) {
        self.requests.begin(Origin::new(&self.plugin, event));
    }

    /// What was published since [`Self::begin`].
    pub fn take_publications(&mut self) -> Vec<Publication> {
        self.outbox.take()
    }

    /// What was done in stores since [`Self::begin`].
    pub fn take_transaction(&mut self) -> Transaction {
        std::mem::take(&mut self.transaction)
    }

    /// What the guest said is not available since [`Self::begin`], if it said so.
    pub fn take_unavailable(&mut self) -> Option<String> {
        self.unavailable.take()
    }

    /// What was logged since [`Self::begin`]; lines without an end are ended.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        self.log.take()
    }

    /// Ends what is written of a line without an end, and says how much was left out; requests that are
    /// under way end, too.
    pub fn end(&mut self) {
        self.log.end();
        self.requests.end();
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let total = self.memory_used.saturating_sub(current).saturating_add(desired);
        if total > self.budget.memory {
            self.memory_refused = Some(total);
            return Ok(false);
        }
        self.memory_used = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let total = self.table_elements_used.saturating_sub(current).saturating_add(desired);
        if total > self.budget.table_elements {
            return Ok(false);
        }
        self.table_elements_used = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.budget.instances
    }
}

/// Links all that a guest may import. What its grants do not cover is refused when it loads
/// (`crate::plugin`), so that one linker serves every plugin.
///
/// # Errors
/// Two definitions of one name.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    // Most languages' runtimes import all of WASI, used or not; it is inert with an empty context.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    super::breaker::add_to_linker(linker)?;
    super::key_value::add_to_linker(linker)?;
    super::http::add_to_linker(linker)?;
    super::log::add_to_linker(linker)?;
    super::outbox::add_to_linker(linker)?;
    super::sql::add_to_linker(linker)?;
    super::variables::add_to_linker(linker)
}
