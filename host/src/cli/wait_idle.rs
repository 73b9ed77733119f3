//! `wabbit wait-idle`: until a running host has processed everything.

use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, OF_CLIENTS, admin_address};
use crate::dispatch::idle::WAIT_MAX;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// What a look takes at most beside the time that is waited.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// The flags of `wait-idle`.
#[derive(Debug, clap::Args)]
pub struct WaitIdle {
    /// How long to wait at most, e.g. 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The admin address of the running host [default: the configuration's]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

impl WaitIdle {
    /// Waits; with [`Exit::Failed`] and the reasons if the host is not idle in time.
    ///
    /// # Errors
    /// With [`Exit::Unreachable`] if there is no host.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let config = global.load_only(&OF_CLIENTS)?;
        global.start_log(&config, "error")?;
        let address = admin_address(&config, self.admin.as_deref())?;
        let limit = self.timeout.min(WAIT_MAX);
        let ask = move || ask(address, limit);
        let asked = tokio::task::spawn_blocking(ask).await;
        let (exit, answer) = asked.map_err(|error| Failure::new(Exit::Failed, error))??;
        let state = answer["state"].as_str().unwrap_or_default();
        let idle = || match exit {
            Exit::Ok => "idle: everything is processed".to_owned(),
            _ => format!("{state}: not idle within {}", humantime::format_duration(limit)),
        };
        output.data(idle, || answer.clone());
        for reason in answer["reasons"].as_array().into_iter().flatten() {
            output.talk(reason.as_str().unwrap_or_default());
        }
        Ok(exit)
    }
}

/// What the host at `address` says at the end of `limit`, or before if it is idle.
fn ask(address: SocketAddr, limit: Duration) -> Result<(Exit, Value), Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(limit + LOOK_MAX))
        .build()
        .into();
    // One unit, so that there are no spaces in it.
    let url = format!("http://{address}/idle?wait={}ms", limit.as_millis());
    let mut response = agent.get(url).call().map_err(|error| {
        let hint = "start one with `wabbit run` or `wabbit dev`, or give its `--admin ADDR`";
        Failure::say(Exit::Unreachable, format!("no host at `{address}`: {error}")).hint(Some(hint))
    })?;
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let answer = serde_json::from_str::<Value>(&text).unwrap_or_default();
    match response.status().as_u16() {
        200 => Ok((Exit::Ok, answer)),
        503 if answer["state"].is_string() => Ok((Exit::Failed, answer)),
        status => {
            let text = format!("what answers at `{address}` is no host: {status} {}", text.trim());
            Err(Failure::say(Exit::Unreachable, text))
        }
    }
}
