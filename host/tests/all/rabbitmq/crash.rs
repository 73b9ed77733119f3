//! Events that end the host: they end as dead letters, and those beside them do not.

use super::{SCRIPTED, work};
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{Vhost, body, header, text};
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// As `[retry]` of `SCRIPTED` says.
const ATTEMPTS: usize = 3;
/// Events at once.
const CONCURRENCY: usize = 4;
/// Limits that no event of these tests runs into.
const PATIENT: &str = "[limits]\ntimeout = \"10m\"\ncpu = \"10m\"\n";

fn manifest(subscription: &str) -> String {
    format!(
        "[[subscription]]\nprefetch = 20\nconcurrency = {CONCURRENCY}\n{subscription}\n\
         {SCRIPTED}{PATIENT}"
    )
}

async fn start(vhost: &Vhost, subscription: &str) -> Wabbit {
    let place = Place::new().plugin("orders", "scripted", &manifest(subscription));
    let host = place.run(&vhost.url).await;
    host.ready().await;
    host
}

/// An event that says so and then does not end.
fn bad(number: usize) -> String {
    json!([format!("log:bad {number}"), "loop"]).to_string()
}

/// An event that says so, takes a while and publishes its name.
fn good(name: &str) -> String {
    let publish = json!({ "publish": { "key": "out", "body": name } });
    json!([format!("log:good {name}"), "sleep:30", publish]).to_string()
}

/// How often guests have logged each line that begins with `text`.
fn logged(lines: &[Value], text: &str) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for line in lines.iter().filter_map(|line| line["message"].as_str()) {
        if line.starts_with(text) {
            *times.entry(line.to_owned()).or_default() += 1;
        }
    }
    times
}

/// The log since the host was last started.
fn since_start(host: &Wabbit) -> Vec<Value> {
    let mut lines = host.log_lines();
    let served = |line: &Value| line["message"].as_str().is_some_and(|it| it.contains("/livez"));
    lines.split_off(lines.iter().rposition(served).unwrap_or_default())
}

/// Kills the host whenever a bad event says that it is there, until so many are dead letters: those,
/// and how often it was killed.
async fn kill_until_they_end(
    vhost: &Vhost,
    host: &mut Wabbit,
    bads: usize,
) -> (BTreeMap<String, Delivery>, usize) {
    let (mut letters, mut kills) = (BTreeMap::new(), 0);
    loop {
        let ended = eventually("a bad event, or the end of all", async || {
            while let Some(letter) = vhost.take("orders.dlq").await {
                // What was published before its event could be acknowledged comes twice.
                letters.insert(body(&letter), letter);
            }
            let ended = letters.len() == bads;
            (ended || !logged(&since_start(host), "bad ").is_empty()).then_some(ended)
        });
        if ended.await {
            return (letters, kills);
        }
        host.again().await;
        kills += 1;
    }
}

async fn events_that_end_the_host_end_alone(subscription: &str, bads: usize) {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let mut host = start(&vhost, subscription).await;
    let names: BTreeSet<_> = (0..30).map(|number| format!("n{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        vhost.publish("", "orders", &good(name)).await;
        // Others are before and behind it, within one prefetch.
        if number % 4 == 3 && number / 4 < bads {
            vhost.publish("", "orders", &bad(number / 4)).await;
        }
    }
    let (letters, kills) = kill_until_they_end(&vhost, &mut host, bads).await;
    let mut missing = names.clone();
    while !missing.is_empty() {
        missing.remove(&body(&vhost.next("out").await));
    }

    // Beside others once, and then as often as it has attempts.
    assert!((ATTEMPTS..=bads * (ATTEMPTS + 1) + 2).contains(&kills), "{kills} kills");
    assert_eq!(letters.keys().cloned().collect::<BTreeSet<_>>(), (0..bads).map(bad).collect());
    for letter in letters.values() {
        assert_eq!(text(letter, "x-exception-type"), "crash");
        let message = text(letter, "x-exception-message");
        assert!(message.contains("times while it handled only this event"), "{message}");
    }
    let lines = host.log_lines();
    for times in logged(&lines, "bad ").values() {
        assert!((ATTEMPTS..=kills).contains(times), "{times} times of {kills}");
    }
    let calls = logged(&lines, "good ");
    assert_eq!(calls.len(), names.len());
    assert!(calls.values().all(|times| *times <= kills + 1), "{calls:?}");
    let more = calls.values().sum::<usize>() - names.len();
    assert!(more <= kills * CONCURRENCY, "{more} calls more than events, {kills} kills");
    host.logs(&["a host was ended while it handled events"]).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(noted(&host), 0);
}

/// How many files tell of what was being handled.
fn noted(host: &Wabbit) -> usize {
    std::fs::read_dir(host.place.path("cache/wabbit/in-flight")).unwrap().count()
}

#[tokio::test]
async fn one_that_ends_the_host_becomes_a_dead_letter_and_its_neighbours_do_not() {
    events_that_end_the_host_end_alone("type = \"classic\"", 1).await;
}

#[tokio::test]
async fn so_do_two_of_them() {
    events_that_end_the_host_end_alone("type = \"classic\"", 2).await;
}

#[tokio::test]
async fn so_do_two_in_a_quorum_queue() {
    events_that_end_the_host_end_alone("type = \"quorum\"", 2).await;
}

#[tokio::test]
async fn a_crash_does_not_start_the_attempts_of_an_ordered_event_anew() {
    let vhost = Vhost::new().await;
    let mut host = start(&vhost, "order-by = \"queue\"").await;
    vhost.publish("", "orders", r#"["ok-from:2", "log:is there", "loop"]"#).await;
    host.logs(&["is there"]).await;
    host.again().await;
    let begun = || logged(&since_start(&host), "is there").into_values().next();
    eventually("the event comes again", async || begun()).await;
    assert_eq!(logged(&host.log_lines(), "comes again in").values().sum::<usize>(), 1);
}

#[tokio::test]
async fn a_lost_connection_does_not_start_the_attempts_of_an_ordered_event_anew() {
    let vhost = Vhost::new().await;
    let host = start(&vhost, "order-by = \"queue\"").await;
    // Each attempt takes long enough to lose its connection.
    vhost.publish("", "orders", r#"["log:tried", "sleep:300", "retry"]"#).await;
    host.logs(&["comes again in"]).await;
    vhost.close_connections("consume").await;
    let letter = vhost.next("orders.dlq").await;
    assert_eq!(header(&letter, "x-wabbit-attempt"), Some(&AMQPValue::LongLongInt(3)));
    let tried = logged(&host.log_lines(), "tried")["tried"];
    assert!((3..=4).contains(&tried), "tried {tried} times, one of them in vain");
}

#[tokio::test]
async fn a_host_that_can_note_nothing_says_so_and_works() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let place = Place::new()
        .plugin("orders", "scripted", &manifest(""))
        .file("cache/wabbit/in-flight", "a file");
    let host = place.run(&vhost.url).await;
    host.logs(&["is not noted on disk", "in-flight"]).await;
    host.ready().await;
    vhost.publish("", "orders", &work(0, "handled")).await;
    assert_eq!(body(&vhost.next("out").await), "handled");
}
