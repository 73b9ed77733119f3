//! The binary `wabbit`: see [`wabbit::cli`].

fn main() -> std::process::ExitCode {
    wabbit::cli::main()
}
