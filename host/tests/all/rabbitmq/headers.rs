//! What other clients put into a message: every type of header, and bytes that are not text.

use super::SCRIPTED;
use crate::support::process::Place;
use crate::support::python::Script;
use crate::support::rabbit::{Vhost, body, header, table, text};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, LongString};

#[tokio::test]
async fn everything_that_pika_can_say_goes_through_a_handler_unchanged() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    vhost.queue("copy", &[]).await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    Script::start("every_header", &[&vhost.url, "orders", "copy"]).finish().await;
    let (sent, came) = (vhost.next("copy").await, vhost.next("out").await);
    assert_eq!(body(&came), body(&sent));
    let (sent, came) = (sent.properties, came.properties);
    let inner = |properties: &BasicProperties| properties.headers().clone().unwrap();
    assert!(inner(&sent).inner().len() >= 12, "{sent:?}");
    for (name, value) in inner(&sent).inner() {
        assert_eq!(inner(&came).inner().get(name), Some(value), "{name}");
    }
    assert_eq!(inner(&came).inner().len(), inner(&sent).inner().len());
    assert_eq!(came.with_headers(inner(&sent)), sent);
}

#[tokio::test]
async fn bytes_that_are_not_text_harm_neither_their_event_nor_others() {
    let vhost = Vhost::new().await;
    let place =
        Place::new().plugin("orders", "scripted", SCRIPTED).plugin("other", "scripted", SCRIPTED);
    let host = place.run(&vhost.url).await;
    host.ready().await;
    // In a value: any bytes are a long string. In names and short strings, which clients can't read.
    let odd = LongString::from(vec![0xff, 0xfe]);
    let headers = table(&[("odd", AMQPValue::LongString(odd.clone()))]);
    let properties = BasicProperties::default().with_headers(headers);
    vhost.publish_with("", "orders", "reject:odd", properties).await;
    Script::start("odd_names", &[&vhost.url, "orders"]).finish().await;
    vhost.publish("", "other", "log:other goes on").await;
    vhost.publish("", "orders", "log:this one too").await;
    host.logs(&["other goes on", "\"target\":\"guest\""]).await;
    host.logs(&["this one too", "\"target\":\"guest\""]).await;
    let mut letters = [vhost.next("orders.dlq").await, vhost.next("orders.dlq").await];
    letters.sort_by_key(body);
    let [first, second] = letters;
    assert_eq!((body(&first).as_str(), body(&second).as_str()), ("reject:odd", "reject:odd names"));
    assert_eq!(header(&first, "odd"), Some(&AMQPValue::LongString(odd)));
    assert_eq!(text(&second, "a?b"), "value");
    assert_eq!(second.properties.content_type().as_ref().unwrap().as_str(), "te?t");
    assert_eq!(host.metric("wabbit_reconnects_total", &[]).await, 0.0);
    host.ready().await;
}

#[tokio::test]
async fn headers_that_leave_no_room_for_ours_do_not_hold_their_queue_up() {
    let vhost = Vhost::new().await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    // A frame has 131,072 bytes, and the broker takes what fills it.
    let large = AMQPValue::LongString("y".repeat(130_900).into());
    let headers = table(&[("large", large), ("small", AMQPValue::LongString("s".into()))]);
    let properties = BasicProperties::default().with_headers(headers);
    for script in ["reject:for good", "retry"] {
        vhost.publish_with("", "orders", script, properties.clone()).await;
    }
    vhost.publish("", "orders", "log:goes on").await;
    host.logs(&["goes on", "\"target\":\"guest\""]).await;
    let mut letters = [vhost.next("orders.dlq").await, vhost.next("orders.dlq").await];
    letters.sort_by_key(body);
    let types = letters.each_ref().map(|letter| text(letter, "x-exception-type"));
    assert_eq!(types, ["reject", "retry"]);
    for letter in letters {
        assert_eq!((header(&letter, "large"), text(&letter, "small").as_str()), (None, "s"));
        let Some(AMQPValue::FieldArray(names)) = header(&letter, "x-wabbit-cut-headers") else {
            panic!("{letter:?}");
        };
        assert_eq!(names.as_slice(), [AMQPValue::LongString("large".into())]);
    }
}
