//! A connection that is lost while events wait inside the host; more is in `crate::faults`.

use super::SCRIPTED;
use crate::support::process::Place;
use crate::support::rabbit::Vhost;
use serde_json::json;

#[tokio::test]
async fn what_waits_while_its_connection_is_lost_is_handled_once() {
    const WAITING: usize = 20;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let one = format!("[[subscription]]\nprefetch = {WAITING}\nconcurrency = 1\n{SCRIPTED}");
    let host = Place::new().plugin("orders", "scripted", &one).run(&vhost.url).await;
    host.ready().await;
    for n in 0..WAITING {
        let script =
            json!([format!("log:began {n}"), "sleep:100", { "publish": { "key": "out" } }]);
        vhost.publish("", "orders", &script.to_string()).await;
    }
    vhost.reaches("out", 1).await;
    vhost.close_connections("consume").await;
    vhost.reaches("out", WAITING as u32).await;
    host.metric_reaches("wabbit_reconnects_total", &["role=\"consume\""], 1.0).await;
    let calls = host.log_text().matches("\"message\":\"began ").count();
    // Once more for the one that was in hand, and for one that was done and whose ack was lost.
    assert!((WAITING..=WAITING + 2).contains(&calls), "{calls} calls");
}
