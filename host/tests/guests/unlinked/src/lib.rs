//! A handler that imports what it was never granted: outgoing HTTP.

wit_bindgen::generate!({
    path: "../../../../wit",
    inline: "
        package test:unlinked;
        world unlinked {
            include wabbit:handler/handler@0.1.0;
            import wasi:http/outgoing-handler@0.3.0;
        }
        package wasi:http@0.3.0 {
            interface outgoing-handler {
                handle: func(request: u32) -> u32;
            }
        }
    ",
    world: "test:unlinked/unlinked",
    generate_all,
});

struct Unlinked;

impl Guest for Unlinked {
    fn handle(_: Event) -> Result<(), Failure> {
        let answer = wasi::http0_3_0::outgoing_handler::handle(1);
        Err(Failure::Reject(format!("the host answered {answer}")))
    }
}

export!(Unlinked);
