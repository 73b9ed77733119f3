//! Whether a component was built for the handler's interface as this host serves it (0.1), and
//! whether its grants cover what it imports: both decided once, at load, before anything of it
//! runs. Next: `compile`.

use super::inspect::Inspection;
use crate::capability::grants::Grants;

/// Why a component can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no `handle`.
    #[error("it does not export `handle`: a component of another world (it exports {exports})")]
    OtherWorld {
        /// What it exports instead.
        exports: String,
    },
    /// Built for a version that this host does not have.
    #[error("it was built for `{interface}`, this host serves `wabbit:handler@0.1`")]
    UnknownVersion {
        /// E.g. `wabbit:handler/types@0.9.0`.
        interface: String,
    },
    /// An import needs a grant.
    #[error("it imports `{import}`, which needs a grant")]
    NotGranted {
        /// The import.
        import: String,
        /// The line to add.
        line: &'static str,
    },
    /// An import that no host of this kind has.
    #[error("it imports `{import}`, which this host does not have")]
    Unknown {
        /// The import.
        import: String,
    },
}

impl Refusal {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::OtherWorld { .. } => {
                "build it for the world `handler` or `publishing-handler` of wit/".to_owned()
            }
            Self::UnknownVersion { .. } => "build it with the WIT of this host (wit/)".to_owned(),
            Self::NotGranted { line, .. } => format!("add to its manifest: `[grants]` {line}"),
            Self::Unknown { .. } => {
                "build it without this import; `wabbit inspect` lists what it imports".to_owned()
            }
        }
    }
}

/// The packages of WASI that are always linked, since most languages' runtimes import them; without
/// files, network, environment and arguments they reach nothing.
const INERT: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Judges a component by its imports and exports.
///
/// # Errors
/// Every reason to refuse it.
pub fn judge(found: &Inspection, grants: &Grants) -> Result<(), Vec<Refusal>> {
    let mut refusals: Vec<_> =
        found.imports.iter().filter_map(|import| refuse(import, grants)).collect();
    if !found.exports.iter().any(|export| export == "handle") && refusals.is_empty() {
        let exports = found.exports.iter().map(|export| format!("`{export}`"));
        let exports = exports.collect::<Vec<_>>().join(", ");
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports };
        refusals.push(Refusal::OtherWorld { exports });
    }
    if refusals.is_empty() { Ok(()) } else { Err(refusals) }
}

fn refuse(import: &str, grants: &Grants) -> Option<Refusal> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let (package, name) = interface.split_once('/').unwrap_or((interface, ""));
    let import = import.to_owned();
    match package {
        "wabbit:handler" if !version.starts_with("0.1.") => {
            Some(Refusal::UnknownVersion { interface: import })
        }
        "wabbit:handler" => None,
        "wabbit:amqp" | "wabbit:circuit" | "wabbit:publish" | "wabbit:sql"
            if !version.starts_with("0.1.") =>
        {
            Some(Refusal::Unknown { import })
        }
        "wabbit:amqp" | "wabbit:circuit" => None,
        "wabbit:publish" if grants.publish.is_empty() => {
            let line = "`publish = [\"EXCHANGE:ROUTING-KEY\"]`";
            Some(Refusal::NotGranted { import, line })
        }
        "wabbit:sql" if grants.sql.is_empty() => {
            Some(Refusal::NotGranted { import, line: "`sql = [\"NAME\"]`" })
        }
        "wabbit:publish" | "wabbit:sql" => None,
        "wasi:logging" if version == "0.1.0-draft" => None,
        "wasi:config" if version == "0.2.0-rc.1" => None,
        "wasi:keyvalue" if !["0.2.0-draft", "0.2.0-draft2"].contains(&version) => {
            Some(Refusal::Unknown { import })
        }
        "wasi:keyvalue" if grants.key_value.is_empty() => {
            let line = "`key-value = [\"default\"]`, or the names of the stores";
            Some(Refusal::NotGranted { import, line })
        }
        "wasi:keyvalue" => None,
        // JavaScript's engine imports it, whether a handler sends requests or not. Without a grant
        // each request is refused.
        "wasi:http"
            if matches!(name, "types" | "outgoing-handler") && version.starts_with("0.2.") =>
        {
            None
        }
        "wasi:http" => Some(Refusal::Unknown { import }),
        _ => {
            let inert = package.strip_prefix("wasi:").is_some_and(|name| INERT.contains(&name));
            (!inert || !version.starts_with("0.2.")).then_some(Refusal::Unknown { import })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(imports: &[&str], exports: &[&str]) -> Inspection {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Inspection { imports: own(imports), exports: own(exports), ..Inspection::default() }
    }

    #[test]
    fn each_import_is_linked_or_refused_for_its_own_reason() {
        let table = [
            ("wabbit:handler/types@0.1.0", ""),
            ("wabbit:handler/types@0.9.0", "was built for `wabbit:handler/types@0.9.0`"),
            ("wabbit:amqp/types@0.1.0", ""),
            ("wabbit:circuit/breaker@0.1.0", ""),
            ("wabbit:circuit/breaker@0.2.0", "does not have"),
            ("wabbit:publish/publisher@0.1.0", "needs a grant"),
            ("wabbit:sql/database@0.1.0", "needs a grant"),
            ("wabbit:sql/database@0.2.0", "does not have"),
            ("wasi:logging/logging@0.1.0-draft", ""),
            ("wasi:config/store@0.2.0-rc.1", ""),
            ("wasi:config/store@0.2.0-draft", "does not have"),
            ("wasi:sockets/tcp@0.2.9", ""),
            ("wasi:filesystem/types@0.2.6", ""),
            ("wasi:filesystem/types@0.3.0", "does not have"),
            ("wasi:keyvalue/store@0.2.0-draft", "needs a grant"),
            ("wasi:keyvalue/atomics@0.2.0-draft2", "needs a grant"),
            ("wasi:keyvalue/store@0.2.0-draft3", "does not have"),
            ("wasi:http/types@0.2.3", ""),
            ("wasi:http/outgoing-handler@0.2.3", ""),
            ("wasi:http/outgoing-handler@0.3.0", "does not have"),
            ("wasi:http/incoming-handler@0.2.3", "does not have"),
            ("acme:robots/arm@1.0.0", "does not have"),
            ("robots", "does not have"),
        ];
        for (import, expected) in table {
            let judged = judge(&component(&[import], &["handle"]), &Grants::default());
            match judged {
                Ok(_) => assert_eq!(expected, "", "{import}"),
                Err(refusals) => {
                    let text = refusals[0].to_string();
                    assert!(!expected.is_empty() && text.contains(expected), "{import}: {text}");
                }
            }
        }
    }

    #[test]
    fn an_import_without_its_grant_is_refused_with_the_line_to_add() {
        let found = component(&["wabbit:sql/database@0.1.0"], &["handle"]);
        let refusals = judge(&found, &Grants::default()).unwrap_err();
        assert_eq!(refusals[0].hint(), "add to its manifest: `[grants]` `sql = [\"NAME\"]`");
        let sql = vec!["catalogue".to_owned()].into();
        assert!(judge(&found, &Grants { sql, ..Grants::default() }).is_ok());
    }

    #[test]
    fn a_component_without_handle_is_of_another_world() {
        let found = component(&["wasi:io/streams@0.2.6"], &["wasi:cli/run@0.2.6"]);
        let refusals = judge(&found, &Grants::default()).unwrap_err();
        assert!(refusals[0].to_string().contains("exports `wasi:cli/run@0.2.6`"), "{refusals:?}");
    }
}
