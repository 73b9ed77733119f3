//! A file becomes something callable: `watch` finds it, `manifest` says what it is for, `inspect`
//! and `abi` judge it, `compile` and `load` make it run, `instance` calls it, `catalogue` keeps the
//! last good version. Next in the flow: [`crate::dispatch`].

pub mod abi;
pub mod catalogue;
mod compile;
pub mod engine;
pub mod inspect;
mod instance;
pub mod limits;
mod load;
pub mod manifest;
pub mod watch;

pub use compile::private_folder;
pub use instance::Called;
pub use load::{LoadError, Loader, Outside, Plugin};
