//! Manifests between the host's defaults and its overrides.

use super::super::written::{Place, Report, Table};
use super::super::*;
use super::read_under;
use crate::broker::QueueType;
use crate::capability::grants::Variable;
use std::time::Duration;

fn host(text: &str) -> Table {
    Table::parse("wabbit.toml", text).unwrap()
}

fn layered(defaults: &str, own: &str, overrides: &str) -> Result<Manifest, String> {
    let (defaults, overrides) = (host(defaults), host(overrides));
    let rules =
        Rules { defaults: Some(&defaults), overrides: Some(&overrides), ..Rules::default() };
    read_under(own, &rules)
}

#[test]
fn the_hosts_configuration_lies_under_and_over_the_manifest() {
    let manifest = layered(
        "[subscription]\ntype = 'quorum'\nprefetch = 5\n[retry]\nattempts = 2\njitter = 0.5\n\
         [dead-letter]\nexchange = 'dlx'\nrouting-key = 'all'",
        "[[subscription]]\nqueue = 'a'\n[[subscription]]\nqueue = 'b'\nprefetch = 7\n\
         [retry]\nattempts = 3\n[dead-letter]\nqueue = 'graves'",
        "[subscription]\nconcurrency = 1\n[retry]\ndelays = ['9s']",
    )
    .unwrap();
    let seen = |s: &Subscription| {
        (s.consume.queue.name.clone(), s.consume.queue.kind, s.consume.prefetch, s.concurrency)
    };
    let quorum = Some(QueueType::Quorum);
    assert_eq!(
        manifest.subscriptions.iter().map(seen).collect::<Vec<_>>(),
        [("a".to_owned(), quorum, 5, 1), ("b".to_owned(), quorum, 7, 1)]
    );
    assert_eq!((manifest.policy.attempts, manifest.policy.jitter), (3, 0.5));
    assert_eq!(manifest.policy.delays, [Duration::from_secs(9)]);
    assert_eq!(manifest.subscriptions[1].dead_letter.routing_key, "graves");
    assert_eq!(manifest.subscriptions[1].dead_letter.exchange, "");

    let replaced = layered("", "[[subscription]]\nqueue = 'a'", "[[subscription]]\nqueue = 'b'");
    assert_eq!(replaced.unwrap().subscriptions[0].consume.queue.name, "b");
}

#[test]
fn of_a_limit_that_both_state_the_smaller_one_counts() {
    let manifest = layered(
        "[limits]\ncpu = '7s'\nbody = '1MiB'",
        "[limits]\ntimeout = '10s'\nmemory = '32MiB'\nbody = '2MiB'",
        "[limits]\ntimeout = '20s'\nmemory = '16MiB'\nlog-lines = 5000",
    )
    .unwrap();
    let expected = Limits {
        timeout: Duration::from_secs(10),
        memory: 16 << 20,
        cpu: Duration::from_secs(7),
        body: 2 << 20,
        log_lines: 5000,
        ..Limits::default()
    };
    assert_eq!(manifest.limits, expected);
    let small = Rules { memory_max: 1 << 20, ..Rules::default() };
    assert_eq!(read_under("", &small).unwrap().limits.memory, 1 << 20);
}

#[test]
fn grants_are_narrowed_and_never_widened() {
    let asked = "[grants]\npublish = ['shop:#']\nvariables = { currency = 'EUR' }";
    let narrower = "[grants]\npublish = ['*:order.*']\nvariables = { currency = 'CHF' }";
    let grants = layered("", asked, narrower).unwrap().grants;
    assert!(grants.allows_publish("shop", "order.paid"));
    assert!(!grants.allows_publish("shop", "invoice.paid"));
    assert!(!grants.allows_publish("other", "order.paid"));
    assert_eq!(grants.variables["currency"], Variable::Text("CHF".into()));
    let unasked = layered("", "", "[grants]\npublish = ['*:#']").unwrap().grants;
    assert!(unasked.publish.is_empty());
    let by_default = "[grants]\npublish = ['shop:order.*']\nvariables = { region = 'eu' }";
    let grants = layered(by_default, asked, "").unwrap().grants;
    assert!(!grants.allows_publish("shop", "invoice.paid"));
    assert_eq!(grants.variables["region"], Variable::Text("eu".into()));
    assert!(layered(by_default, "", "").unwrap().grants.publish.is_empty());
    let exception = layered(by_default, asked, "[grants]\npublish = ['*:#']").unwrap().grants;
    assert!(exception.allows_publish("shop", "invoice.paid"));
    assert_eq!(
        layered("", asked, "[grants.variables]\ncurency = 'CHF'").unwrap_err(),
        "wabbit.toml:2:1: the plugin asks for no variable `curency`, \
         in `[plugins.orders.grants] variables`\nhint: did you mean `currency`?"
    );
}

#[test]
fn a_mistake_is_located_in_the_file_that_has_it() {
    assert_eq!(
        layered("", "[[subscription]]\nexclusive = true", "[subscription]\ndurable = true")
            .unwrap_err(),
        "wabbit.toml:2:11: `[[subscription]] durable` must not be `true` for an exclusive queue, \
         which goes with its connection"
    );
}

#[test]
fn a_layer_is_checked_by_itself() {
    let check = |text: &str| {
        let (report, table) = (Report::default(), host(text));
        let at = Place::File("wabbit.toml".into());
        check_layer(("plugins.defaults", at, &table), 1 << 30, &report);
        report.result(()).map_err(|problems| problems.to_string())
    };
    assert_eq!(check("[dead-letter]\nexchange = 'dlx'\n[build]\nwatch = []"), Ok(()));
    assert_eq!(
        check("[subscription]\nprefech = 1\n[limits]\ncpu = 1"),
        Err("wabbit.toml:2:1: unknown key `prefech` in `[plugins.defaults.subscription]`\n\
             hint: did you mean `prefetch`?\n\
             wabbit.toml:4:7: `[plugins.defaults.limits] cpu` must be a duration such as `\"30s\"`, \
             is `1`\nhint: say of what: `\"1s\"`"
            .to_owned())
    );
}
