//! What a guest sees of a database, through a host.

use super::*;
use crate::support::host::TestHost;
use crate::support::{guest, header};
use serde_json::{Value as Json, json};
use wabbit::flow::Properties;

const MANIFEST: &str = "
    [retry]
    attempts = 1
    [limits]
    statement-rows = 3
    [grants]
    publish = [':~out']
    sql = ['shop']";

/// A host with the guest `sql` on the queue `orders`, which was granted `place` as `shop`.
async fn host(place: &Place, manifest: &str) -> TestHost {
    let setup = TestHost::new().queue("out").store("shop", &place.url);
    setup.plugin("orders", guest("sql"), manifest).start().await
}

async fn send(host: &TestHost, steps: &[Json]) {
    host.send("orders", &Json::from(steps).to_string()).await;
}

/// Why the next dead letter is one.
async fn reason(host: &TestHost) -> String {
    header(&host.take("orders.dlq").await, "x-exception-message").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_sees_what_it_wrote_and_nothing_of_events_that_failed() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20))").await;
        let host = host(&place, MANIFEST).await;
        let insert = place.places("INSERT INTO products VALUES (?, ?)");
        let select =
            json!(["query", "shop", "SELECT id, name FROM products ORDER BY id", [], "~out"]);
        let written = json!(["execute", "shop", insert, [1, "größe"]]);
        send(&host, &[written.clone(), select.clone(), json!(["panic"])]).await;
        host.take("orders.dlq").await;
        send(&host, &[written, select.clone()]).await;
        assert_eq!(host.take_text("out").await, r#"[[1,"größe"]]"#, "{}", place.kind());
        // A statement that failed does not keep the handler from going on.
        let steps = [
            json!(["execute", "shop", "DELETE FROM products", []]),
            json!(["execute", "shop", insert, [1, "once"]]),
            json!(["try", "shop", insert, [1, "twice"]]),
            json!(["execute", "shop", insert, [2, null]]),
            select,
        ];
        send(&host, &steps).await;
        assert_eq!(host.take_text("out").await, r#"[[1,"once"],[2,null]]"#, "{}", place.kind());
        host.finds_empty("orders.dlq").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_no_has_its_class_and_its_reason() {
    let place = Place::sqlite().await;
    place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
    let host = host(&place, MANIFEST).await;
    let four = "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4";
    let table = [
        (json!(["execute", "other", "SELECT 1", []]), "not-granted: the grants do not cover"),
        (json!(["execute", "shop", "COMMIT", []]), "refused: `COMMIT` is the host's"),
        (json!(["execute", "shop", "SELECT 1; SELECT 2", []]), "refused: there are several"),
        (json!(["execute", "shop", "DELETE FROM wabbit_inbox", []]), "refused: `wabbit_inbox`"),
        (json!(["execute", "shop", "INSERT INTO products VALUES (1), (1)", []]), "Unique"),
        (json!(["execute", "shop", "SELECT ?", []]), "type-mismatch: the statement has 1"),
        (json!(["query", "shop", four, [], "~out"]), "limit: one query may return 3 rows"),
    ];
    for (step, expected) in table {
        send(&host, &[step]).await;
        let reason = reason(&host).await;
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_for_whom_it_is_granted_to() {
    let place = Place::sqlite().await;
    let host = host(&place, MANIFEST).await;
    host.put_manifest("orders", "[grants]\npublish = [':~out']");
    host.trouble("orders", &["`wabbit:sql/database@0.1.0`, which needs a grant"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_again_whatever_its_handler_makes_of_a_database_that_is_away() {
    let away = Place { url: "postgres://me:pw@127.0.0.1:1/shop".into(), ..Place::sqlite().await };
    let host = host(&away, MANIFEST).await;
    let ignored = [json!(["try", "shop", "SELECT 1", []]), json!(["publish", "~out", "done"])];
    send(&host, &ignored).await;
    let unavailable = [("plugin", "orders"), ("class", "unavailable")];
    let again = || host.metric("wabbit_outcomes_total", &unavailable) >= 1.0;
    crate::support::eventually("it is not the event's fault", again).await;
    host.finds_empty("out").await;
    host.finds_empty("orders.dlq").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_takes_too_long_holds_nothing_afterwards() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20))").await;
        place.create("INSERT INTO products VALUES (1, 'a')").await;
        let manifest = MANIFEST.replace("[limits]", "[limits]\ntimeout = '2s'");
        let host = host(&place, &manifest).await;
        let update = json!(["execute", "shop", "UPDATE products SET name = 'b'", []]);
        let (_, never) = trouble::endless(&place);
        let endless = json!(["query", "shop", never, [], "~out"]);
        send(&host, &[update.clone(), endless]).await;
        let dead = host.take("orders.dlq").await;
        assert_eq!(header(&dead, "x-exception-type"), "timeout", "{}", place.kind());
        // It would wait for the row, and be late itself.
        let select = json!(["query", "shop", "SELECT name FROM products", [], "~out"]);
        send(&host, &[select.clone(), update, select]).await;
        assert_eq!(host.take_text("out").await, r#"[["a"]]"#, "{}", place.kind());
        assert_eq!(host.take_text("out").await, r#"[["b"]]"#, "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_event_did_is_there_for_the_next_one_and_done_once() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER, name VARCHAR(20))").await;
        let host = host(&place, MANIFEST).await;
        let insert = place.places("INSERT INTO products VALUES (?, ?)");
        let steps =
            json!([["execute", "shop", insert, [1, "größe"]], ["publish", "~out", "published"],]);
        let message_id = Some("the same".to_owned());
        let properties = Properties { message_id, ..Properties::default() };
        host.send_with("orders", &steps.to_string(), properties.clone()).await;
        assert_eq!(host.take_text("out").await, "published", "{}", place.kind());
        // Till then it may be published again.
        host.has_depth("orders", (0, 0)).await;
        // As a publisher does that did not see the first one confirmed.
        host.send_with("orders", &steps.to_string(), properties).await;
        let select = json!(["query", "shop", "SELECT id, name FROM products", [], "~out"]);
        send(&host, &[select]).await;
        assert_eq!(host.take_text("out").await, r#"[[1,"größe"]]"#, "{}", place.kind());
        host.finds_empty("orders.dlq").await;
    }
}
