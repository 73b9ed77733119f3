//! `wabbit inspect`: what a component says about itself.

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::plugin::inspect::{Inspection, inspect};
use crate::plugin::watch::Digest;
use anyhow::Context;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// The flags of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// The component
    file: PathBuf,
}

impl Inspect {
    /// Prints its imports, exports, makers, digest and size.
    ///
    /// # Errors
    /// With [`Exit::BadFile`] if it is not a component.
    pub fn execute(self, output: &Output) -> Result<Exit, Failure> {
        let path = self.file.display().to_string();
        let bytes = std::fs::read(&self.file).with_context(|| format!("can't read `{path}`"));
        let bytes = bytes.map_err(|error| Failure::new(Exit::BadFile, error))?;
        let found = inspect(&bytes).map_err(|error| {
            let hint = error.hint();
            let error = anyhow::Error::new(error).context(format!("`{path}`"));
            Failure::new(Exit::BadFile, error).hint(Some(hint))
        })?;
        let (digest, size) = (Digest::of(&bytes).to_string(), bytes.len());
        let value = || {
            json!({
                "file": path, "digest": digest, "size": size,
                "imports": found.imports, "exports": found.exports, "made-with": found.made_with,
            })
        };
        output.data(|| text(&path, &digest, size, &found), value);
        Ok(Exit::Ok)
    }
}

fn text(path: &str, digest: &str, size: usize, found: &Inspection) -> String {
    let mut text = format!("{path}: a component of {size} bytes\ndigest {digest}\n");
    let lists = [
        ("made with", found.made_with.iter().collect::<Vec<_>>()),
        ("imports", found.imports.iter().collect()),
        ("exports", found.exports.iter().collect()),
    ];
    for (name, list) in lists {
        let _ = writeln!(text, "{name}");
        for item in list {
            let _ = writeln!(text, "  {item}");
        }
    }
    text
}
