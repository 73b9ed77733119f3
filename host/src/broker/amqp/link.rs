//! Keeps one connection to the broker open, for ever: tries every URI in turn, waits longer from
//! round to round, and tells everybody who uses the connection how it is doing. Next in the flow:
//! [`super::consumer`] and [`super::publisher`], which use it.

use super::ConnectError;
use super::backoff::Backoff;
use super::greeting::Introduced;
use super::uri::Config;
use super::wire::{self, Wired};
use crate::broker::{LinkHealth, Server};
use crate::telemetry::rarely::Rarely;
use crate::telemetry::report;
use futures_util::StreamExt;
use lapin::{Connection, ErrorKind, Event};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// lapin says nothing when some connections end; its state is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A connection that lived this long was a good one: the next attempt is made at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// Wrong credentials do not become right by themselves.
const REFUSED_DELAY: Duration = Duration::from_secs(20);

/// How often the log says of a reason that there is no connection, and of a connection that comes
/// and goes that it was lost.
const FAILED_EVERY: Duration = Duration::from_secs(60);
const LOST_EVERY: Duration = Duration::from_secs(10);

/// What the connections to one broker have in common: what one has said, the other does not repeat.
pub(super) struct Common {
    pub(super) introduced: Introduced,
    failures: Mutex<Rarely<String>>,
}

impl Default for Common {
    fn default() -> Self {
        let failures = Mutex::new(Rarely::new(FAILED_EVERY));
        Self { introduced: Introduced::default(), failures }
    }
}

impl Common {
    fn failures(&self) -> MutexGuard<'_, Rarely<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is kept open.
pub(super) struct Link {
    role: &'static str,
    config: Arc<Config>,
    common: Arc<Common>,
    view: watch::Sender<View>,
    stop: CancellationToken,
    done: CancellationToken,
}

/// How a connection is doing.
#[derive(Clone, Default)]
pub(super) struct View {
    open: Option<Arc<Open>>,
    blocked: Option<String>,
    reason: Option<String>,
}

/// A connection while it is open.
pub(super) struct Open {
    wired: Wired,
    /// Differs from that of every other connection.
    pub(super) generation: u64,
    /// Cancelled when the connection is lost.
    pub(super) lost: CancellationToken,
}

impl Open {
    pub(super) fn connection(&self) -> &Connection {
        &self.wired.connection
    }

    /// Who is at the other end.
    pub(super) fn server(&self) -> &Server {
        &self.wired.server
    }

    /// Still good for requests.
    pub(super) fn is_up(&self) -> bool {
        !self.lost.is_cancelled() && self.connection().status().connected()
    }
}

impl Link {
    /// Starts to connect, in a task of its own that ends with [`Link::close`].
    pub(super) fn start(
        role: &'static str,
        config: Arc<Config>,
        common: Arc<Common>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (view, done) = (watch::Sender::new(View::default()), CancellationToken::new());
        let link = Arc::new(Self { role, config, common, view, stop, done });
        report::ConnectionClosed { role }.emit();
        let supervised = Arc::clone(&link);
        tokio::spawn(async move {
            supervised.supervise().await;
            supervised.done.cancel();
        });
        link
    }

    /// The connection, as soon as there is one.
    pub(super) async fn open(&self) -> Arc<Open> {
        self.when(|view| view.open.as_ref().filter(|open| open.is_up())).await
    }

    /// The connection, as soon as there is one that takes publications.
    pub(super) async fn writable(&self) -> Arc<Open> {
        self.when(|view| match &view.blocked {
            None => view.open.as_ref().filter(|open| open.is_up()),
            Some(_) => None,
        })
        .await
    }

    /// Whether the broker takes no publications at the moment.
    pub(super) fn is_blocked(&self) -> bool {
        self.view.borrow().blocked.is_some()
    }

    async fn when(&self, pick: impl Fn(&View) -> Option<&Arc<Open>>) -> Arc<Open> {
        let mut views = self.view.subscribe();
        loop {
            if let Some(open) = pick(&views.borrow_and_update()) {
                return Arc::clone(open);
            }
            if views.changed().await.is_err() {
                // The sender is `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why there is no connection at the moment, if there is none.
    pub(super) fn down(&self) -> Option<String> {
        let view = self.view.borrow();
        match &view.open {
            Some(_) => None,
            None => Some(view.reason.clone().unwrap_or_else(|| "connecting".to_owned())),
        }
    }

    pub(super) fn health(&self) -> LinkHealth {
        let view = self.view.borrow();
        LinkHealth {
            role: self.role,
            up: view.open.is_some(),
            blocked: view.blocked.clone(),
            reason: view.reason.clone(),
        }
    }

    /// Closes the connection and makes no other.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.done.cancelled().await;
    }

    async fn supervise(&self) {
        let mut backoff = Backoff::default();
        let mut losses = Rarely::new(LOST_EVERY);
        let (mut next, mut away) = (0, None);
        // Whether those who read the log take it for down: at first everybody does.
        let mut known = true;
        while let Some(result) = self.stop.run_until_cancelled(self.round(&mut next)).await {
            match result {
                Ok((open, address)) => {
                    losses.well(&(), Instant::now());
                    self.up(&open, &address, away, known);
                    let since = Instant::now();
                    let Some((kind, reason)) = self.live(open).await else { return };
                    if since.elapsed() >= GOOD_AFTER {
                        backoff = Backoff::default();
                    }
                    let say = losses.happened((), Instant::now());
                    let (role, cause) = (self.role, &reason);
                    report::ConnectionLost { role, reason: kind, cause, say }.emit();
                    (away, known) = (Some(Instant::now()), say.is_some());
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.view.send_modify(|view| view.reason = Some(reason.clone()));
                    let say = self.common.failures().happened(reason.clone(), Instant::now());
                    report::ConnectFailed { role: self.role, cause: &reason, say }.emit();
                    known |= say.is_some();
                    if error.is_refusal() {
                        backoff.at_least(REFUSED_DELAY);
                    }
                    away.get_or_insert_with(Instant::now);
                }
            }
            let delay = tokio::time::sleep(backoff.next());
            if self.stop.run_until_cancelled(delay).await.is_none() {
                return;
            }
        }
    }

    fn up(&self, open: &Open, address: &str, away: Option<Instant>, loud: bool) {
        self.common.failures().all_well(Instant::now());
        let away = away.map(|away| away.elapsed());
        report::ConnectionUp { role: self.role, address, away, loud }.emit();
        let server = open.server();
        if self.common.introduced.note(self.role, server) {
            let (cluster, means) = (server.cluster.as_deref(), &server.features);
            report::BrokerIntroduced { server, cluster, means }.emit();
        }
    }

    /// Tries every URI once, beginning with the one that worked last; says which works.
    async fn round(&self, next: &mut usize) -> Result<(Open, String), ConnectError> {
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let name = format!("{} {}", self.config.name, self.role);
        let mut result = Err(ConnectError::Unconfigured);
        for _ in 0..self.config.uris.len() {
            let Some(uri) = self.config.uris.get(*next % self.config.uris.len()) else { break };
            match wire::open(uri, &self.config, &name).await {
                Ok(wired) => {
                    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
                    let open = Open { wired, generation, lost: CancellationToken::new() };
                    return Ok((open, uri.to_string()));
                }
                Err(error) => {
                    *next += 1;
                    // That credentials are wrong is worth more than that another node is away.
                    if !matches!(&result, Err(earlier) if earlier.is_refusal()) {
                        result = Err(error);
                    }
                }
            }
        }
        result
    }

    /// Until the connection is lost, and why; `None` when it was closed because it is to stop.
    async fn live(&self, open: Open) -> Option<(&'static str, String)> {
        let mut events = Box::pin(open.connection().events_listener());
        let open = Arc::new(open);
        self.view.send_replace(View { open: Some(Arc::clone(&open)), ..View::default() });
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut reason = None;
        while open.connection().status().connected() {
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.part(&open, "closed").await;
                    return None;
                }
                _ = look.tick() => {}
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(why) => self.blocked(Some(why)),
                    Event::ConnectionUnblocked => self.blocked(None),
                    // A channel that the broker closed is no trouble of the connection.
                    Event::Error(error) if !error.is_amqp_soft_error() => {
                        let text = super::error::words(&error);
                        reason.get_or_insert((kind(&error), text));
                        look.reset_immediately();
                    }
                    _ => {}
                },
            }
        }
        let reason = reason.unwrap_or_else(|| ("closed", "the connection was closed".to_owned()));
        self.gone(&open, &reason.1);
        Some(reason)
    }

    async fn part(&self, open: &Open, reason: &str) {
        if !open.wired.close().await {
            tracing::debug!(
                role = self.role,
                "the broker did not confirm the end of the connection"
            );
        }
        report::ConnectionClosed { role: self.role }.emit();
        self.gone(open, reason);
    }

    fn gone(&self, open: &Open, reason: &str) {
        open.lost.cancel();
        open.wired.cut();
        self.view.send_replace(View { reason: Some(reason.to_owned()), ..View::default() });
    }

    fn blocked(&self, why: Option<String>) {
        report::ConnectionBlocked { role: self.role, reason: why.as_deref() }.emit();
        self.view.send_modify(|view| view.blocked = why);
    }
}

/// The label of `wabbit_reconnects_total`.
fn kind(error: &lapin::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ProtocolError(_) => "broker",
        ErrorKind::MissingHeartbeatError => "heartbeat",
        ErrorKind::ParsingError(_) => "unreadable",
        _ => "network",
    }
}
