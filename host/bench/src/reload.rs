//! Times reloads: from a component being whole in the plugins folder to the first event that its
//! code has handled, with events coming all the while.

use super::queue::{Broker, body};
use anyhow::{Context, Result};
use futures_util::StreamExt;
use lapin::Consumer;
use lapin::ExchangeKind;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the guests `version-a` and `version-b` publish their names.
const VERSIONS: &str = "versions";
/// The time between two events.
const TRICKLE: Duration = Duration::from_millis(2);
/// The time between two reloads; not a multiple of anything.
const PAUSE: Duration = Duration::from_millis(337);
/// For the next version to show up.
const SHOWN_MAX: Duration = Duration::from_secs(30);

/// Puts components in place, one after the other, and measures how soon each handles events. They
/// must say different things from one to the next
#[derive(clap::Args)]
pub struct Reload {
    /// The queue that the plugin consumes
    #[arg(long)]
    queue: String,
    /// Where the host expects the component
    #[arg(long)]
    place: PathBuf,
    /// The components; the first one is in place already
    #[arg(required = true)]
    components: Vec<PathBuf>,
}

impl Reload {
    pub async fn execute(self, url: &str) -> Result<Value> {
        let broker = Broker::connect(url).await?;
        let mut versions = versions(&broker).await?;
        let publisher = Broker::connect(url).await?;
        let queue = self.queue.as_str().into();
        let trickle = tokio::spawn(async move {
            for sequence in 0.. {
                if publisher.publish(&queue, &body(sequence, 100)).await.is_err() {
                    return;
                }
                tokio::time::sleep(TRICKLE).await;
            }
        });
        let mut current = next_other_than(&mut versions, None).await?;
        let mut milliseconds = Vec::new();
        for component in self.components.iter().skip(1) {
            // What began with the version before ends with it.
            ignore(&mut versions, PAUSE).await?;
            let whole = put(component, &self.place)?;
            current = next_other_than(&mut versions, Some(&current)).await?;
            milliseconds.push(whole.elapsed().as_secs_f64() * 1000.0);
        }
        trickle.abort();
        // What is on its way needs someone to take it.
        ignore(&mut versions, PAUSE).await?;
        broker.close().await?;
        Ok(json!({ "milliseconds": milliseconds }))
    }
}

/// What the guests say, as they say it.
async fn versions(broker: &Broker) -> Result<Consumer> {
    let channel = &broker.channel;
    let (exchange, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
    channel.exchange_declare(VERSIONS.into(), ExchangeKind::Topic, exchange, none.clone()).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), exclusive, none.clone()).await?;
    let (name, bind) = (queue.name(), QueueBindOptions::default());
    let everything = "#".into();
    channel.queue_bind(name.clone(), VERSIONS.into(), everything, bind, none.clone()).await?;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    Ok(channel.basic_consume(name.clone(), "".into(), options, none).await?)
}

async fn version(versions: &mut Consumer) -> Result<String> {
    let delivery = versions.next().await.context("the consumer was cancelled")??;
    Ok(String::from_utf8(delivery.data)?)
}

/// Takes what comes in this time.
async fn ignore(versions: &mut Consumer, time: Duration) -> Result<()> {
    let come = async {
        loop {
            version(versions).await?;
        }
    };
    tokio::time::timeout(time, come).await.unwrap_or(Ok(()))
}

async fn next_other_than(versions: &mut Consumer, known: Option<&str>) -> Result<String> {
    let next = async {
        loop {
            let version = version(versions).await?;
            if known != Some(&*version) {
                return Ok(version);
            }
        }
    };
    tokio::time::timeout(SHOWN_MAX, next).await.context("no event shows the new code")?
}

/// Puts a component in place in one step; the moment when it was there.
fn put(component: &Path, place: &Path) -> Result<Instant> {
    let part = place.with_extension("wasm.new");
    fs::copy(component, &part).with_context(|| component.display().to_string())?;
    fs::rename(&part, place)?;
    Ok(Instant::now())
}
