//! What the project's commands share with its tests: [`node`] runs private brokers, [`services`]
//! private databases, [`systems`] are the larger examples, and the rest is what that takes. The commands themselves begin in main.rs.

pub mod home;
pub mod http;
pub mod machine;
pub mod node;
pub mod process;
pub mod services;
pub mod systems;
