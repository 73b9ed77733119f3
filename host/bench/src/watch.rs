//! Starts a consumer and watches from outside how it empties a queue. What is told is what
//! happened between 10 % and 95 % of the queue: neither the start nor the tail counts.
//! Next: consume.rs, the consumer that the host is held against.

use super::process::{busy_seconds, cpu_seconds, resident_kib};
use super::queue::{Broker, dead_letters};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The part of the queue that is measured.
const FROM: f64 = 0.10;
const TO: f64 = 0.95;
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(20);
/// From the queue being empty, for the last acks.
const LAST_ACKS: Duration = Duration::from_millis(500);
/// For a consumer to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(15);

/// Starts a consumer of a full queue and measures it
#[derive(clap::Args)]
pub struct Watch {
    #[arg(long)]
    queue: String,
    /// How many events are in the queue
    #[arg(long)]
    count: u64,
    /// The process id of the broker
    #[arg(long)]
    broker_pid: u32,
    /// When to give up
    #[arg(long, default_value_t = 120)]
    seconds_max: u64,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    depth: u64,
    client: f64,
    broker: f64,
    machine: f64,
}

/// What was seen while the queue emptied.
#[derive(Default)]
struct Seen {
    begin: Option<Sample>,
    end: Option<Sample>,
    resident_kib: u64,
    emptied: bool,
}

impl Watch {
    pub async fn execute(self, url: &str) -> Result<Value> {
        let broker = Broker::connect(url).await?;
        let before = broker.depth(&self.queue).await?;
        ensure!(before == self.count, "the queue holds {before} events, not {}", self.count);
        let (program, arguments) = self.command.split_first().context("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.clone())?;
        let seen = self.drained(&broker, &mut child).await;
        end(&mut child).await?;
        let seen = seen?;
        // What was delivered and not acked is back in the queue now.
        let left = broker.depth(&self.queue).await?;
        let dead = broker.depth(&dead_letters(&self.queue)).await?;
        broker.close().await?;
        let mut result = json!({ "left": left, "dead": dead, "emptied": seen.emptied });
        if let (Some(begin), Some(end)) = (seen.begin, seen.end)
            && begin.depth > end.depth
        {
            let events = (begin.depth - end.depth) as f64;
            let seconds = (end.at - begin.at).as_secs_f64();
            let (client, broker) = (end.client - begin.client, end.broker - begin.broker);
            result["rate"] = json!(events / seconds);
            result["client_us"] = json!(client * 1e6 / events);
            result["broker_us"] = json!(broker * 1e6 / events);
            // Not ours: with more than a little of this the figures say nothing.
            result["others"] = json!((end.machine - begin.machine - client - broker) / seconds);
            result["resident_mib"] = json!(seen.resident_kib as f64 / 1024.0);
        }
        Ok(result)
    }

    /// Watches until the queue was empty for a while, the consumer has ended, or it takes too long.
    async fn drained(&self, broker: &Broker, child: &mut Child) -> Result<Seen> {
        let start = Instant::now();
        let left = |done: f64| ((1.0 - done) * self.count as f64) as u64;
        let mut seen = Seen::default();
        let mut empty: Option<Instant> = None;
        while child.try_wait()?.is_none() && start.elapsed().as_secs() < self.seconds_max {
            let sample = self.sample(broker, child.id()).await?;
            if sample.depth <= left(FROM) {
                seen.begin.get_or_insert(sample);
            }
            if sample.depth <= left(TO) {
                seen.end.get_or_insert(sample);
            }
            seen.resident_kib = seen.resident_kib.max(resident_kib(child.id()));
            empty = if sample.depth == 0 { empty.or(Some(sample.at)) } else { None };
            seen.emptied = empty.is_some_and(|since| since.elapsed() > LAST_ACKS);
            if seen.emptied {
                break;
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(seen)
    }

    async fn sample(&self, broker: &Broker, pid: u32) -> Result<Sample> {
        Ok(Sample {
            depth: broker.depth(&self.queue).await?,
            at: Instant::now(),
            client: cpu_seconds(pid),
            broker: cpu_seconds(self.broker_pid),
            machine: busy_seconds(),
        })
    }
}

/// Ends a child of ours: SIGTERM, and SIGKILL after a while.
async fn end(child: &mut Child) -> Result<()> {
    // It may have ended by itself meanwhile: then there is nothing to do.
    let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > END_MAX {
            child.kill()?;
        }
        tokio::time::sleep(EVERY).await;
    }
    // The broker takes a moment to put back what was not acked.
    tokio::time::sleep(LAST_ACKS).await;
    Ok(())
}
