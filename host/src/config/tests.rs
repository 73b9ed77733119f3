//! Host configurations as people write them, in files and in the environment.

use super::*;
use crate::plugin::watch::WatchMode;
use crate::telemetry::log::Format;
use std::time::Duration;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let read = |table| Config::read("wabbit.toml", table, &env(variables));
    Table::parse("wabbit.toml", text).and_then(read).map_err(|problems| problems.to_string())
}

#[test]
fn nothing_needs_to_be_configured() {
    let config = Config::load(Path::new("/nowhere/wabbit.toml"), false, &env(&[])).unwrap();
    assert_eq!(config, read("", &[]).unwrap());
    assert!(config.broker.urls.is_empty());
    assert_eq!((config.broker.heartbeat, config.broker.prefetch_default), (None, 32));
    assert_eq!(config.plugins.dir, Path::new("plugins"));
    assert_eq!(config.plugins.watch, WatchMode::Auto);
    assert_eq!(config.admin, AdminConfig { address: Some(AdminConfig::ADDRESS), token: None });
    assert_eq!(config.log, LogConfig { format: Format::Human, level: "info".into() });
    let limits = HostLimits {
        instances: 1000,
        memory: 512 << 20,
        component: 128 << 20,
        shutdown_grace: Duration::from_secs(25),
    };
    assert_eq!(config.limits, limits);
}

#[test]
fn a_file_asked_for_by_name_must_be_there() {
    let error = Config::load(Path::new("/nowhere/my.toml"), true, &env(&[])).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration `/nowhere/my.toml`");
}

#[test]
fn tables_that_are_not_asked_for_may_be_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wabbit.toml");
    let elsewhere = "[broker]\nheartbeat = '${UNSET}'\n[stores.a]\nurl = 3\n[unknown]\n";
    let wrong_env = [("WABBIT_LIMITS_INSTANCES", "many"), ("WABBIT_ADMIN_TOKEN", "t")];
    let read = |admin: &str| {
        std::fs::write(&file, format!("{elsewhere}[admin]\n{admin}")).unwrap();
        let config = Config::load_only(&["admin", "log"], &file, true, &env(&wrong_env));
        config.map_err(|error| error.to_string())
    };
    let config = read("address = '127.0.0.1:1'").unwrap();
    let address = Some("127.0.0.1:1".parse().unwrap());
    assert_eq!(config.admin, AdminConfig { address, token: Some("t".to_owned()) });
    for (admin, message) in [
        ("address = '${UNSET}'", "the environment variable `UNSET` is not set"),
        ("adress = 'off'", "unknown key `adress` in `[admin]`"),
    ] {
        let error = read(admin).unwrap_err();
        assert!(error.contains(message) && !error.contains("heartbeat"), "{error}");
    }
}

#[test]
fn every_key_of_a_full_configuration_is_read() {
    let text = r#"
        [broker]
        urls = ["amqps://a", "amqps://b"]
        heartbeat = "10s"
        prefetch-default = 64
        [broker.tls]
        ca = "ca.pem"
        certificate = "c.pem"
        key = "k.pem"
        [plugins]
        dir = "handlers"
        watch = "poll"
        [plugins.defaults.retry]
        attempts = 9
        [plugins.orders.limits]
        memory = "8MiB"
        [admin]
        address = "[::]:9464"
        token = "t"
        [log]
        format = "json"
        level = "debug"
        [limits]
        instances = 10
        memory = "1GiB"
        component = "1MiB"
        shutdown-grace = "1m"
        [cache]
        dir = "/var/cache/wabbit"
        [http]
        ca = "/etc/ca.pem"
        [secrets.api-key]
        env = "API_KEY"
        [secrets.password]
        file = "/run/secrets/password"
    "#;
    let config = read(text, &[]).unwrap();
    assert_eq!(config.broker.urls, ["amqps://a", "amqps://b"]);
    assert_eq!(config.broker.heartbeat, Some(Duration::from_secs(10)));
    assert_eq!(config.broker.tls.key, Some("k.pem".into()));
    assert_eq!(config.plugins.watch, WatchMode::Poll);
    assert_eq!(config.admin.address, Some("[::]:9464".parse().unwrap()));
    assert_eq!(config.log.format, Format::Json);
    assert_eq!(config.limits.shutdown_grace, Duration::from_secs(60));
    assert_eq!(config.cache, Path::new("/var/cache/wabbit"));
    assert_eq!(config.http_ca, Some("/etc/ca.pem".into()));
    assert_eq!(config.secrets["api-key"], Source::Env("API_KEY".into()));
    assert_eq!(config.secrets["password"], Source::File("/run/secrets/password".into()));
    assert!(config.plugins.defaults.table("retry").is_some());
    assert!(config.plugins.overrides["orders"].table("limits").is_some());
}

#[test]
fn the_environment_lies_over_the_file() {
    let text = "[broker]\nurl = 'amqp://file'\nprefetch-default = 1\n[admin]\naddress = 'off'";
    let config = read(
        text,
        &[
            ("WABBIT_BROKER_URLS", "amqp://a, amqp://b"),
            ("WABBIT_BROKER_PREFETCH_DEFAULT", "7"),
            ("WABBIT_BROKER_TLS_CA", "ca.pem"),
            ("WABBIT_ADMIN_ADDRESS", "127.0.0.1:1"),
            ("WABBIT_PLUGINS_DIR", "/plugins"),
            ("WABBIT_LIMITS_SHUTDOWN_GRACE", "5s"),
            ("WABBIT_LIMITS_MEMORY", "1073741824"),
            ("WABBIT_LOG_LEVEL", ""),
            ("WABBIT_TEST_BROKER", "anything"),
            ("AMQP_URL", "amqp://fallback"),
        ],
    )
    .unwrap();
    assert_eq!(config.broker.urls, ["amqp://a", "amqp://b"]);
    assert_eq!(config.broker.prefetch_default, 7);
    assert_eq!(config.broker.tls.ca, Some("ca.pem".into()));
    assert_eq!(config.admin.address, Some("127.0.0.1:1".parse().unwrap()));
    assert_eq!(config.plugins.dir, Path::new("/plugins"));
    assert_eq!(config.limits.shutdown_grace, Duration::from_secs(5));
    assert_eq!(config.limits.memory, 1 << 30);
    assert_eq!(config.log.level, "info");
}

#[test]
fn the_brokers_url_comes_from_the_nearest_place() {
    let url = ("WABBIT_BROKER_URL", "amqp://one");
    let fallback = ("AMQP_URL", "amqp://fallback");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: [Row<'_>; 5] = [
        ("", &[fallback], "amqp://fallback"),
        ("", &[fallback, url], "amqp://one"),
        ("[broker]\nurls = ['amqp://file']", &[fallback], "amqp://file"),
        ("[broker]\nurls = ['amqp://file']", &[url], "amqp://one"),
        ("[broker]\nurl = 'memory:'", &[], "memory:"),
    ];
    for (text, variables, expected) in table {
        let config = read(text, variables).unwrap();
        assert_eq!(config.broker.urls, [expected], "{text} {variables:?}");
    }
}

#[test]
fn variables_are_replaced_in_strings() {
    let text = "[broker]\nurl = 'amqp://${USER}:${PASSWORD:-guest}@${HOST:-localhost}/'\n\
                prefetch-default = '${PREFETCH:-9}'\n[plugins.a.grants.variables]\nx = '${USER}'";
    let config = read(text, &[("USER", "ann"), ("HOST", "")]).unwrap();
    assert_eq!(config.broker.urls, ["amqp://ann:guest@localhost/"]);
    assert_eq!(config.broker.prefetch_default, 9);
    let several = read("[broker]\nurls = '${URLS}'", &[("URLS", "amqp://a,amqp://b")]).unwrap();
    assert_eq!(several.broker.urls, ["amqp://a", "amqp://b"]);
    let inner = read("[broker]\nurl = 'a${X}c'", &[("X", "${Y}")]).unwrap();
    assert_eq!(inner.broker.urls, ["a${Y}c"], "what was put in is not looked at again");
}

#[test]
fn compiled_code_is_kept_with_the_users_cache() {
    let cache = |pairs: &[(&str, &str)]| read("", pairs).unwrap().cache;
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/wabbit"));
    assert_eq!(cache(&[("XDG_CACHE_HOME", "x")]), std::env::temp_dir().join("wabbit"));
    #[cfg(target_os = "linux")]
    assert_eq!(cache(&[("HOME", "/h")]), Path::new("/h/.cache/wabbit"));
}

/// The whole message; `#` stands for the file.
fn assert_refused(table: &[(&str, &str)]) {
    for (text, message) in table {
        let expected = message.replace("#:", "wabbit.toml:");
        assert_eq!(read(text, &[]).unwrap_err(), expected, "in\n{text}");
    }
}

#[test]
fn mistakes_in_broker_and_variables_are_named_with_their_place() {
    assert_refused(&[
        (
            "[broker]\nurl = '${X}'",
            "#:2:7: the environment variable `X` is not set\n\
          hint: set it, or give a default: `${X:-…}`",
        ),
        (
            "[broker]\nurl = '${X'",
            "#:2:7: `${` without its `}`\n\
          hint: write `${VAR}` or `${VAR:-default}`",
        ),
        (
            "[broker]\nurl = '${A B}'",
            "#:2:7: `${A B}` names no variable\n\
          hint: write `${VAR}` or `${VAR:-default}`",
        ),
        ("[brokers]\n", "#:1:2: unknown key `brokers`\nhint: did you mean `broker`?"),
        (
            "[broker]\nprefetch = 3",
            "#:2:1: unknown key `prefetch` in `[broker]`\n\
          hint: did you mean `prefetch-default`?",
        ),
        (
            "[broker.tls]\ncert = 'a'",
            "#:2:1: unknown key `cert` in `[broker.tls]`\n\
          hint: did you mean `certificate`?",
        ),
        (
            "[broker.tls]\ncertificate = 'a'",
            "#:2:15: `[broker.tls] certificate` needs its private key, `key`",
        ),
        (
            "[broker]\nurl = 'a'\nurls = ['b']",
            "#:2:7: `[broker] url` and `urls` exclude each other",
        ),
        ("[broker]\nheartbeat = '0s'", "#:2:13: `[broker] heartbeat` must be 1s to 1h, is `0s`"),
    ]);
}

#[test]
fn mistakes_in_other_tables_are_named_with_their_place() {
    assert_refused(&[
        (
            "[plugins]\ndirr = 'a'",
            "#:2:1: unknown key `dirr` in `[plugins]`\n\
          hint: did you mean `dir`?",
        ),
        (
            "[plugins]\nwatch = 'on'",
            "#:2:9: `[plugins] watch` must be `auto`, `poll` or `off`, is `on`",
        ),
        (
            "[plugins.orders.retry]\natempts = 1",
            "#:2:1: unknown key `atempts` in `[plugins.orders.retry]`\n\
          hint: did you mean `attempts`?",
        ),
        (
            "[plugins.defaults.limits]\nmemory = '1GiB'\n",
            "#:2:10: `[plugins.defaults.limits] memory` must not be over the host's limit of 512MiB, \
          is `1GiB`\nhint: raise `memory` in `[limits]` of the host's configuration",
        ),
        (
            "[stores.main]\nurl = 'mongodb://u:secret@db'",
            "#:2:7: `[stores.main] url` must begin with `redb:`, `redis://`, `rediss://`, \
          `sqlite:`, `postgres://` or `mysql://`",
        ),
        (
            "[stores.main]\nurl = 'mysql://'",
            "#:2:7: `[stores.main] url` names nothing after `mysql://`",
        ),
        ("[stores.main]\n", "#:1:1: `[stores.main] url` is missing"),
        (
            "[stores.main]\nurl = 'redb:a'\nurk = 1",
            "#:3:1: unknown key `urk` in `[stores.main]`\nhint: did you mean `url`?",
        ),
        ("[plugins]\ndefaults = 3", "#:2:12: `[plugins] defaults` must be a table, is an integer"),
        (
            "[broker]\nurls = 'amqp://u:secret@h'",
            "#:2:8: `[broker] urls` must be an array, is a string\nhint: write `[\"…\"]`",
        ),
        (
            "[secrets.key]\nevn = 'A'",
            "#:1:10: `[secrets.key]` must say where the secret is\n\
          hint: give `env`, a variable's name, or `file`, a path\n\
          #:2:1: unknown key `evn` in `[secrets.key]`\nhint: did you mean `env`?",
        ),
        (
            "[secrets.key]\nenv = 'A'\nfile = 'b'",
            "#:2:7: `[secrets.key] env` and `file` exclude each other",
        ),
        ("[secrets]\nkey = 'A'", "#:2:1: unknown key `key` in `[secrets]`"),
        (
            "[admin]\naddress = '0.0.0.0:9464'",
            "#:2:11: `[admin] address` is open to other machines and needs a `token`, \
          is `0.0.0.0:9464`\nhint: set `token` in `[admin]` (`WABBIT_ADMIN_TOKEN`), or use \
          `127.0.0.1`",
        ),
        (
            "[admin]\naddress = 'localhost'",
            "#:2:11: `[admin] address` must be an IP address and a port, is `localhost`\n\
          hint: e.g. `127.0.0.1:9464`, or `off`",
        ),
    ]);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let table = [
        (
            ("WABBIT_BROKER_URLZ", "a"),
            "environment variable `WABBIT_BROKER_URLZ`: stands for no \
          known key\nhint: did you mean `WABBIT_BROKER_URL`?",
        ),
        (
            ("WABBIT_PLUGINS_DEFAULTS", "a"),
            "environment variable `WABBIT_PLUGINS_DEFAULTS`: \
          stands for no known key\nhint: known here: `WABBIT_ADMIN_ADDRESS`, \
          `WABBIT_ADMIN_TOKEN`, `WABBIT_BROKER_HEARTBEAT`, `WABBIT_BROKER_PREFETCH_DEFAULT`, \
          `WABBIT_BROKER_TLS_CA`, `WABBIT_BROKER_TLS_CERTIFICATE`, `WABBIT_BROKER_TLS_KEY`, \
          `WABBIT_BROKER_URL`, `WABBIT_BROKER_URLS`, `WABBIT_CACHE_DIR`, `WABBIT_DATA_DIR`, \
          `WABBIT_HTTP_CA`, \
          `WABBIT_LIMITS_COMPONENT`, `WABBIT_LIMITS_INSTANCES`, `WABBIT_LIMITS_MEMORY`, \
          `WABBIT_LIMITS_SHUTDOWN_GRACE`, `WABBIT_LOG_FORMAT`, `WABBIT_LOG_LEVEL`, \
          `WABBIT_PLUGINS_DIR`, `WABBIT_PLUGINS_WATCH`",
        ),
        (
            ("WABBIT_LIMITS_INSTANCES", "many"),
            "environment variable `WABBIT_LIMITS_INSTANCES`: \
          `[limits] instances` must be an integer, is `many`",
        ),
        (
            ("WABBIT_ADMIN_ADDRESS", "1.2.3.4:5"),
            "environment variable `WABBIT_ADMIN_ADDRESS`: \
          `[admin] address` is open to other machines and needs a `token`, is `1.2.3.4:5`\n\
          hint: set `token` in `[admin]` (`WABBIT_ADMIN_TOKEN`), or use `127.0.0.1`",
        ),
    ];
    for (variable, message) in table {
        assert_eq!(read("", &[variable]).unwrap_err(), message);
    }
}
