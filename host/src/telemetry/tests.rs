//! What the reports do to the metrics. Each test uses a plugin's name of its own, as the metrics
//! belong to the process.

use super::{SubscriptionMetrics, metrics, report::*};
use crate::flow::{Fault, Outcome, Settlement};
use std::time::Duration;

/// The lines of this plugin, as the page has them.
fn lines(plugin: &str) -> Vec<String> {
    let label = format!("plugin=\"{plugin}\"");
    let page = metrics::init().unwrap().render();
    page.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
}

fn has(plugin: &str, line: &str) {
    let lines = lines(plugin);
    assert!(lines.iter().any(|is| is == line), "no {line} in {lines:#?}");
}

fn subscription(plugin: &str) -> SubscriptionMetrics {
    metrics::init().unwrap();
    SubscriptionMetrics::new(plugin, "q")
}

fn settle(subscription: &SubscriptionMetrics, outcome: &Outcome, settlement: Settlement) {
    EventSettled {
        subscription,
        digest: &"abc",
        message_id: "m",
        attempt: 1,
        outcome,
        settlement,
        publications: 0,
        handler: Some(Duration::from_millis(2)),
    }
    .emit();
}

#[test]
fn a_settled_event_is_counted_by_outcome_class_and_settlement() {
    let orders = subscription("settled");
    let failed = |fault| Outcome::Failed { fault, reason: "why".into() };
    let refused = Outcome::Refused { fault: Fault::Unmatched, reason: "why".into() };
    let away = Outcome::Unavailable { after: None, reason: "why".into() };
    let later = Settlement::Retry(Duration::from_secs(1));
    settle(&orders, &Outcome::Ok(vec![]), Settlement::Ack);
    settle(&orders, &Outcome::Ok(vec![]), Settlement::Ack);
    settle(&orders, &failed(Fault::Trap), later);
    settle(&orders, &failed(Fault::Timeout), Settlement::DeadLetter);
    settle(&orders, &refused, Settlement::Drop);
    settle(&orders, &away, Settlement::Postpone(Duration::from_secs(1)));
    let outcomes = [
        ("ok", "ok", 2),
        ("failed", "trap", 1),
        ("failed", "timeout", 1),
        ("refused", "unmatched", 1),
        ("reject", "reject", 0),
        ("unavailable", "unavailable", 1),
    ];
    for (outcome, class, n) in outcomes {
        let labels =
            format!("plugin=\"settled\",queue=\"q\",outcome=\"{outcome}\",class=\"{class}\"");
        has("settled", &format!("wabbit_outcomes_total{{{labels}}} {n}"));
    }
    has("settled", "wabbit_retries_total{plugin=\"settled\",queue=\"q\"} 2");
    has("settled", "wabbit_dead_letters_total{plugin=\"settled\",queue=\"q\"} 1");
    has("settled", "wabbit_handler_seconds_count{plugin=\"settled\",queue=\"q\"} 6");
}

#[test]
fn a_delivery_and_a_lost_ack_are_counted() {
    let orders = subscription("received");
    has("received", "wabbit_deliveries_total{plugin=\"received\",queue=\"q\"} 0");
    let age = Some(Duration::from_secs(2));
    for age in [age, None] {
        let (subscription, message_id, attempt) = (&orders, "", 1);
        let redelivered = age.is_none();
        DeliveryReceived { subscription, message_id, attempt, redelivered, age }.emit();
    }
    AckLost { queue: "lost-here", lost: 1 }.emit();
    has("received", "wabbit_deliveries_total{plugin=\"received\",queue=\"q\"} 2");
    has("received", "wabbit_event_age_seconds_count{plugin=\"received\",queue=\"q\"} 1");
    let page = metrics::init().unwrap().render();
    assert!(page.contains("wabbit_ack_lost_total{queue=\"lost-here\"} 1"), "{page}");
}

#[test]
fn an_event_in_flight_counts_until_its_guard_is_dropped() {
    let orders = subscription("inflight");
    let (first, second) = (orders.inflight(), orders.inflight());
    has("inflight", "wabbit_inflight{plugin=\"inflight\",queue=\"q\"} 2");
    drop((first, second));
    has("inflight", "wabbit_inflight{plugin=\"inflight\",queue=\"q\"} 0");
}

#[test]
fn only_the_active_version_of_a_plugin_is_shown() {
    metrics::init().unwrap();
    let info = || -> Vec<_> {
        lines("versions")
            .into_iter()
            .filter(|line| line.starts_with("wabbit_plugin_info"))
            .collect()
    };
    let elapsed = Duration::ZERO;
    PluginLoaded { plugin: "versions", digest: &"v1", elapsed }.emit();
    assert_eq!(info(), ["wabbit_plugin_info{plugin=\"versions\",digest=\"v1\"} 1"]);
    PluginReloaded { plugin: "versions", old: &"v1", digest: &"v2", elapsed }.emit();
    PluginReloaded { plugin: "versions", old: &"v2", digest: &"v2", elapsed }.emit();
    PluginRefused { plugin: "versions", cause: &"bad", hint: None, kept: Some(&"v2") }.emit();
    assert_eq!(info(), ["wabbit_plugin_info{plugin=\"versions\",digest=\"v2\"} 1"]);
    PluginRemoved { plugin: "versions", digest: Some(&"v2") }.emit();
    assert!(info().is_empty());
    for (result, n) in [("loaded", 1), ("reloaded", 2), ("refused", 1), ("removed", 1)] {
        let labels = format!("plugin=\"versions\",result=\"{result}\"");
        has("versions", &format!("wabbit_plugin_reloads_total{{{labels}}} {n}"));
    }
}

#[test]
fn traps_consumers_and_connections_are_shown() {
    let page = || metrics::init().unwrap().render();
    page();
    GuestTrapped { plugin: "traps", kind: "memory", cause: "64 MiB" }.emit();
    has("traps", "wabbit_plugin_traps_total{plugin=\"traps\",kind=\"memory\"} 1");
    ConsumerUp { queue: "shown", loud: true }.emit();
    assert!(page().contains("wabbit_consumer_up{queue=\"shown\"} 1\n"));
    ConsumerDown { queue: "shown", cause: Some("gone"), loud: true }.emit();
    assert!(page().contains("wabbit_consumer_up{queue=\"shown\"} 0\n"));
    ConnectionUp { role: "shown", address: "here", away: None, loud: true }.emit();
    ConnectionBlocked { role: "shown", reason: Some("memory") }.emit();
    assert!(page().contains("wabbit_connection_up{role=\"shown\"} 1\n"));
    assert!(page().contains("wabbit_connection_blocked{role=\"shown\"} 1\n"));
    ConnectionLost { role: "shown", reason: "lost", cause: "eof", say: None }.emit();
    assert!(page().contains("wabbit_connection_up{role=\"shown\"} 0\n"));
    assert!(page().contains("wabbit_reconnects_total{role=\"shown\",reason=\"lost\"} 1\n"));
}
