//! The host's configuration and the manifest, laid over each other: `[plugins.defaults]` under
//! the manifest, `[plugins.NAME]` over it. Grants are only ever narrowed, by the defaults too, and
//! of a limit that manifest and `[plugins.NAME]` both state the smaller one counts.

use super::grants::LISTS;
use super::written::{Entry, Node, Place, Report, Section, Table, Value};
use super::{Reader, Rules};
use crate::capability::grants::Named;

/// What came of it.
pub(super) struct Layers {
    /// The manifest, with what the host replaces and adds.
    pub manifest: Table,
    /// `limits` and `grants` that narrow the manifest's.
    pub narrowing: Table,
    /// What the host grants to this plugin by name.
    pub named: Named,
}

/// Lays them; `own` is the manifest, written at `at`.
pub(super) fn lay(own: &Table, at: &Place, rules: &Rules<'_>) -> Layers {
    let empty = Table::default();
    let (defaults, overrides) =
        (rules.defaults.unwrap_or(&empty), rules.overrides.unwrap_or(&empty));
    let (mut under, mut over) = (defaults.clone(), overrides.clone());
    let named = named(&over);
    let narrowing = take_narrowing(&mut under, own, &mut over);
    let mut manifest = Table::default();
    for layer in [&under, own, &over] {
        lay_over(&mut manifest, layer);
    }
    let entry = subscriptions([defaults, own, overrides], at);
    manifest.0.insert("subscription".to_owned(), entry);
    Layers { manifest, narrowing, named }
}

fn named(over: &Table) -> Named {
    let Some(grants) = over.table("grants") else { return Named::new() };
    let variables = grants.table("variables").into_iter().flat_map(|table| table.0.keys());
    let variables = variables.map(|name| format!("variables.{name}"));
    grants.0.keys().cloned().chain(variables).collect()
}

/// Checks what the host's configuration says in `table`, which is called `[path]`, as far as that
/// can be known without a manifest.
pub fn check_layer((path, at, table): (&str, Place, &Table), memory_max: usize, report: &Report) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let reader = Reader { name, prefetch: 1, memory_max, whole: false };
    Section::read((path, at, table), None, report, |root| {
        reader.manifest(root);
    });
}

/// Tables are laid key by key, one level deep and `[grants.variables]`; all else replaces.
fn lay_over(lower: &mut Table, upper: &Table) {
    for (key, entry) in &upper.0 {
        let both = (lower.0.get_mut(key).map(|entry| &mut entry.node.value), &entry.node.value);
        let (Some(Value::Table(lower)), Value::Table(upper)) = both else {
            lower.0.insert(key.clone(), entry.clone());
            continue;
        };
        match key.as_str() {
            "grants" => {
                let variables = lower.table("variables").cloned();
                lower.lay(upper);
                if let (Some(mut variables), Some(own)) = (variables, upper.table("variables")) {
                    variables.lay(own);
                    if let Some(entry) = lower.0.get_mut("variables") {
                        entry.node.value = Value::Table(variables);
                    }
                }
            }
            "dead-letter" => {
                // Another destination replaces the whole of the one below.
                let to = ["queue", "exchange", "routing-key"];
                if upper.get("queue").is_some() || upper.get("exchange").is_some() {
                    lower.0.retain(|key, _| !to.contains(&key.as_str()));
                }
                lower.lay(upper);
            }
            _ => lower.lay(upper),
        }
    }
}

/// Takes out of the host's layers what can only narrow: the grants of `over`, and of the lists that
/// those do not speak of what `under` says; the limits of `over` that the manifest states as well.
fn take_narrowing(under: &mut Table, own: &Table, over: &mut Table) -> Table {
    let mut narrowing = Table::default();
    narrowing.0.extend(over.0.remove_entry("grants"));
    if let Some(entry) = under.0.get_mut("grants")
        && let Value::Table(grants) = &mut entry.node.value
    {
        let lists = LISTS.iter().filter_map(|list| grants.0.remove_entry(*list));
        let lists = Value::Table(Table(lists.collect()));
        let node = Node { at: entry.node.at.clone(), value: lists };
        let mut both = Table([("grants".to_owned(), Entry { at: entry.at.clone(), node })].into());
        lay_over(&mut both, &narrowing);
        narrowing = both;
    }
    if let Some(entry) = over.0.get_mut("limits")
        && let Value::Table(limits) = &mut entry.node.value
    {
        let stated = |key: &str| own.table("limits").is_some_and(|own| own.get(key).is_some());
        let mut narrower = limits.clone();
        narrower.0.retain(|key, _| stated(key));
        limits.0.retain(|key, _| !stated(key));
        let node = Node { at: entry.node.at.clone(), value: Value::Table(narrower) };
        narrowing.0.insert("limits".to_owned(), Entry { at: entry.at.clone(), node });
    }
    narrowing
}

/// The subscriptions of the highest layer that lists them, one if none does. What defaults and
/// overrides say in a table, and not in a list, is for each of them.
fn subscriptions([defaults, own, overrides]: [&Table; 3], at: &Place) -> Entry {
    let key = "subscription";
    let node = |value| Node { at: at.clone(), value };
    let default = || {
        let table = node(Value::Table(Table::default()));
        Entry { at: at.clone(), node: node(Value::Array(vec![table])) }
    };
    let list = |layer: &Table| {
        layer.0.get(key).filter(|entry| matches!(entry.node.value, Value::Array(_))).cloned()
    };
    let mut entry = list(overrides).or_else(|| own.0.get(key).cloned()).unwrap_or_else(default);
    if let Value::Array(items) = &mut entry.node.value {
        for item in items {
            if let Value::Table(stated) = &mut item.value {
                let mut table = defaults.table(key).cloned().unwrap_or_default();
                table.lay(stated);
                if let Some(upper) = overrides.table(key) {
                    table.lay(upper);
                }
                *stated = table;
            }
        }
    }
    entry
}
