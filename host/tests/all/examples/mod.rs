//! The systems of `examples/` at work, as `cargo xtask example` shows them: their scenarios, with their
//! producers, on a RabbitMQ and databases. A scenario checks what comes of it; here it need only end
//! well.

mod message_board;
mod product_catalogue;
mod profile_updates;
mod restaurant_sync;

use crate::support::database::Database;
use crate::support::environment;
use crate::support::process::keep_compiled;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::process::signal_group;
use xtask::systems::System;

/// For a whole scenario, on two busy cores.
const PLAY_MAX: Duration = Duration::from_secs(600);

/// Plays the scenario of `examples/NAME` on the broker at `amqp`, and with databases of its own.
async fn play(name: &str, amqp: &str, rabbitmqctl: &Path) {
    let system = System::named(name).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (work, said) = (dir.path().join("work"), dir.path().join("said"));
    let guests = PathBuf::from(environment("WABBIT_TEST_GUESTS"));
    let wabbit = Path::new(env!("CARGO_BIN_EXE_wabbit"));
    let mut scenario = system.scenario(wabbit, &guests, &work).unwrap();
    scenario.env("AMQP_URL", amqp).env("RABBITMQCTL", rabbitmqctl);
    keep_compiled(&dir.path().join("cache"));
    scenario.env("XDG_CACHE_HOME", dir.path().join("cache"));
    let mut databases = Vec::new();
    for (variable, _) in system.databases().unwrap() {
        let database = match variable {
            "POSTGRES_URL" => Database::postgres().await,
            "MYSQL_URL" => Database::mysql().await,
            _ => Database::redis().await,
        };
        scenario.env(variable, &database.url);
        databases.push(database);
    }
    let output = File::create(&said).unwrap();
    scenario.stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
    let mut scenario = scenario.spawn().unwrap();
    let began = Instant::now();
    let ended = loop {
        match scenario.try_wait().unwrap() {
            None if began.elapsed() < PLAY_MAX => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            ended => break ended,
        }
    };
    // What it has started ends with it, however it ended.
    signal_group("KILL", &scenario);
    let said = fs::read_to_string(&said).unwrap();
    let well = ended.is_some_and(|status| status.success());
    assert!(well, "the scenario of `{name}` ended with {ended:?}:\n{said}");
}
