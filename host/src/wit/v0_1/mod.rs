//! `wabbit:handler@0.1`: the generated bindings; `lower` turns an event into what a guest takes,
//! `lift` what a guest publishes into a publication. Next: [`crate::capability`].

mod lift;
mod lower;
mod sql;

pub use lift::{failure, publication};
pub use lower::Lowered;
pub use sql::{rows, sql_error, value};

/// What a component exports. Events are lowered from borrowed data: no copy but the one into the
/// guest.
#[allow(missing_docs, unsafe_code, clippy::all, reason = "generated from wit/")]
pub mod export {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wabbit:handler/handler",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// What a component may import.
#[allow(missing_docs, clippy::all, reason = "generated from wit/")]
pub mod import {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package wabbit:host;
            world imports {
                import wabbit:circuit/breaker@0.1.0;
                import wabbit:publish/publisher@0.1.0;
                import wabbit:sql/database@0.1.0;
                import wasi:logging/logging@0.1.0-draft;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        world: "wabbit:host/imports",
        imports: {
            "wabbit:sql/database.execute": async | trappable,
            "wabbit:sql/database.query": async | trappable,
            default: trappable,
        },
    });
}
