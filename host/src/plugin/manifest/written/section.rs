//! One table while it is read: keeps which keys were asked for, and reports the others as unknown.

use super::problem::suggest;
use super::{Entry, Node, Place, Report, Table, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

static EMPTY: Table = Table(BTreeMap::new());

/// Environment variables that stand for keys: `WABBIT_BROKER_URLS` for `urls` in `[broker]`.
#[derive(Debug)]
pub struct Env<'a> {
    prefix: &'static str,
    variables: &'a BTreeMap<String, String>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Env<'a> {
    /// Those of `variables` that begin with `prefix`, which ends with `_`.
    pub fn new(prefix: &'static str, variables: &'a BTreeMap<String, String>) -> Self {
        Self { prefix, variables, asked: RefCell::default() }
    }

    fn get(&self, path: &str, key: &str) -> Option<Node> {
        let dot = if path.is_empty() { "" } else { "_" };
        let name = format!("{}{path}{dot}{key}", self.prefix).replace(['.', '-'], "_");
        let name = name.to_uppercase();
        self.asked.borrow_mut().insert(name.clone());
        // An empty variable is how compose files and charts say "not set".
        let text = self.variables.get(&name).filter(|text| !text.is_empty())?;
        Some(Node { value: Value::Loose(text.clone()), at: Place::Variable(name) })
    }

    /// Reports the variables with the prefix that no key asked for, except those that begin with
    /// `ignored`.
    pub fn finish(&self, ignored: &str, report: &Report) {
        let asked = self.asked.borrow();
        // The prefix is the same for all and says nothing about how near they are.
        let known: Vec<_> =
            asked.iter().filter_map(|name| name.strip_prefix(self.prefix)).collect();
        for name in self.variables.keys().filter(|name| !name.starts_with(ignored)) {
            let Some(key) = name.strip_prefix(self.prefix) else { continue };
            if !asked.contains(name) {
                let hint = suggest(key, self.prefix, &known);
                report.add(Place::Variable(name.clone()), "stands for no known key", hint);
            }
        }
    }
}

/// One table that is being read.
#[derive(Debug)]
pub struct Section<'a> {
    report: &'a Report,
    env: Option<&'a Env<'a>>,
    table: &'a Table,
    at: Place,
    stated: bool,
    name: Name,
    asked: RefCell<Vec<&'a str>>,
    refused: RefCell<Vec<&'a str>>,
}

/// How a table is called in messages: `[path]`, or `[[path]] inner`.
#[derive(Debug, Clone, Default)]
struct Name {
    path: String,
    many: bool,
    inner: String,
}

impl Name {
    fn child(&self, key: &str, many: bool) -> Self {
        let join = |a: &str| if a.is_empty() { key.to_owned() } else { format!("{a}.{key}") };
        if self.many {
            Self { inner: join(&self.inner), ..self.clone() }
        } else {
            Self { path: join(&self.path), many, inner: String::new() }
        }
    }

    fn head(&self) -> String {
        let (open, close) = if self.many { ("[[", "]]") } else { ("[", "]") };
        let space = if self.inner.is_empty() { "" } else { " " };
        format!("{open}{}{close}{space}{}", self.path, self.inner)
    }

    fn of_key(&self, key: &str) -> String {
        if self.path.is_empty() {
            return format!("`{key}`");
        }
        let joint = if self.inner.is_empty() { " " } else { "." };
        format!("`{}{joint}{key}`", self.head())
    }
}

impl<'a> Section<'a> {
    /// Reads `table`, which is called `[path]` and was written at `at`, with `read`.
    pub fn read<T>(
        (path, at, table): (&str, Place, &'a Table),
        env: Option<&'a Env<'a>>,
        report: &'a Report,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> T {
        let name = Name { path: path.to_owned(), ..Name::default() };
        let asked = RefCell::default();
        let refused = RefCell::default();
        Section { report, env, table, at, stated: true, name, asked, refused }.run(read)
    }

    fn run<T>(self, read: impl FnOnce(&Self) -> T) -> T {
        let value = read(&self);
        for (key, entry) in self.rest() {
            let place = if self.name.path.is_empty() {
                String::new()
            } else {
                format!(" in `{}`", self.name.head())
            };
            let message = format!("unknown key `{key}`{place}");
            self.report.add(entry.at.clone(), message, suggest(key, "", &self.asked.borrow()));
        }
        value
    }

    /// Reads the table `key` with `read`; one that was not written is read as an empty one.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> T) -> T {
        self.asked.borrow_mut().push(key);
        let node = self.table.get(key);
        let table = match node.map(|node| &node.value) {
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.wrong(key, format!("must be a table, is {}", other.kind()));
                &EMPTY
            }
            None => &EMPTY,
        };
        self.child(key, node, table, false).run(read)
    }

    /// Reads each table of the array `key` with `read`.
    pub fn tables<T>(&self, key: &'static str, read: impl Fn(&Section<'a>) -> T) -> Vec<T> {
        self.asked.borrow_mut().push(key);
        let Some(node) = self.table.get(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            let rule = format!("must be an array of tables, is {}", node.value.kind());
            let many = self.name.child(key, true);
            let hint = many.inner.is_empty().then(|| format!("write `{}`", many.head()));
            self.report.add(node.at.clone(), format!("{} {rule}", self.name.of_key(key)), hint);
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Table(table) => {
                    values.push(self.child(key, Some(item), table, true).run(&read))
                }
                other => {
                    let rule = format!("must hold tables, one is {}", other.kind());
                    self.report.add(
                        item.at.clone(),
                        format!("{} {rule}", self.name.of_key(key)),
                        None,
                    );
                }
            }
        }
        values
    }

    fn child(&self, key: &str, node: Option<&Node>, table: &'a Table, many: bool) -> Section<'a> {
        Section {
            report: self.report,
            env: self.env,
            table,
            at: node.map_or(&self.at, |node| &node.at).clone(),
            stated: node.is_some(),
            name: self.name.child(key, many),
            asked: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// The value of `key`; the environment's if it has one.
    pub fn node(&self, key: &'static str) -> Option<Node> {
        self.asked.borrow_mut().push(key);
        self.peek(key)
    }

    fn peek(&self, key: &str) -> Option<Node> {
        let env = self.env.and_then(|env| env.get(&self.name.path, key));
        env.or_else(|| self.table.get(key).cloned())
    }

    /// The entries of the table `key`, whose keys may be any.
    pub fn map(&self, key: &'static str) -> Option<&'a Table> {
        self.asked.borrow_mut().push(key);
        match &self.table.get(key)?.value {
            Value::Table(table) => Some(table),
            other => {
                self.wrong(key, format!("must be a table, is {}", other.kind()));
                None
            }
        }
    }

    /// Whether `key` is a table.
    pub fn is_table(&self, key: &str) -> bool {
        self.table.table(key).is_some()
    }

    /// Whether `key` is an array with nothing in it.
    pub fn is_empty_array(&self, key: &str) -> bool {
        let value = self.table.get(key).map(|node| &node.value);
        matches!(value, Some(Value::Array(items)) if items.is_empty())
    }

    /// The tables that were not asked for, whose keys may be any: key, place and table.
    pub fn other_tables(&self) -> Vec<(&'a str, &'a Place, &'a Table)> {
        let mut tables = Vec::new();
        for (key, entry) in self.rest() {
            if let Value::Table(table) = &entry.node.value {
                tables.push((key, &entry.at, table));
            }
        }
        self.asked.borrow_mut().extend(tables.iter().map(|(key, ..)| *key));
        tables
    }

    /// Reads each table that was not asked for, whose keys may be any, with `read`; what that finds,
    /// by key.
    pub fn named<T>(&self, read: impl Fn(&Section<'a>) -> Option<T>) -> BTreeMap<String, T> {
        let mut found = BTreeMap::new();
        for (key, entry) in self.rest() {
            if let Value::Table(table) = &entry.node.value {
                self.asked.borrow_mut().push(key);
                let read = self.child(key, Some(&entry.node), table, false).run(&read);
                found.extend(read.map(|value| (key.to_owned(), value)));
            }
        }
        found
    }

    fn rest(&self) -> Vec<(&'a str, &'a Entry)> {
        let (asked, refused) = (self.asked.borrow(), self.refused.borrow());
        let entries = self.table.0.iter().map(|(key, entry)| (key.as_str(), entry));
        entries.filter(|(key, _)| !asked.contains(key) && !refused.contains(key)).collect()
    }

    /// Whether the table was written at all.
    pub fn stated(&self) -> bool {
        self.stated
    }

    /// Where `key` was written; the table's place if it was not.
    pub fn place(&self, key: &str) -> Place {
        self.peek(key).map_or_else(|| self.at.clone(), |node| node.at)
    }

    /// What `key` is called in messages.
    pub fn key(&self, key: &str) -> String {
        self.name.of_key(key)
    }

    /// Reports that the value of `key` breaks `rule`, e.g. `must be 1 or more`.
    pub fn wrong(&self, key: &str, rule: impl AsRef<str>) {
        self.wrong_with(key, rule, None);
    }

    /// As [`Section::wrong`], with what to do about it.
    pub fn wrong_with(&self, key: &str, rule: impl AsRef<str>, hint: Option<&str>) {
        let message = format!("{} {}", self.name.of_key(key), rule.as_ref());
        self.report.add(self.place(key), message, hint.map(str::to_owned));
    }

    /// Reports that `key` must be written and is not.
    pub fn missing(&self, key: &str) {
        let message = format!("{} is missing", self.name.of_key(key));
        self.report.add(self.at.clone(), message, None);
    }

    /// Reports that `what` is called `name` as the entry of the table `key` is.
    pub fn unknown_entry(&self, key: &str, name: &str, what: &str, known: &[&str]) {
        let entry = self.table.table(key).and_then(|table| table.0.get(name));
        let at = entry.map_or(&self.at, |entry| &entry.at).clone();
        let message = format!("{what} `{name}`, in {}", self.name.of_key(key));
        self.report.add(at, message, suggest(name, "", known));
    }

    /// Reports `message` at `at`.
    pub fn problem(&self, at: Place, message: impl Into<String>, hint: Option<String>) {
        self.report.add(at, message, hint);
    }

    /// Refuses `key`, which is part of the design but not of this version.
    pub fn unsupported(&self, key: &'static str) {
        self.refused.borrow_mut().push(key);
        if let Some(entry) = self.table.0.get(key) {
            let what = match (&entry.node.value, self.name.path.is_empty()) {
                (Value::Table(_), true) => format!("`[{key}]`"),
                _ => self.name.of_key(key),
            };
            let message = format!("{what} is not supported yet by this version");
            self.report.add(entry.at.clone(), message, Some("leave it out".to_owned()));
        }
    }
}
