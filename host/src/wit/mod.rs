//! Bindings of the WIT that handlers are built against, one module for each released version, with
//! the conversions between them and [`crate::flow`]. Next in the flow: [`crate::capability`],
//! which implements the imports.

pub mod key_value;
pub mod v0_1;
