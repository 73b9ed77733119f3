//! What the network does: falls silent, becomes slow, leads nowhere.

use super::oracle::Pass;
use super::report::Report;
use super::run::Plan;
use super::{full, ms, secs};
use crate::support::broker::Broker;
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::proxy::{Proxy, Weather};
use crate::support::rabbit::Vhost;
use std::time::Duration;
use tokio::time::{Instant, sleep};

async fn proxy() -> Proxy {
    let proxy = Proxy::new(Broker::shared().address).await;
    proxy.open();
    proxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_both_ways() {
    black_hole(
        "black hole both ways for 90 s, heartbeat 15",
        "reason=\"heartbeat\"",
        |weather, hole| {
            (weather.deaf_broker, weather.deaf_host) = (hole, hole);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn a_black_hole_towards_the_broker() {
    black_hole(
        "black hole towards the broker for 90 s, heartbeat 15",
        "reason=",
        |weather, hole| {
            weather.deaf_broker = hole;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn a_black_hole_towards_the_host() {
    black_hole(
        "black hole towards the host for 90 s, heartbeat 15",
        "reason=\"heartbeat\"",
        |weather, hole| {
            weather.deaf_host = hole;
        },
    )
    .await;
}

/// `reason`: the label with which the host must notice it.
async fn black_hole(row: &'static str, reason: &str, set: fn(&mut Weather, bool)) {
    let (heartbeat, lasts) = if full() { (secs(15), secs(90)) } else { (secs(2), secs(12)) };
    let proxy = proxy().await;
    let plan = Plan::new(row).at([proxy.address.to_string()]).heartbeat(heartbeat).during(lasts);
    let mut run = plan.start().await;
    let began = Instant::now();
    proxy.weather(|weather| set(weather, true));
    for role in ["consume", "publish"] {
        let label = format!("role=\"{role}\"");
        run.host.metric_reaches("wabbit_reconnects_total", &[&label, reason], 1.0).await;
    }
    let noticed = began.elapsed();
    run.report.note(format!("noticed after {noticed:.1?}"));
    // Silence is noticed after twice the interval.
    run.report.expect(noticed <= heartbeat * 2 + secs(2), format!("noticed after {noticed:?}"));
    sleep(lasts.saturating_sub(began.elapsed())).await;
    proxy.weather(|weather| set(weather, false));
    run.over();
    let account = run.account().await;
    let losses = account.evidence.reconnects;
    let pass = Pass { losses: losses[0], publish_losses: losses[1], ..Pass::default() };
    account.passes(&pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_stream() {
    let (events, lasts) = if full() { (6_000, secs(180)) } else { (600, secs(15)) };
    let proxy = proxy().await;
    let row = "slow: 300 ms ± 100, 64 KB/s, slices of 1 to 7 bytes, for minutes";
    let plan = Plan::new(row).at([proxy.address.to_string()]).events(events).during(lasts);
    let mut run = plan.start().await;
    proxy.weather(|weather| {
        weather.delay = Some((ms(200), ms(400)));
        weather.bytes_per_second = Some(64 * 1024);
        weather.slices = Some(1..=7);
    });
    sleep(lasts).await;
    proxy.weather(|weather| *weather = Weather::default());
    run.over();
    let mut account = run.account().await;
    let counted = account.evidence.reconnects;
    account.report.expect(counted == [0, 0], format!("{counted:?} reconnects"));
    account.passes(&Pass { gap: Some(secs(5)), ..Pass::default() });
}

/// A host with one plugin that has a topology of its own.
async fn start(at: &str, vhost: &Vhost) -> Wabbit {
    let manifest = "[[subscription]]\n\
        bindings = [{ exchange = \"shop\", type = \"topic\", key = \"order.*\" }]\n\
        [grants]\npublish = [\":effects\"]\n";
    vhost.queue("effects", &[]).await;
    let place = Place::new().plugin("orders", "scripted", manifest);
    place.run(&format!("amqp://guest:guest@{at}/{}", vhost.name)).await
}

/// Publishes until it is routed, and waits for its effect.
async fn handles_one(host: &Wabbit, vhost: &Vhost) {
    let event = "publish::effects";
    eventually("the topology", async || {
        let published = host.publish("shop", "order.created", event).await;
        (published.code == 0).then_some(())
    })
    .await;
    vhost.next("effects").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_absent_and_then_empty() {
    let absent = if full() { secs(60) } else { secs(8) };
    let mut report = Report::new("broker absent at start for 60 s, then empty");
    let vhost = Vhost::new().await;
    // Nobody listens here: connections are refused.
    let address = xtask::http::kept_address().unwrap();
    let mut host = start(&address.to_string(), &vhost).await;
    host.keep_log(report.file("log"));
    let began = Instant::now();
    while began.elapsed() < absent {
        assert_eq!((host.get("/readyz").await.0, host.get("/livez").await.0), (503, 200));
        sleep(ms(100)).await;
    }
    let proxy = Proxy::at(address, vhost.broker.address.clone()).await;
    proxy.open();
    let up = Instant::now();
    while host.get("/readyz").await.0 != 200 {
        assert!(up.elapsed() < secs(60), "not ready");
        sleep(ms(5)).await;
    }
    // What is needed is there at once: each of these would fail otherwise.
    report.expect(vhost.consumers("orders").await == 1, "ready before it consumes");
    report.took("back", up.elapsed());
    vhost.count("orders.dlq").await;
    vhost.publish("shop", "order.created", "publish::effects").await;
    vhost.next("effects").await;
    report.expect(up.elapsed() <= secs(35), format!("first delivery after {:?}", up.elapsed()));
    report.note(format!("first effect after {:.1?}", up.elapsed()));
    assert_eq!(host.terminate().await.code(), Some(0));
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_accepts_and_never_answers() {
    let mut report = Report::new("accepts, never answers");
    let (vhost, proxy) = (Vhost::new().await, proxy().await);
    proxy.weather(|weather| (weather.deaf_broker, weather.deaf_host) = (true, true));
    let began = Instant::now();
    let mut host = start(&proxy.address.to_string(), &vhost).await;
    host.keep_log(report.file("log"));
    // Two connections, each of which is tried a second time.
    eventually("a second attempt", async || (proxy.attempts() >= 4).then_some(())).await;
    let again = began.elapsed();
    report.note(format!("tried again after {again:.1?}"));
    let limit = secs(10)..Duration::from_secs(13);
    report.expect(limit.contains(&again), format!("tried again after {again:?}"));
    host.unready(&["queue `orders`", "no answer within 10 s"]).await;
    assert_eq!(host.get("/livez").await.0, 200);
    proxy.weather(|weather| *weather = Weather::default());
    let answers = Instant::now();
    host.ready().await;
    report.took("back", answers.elapsed());
    handles_one(&host, &vhost).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    report.finish();
}
