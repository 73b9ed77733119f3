//! `wabbit run`: the configuration, and the admin address.

use crate::support::process::Place;

#[tokio::test]
async fn a_configuration_that_is_wrong_is_named_with_line_and_column() {
    let table = [
        ("[broker]\nurls = \"x\n", "wabbit.toml:2:"),
        ("[broker]\nhartbeat = \"5s\"\n", "wabbit.toml:2:1: unknown key `hartbeat` in `[broker]`"),
        ("[broker]\nhartbeat = \"5s\"\n", "hint: did you mean `heartbeat`?"),
        ("[broker]\nurl = \"amqp://${NOPE}\"\n", "2:7: the environment variable `NOPE` is not set"),
        ("[plugins.a.retry]\nattempts = 0\n", "wabbit.toml:2:12"),
        ("[secrets.KEY]\nenvv = \"KEY\"\n", "2:1: unknown key `envv` in `[secrets.KEY]`"),
        ("[admin]\naddress = \"0.0.0.0:9464\"\n", "is open to other machines and needs a `token`"),
        ("[broker.tls]\ncertificate = \"a.pem\"\n", "needs its private key"),
        ("", "no broker is named"),
        ("[broker]\nurl = \"http://u:sesame@h\"\n", "must begin with `amqp://`"),
    ];
    for (toml, said) in table {
        let ended = Place::new().file("wabbit.toml", toml).wabbit(&["run"]).await;
        ended.fails(78, &[said]);
        assert!(!ended.stderr.contains("sesame"), "{ended:?}");
    }
    let place = Place::new();
    place.wabbit(&["run", "--config", "none.toml"]).await.fails(78, &["`none.toml`"]);
    let open = ["run", "--broker", "memory:", "--admin", "0.0.0.0:0"];
    place.wabbit(&open).await.fails(78, &["is open to other machines", "hint: set `token`"]);
    let place = Place::new().env("WABBIT_BROKER_HARTBEAT", "5s");
    place.wabbit(&["run"]).await.fails(78, &["environment variable `WABBIT_BROKER_HARTBEAT`"]);
    let place = Place::new().env("RUST_LOG", "wabbit=loud");
    let run = ["run", "--broker", "memory:"];
    place.wabbit(&run).await.fails(78, &["bad log filter `wabbit=loud`", "hint: "]);
}

#[tokio::test]
async fn the_environment_stands_for_keys_and_fills_in_variables() {
    let toml = "[plugins]\ndir = \"${DIR:-handlers}\"\n[admin]\ntoken = \"${TOKEN}\"\n";
    let host = Place::new()
        .plugin("orders", "noop", "")
        .file("wabbit.toml", toml)
        .env("DIR", "plugins")
        .env("TOKEN", "let me in")
        .env("WABBIT_BROKER_URLS", "memory:")
        .run_with(&[])
        .await;
    host.ready().await;
    assert_eq!(host.ask("/api/plugins", None).await.0, 401);
    let (status, plugins) = host.ask("/api/plugins", Some("let me in")).await;
    assert_eq!(status, 200);
    assert!(plugins.contains("\"orders\""), "{plugins}");
    let by_name = Place::new().plugin("orders", "noop", "").env("AMQP_URL", "memory:");
    by_name.run_with(&[]).await.ready().await;
}

#[tokio::test]
async fn the_token_guards_the_api_and_nothing_else() {
    let host = Place::new()
        .plugin("orders", "noop", "")
        .env("WABBIT_ADMIN_TOKEN", "open-sesame")
        .run_with(&["--broker", "memory:", "--admin", "0.0.0.0:0"])
        .await;
    host.ready().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(host.get(path).await.0, 200, "{path}");
    }
    for path in ["/api/plugins", "/api/consumers"] {
        assert_eq!(host.ask(path, None).await.0, 401, "{path}");
        assert_eq!(host.ask(path, Some("open-sesam")).await.0, 401, "{path}");
        assert_eq!(host.ask(path, Some("open-sesame")).await.0, 200, "{path}");
    }
    let args = ["publish", "", "orders", "--body", "ok", "--admin", host.admin()];
    // The place's variable has the token.
    host.place.wabbit(&args).await.works();
    let stranger = Place::new();
    stranger.wabbit(&args).await.fails(77, &["asks for the token"]);
    let seen = [host.log_text(), host.metrics().await, host.get("/readyz").await.1];
    assert!(seen.iter().all(|text| !text.contains("open-sesame")), "{seen:?}");
}

#[tokio::test]
async fn readiness_has_reasons_until_all_is_well() {
    let host = Place::new()
        .plugin("fine", "noop", "")
        .plugin("ungranted", "scripted", "")
        .run("memory:")
        .await;
    let reason = host.unready(&["plugin `ungranted`", "needs a grant"]).await;
    assert!(!reason.contains("fine"), "{reason}");
    let (status, body) = host.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"ready\":false"), "{body}");
    assert_eq!(host.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(host.get("/none").await.0, 404);
    std::fs::remove_file(host.place.path("plugins/ungranted.wasm")).unwrap();
    host.ready().await;
    let taken = host.admin().to_owned();
    let second = ["run", "--broker", "memory:", "--admin", &taken];
    Place::new().wabbit(&second).await.fails(78, &["can't listen", "hint: "]);
}

#[tokio::test]
async fn a_signal_ends_an_idle_host_with_0() {
    for signal in ["TERM", "INT"] {
        let mut host = Place::new().plugin("orders", "noop", "").run("memory:").await;
        host.ready().await;
        host.signal(signal);
        assert_eq!(host.ended().await.code(), Some(0), "{signal}");
    }
}
