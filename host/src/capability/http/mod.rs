//! `wasi:http/outgoing-handler`: requests that a guest sends, to where its grants allow, within
//! limits. Begin with [`Client`]; next come `connect` (names and addresses), `request` (what is
//! added to a request), `answer` (what comes back) and `failure` (what a guest is told).

mod answer;
mod connect;
mod failure;
mod request;
mod tls;

pub use request::Origin;
pub use tls::{Tls, TlsError};

use super::Guest;
use super::grants::{Denied, Granted, Grants, HostGrant};
use super::redact::Redact;
use super::secrets::Placeholder;
use crate::telemetry::report;
use answer::Answer;
use connect::Connector;
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use request::Prepared;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// How long a connection may take to be there, names and TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How many such connections are kept to one host.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// What one plugin may use up. See the `[limits]` of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one event.
    pub requests: u32,
    /// Requests that wait for their answers at once, of all its events together.
    pub concurrency: usize,
    /// Bytes of the body of one request.
    pub request_body: usize,
    /// Bytes of the body of one response.
    pub response_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 100, concurrency: 64, request_body: 16 << 20, response_body: 16 << 20 }
    }
}

impl Limits {
    /// The smaller of both, limit by limit.
    #[must_use]
    pub fn min(&self, other: &Limits) -> Limits {
        Self {
            requests: self.requests.min(other.requests),
            concurrency: self.concurrency.min(other.concurrency),
            request_body: self.request_body.min(other.request_body),
            response_body: self.response_body.min(other.response_body),
        }
    }
}

/// What sends the requests of one version of a plugin. Its connections serve nobody else, so that
/// each goes to an address that this plugin's grants allow.
pub struct Client {
    plugin: Arc<str>,
    hosts: Granted<HostGrant>,
    placeholders: Vec<Placeholder>,
    redact: Redact,
    limits: Limits,
    /// Each request holds a permit until its answer begins, and no longer: a guest may read answers in
    /// any order, and would wait for its own permits.
    waiting: Semaphore,
    inner: legacy::Client<Connector, Limited<WasiBody>>,
}

impl Client {
    /// One for `plugin`.
    pub fn new(
        plugin: &Arc<str>,
        grants: &Grants,
        (placeholders, redact): (Vec<Placeholder>, Redact),
        limits: &Limits,
        tls: &Tls,
    ) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_MAX);
        builder.pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        let hosts = grants.hosts.clone();
        Self {
            inner: builder.build(Connector::new(hosts.clone(), tls.clone())),
            waiting: Semaphore::new(limits.concurrency.min(Semaphore::MAX_PERMITS)),
            plugin: plugin.clone(),
            hosts,
            placeholders,
            redact,
            limits: limits.clone(),
        }
    }

    /// Sends what was prepared, and waits for the head of the answer.
    async fn send(
        self: Arc<Self>,
        prepared: Prepared,
        options: RequestOptions,
        ended: CancellationToken,
    ) -> Result<hyper::Response<WasiBody>, Error> {
        let Prepared { request, target } = prepared;
        let until = ended.clone();
        let answered = until.run_until_cancelled(self.exchange(request, options, ended));
        match answered.await.unwrap_or(Err(Error::ConnectionTerminated.into())) {
            Ok(response) => Ok(response),
            Err(failure) => {
                if let Some(denied) = &failure.denied {
                    self.say_denied(&target.to_string(), denied);
                } else {
                    let (plugin, target) = (&*self.plugin, &target.to_string());
                    let cause = &self.redact.text(&failure.cause);
                    report::HttpFailed { plugin, target, cause }.emit();
                }
                Err(failure.told)
            }
        }
    }

    async fn exchange(
        &self,
        request: hyper::Request<WasiBody>,
        options: RequestOptions,
        ended: CancellationToken,
    ) -> Result<hyper::Response<WasiBody>, failure::Failure> {
        let permit = tokio::time::timeout(CONNECT_MAX, self.waiting.acquire());
        let Ok(Ok(_permit)) = permit.await else {
            let most = self.limits.concurrency;
            let cause = format!("`[limits] http-concurrency` ({most}) wait for answers already");
            return Err(failure::Failure::of(Error::ConnectionLimitReached, cause));
        };
        let request = request.map(|body| Limited::new(body, self.limits.request_body));
        let connect = options.connect_timeout.map_or(CONNECT_MAX, |limit| limit.min(CONNECT_MAX));
        // What the handler may take bounds all of it; this is what the guest asks for besides.
        let first = options.first_byte_timeout.map(|limit| limit.saturating_add(connect));
        let sent = self.inner.request(request);
        let response = match first {
            None => sent.await,
            Some(limit) => match tokio::time::timeout(limit, sent).await {
                Ok(response) => response,
                Err(_) => return Err(Error::ConnectionReadTimeout.into()),
            },
        };
        let response = response.map_err(|error| failure::failure(&error, &self.limits))?;
        let (limit, between) = (self.limits.response_body, options.between_bytes_timeout);
        let answer = |body| Answer::new(body, limit, between, ended).boxed_unsync();
        Ok(response.map(answer))
    }

    fn say_denied(&self, target: &str, denied: &Denied) {
        let Denied { rule, add } = denied;
        let hint = add.as_ref().map(|add| format!("add \"{add}\" to `allowed-outbound-hosts`"));
        let (target, rule) = (&self.redact.text(target), &self.redact.text(rule));
        report::HttpDenied { plugin: &self.plugin, target, rule, hint: hint.as_deref() }.emit();
    }
}

/// The requests of one event of one instance.
pub struct Requests {
    client: Arc<Client>,
    /// `None`: no event is being handled.
    origin: Option<Origin>,
    /// Ends, when it is dropped, all that is still under way.
    ended: DropGuard,
}

impl Requests {
    /// None so far.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, origin: None, ended: CancellationToken::new().drop_guard() }
    }

    /// From here on they are sent for this event.
    pub fn begin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Ends what the event has left under way.
    pub fn end(&mut self) {
        self.origin = None;
        self.ended = CancellationToken::new().drop_guard();
    }

    /// What is sent in place of `request`.
    fn prepare(&mut self, request: hyper::Request<WasiBody>) -> Result<Prepared, (String, Denied)> {
        let uri = request.uri();
        let shown = format!("{}://{}", uri.scheme_str().unwrap_or(""), uri.host().unwrap_or(""));
        let wrong = |rule: String| Denied { rule, add: None };
        let Some(origin) = &mut self.origin else {
            return Err((shown, wrong("requests are sent while an event is handled".to_owned())));
        };
        let most = self.client.limits.requests;
        if origin.sent >= most {
            let rule = format!("one event may send {most} requests (`[limits] http-requests`)");
            return Err((shown, wrong(rule)));
        }
        origin.sent += 1;
        let target = connect::target(uri).map_err(|denied| (shown, denied))?;
        let name = target.to_string();
        let judged = self.client.hosts.judge(&target);
        let prepared = judged
            .and_then(|()| request::prepare(request, target, origin, &self.client.placeholders));
        prepared.map_err(|denied| (name, denied))
    }
}

/// What comes of a request: its answer, and what goes on beside reading that.
type Sending = Box<dyn Future<Output = Result<Sent, Error>> + Send>;
type Sent = (hyper::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: hyper::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        let prepared = match self.prepare(request) {
            Ok(prepared) => prepared,
            Err((target, denied)) => {
                self.client.say_denied(&target, &denied);
                return Box::new(async { Err(Error::HttpRequestDenied) });
            }
        };
        let (client, ended) = (self.client.clone(), self.ended.token().clone());
        Box::new(async move {
            let response = client.send(prepared, options.unwrap_or_default(), ended).await?;
            let nothing: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(async { Ok(()) });
            Ok((response, nothing))
        })
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.requests,
            table: &mut self.resources,
            ctx: &mut self.http,
        }
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
