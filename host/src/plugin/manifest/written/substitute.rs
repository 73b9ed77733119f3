//! `${VAR}` and `${VAR:-default}` in the strings of a file.

use super::{Node, Report, Table, Value};
use std::collections::BTreeMap;

impl Table {
    /// Replaces the variables in every string. What was replaced may then be read as a number, a
    /// boolean or a list as well, as the environment's own strings.
    pub fn substitute(&mut self, env: &BTreeMap<String, String>, report: &Report) {
        for entry in self.0.values_mut() {
            substitute_node(&mut entry.node, env, report);
        }
    }
}

fn substitute_node(node: &mut Node, env: &BTreeMap<String, String>, report: &Report) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match replace(text, env) {
            Ok(replaced) => node.value = Value::Loose(replaced),
            Err((message, hint)) => report.add(node.at.clone(), message, Some(hint)),
        },
        Value::Array(items) => {
            for item in items {
                substitute_node(item, env, report);
            }
        }
        Value::Table(table) => table.substitute(env, report),
        _ => {}
    }
}

fn replace(text: &str, env: &BTreeMap<String, String>) -> Result<String, (String, String)> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let form = || "write `${VAR}` or `${VAR:-default}`".to_owned();
        let (inner, after) =
            after.split_once('}').ok_or_else(|| ("`${` without its `}`".to_owned(), form()))?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err((format!("`${{{name}}}` names no variable"), form()));
        }
        // As in a shell: the default also stands in for a variable that is empty.
        let value = match (env.get(name), default) {
            (Some(value), Some(default)) if value.is_empty() => default,
            (Some(value), _) => value,
            (None, Some(default)) => default,
            (None, None) => {
                let hint = format!("set it, or give a default: `${{{name}:-…}}`");
                return Err((format!("the environment variable `{name}` is not set"), hint));
            }
        };
        replaced.push_str(before);
        replaced.push_str(value);
        rest = after;
    }
    replaced.push_str(rest);
    Ok(replaced)
}
