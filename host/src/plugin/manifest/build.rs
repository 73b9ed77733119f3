//! `[build]`: how a plugin is built from its source.

use super::Reader;
use super::written::Section;

/// How a plugin is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Run in the folder of the source.
    pub command: String,
    /// Patterns of the files that it depends on; empty: every file of the folder.
    pub watch: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn build(&self, build: &Section<'_>) -> Option<Build> {
        let command = build.filled("command");
        let watch = build.texts("watch").unwrap_or_default();
        if self.whole && build.stated() && command.is_none() {
            build.missing("command");
        }
        Some(Build { command: command?, watch })
    }
}
