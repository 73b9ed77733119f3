//! Puts events into a new queue. Next: watch.rs.

use super::queue::{Broker, body, dead_letters};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Publishing one by one would wait for the socket each time.
const TOGETHER: u64 = 500;
/// For the broker to take what was published.
const TAKEN_MAX: Duration = Duration::from_secs(60);

/// Declares a queue anew and publishes events into it
#[derive(clap::Args)]
pub struct Fill {
    #[arg(long)]
    queue: String,
    #[arg(long)]
    count: u64,
    /// Size of each body
    #[arg(long, default_value_t = 100)]
    bytes: usize,
}

impl Fill {
    pub async fn execute(self, url: &str) -> Result<Value> {
        let broker = Broker::connect(url).await?;
        broker.renew(&self.queue).await?;
        broker.renew(&dead_letters(&self.queue)).await?;
        let key = self.queue.as_str().into();
        for first in (0..self.count).step_by(TOGETHER.try_into()?) {
            let some = first..self.count.min(first + TOGETHER);
            let bodies: Vec<_> = some.map(|sequence| body(sequence, self.bytes)).collect();
            try_join_all(bodies.iter().map(|body| broker.publish(&key, body))).await?;
        }
        let start = Instant::now();
        while broker.depth(&self.queue).await? < self.count {
            ensure!(start.elapsed() < TAKEN_MAX, "the queue never filled");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.close().await?;
        Ok(json!({ "filled": self.count }))
    }
}
