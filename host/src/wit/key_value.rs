//! `wasi:keyvalue` in the two drafts that guests are built for: the generated bindings, and what is
//! behind the handles and errors of both. Next: [`crate::capability`]'s `key_value`.

use crate::store::key_value::Refused;
use wasmtime::component::ResourceTableError;

/// A store that a guest has opened, by its name.
pub struct Bucket(pub String);

/// A value that a guest wants to swap for another.
pub struct Cas {
    /// The name of the store.
    pub store: String,
    /// The key.
    pub key: String,
    /// The SHA-256 of the value as it was; `None`: there was no such key.
    pub value: Option<[u8; 32]>,
}

/// Why an operation failed.
pub enum Error {
    /// No store of this name was granted.
    NoSuchStore,
    /// The key is the host's own.
    AccessDenied,
    /// Anything else, in words.
    Other(String),
    /// A mistake of the guest's that ends it.
    Trap(wasmtime::Error),
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Reserved => Self::AccessDenied,
            other => Self::Other(other.to_string()),
        }
    }
}

/// `wasi:keyvalue@0.2.0-draft`.
#[allow(missing_docs, clippy::all, reason = "generated from wit/")]
pub mod draft {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package wabbit:host;
            world imports {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }
        ",
        world: "wabbit:host/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::wit::key_value::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::wit::key_value::Error },
    });
}

/// `wasi:keyvalue@0.2.0-draft2`.
#[allow(missing_docs, clippy::all, reason = "generated from wit/")]
pub mod draft2 {
    wasmtime::component::bindgen!({
        path: "../wit/drafts/wasi-keyvalue-draft2",
        inline: "
            package wabbit:host;
            world imports {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        world: "wabbit:host/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::wit::key_value::Bucket,
            "wasi:keyvalue/atomics.cas": crate::wit::key_value::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::wit::key_value::Error },
    });
}
