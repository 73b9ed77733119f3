//! What the host shows of itself: the log, the metrics, and named reports that move both together.
//! Next in the flow: [`crate::broker`]; to read on here, `report`.

mod connection;
mod consumer;
mod guest;
pub mod log;
pub mod metrics;
pub mod report;
mod subscription;
#[cfg(test)]
mod tests;
pub mod text;

pub use subscription::{Inflight, Paused, SubscriptionMetrics};
