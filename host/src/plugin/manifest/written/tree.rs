//! TOML as a tree whose every key and value knows its place, also after trees of several files
//! were laid over each other.

use super::{Place, Problem, Problems};
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where.
    pub at: Place,
    /// What.
    pub value: Value,
}

/// A TOML value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "TOML's own names")]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Date(String),
    Array(Vec<Node>),
    Table(Table),
    /// Text from the environment, which has no types: it is read as what is wanted.
    Loose(String),
}

impl Value {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Loose(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// Keys with their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub BTreeMap<String, Entry>);

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key was written.
    pub at: Place,
    /// Its value.
    pub node: Node,
}

impl Table {
    /// Reads the TOML `text` of `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let file: Arc<str> = file.into();
        let place = |offset| Place::of(&file, text, offset);
        let tree = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(Place::File(file.clone()), |span| place(span.start));
            let message = format!("not valid TOML: {}", error.message());
            Problems(vec![Problem { at, message, hint: None }])
        })?;
        convert_table(tree.get_ref(), &place)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.get(key).map(|entry| &entry.node)
    }

    /// The table `key`.
    pub fn table(&self, key: &str) -> Option<&Table> {
        match self.get(key)?.value {
            Value::Table(ref table) => Some(table),
            _ => None,
        }
    }

    /// Sets what `upper` states in place of what is here.
    pub fn lay(&mut self, upper: &Table) {
        self.0.extend(upper.0.iter().map(|(key, entry)| (key.clone(), entry.clone())));
    }
}

fn convert_table(table: &DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Result<Table, Problems> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let entry = Entry { at: place(key.span().start), node: convert(value, place)? };
        entries.insert(key.get_ref().to_string(), entry);
    }
    Ok(Table(entries))
}

fn convert(value: &Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> Place) -> Result<Node, Problems> {
    let at = place(value.span().start);
    let too_large = || {
        let message = "the number does not fit into 64 bits".to_owned();
        Problems(vec![Problem { at: at.clone(), message, hint: None }])
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(n) => {
            Value::Integer(i64::from_str_radix(n.as_str(), n.radix()).map_err(|_| too_large())?)
        }
        DeValue::Float(n) => Value::Float(n.as_str().parse().map_err(|_| too_large())?),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| convert(item, place)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(convert_table(table, place)?),
    };
    Ok(Node { at, value })
}
