//! The consumer that people write by hand, which the host is held against. Next: reload.rs.

use super::queue::Broker;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures_util::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use std::hint::black_box;

/// Consumes a queue until it is ended
#[derive(clap::Args)]
pub struct Consume {
    #[arg(long)]
    queue: String,
    #[arg(long)]
    prefetch: u16,
    #[arg(long, value_enum)]
    work: Work,
    #[arg(long, value_enum)]
    ack: Ack,
}

/// What is done with each event
#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Nothing
    Noop,
    /// Parse it, change a field, write it; as the guest `json` does
    Json,
}

/// How it acks
#[derive(Clone, Copy, ValueEnum)]
enum Ack {
    /// `delivery.ack(..).await` after each, as in lapin's README
    Each,
    /// All so far when no delivery is waiting, or when they are half the prefetch: the most that
    /// can be had of lapin
    Batch,
}

impl Consume {
    pub async fn execute(self, url: &str) -> Result<Value> {
        let broker = Broker::connect(url).await?;
        let channel = &broker.channel;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        let deliveries =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        match self.ack {
            Ack::Each => self.ack_each(deliveries).await?,
            Ack::Batch => self.ack_batches(deliveries).await?,
        }
        bail!("the consumer was cancelled")
    }

    async fn ack_each(&self, mut deliveries: Consumer) -> Result<()> {
        while let Some(delivery) = deliveries.next().await.transpose()? {
            self.work.on(&delivery)?;
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    async fn ack_batches(&self, mut deliveries: Consumer) -> Result<()> {
        let most = (self.prefetch / 2).max(1);
        while let Some(mut last) = deliveries.next().await.transpose()? {
            self.work.on(&last)?;
            for _ in 1..most {
                let Some(next) = deliveries.next().now_or_never().flatten() else { break };
                last = next?;
                self.work.on(&last)?;
            }
            last.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(())
    }
}

impl Work {
    fn on(self, delivery: &Delivery) -> Result<()> {
        match self {
            Self::Noop => black_box(&delivery.data),
            Self::Json => &black_box(changed(&delivery.data)?),
        };
        Ok(())
    }
}

fn changed(body: &[u8]) -> Result<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(body)?;
    let amount = value.get_mut("amount").context("no amount")?;
    *amount = (amount.as_i64().context("the amount is no integer")? + 1).into();
    Ok(serde_json::to_vec(&value)?)
}
