//! What a file says about itself without being compiled: whether it is a component, what it
//! imports and exports, and which toolchain made it. Next: `abi`, which judges it.

use std::collections::BTreeSet;
use wasmparser::{ComponentTypeRef, Encoding, KnownCustom, Parser, Payload};

/// What stands in a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The names of what it imports, in order, e.g. `wasi:logging/logging@0.1.0-draft`.
    pub imports: Vec<String>,
    /// The names of what it exports, in order.
    pub exports: Vec<String>,
    /// The languages and tools that its producers name, e.g. `Rust`, `componentize-py 0.25.1`.
    pub made_with: BTreeSet<String>,
}

/// Why a file can't be a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAComponent {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Something else altogether.
    #[error("the file is not WebAssembly (it begins with `{0}`)")]
    NotWasm(String),
    /// What compilers produce before the last step.
    #[error("the file is a core WebAssembly module, not a component")]
    CoreModule,
    /// Cut off, or damaged.
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

impl NotAComponent {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::CoreModule => {
                "build for `wasm32-wasip2`, or turn it into a component with `wasm-tools component new`"
            }
            Self::Empty | Self::NotWasm(_) | Self::Damaged(_) => {
                "copy the file again from where it was built"
            }
        }
    }
}

/// Reads the outermost sections of `bytes`.
///
/// # Errors
/// See [`NotAComponent`].
pub fn inspect(bytes: &[u8]) -> Result<Inspection, NotAComponent> {
    if bytes.is_empty() {
        return Err(NotAComponent::Empty);
    }
    if !bytes.starts_with(b"\0asm") {
        let head = &bytes[..bytes.len().min(8)];
        return Err(NotAComponent::NotWasm(head.escape_ascii().to_string()));
    }
    let mut found = Inspection::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| NotAComponent::Damaged(error.to_string()))?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(NotAComponent::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            payload => note(&payload, depth, &mut found)
                .map_err(|error| NotAComponent::Damaged(error.to_string()))?,
        }
    }
    Ok(found)
}

fn note(payload: &Payload<'_>, depth: usize, found: &mut Inspection) -> wasmparser::Result<()> {
    match payload {
        Payload::ComponentImportSection(imports) if depth == 0 => {
            for import in imports.clone() {
                let import = import?;
                // Types of the world that the export uses; there is nothing behind them.
                if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                    found.imports.push(import.name.name.to_owned());
                }
            }
        }
        Payload::ComponentExportSection(exports) if depth == 0 => {
            for export in exports.clone() {
                found.exports.push(export?.name.name.to_owned());
            }
        }
        Payload::CustomSection(section) => {
            if let KnownCustom::Producers(fields) = section.as_known() {
                producers(fields, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn producers(
    fields: wasmparser::ProducersSectionReader<'_>,
    found: &mut Inspection,
) -> wasmparser::Result<()> {
    for field in fields {
        for value in field?.values {
            let value = value?;
            let made_with = format!("{} {}", value.name, value.version);
            found.made_with.insert(made_with.trim_end().to_owned());
        }
    }
    Ok(())
}
