//! What a guest may ask of the host: one file for each set of functions, behind the plugin's
//! grants. Nothing here reaches a broker: publications wait in the [`outbox`] until the handler
//! has succeeded. Next in the flow: [`crate::plugin`], which calls guests.

mod breaker;
pub mod grants;
mod guest;
pub mod http;
mod key_value;
mod log;
mod log_rate;
mod outbox;
mod redact;
pub mod secrets;
mod sql;
mod stdio;
pub mod transaction;
mod variables;

pub use guest::{Budget, Guest, Means, add_to_linker};
pub use log::{Level, LogLine};
pub use log_rate::LogRate;
