//! `wabbit run` and `wabbit dev`: the host.

use super::exit::{Exit, Failure};
use super::settings::{Global, Named, layers, loader};
use crate::admin::{self, Admin};
use crate::config::{AdminConfig, Config};
use crate::dispatch::host::Host;
use crate::dispatch::idle::{Idleness, State};
use crate::plugin::watch::Folder;
use crate::telemetry::metrics;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often a host that is to stop when it is idle says why it is not.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The flags of `run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// `amqp://` or `amqps://` (may be repeated), or `memory:` [env: AMQP_URL]
    #[arg(long, value_name = "URL")]
    broker: Vec<String>,
    /// The folder with the plugins [default: plugins]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Stop, with exit code 0, as soon as everything is processed
    #[arg(long)]
    until_idle: bool,
    /// Where /livez, /readyz, /idle, /metrics and /api are; `off` for nowhere [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

impl Run {
    /// Serves until a signal ends it, or until all is done if that is asked for.
    ///
    /// # Errors
    /// Only before it has begun to serve: a configuration that can't work.
    pub async fn execute(self, global: &Global, dev: bool) -> Result<Exit, Failure> {
        let mut config = global.load()?;
        self.lay_over(&mut config, dev)?;
        let level = &config.log.level;
        let filter =
            if dev { "info,wabbit::telemetry::report=trace".to_owned() } else { level.clone() };
        global.start_log(&config, &filter)?;
        let metrics = metrics::init().map_err(|error| Failure::new(Exit::Failed, error))?;
        tokio::spawn(metrics.clone().upkeep());

        let named = Named::read(&config.broker)?.ok_or_else(no_broker)?;
        // Signals count from here on, so that a stop during start-up is a stop too.
        let mut signals = Signals::new().map_err(|error| Failure::new(Exit::Failed, error))?;
        let listener = listen(&config.admin).await?;
        let loader = loader(&config)?;
        let stores = loader.stores().clone();
        tokio::spawn(async move { stores.upkeep().await });
        let folder =
            Folder::new(&config.plugins.dir, config.plugins.watch, config.limits.component);
        let folder = folder.map_err(|error| Failure::new(Exit::Failed, error))?;

        let host = match named.scope(&config.plugins.dir) {
            Some(scope) => Host::noting(named.start(), &config.cache.join("in-flight"), &scope),
            None => Host::new(named.start()),
        };
        let host = Arc::new(host);
        let stop = CancellationToken::new();
        if let Some(listener) = listener {
            let token = config.admin.token.as_deref().map(Arc::from);
            let admin = Admin { host: host.clone(), metrics, token };
            tokio::spawn(admin::serve(listener, admin, stop.clone()));
        }
        let serve = host.serve(folder, loader, layers(&config), stop.clone());
        tokio::select! {
            () = serve => {}
            () = signals.next() => {}
            () = until_idle(&host), if self.until_idle => {}
        }
        let grace = config.limits.shutdown_grace;
        tracing::info!(?grace, "stopping: intake ends, what is in flight is finished");
        let code = tokio::select! {
            left = host.stop(grace) => stopped(left),
            () = signals.next() => {
                tracing::warn!("ended at once by a second signal, the broker delivers again what was in flight");
                Exit::Failed
            }
        };
        stop.cancel();
        Ok(code)
    }

    fn lay_over(&self, config: &mut Config, dev: bool) -> Result<(), Failure> {
        if !self.broker.is_empty() {
            config.broker.urls.clone_from(&self.broker);
        } else if dev && config.broker.urls.is_empty() {
            config.broker.urls = vec!["memory:".to_owned()];
        }
        if let Some(dir) = &self.plugins {
            config.plugins.dir.clone_from(dir);
        }
        if let Some(address) = &self.admin {
            let address = AdminConfig::parse_address(address);
            config.admin.address =
                address.map_err(|rule| Failure::say(Exit::Usage, format!("`--admin` {rule}")))?;
            config.admin.check().map_err(|(rule, hint)| {
                Failure::say(Exit::Mismatch, format!("`--admin` {rule}")).hint(Some(hint))
            })?;
        }
        Ok(())
    }
}

pub(super) fn no_broker() -> Failure {
    let hint = "give `--broker amqp://USER:PASSWORD@HOST/VHOST`, set AMQP_URL, or use \
                `--broker memory:` for an embedded one";
    Failure::say(Exit::Mismatch, "no broker is named").hint(Some(hint))
}

async fn listen(admin: &AdminConfig) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = admin.address else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            // The port is the system's choice where 0 was asked for.
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "/livez, /readyz, /idle, /metrics and /api are served");
            Ok(Some(listener))
        }
        Err(error) => {
            let text = format!("can't listen on the admin address `{address}`: {error}");
            let hint = "is another host running? choose another with `--admin`, or `--admin off`";
            Err(Failure::say(Exit::Mismatch, text).hint(Some(hint)))
        }
    }
}

/// Says now and then why it is not yet so.
async fn until_idle(host: &Host) {
    loop {
        let Idleness { state, reasons } = host.wait_idle(TELL_EVERY).await;
        if state == State::Idle {
            return tracing::info!("idle: everything is processed");
        }
        let (state, reasons) = (state.name(), reasons.join("; "));
        tracing::info!(state, reasons, "not idle yet");
    }
}

fn stopped(left: usize) -> Exit {
    if left > 0 {
        tracing::warn!(left, "stopped; events that did not end in time are delivered again");
    } else {
        tracing::info!("stopped, nothing is in flight");
    }
    Exit::Ok
}

/// The signals that ask a host to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
