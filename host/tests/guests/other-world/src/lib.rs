//! A command (`wasi:cli/run`): a component, but no handler.

wit_bindgen::generate!({
    inline: "
        package test:other-world;
        world other-world {
            export wasi:cli/run@0.2.0;
        }
        package wasi:cli@0.2.0 {
            interface run {
                run: func() -> result;
            }
        }
    ",
    world: "test:other-world/other-world",
    generate_all,
});

use exports::wasi::cli::run::Guest;

struct Command;

impl Guest for Command {
    fn run() -> Result<(), ()> {
        Ok(())
    }
}

export!(Command);
