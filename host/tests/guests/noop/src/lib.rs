//! The smallest handler: every event is fine.

wit_bindgen::generate!({ path: "../../../../wit", world: "handler", generate_all });

struct Noop;

impl Guest for Noop {
    fn handle(_: Event) -> Result<(), Failure> {
        Ok(())
    }
}

export!(Noop);
