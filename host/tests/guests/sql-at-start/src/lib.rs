//! A handler whose start-up code writes to a database, before there is any event; its events do nothing.

use wabbit::sql::database::execute;

wit_bindgen::generate!({ path: "../../../../wit", world: "sql-handler", generate_all });

struct AtStart;

impl Guest for AtStart {
    fn handle(_: Event) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a component calls while it is instantiated.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    let wrote = execute("default", "INSERT INTO effects (event) VALUES (99)", &[]);
    assert!(wrote.is_ok(), "{wrote:?}");
}

export!(AtStart);
