//! Calling a guest: an instance is readied, given one event, and judged by what comes back. A call
//! never fails: whatever the guest does is an [`Outcome`]. Next in the flow: [`crate::dispatch`].

use super::engine::TICK;
use super::limits::{Instance, Limits};
use crate::capability::transaction::{Transaction, Trouble};
use crate::capability::{Budget, Guest, LogLine, LogRate, Means};
use crate::flow::{Event, Fault, Outcome};
use crate::store::key_value;
use crate::telemetry::report;
use crate::wit::v0_1::{self, Lowered, export};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

/// How long an instance is kept warm without being called.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a start may take at least: a busy machine is no reason to refuse a plugin.
const START_MIN: Duration = Duration::from_secs(5);

/// How long to wait for another instance to end when there are as many as the host allows.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Component handles (of files, streams, …) that a guest may hold.
const HANDLES_MAX: usize = 10_000;

/// What one host call may copy besides publications or values of keys, in bytes.
const HOSTCALL_SLACK: usize = 4 << 20;

/// What came of giving an event to a guest.
pub struct Called {
    /// What it concluded; if a store stood in its way, that.
    pub outcome: Outcome,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it did in stores. Not there yet: to be committed if it succeeded.
    pub transaction: Transaction,
}

impl From<Outcome> for Called {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, log: Vec::new(), transaction: Transaction::default() }
    }
}

/// The instances of one version of a plugin.
pub struct Instances {
    plugin: Arc<str>,
    pre: export::HandlerPre<Guest>,
    limits: Limits,
    budget: Arc<Budget>,
    means: Arc<Means>,
    idle: Arc<Idle>,
    spares: Spares,
}

/// Instances that are ready for their next event, the last used last.
type Idle = Mutex<Vec<Warm>>;

/// The idle instances of all plugins. They share the room of one engine, so that a plugin which
/// keeps many warm must give some up when another has none.
#[derive(Clone, Default)]
pub struct Spares {
    all: Arc<Mutex<Vec<Weak<Idle>>>>,
    /// Calls that wait for room.
    waiting: Arc<AtomicUsize>,
}

impl Spares {
    fn join(&self, idle: &Arc<Idle>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.strong_count() > 0);
        all.push(Arc::downgrade(idle));
    }

    /// Lets go of an instance of the plugin that has most to spare, and waits a little.
    async fn make_room(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let most = all.iter().filter_map(Weak::upgrade).max_by_key(|idle| lock(idle).len());
        let spare = most.and_then(|idle| {
            let mut idle = lock(&idle);
            (!idle.is_empty()).then(|| idle.remove(0))
        });
        if spare.is_some() {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Counts one call that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock(idle: &Idle) -> MutexGuard<'_, Vec<Warm>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Warm {
    store: Store<Guest>,
    handler: export::Handler,
    calls: u64,
    used: Instant,
}

impl Instances {
    /// Instances of `pre`, made as they are needed.
    pub fn new(
        plugin: Arc<str>,
        pre: export::HandlerPre<Guest>,
        limits: Limits,
        means: Arc<Means>,
        spares: Spares,
    ) -> Self {
        let budget = Arc::new(Budget {
            memory: limits.memory,
            table_elements: limits.table_elements,
            instances: limits.instances,
            publications: limits.publications,
            publication_bytes: limits.publication_bytes,
            statement: limits.statement.clone(),
            log_lines: limits.log_lines,
            log_rate: LogRate::new(limits.log_rate),
            log_line_bytes: limits.log_line_bytes,
        });
        let idle = Arc::<Idle>::default();
        spares.join(&idle);
        Self { plugin, pre, limits, budget, means, idle, spares }
    }

    /// Makes one instance, to see that it can be made, and keeps it if instances are reused.
    ///
    /// # Errors
    /// The guest's own start-up code failed, or it needs more than its limits.
    pub async fn probe(&self) -> Result<(), Outcome> {
        let limit = self.limits.timeout.max(START_MIN);
        loop {
            let mut store = self.store(Trouble::default());
            let made = self.instantiate(&mut store);
            match tokio::time::timeout(limit, made).await {
                Ok(Ok(handler)) => {
                    self.put_back(Warm { store, handler, calls: 0, used: Instant::now() });
                    return Ok(());
                }
                Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>() => {
                    self.spares.make_room().await;
                }
                Ok(Err(error)) => return Err(self.judge(&error, &store)),
                Err(_) => {
                    let limit = humantime::format_duration(limit);
                    let reason = format!("it was not ready after {limit}");
                    return Err(Outcome::Failed { fault: Fault::Timeout, reason });
                }
            }
        }
    }

    /// Gives `event` to the guest.
    pub async fn call(&self, event: &Event) -> Called {
        if event.body.len() > self.limits.body {
            let (bytes, most) = (event.body.len(), self.limits.body);
            let reason = format!("the body has {bytes} bytes, `[limits] body` is {most}");
            return Outcome::Refused { fault: Fault::TooLarge, reason }.into();
        }
        let trouble = Trouble::default();
        let mut called = loop {
            let attempt = self.attempt(self.take_idle(), event, &trouble);
            match tokio::time::timeout(self.limits.timeout, attempt).await {
                Ok(Some(called)) => break called,
                Ok(None) => self.spares.make_room().await,
                Err(_) => break self.timed_out().into(),
            }
        };
        if let Some(error) = trouble.get() {
            called.outcome = self.redact(error.clone().into());
        }
        called
    }

    /// `outcome` without secrets in its reason.
    pub fn redact(&self, outcome: Outcome) -> Outcome {
        self.means.given.redact.outcome(outcome)
    }

    /// Lets go of instances that nobody needed for a while.
    pub fn sweep(&self) {
        lock(&self.idle).retain(|warm| warm.used.elapsed() < IDLE_MAX);
    }

    /// `None` if there are as many instances as the host allows.
    async fn attempt(
        &self,
        warm: Option<Warm>,
        event: &Event,
        trouble: &Trouble,
    ) -> Option<Called> {
        let mut warm = match warm {
            Some(mut warm) => {
                warm.store.data_mut().begin(self.ticks(), trouble.clone());
                warm.store.set_epoch_deadline(1);
                warm
            }
            None => {
                let mut store = self.store(trouble.clone());
                match self.instantiate(&mut store).await {
                    Ok(handler) => Warm { store, handler, calls: 0, used: Instant::now() },
                    Err(error) if error.is::<PoolConcurrencyLimitError>() => return None,
                    Err(error) => {
                        let outcome = self.judge(&error, &store);
                        let log = store.data_mut().take_log();
                        return Some(Called { log, ..outcome.into() });
                    }
                }
            }
        };
        warm.store.data_mut().receive(event);
        let lowered = Lowered::new(event);
        let nested = lowered.nested();
        let called = warm.handler.call_handle(&mut warm.store, lowered.event(&nested)).await;
        warm.store.data_mut().end();
        let guest = warm.store.data_mut();
        let (log, transaction) = (guest.take_log(), guest.take_transaction());
        let outcome = match called {
            Ok(Ok(())) => Outcome::Ok(guest.take_publications()),
            Ok(Err(failure)) => {
                let unavailable = guest.take_unavailable();
                self.redact(v0_1::failure(failure, unavailable))
            }
            // The store goes with the trap: it is never used again.
            Err(error) => {
                let outcome = self.judge(&error, &warm.store);
                return Some(Called { outcome, log, transaction });
            }
        };
        warm.calls += 1;
        self.put_back(warm);
        Some(Called { outcome, log, transaction })
    }

    fn store(&self, trouble: Trouble) -> Store<Guest> {
        let guest = Guest::new(&self.plugin, self.means.clone(), self.budget.clone());
        let mut store = Store::new(self.pre.engine(), guest);
        store.limiter(|guest| guest);
        let copied = self.limits.publication_bytes.max(key_value::BYTES_MAX);
        store.set_hostcall_fuel(copied.saturating_add(HOSTCALL_SLACK));
        store.set_max_component_handles(HANDLES_MAX);
        store.data_mut().begin(self.ticks(), trouble);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let left = &mut store.data_mut().ticks_left;
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(UpdateDeadline::Interrupt);
            }
            // tokio's own yield, so that timers and sockets get their turn before the guest does.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<export::Handler> {
        self.pre.instantiate_async(store).await
    }

    /// The limit of time in the guest, in ticks of the epoch.
    fn ticks(&self) -> u64 {
        let ticks = self.limits.cpu.as_millis().div_ceil(TICK.as_millis());
        // The tick that is running already is not the guest's.
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn timed_out(&self) -> Outcome {
        let limit = humantime::format_duration(self.limits.timeout);
        let reason = format!("the handler took longer than `[limits] timeout` ({limit})");
        let (plugin, kind) = (&*self.plugin, Fault::Timeout.class());
        report::GuestTrapped { plugin, kind, cause: &reason }.emit();
        Outcome::Failed { fault: Fault::Timeout, reason }
    }

    fn judge(&self, error: &wasmtime::Error, store: &Store<Guest>) -> Outcome {
        let outcome = self.redact(self.failure(error, store));
        let cause = format!("{error:#}");
        let cause = self.means.given.redact.text(&cause);
        let (plugin, kind) = (&*self.plugin, outcome.class());
        report::GuestTrapped { plugin, kind, cause: &cause }.emit();
        outcome
    }

    fn failure(&self, error: &wasmtime::Error, store: &Store<Guest>) -> Outcome {
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::Interrupt) {
            let limit = humantime::format_duration(self.limits.cpu);
            let reason = format!("the handler ran for longer than `[limits] cpu` ({limit})");
            return Outcome::Failed { fault: Fault::Cpu, reason };
        }
        if let Some(bytes) = store.data().memory_refused {
            let limit = self.limits.memory;
            let reason =
                format!("the handler needed {bytes} bytes of memory, `[limits] memory` is {limit}");
            return Outcome::Failed { fault: Fault::Memory, reason };
        }
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            let reason = format!("the handler called exit with status {}", exit.0);
            return Outcome::Failed { fault: Fault::Trap, reason };
        }
        let reason = match trap {
            Some(trap) => format!("the handler trapped: {trap}"),
            None => format!("the handler trapped: {}", error.root_cause()),
        };
        Outcome::Failed { fault: Fault::Trap, reason }
    }

    fn take_idle(&self) -> Option<Warm> {
        lock(&self.idle).pop()
    }

    /// What start-up code did in stores is undone: no event has asked for it.
    fn put_back(&self, mut warm: Warm) {
        drop(warm.store.data_mut().take_transaction());
        let reuse = self.limits.instance == Instance::Reuse;
        let room = self.spares.waiting.load(Ordering::Relaxed) == 0;
        if reuse && room && warm.calls < self.limits.max_invocations {
            warm.used = Instant::now();
            lock(&self.idle).push(warm);
        }
    }
}
