//! What the host must live through: each test is one row of the table that `cargo xtask faults`
//! prints. A row starts a host under load, does something to it, and sees that the promises were
//! kept: nothing lost, nothing unexpected, no duplicate without a reason, back in time.
//!
//! How to write one:
//!
//! ```ignore
//! #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
//! async fn what_happens() {
//!     let plan = Plan::new("what happens, as the table says it").during(secs(20));
//!     let run = plan.start().await;      // a host under load; a third of the events is handled
//!     run.vhost.close_connections("consume").await; // the fault
//!     let mut account = run.account().await;        // it is over; the rest is handled and counted
//!     account.report.expect(account.back < secs(2), "back in 2 s");
//!     account.passes(&Pass { losses: 1, ..Pass::default() });
//! }
//! ```
//!
//! The second third of the events takes the handler as long as `during` says, so that its slots are
//! busy for all of the fault; call [`run::Run::over`] where the fault ends before other things that
//! you do. The last third is published when it is over. A row without this workload makes a
//! [`report::Report`] and ends with `finish`. What is not checked by [`oracle::Pass`] is an `expect`
//! of the row's own; what is worth a look is a `note`.
//!
//! A row that hurts the broker takes one of `nodes`: [`nodes::hurt`] or [`nodes::cluster`], which
//! rows have for themselves one after the other. The others share the run's node, each in a virtual
//! host of its own, and go by way of a `support::proxy` if the network is what is hurt.
//!
//! Here `cargo xtask test` runs them with few events and short faults ([`full`] is false), and leaves
//! out those that are `#[ignore]`d as long. Each row prints its seed; `WABBIT_TEST_SEED` repeats it.
//!
//! Begin with run.rs; workload.rs publishes, oracle.rs judges, report.rs tells. Rows without the
//! workload read the host's log by history.rs.

mod access;
mod brokers;
mod cluster;
mod connections;
mod crash;
mod guests;
mod history;
mod hosts;
mod idle;
mod memory;
mod network;
mod nodes;
mod oracle;
mod order;
mod reloads;
mod report;
mod run;
mod secrets;
mod settling;
mod workload;

pub use report::say;
use std::time::Duration;

/// Whether this is the long suite: all events, and faults as long as the table has them.
fn full() -> bool {
    std::env::var("WABBIT_TEST_FAULTS").is_ok_and(|value| value == "full")
}

/// How many events a row has.
fn events() -> u32 {
    if full() { 30_000 } else { 3_000 }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
