//! `wabbit topology`: what a host would declare for its plugins, as a plan, as a step of a
//! deployment, or as RabbitMQ's definitions. Next: [`rows`], which lists it.

mod export;
mod rows;

use super::check::difference;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, Named, ask};
use super::sources::{Loaded, Sources};
use crate::broker::{Broker, Mode, TopologyError, amqp};
use crate::config::Config;
use crate::dispatch::audit::facts::{Extent, Facts, is_away};
use rows::{Row, State};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The verbs under `topology`.
#[derive(Debug, clap::Subcommand)]
pub enum Topology {
    /// Show what would be declared, and what of it is there; changes nothing
    #[command(after_help = PLAN_HELP)]
    Plan(Live),
    /// Declare it, as a step of a deployment: before producers start. A second time changes nothing
    #[command(after_help = APPLY_HELP)]
    Apply(Live),
    /// Print it as RabbitMQ's definitions, without asking a broker
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
}

const PLAN_HELP: &str = "\
Examples:
  wabbit topology plan --broker amqp://wabbit:pw@rabbit/shop
  wabbit topology plan -o json | jq '.pieces[] | select(.state == \"differs\")'

Whether a binding is there can't be asked for by AMQP.
Exit codes: 0 ok, 65 a plugin that can't be loaded, 69 broker not reachable,
77 a permission is lacking, 78 something is not as stated, or is not there";

const APPLY_HELP: &str = "\
Examples:
  wabbit topology apply --broker amqp://deploy:pw@rabbit/shop

Where a manifest says `topology = \"verify\"` or \"off\", nothing is declared for it. Delay queues are
declared when a retry needs one: they expire. Exit codes are those of `plan`.";

const EXPORT_HELP: &str = "\
Examples:
  wabbit topology export > shop.json
  curl -u admin:pw -H 'content-type: application/json' -d @shop.json http://rabbit:15672/api/definitions/shop
  wabbit topology export --vhost shop > shop.json && rabbitmqctl import_definitions shop.json";

/// The flags of `plan` and `apply`.
#[derive(Debug, clap::Args)]
pub struct Live {
    #[command(flatten)]
    sources: Sources,
    /// `amqp://` or `amqps://` (may be repeated) [env: AMQP_URL] [default: the configuration's]
    #[arg(long, value_name = "URL")]
    broker: Vec<String>,
}

/// The flags of `export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    sources: Sources,
    /// Name this virtual host in each definition, as `rabbitmqctl import_definitions` needs it
    #[arg(long, value_name = "NAME")]
    vhost: Option<String>,
}

impl Topology {
    /// See the verbs.
    ///
    /// # Errors
    /// With [`Exit::BadFile`] or [`Exit::Mismatch`] if a host would refuse one of the plugins, and with
    /// [`Exit::Unreachable`] if the broker is not there.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let mut config = global.load()?;
        global.start_log(&config, "error")?;
        let (live, apply) = match self {
            Self::Plan(live) => (live, false),
            Self::Apply(live) => (live, true),
            Self::Export(Export { sources, vhost }) => {
                let loaded = load(&sources, &config).await?;
                export::print(&rows::rows(&loaded.planned), vhost.as_deref(), output);
                return Ok(Exit::Ok);
            }
        };
        if !live.broker.is_empty() {
            config.broker.urls.clone_from(&live.broker);
        }
        let broker = named(&config)?;
        let loaded = load(&live.sources, &config).await?;
        let mut rows = rows::rows(&loaded.planned);
        ask(broker, async |broker| {
            let (subjects, mut granted) = (loaded.subjects(), BTreeSet::new());
            let mut facts = Facts::ask(broker, &subjects, Extent::All, &mut granted).await?;
            look(broker, &mut facts, rows.iter()).await?;
            let declared = rows::declared(&rows);
            rows.iter_mut().for_each(|row| row.judge(&facts, &declared));
            if apply { self::apply(broker, &mut rows).await } else { Ok(()) }
        })
        .await?;
        output.data(
            || text(&rows),
            || json!({ "pieces": rows.iter().map(value).collect::<Vec<_>>() }),
        );
        Ok(rows.iter().map(|row| row.state.exit()).max().unwrap_or(Exit::Ok))
    }
}

/// The plugins, all of them good.
async fn load(sources: &Sources, config: &Config) -> Result<Loaded, Failure> {
    let loaded = sources.load(config).await?;
    match loaded.bad.first() {
        None => Ok(loaded),
        Some(bad) => {
            let what: Vec<_> = bad.problems.iter().map(|(problem, _)| problem.as_str()).collect();
            let text = format!("plugin `{}`: {}", bad.plugin, what.join("; "));
            let hint = "nothing was declared; `wabbit check` says all that is wrong";
            Err(Failure::say(bad.exit, text).hint(Some(hint)))
        }
    }
}

fn named(config: &Config) -> Result<amqp::Config, Failure> {
    match Named::read(&config.broker)? {
        Some(Named::Amqp(amqp)) => Ok(amqp),
        Some(Named::Memory) => {
            let hint = "the embedded broker begins empty: its host declares what is needed";
            Err(Failure::say(Exit::Usage, "`memory:` has no topology of its own").hint(Some(hint)))
        }
        None => Err(super::run::no_broker()),
    }
}

async fn look(
    broker: &dyn Broker,
    facts: &mut Facts,
    rows: impl Iterator<Item = &Row>,
) -> Result<(), TopologyError> {
    for item in rows.filter_map(Row::item) {
        facts.see(broker, item.clone()).await?;
    }
    Ok(())
}

/// Declares what is to be created, and the bindings; one that fails stops no other. What was not
/// there, and is not to be declared for its own plugin, may be there then.
async fn apply(broker: &dyn Broker, rows: &mut [Row]) -> Result<(), TopologyError> {
    for row in rows.iter_mut().filter(|row| row.is_declared()) {
        let created = match row.state {
            State::Create => State::Created,
            State::NotChecked => State::Bound,
            _ => continue,
        };
        row.state = match broker.declare(&row.alone(), Mode::Ensure).await {
            Ok(()) => created,
            Err(error) if is_away(broker) => return Err(error),
            Err(error) => State::Failed(error),
        };
    }
    let lacks = |row: &Row| matches!(row.state, State::Create | State::Absent);
    let mut facts = Facts::default();
    look(broker, &mut facts, rows.iter().filter(|row| lacks(row))).await?;
    let lacking = rows.iter_mut().filter(|row| lacks(row));
    lacking.for_each(|row| row.judge(&facts, &BTreeSet::new()));
    Ok(())
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no plugins".to_owned();
    }
    let mut lines = Vec::new();
    // The longest name.
    let width = "not permitted".len();
    let on_demand = |row: &&Row| matches!(row.state, State::OnDemand);
    for row in rows.iter().filter(|row| !on_demand(row)) {
        let plugins: Vec<_> = row.plugins.iter().map(String::as_str).collect();
        lines.push(format!("{:width$}  {}  ({})", row.state.name(), row, plugins.join(", ")));
        lines.extend(row.state.details().into_iter().map(|line| format!("{:width$}  {line}", "")));
    }
    let delays: Vec<_> = rows.iter().filter(on_demand).filter_map(Row::delay).collect();
    if let (Some(shortest), Some(longest)) = (delays.iter().min(), delays.iter().max()) {
        let (shortest, longest) = (&shortest.1, &longest.1);
        lines.push(format!(
            "{:width$}  {} delay queues, `{shortest}` to `{longest}`",
            State::OnDemand.name(),
            delays.len()
        ));
    }
    lines.join("\n")
}

fn value(row: &Row) -> Value {
    let mut value = row.to_json();
    value["state"] = json!(row.state.name());
    value["plugins"] = json!(row.plugins);
    match &row.state {
        State::Differs(differences) => {
            value["differences"] = differences.iter().map(difference).collect();
        }
        state if state.exit() != Exit::Ok => value["problem"] = json!(state.details().join("; ")),
        _ => {}
    }
    value
}
