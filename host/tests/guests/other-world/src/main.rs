//! An ordinary command (`wasi:cli/run`): a component, but no handler.

fn main() {
    println!("not a handler");
}
