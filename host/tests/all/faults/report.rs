//! One row of the table: what was measured, what is wrong with it, and what else is to be said. It is
//! left as a file where `cargo xtask faults` finds it, also by a row that panicked.

use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is wrong with one event is often wrong with all.
const PROBLEMS_MAX: usize = 20;

/// A row in the making. Ends with [`Report::finish`].
pub struct Report {
    row: &'static str,
    /// Random choices of the row come from here.
    pub random: fastrand::Rng,
    seed: u64,
    measured: Map<String, Value>,
    notes: Vec<String>,
    problems: Vec<String>,
    finished: bool,
}

impl Report {
    /// The row as the table names it.
    pub fn new(row: &'static str) -> Self {
        let given = std::env::var("WABBIT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| fastrand::u64(..1 << 32));
        say(&format!("faults: {row}: seed {seed}"));
        Self {
            row,
            random: fastrand::Rng::with_seed(seed),
            seed,
            measured: Map::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            finished: false,
        }
    }

    /// A measured value.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.measured.insert(name.to_owned(), value.into());
    }

    /// A measured time.
    pub fn took(&mut self, name: &str, time: Duration) {
        self.set(name, time.as_secs_f64());
    }

    /// Something worth a look.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// What must hold, or the row has failed; all that does not is told at the end.
    pub fn expect(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.problems.push(what.into());
        }
    }

    /// The end of the row; a failed one panics.
    #[track_caller]
    pub fn finish(mut self) {
        self.finished = true;
        let more = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
        self.problems.extend((more > 0).then(|| format!("and {more} more")));
        self.write();
        assert!(self.problems.is_empty(), "{}: {:#?}", self.row, self.problems);
    }

    /// A file for people beside the row, e.g. for the host's log.
    pub fn file(&self, suffix: &str) -> PathBuf {
        let dir = std::env::var_os("WABBIT_TEST_FAULTS_REPORT")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults"), PathBuf::from);
        std::fs::create_dir_all(&dir).unwrap();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        dir.join(self.row.chars().map(plain).collect::<String>()).with_extension(suffix)
    }

    fn write(&self) {
        let row = json!({
            "row": self.row,
            "seed": self.seed,
            "measured": self.measured,
            "notes": self.notes,
            "problems": self.problems,
        });
        say(&format!("faults: {row}"));
        std::fs::write(self.file("json"), row.to_string()).unwrap();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.finished {
            self.problems.push("it did not come to its end".to_owned());
            self.write();
        }
    }
}

/// Past the test's capture of what is printed.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
