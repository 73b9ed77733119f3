//! What the host shows of itself: the log, the metrics, and named reports that move both together.
//! Next in the flow: [`crate::broker`]; to read on here, `report`.

mod connection;
mod crash;
mod consumer;
mod guest;
pub mod log;
pub mod metrics;
mod moves;
mod plugin;
pub mod rarely;
pub mod report;
mod store;
mod subscription;
#[cfg(test)]
mod tests;
pub mod text;
mod trouble;

pub use subscription::{Inflight, Paused, SubscriptionMetrics};
