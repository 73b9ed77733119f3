//! The command line as people and scripts see it. Each exit code of DESIGN's list is provoked here or
//! in one of the files below.

mod check;
mod invoke;
mod publish;
mod run;
mod topology;
mod wait_idle;

use crate::support::process::Place;

#[tokio::test]
async fn the_help_names_verbs_examples_and_exit_codes() {
    let place = Place::new();
    let help = place.wabbit(&["--help"]).await;
    let text = help.works();
    for verb in
        ["run", "dev", "invoke", "check", "topology", "inspect", "publish", "wait-idle", "help"]
    {
        let listed = text.lines().any(|line| line.starts_with(&format!("  {verb} ")));
        assert!(listed, "`{verb}` is not listed:\n{text}");
        // `help help` is about `help`.
        let own = place.wabbit(&["help", verb]).await;
        assert!(own.works().contains("Usage: wabbit"), "{own:?}");
    }
    for code in ["0 ok", "1 the", "64 usage", "65 bad", "69 broker", "77 not", "78 conf"] {
        assert!(text.contains(code), "`{code}` is not explained:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "a long line:\n{text}");
    assert_eq!(help.stderr, "");
    let version = place.wabbit(&["--version"]).await;
    assert_eq!(version.works(), format!("wabbit {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let place = Place::new();
    let table: [(&[&str], &str); 8] = [
        (&[], "Usage: wabbit"),
        (&["serve"], "unrecognized subcommand 'serve'"),
        (&["run", "--plugin", "x"], "unexpected argument '--plugin'"),
        (&["run", "--admin", "here"], "`--admin` must be an IP address and a port, is `here`"),
        (&["check", "-o", "yaml"], "invalid value 'yaml'"),
        (&["invoke", "x.wasm"], "--event"),
        (&["publish", "shop"], "ROUTING_KEY"),
        (&["publish", "a", "b", "-H", "flag"], "`--header flag` must be `NAME=VALUE`"),
    ];
    for (args, said) in table {
        let ended = place.wabbit(args).await;
        ended.fails(64, &[said]);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}
