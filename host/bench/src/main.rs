//! The measuring tools of `cargo xtask bench` (host/xtask/src/bench.rs): fills a queue, watches a
//! consumer empty it, is the consumer that the host is held against, and times reloads. Each tool
//! has a file of its own; start with watch.rs.

mod consume;
mod fill;
mod process;
mod queue;
mod reload;
mod watch;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    /// The broker
    #[arg(long, env = "AMQP_URL")]
    broker: String,
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    Fill(fill::Fill),
    Watch(watch::Watch),
    Consume(consume::Consume),
    Reload(reload::Reload),
}

#[tokio::main]
async fn main() -> ExitCode {
    match execute(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(Arguments { broker, tool }: Arguments) -> Result<()> {
    let result = match tool {
        Tool::Fill(fill) => fill.execute(&broker).await?,
        Tool::Watch(watch) => watch.execute(&broker).await?,
        Tool::Consume(consume) => consume.execute(&broker).await?,
        Tool::Reload(reload) => reload.execute(&broker).await?,
    };
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
