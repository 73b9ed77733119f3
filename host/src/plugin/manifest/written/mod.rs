//! What a person wrote, in TOML or in the environment, with the place of each value, and typed
//! reading of it that reports every mistake at once. The known keys are those that the code asks
//! for, so that there is no list of them to forget. Next: [`tree`], then [`section`].

mod problem;
mod section;
mod substitute;
mod tree;
mod values;

pub use problem::{Place, Problem, Problems, Report};
pub use section::{Env, Section};
pub use tree::{Entry, Node, Table, Value};
pub use values::bytes;
