//! The verbs of the binary: one file each, one `execute` each. Standard output is data, standard
//! error is talk. This is the end of the flow: what stands here may know everything.

mod check;
mod exit;
mod inspect;
mod invoke;
mod output;
mod publish;
mod run;
mod settings;
mod sources;
mod topology;
mod wait_idle;

pub use exit::Exit;

use clap::{Parser, Subcommand};
use exit::Failure;
use output::Output;
use settings::Global;
use std::process::ExitCode;

/// Runs RabbitMQ consumers whose handlers are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "wabbit", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  wabbit run --broker amqp://guest:guest@localhost     serve every plugin in ./plugins
  wabbit dev                                           on an embedded broker, every event shown
  wabbit publish shop order.created --body '{\"id\": 1}' publish an event by way of the running host
  wabbit wait-idle --timeout 10m                       until the running host has processed all
  wabbit invoke plugins/orders.wasm --event order.json call one handler, no broker needed
  wabbit check plugins                                 what is wrong, before it runs
  wabbit topology apply --broker amqp://localhost      declare what the plugins need

Exit codes: 0 ok, 1 the thing asked about failed, 64 usage, 65 bad plugin or event file,
69 broker not reachable, 77 not permitted, 78 configuration or topology mismatch";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the plugins: consume, handle, settle, reload
    Run(run::Run),
    /// `run` for a person at a keyboard: an embedded broker by default, every event shown
    Dev(run::Run),
    /// Give one event to one handler, without a broker
    Invoke(invoke::Invoke),
    /// Say what is wrong with plugins before they run
    Check(check::Check),
    /// Plan, declare or export the exchanges, queues and bindings that plugins need
    #[command(subcommand)]
    Topology(topology::Topology),
    /// Show what a component imports and exports
    Inspect(inspect::Inspect),
    /// Publish one message, mandatory and confirmed
    Publish(publish::Publish),
    /// Wait until the running host has processed everything
    WaitIdle(wait_idle::WaitIdle),
}

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are asked for; everything else is a mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    let output = Output::new(args.global.output);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(execute(args, &output));
            // Threads that still compile or read must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    };
    result.unwrap_or_else(|failure| failure.report(&output)).into()
}

async fn execute(args: Args, output: &Output) -> Result<Exit, Failure> {
    let Args { global, verb } = args;
    match verb {
        Verb::Run(run) => run.execute(&global, false).await,
        Verb::Dev(dev) => dev.execute(&global, true).await,
        Verb::Invoke(invoke) => invoke.execute(&global, output).await,
        Verb::Check(check) => check.execute(&global, output).await,
        Verb::Topology(topology) => topology.execute(&global, output).await,
        Verb::Inspect(inspect) => inspect.execute(output),
        Verb::Publish(publish) => publish.execute(&global, output).await,
        Verb::WaitIdle(wait) => wait.execute(&global, output).await,
    }
}
