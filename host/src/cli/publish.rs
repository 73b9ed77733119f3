//! `wabbit publish`: one message, mandatory and confirmed, to a broker or by way of a running host.

use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, Named, OF_CLIENTS, admin_address};
use crate::admin::REQUEST_BYTES_MAX;
use crate::broker::{PublishError, amqp};
use crate::flow::{JsonError, Publication};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long the broker may take to confirm.
const CONFIRM_MAX: Duration = Duration::from_secs(30);

/// The flags of `publish`.
#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The exchange; "" is the default exchange
    exchange: String,
    /// The routing key; with the default exchange, the name of a queue
    routing_key: String,
    /// The body
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    body: Option<String>,
    /// The body, from a file (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A property, e.g. content-type=application/json (may be repeated)
    #[arg(long, short, value_name = "NAME=VALUE")]
    property: Vec<String>,
    /// A header; a value that is JSON is taken as such, e.g. retries=3 (may be repeated)
    #[arg(long, short = 'H', value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Publish to this broker; without it, by way of the host at the admin address
    #[arg(long, value_name = "URL")]
    broker: Vec<String>,
    /// The admin address of the running host [default: the configuration's]
    #[arg(long, value_name = "ADDR", conflicts_with = "broker")]
    admin: Option<String>,
}

impl Publish {
    /// Publishes and waits for the confirm.
    ///
    /// # Errors
    /// With [`Exit::Unreachable`] if nobody is there to take it.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let tables = if self.broker.is_empty() { OF_CLIENTS } else { ["broker", "log"] };
        let mut config = global.load_only(&tables)?;
        global.start_log(&config, "error")?;
        let value = self.publication()?;
        config.broker.urls.clone_from(&self.broker);
        match Named::read(&config.broker)? {
            None => {
                let address = admin_address(&config, self.admin.as_deref())?;
                let token = config.admin.token.clone();
                let post = move || by_host(address, token.as_deref(), &value);
                let posted = tokio::task::spawn_blocking(post).await;
                posted.map_err(|error| Failure::new(Exit::Failed, error))??;
            }
            Some(Named::Memory) => {
                let hint = "leave `--broker` out: the embedded broker is reached through its host";
                return Err(usage("`memory:` is inside another process").hint(Some(hint)));
            }
            Some(Named::Amqp(amqp)) => to_broker(amqp, value).await?,
        }
        output.data(|| "published and confirmed".to_owned(), || json!({ "confirmed": true }));
        Ok(Exit::Ok)
    }

    /// As the admin API takes it.
    fn publication(&self) -> Result<Value, Failure> {
        let body = match (&self.body, &self.file) {
            (Some(body), _) => body.clone().into_bytes(),
            (None, Some(file)) if file.as_os_str() == "-" => read_all()?,
            (None, Some(file)) => std::fs::read(file).map_err(|error| {
                Failure::say(Exit::BadFile, format!("can't read `{}`: {error}", file.display()))
            })?,
            (None, None) => Vec::new(),
        };
        let mut properties = Map::new();
        for (name, value) in pairs("--property", &self.property)? {
            let numeric = ["delivery-mode", "priority", "timestamp"].contains(&name.as_str());
            let value = if numeric { json_or_text(value) } else { Value::String(value) };
            properties.insert(name, value);
        }
        let headers = pairs("--header", &self.header)?.into_iter();
        let headers: Map<_, _> = headers.map(|(name, value)| (name, json_or_text(value))).collect();
        properties.insert("headers".to_owned(), Value::Object(headers));
        properties.entry("delivery-mode").or_insert(2.into());
        let value = json!({
            "exchange": self.exchange, "routing-key": self.routing_key, "properties": properties,
        });
        let publication = Publication::from_json(value)
            .map_err(|error: JsonError| Failure::new(Exit::Usage, error))?;
        Ok(Publication { body, ..publication }.to_json())
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::say(Exit::Usage, text)
}

fn read_all() -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut body)
        .map_err(|error| Failure::new(Exit::BadFile, error))?;
    Ok(body)
}

fn pairs(flag: &str, given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(usage(format!("`{flag} {text}` must be `NAME=VALUE`"))),
    };
    given.iter().map(pair).collect()
}

fn json_or_text(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

async fn to_broker(config: amqp::Config, value: Value) -> Result<(), Failure> {
    let publication =
        Publication::from_json(value).map_err(|error| Failure::new(Exit::Usage, error))?;
    amqp::probe(&config).await.map_err(unreachable)?;
    let broker = Named::Amqp(config).start();
    let published = tokio::time::timeout(CONFIRM_MAX, broker.publish(publication)).await;
    broker.close().await;
    match published {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ PublishError::Lost(_))) => Err(Failure::new(Exit::Unreachable, error)),
        Ok(Err(PublishError::Refused(said))) if said.starts_with("403") => {
            Err(Failure::say(Exit::NotPermitted, said))
        }
        Ok(Err(error)) => Err(Failure::new(Exit::Failed, error)),
        Err(_) => Err(Failure::say(Exit::Unreachable, "the broker did not confirm in time")),
    }
}

pub(super) fn unreachable(error: amqp::ConnectError) -> Failure {
    let exit = if error.is_refusal() { Exit::NotPermitted } else { Exit::Unreachable };
    let hint = error.hint();
    Failure::new(exit, error).hint(Some(hint))
}

fn by_host(address: SocketAddr, token: Option<&str>, value: &Value) -> Result<(), Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(CONFIRM_MAX + Duration::from_secs(5)))
        .build()
        .into();
    let mut request = agent.post(format!("http://{address}/api/publish"));
    request = request.header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let text = value.to_string();
    if text.len() > REQUEST_BYTES_MAX {
        let (bytes, hint) = (text.len(), "give `--broker URL` to publish it directly");
        let text = format!("it takes {bytes} bytes as JSON, a host takes {REQUEST_BYTES_MAX}");
        return Err(Failure::say(Exit::Failed, text).hint(Some(hint)));
    }
    let mut response = request.send(text).map_err(|error| {
        let hint = "start one with `wabbit run` or `wabbit dev`, or give `--broker URL`";
        Failure::say(Exit::Unreachable, format!("no host at `{address}`: {error}")).hint(Some(hint))
    })?;
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let said = serde_json::from_str::<Value>(&text).ok();
    let said = said.and_then(|value| value["error"].as_str().map(str::to_owned)).unwrap_or(text);
    match response.status().as_u16() {
        200 => Ok(()),
        401 => Err(Failure::say(Exit::NotPermitted, said)),
        503 => Err(Failure::say(Exit::Unreachable, said)),
        _ => Err(Failure::say(Exit::Failed, said)),
    }
}
