//! `wabbit check`: everything that can be known about plugins before they run.

use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, Named, ask};
use super::sources::{Bad, Sources};
use crate::broker::{Broker, Difference};
use crate::capability::grants;
use crate::dispatch::audit::facts::{Extent, Facts};
use crate::dispatch::audit::{Finding, Kind, findings};
use crate::flow::Field;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The flags of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Check {
    #[command(flatten)]
    sources: Sources,
    /// Also compare with what this broker has and permits; nothing is changed there
    #[arg(long, value_name = "URL")]
    broker: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  wabbit check                                   every plugin in ./plugins, without a broker
  wabbit check plugins/orders.wasm               one plugin
  wabbit check --broker amqp://wabbit:pw@rabbit  also its topology, as this user may see it
  wabbit check -o json | jq '.[] | select(.ok | not)'

Exit codes: 0 ok (warnings too), 65 a plugin that can't be loaded, 69 broker not reachable,
77 a permission is lacking, 78 not as stated at the broker, or events would get lost";

/// What there is to say about one plugin.
#[derive(Default)]
struct Report {
    grants: Vec<grants::Told>,
    told: Vec<Told>,
    exit: Option<Exit>,
}

/// One sentence of it.
struct Told {
    error: bool,
    queue: String,
    problem: String,
    hint: Option<String>,
    differences: Vec<Difference>,
}

impl Check {
    /// Prints a line for each plugin and its problems.
    ///
    /// # Errors
    /// With [`Exit::Unreachable`] if the broker is asked for and not there.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let mut config = global.load()?;
        global.start_log(&config, "error")?;
        let loaded = self.sources.load(&config).await?;
        config.broker.urls.clone_from(&self.broker);
        let facts = match Named::read(&config.broker)? {
            Some(Named::Amqp(amqp)) => {
                let questions = async |broker: &dyn Broker| {
                    let mut granted = BTreeSet::new();
                    Facts::ask(broker, &loaded.subjects(), Extent::All, &mut granted).await
                };
                ask(amqp, questions).await?
            }
            Some(Named::Memory) | None => Facts::default(),
        };
        let good = loaded.good.iter().map(|plugin| {
            let grants = plugin.manifest.grants.told();
            (plugin.name.to_string(), Report { grants, ..Report::default() })
        });
        let mut reports: BTreeMap<String, Report> = good.collect();
        for finding in findings(&loaded.subjects(), &facts) {
            reports.entry(finding.plugin.clone()).or_default().add(finding);
        }
        reports.extend(loaded.bad.into_iter().map(|bad| (bad.plugin.clone(), bad.into())));
        output.data(|| text(&reports), || reports.iter().map(value).collect());
        let exits = reports.values().filter_map(|report| report.exit);
        Ok(exits.max().unwrap_or(Exit::Ok))
    }
}

impl Report {
    fn add(&mut self, finding: Finding) {
        let Finding { kind, queue, problem, hint, differences, .. } = finding;
        let exit = match kind {
            Kind::Note => None,
            Kind::Forbidden => Some(Exit::NotPermitted),
            Kind::Mismatch | Kind::Loses => Some(Exit::Mismatch),
        };
        self.exit = self.exit.max(exit);
        let told = Told { error: kind.is_error(), queue, problem, hint: Some(hint), differences };
        self.told.push(told);
    }
}

impl From<Bad> for Report {
    fn from(bad: Bad) -> Self {
        let told = |(problem, hint)| Told {
            error: true,
            queue: String::new(),
            problem,
            hint,
            differences: Vec::new(),
        };
        let told = bad.problems.into_iter().map(told).collect();
        Self { grants: Vec::new(), told, exit: Some(bad.exit) }
    }
}

fn text(reports: &BTreeMap<String, Report>) -> String {
    let mut lines = Vec::new();
    for (plugin, Report { grants, told, exit }) in reports {
        if exit.is_none() {
            lines.push(format!("{plugin}: ok"));
        }
        for grants::Told { kind, granted, refused } in grants {
            if !granted.is_empty() {
                lines.push(format!("  {kind}: {}", granted.join(", ")));
            }
            if !refused.is_empty() {
                lines.push(format!("  {kind}, asked for and not granted: {}", refused.join(", ")));
            }
        }
        for Told { error, problem, hint, differences, .. } in told {
            let warning = if *error { "" } else { "warning: " };
            lines.push(format!("{plugin}: {warning}{problem}"));
            lines.extend(differences.iter().map(|difference| format!("  {difference}")));
            lines.extend(hint.iter().map(|hint| format!("  hint: {hint}")));
        }
    }
    if lines.is_empty() { "no plugins".to_owned() } else { lines.join("\n") }
}

fn value((plugin, report): (&String, &Report)) -> Value {
    let problem = |told: &Told| {
        let Told { error, queue, problem, hint, differences } = told;
        let level = if *error { "error" } else { "warning" };
        let mut value = json!({ "level": level, "problem": problem, "hint": hint });
        if !queue.is_empty() {
            value["queue"] = json!(queue);
        }
        if !differences.is_empty() {
            value["differences"] = differences.iter().map(difference).collect();
        }
        value
    };
    let problems: Vec<_> = report.told.iter().map(problem).collect();
    let grants = report.grants.iter().map(|grants::Told { kind, granted, refused }| {
        ((*kind).to_owned(), json!({ "granted": granted, "not-granted": refused }))
    });
    let grants: serde_json::Map<_, _> = grants.collect();
    json!({ "plugin": plugin, "ok": report.exit.is_none(), "grants": grants, "problems": problems })
}

/// `setting` with both sides; null where nothing is stated, or there.
pub(super) fn difference(difference: &Difference) -> Value {
    let Difference { setting, stated, current } = difference;
    let side = |side: &Option<Field>| side.as_ref().map(Field::to_json);
    json!({ "setting": setting, "stated": side(stated), "broker": side(current) })
}
