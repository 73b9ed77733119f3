//! Events that fail: when they come again, where they end, and that they are what they were.

use super::history::{Did, History};
use super::report::Report;
use super::{full, ms, secs};
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{Vhost, table, text};
use fastrand::Rng;
use lapin::message::Delivery;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const BODY_BYTES_MAX: usize = 20_000;

/// What is published, to be found again as it was.
struct Message {
    properties: BasicProperties,
    body: Vec<u8>,
}

impl Message {
    /// One with all properties that act on nothing, which has the script in a header. Its body is
    /// any bytes.
    fn random(random: &mut Rng, id: &str, kind: &str, script: &str) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/octet-stream".into())
            .with_content_encoding("none".into())
            .with_delivery_mode(2)
            .with_priority(random.u8(..10))
            .with_correlation_id(format!("correlation of {id}").into())
            .with_reply_to("answers".into())
            .with_message_id(id.into())
            .with_timestamp(random.u64(1..2_000_000_000))
            .with_type(kind.into())
            .with_app_id("the test".into())
            .with_headers(headers(random, script));
        let length = random.usize(..BODY_BYTES_MAX);
        Self { properties, body: std::iter::repeat_with(|| random.u8(..)).take(length).collect() }
    }

    async fn publish(&self, vhost: &Vhost, exchange: &str, key: &str) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (exchange.into(), key.into());
        let (body, properties) = (&self.body, self.properties.clone());
        let sent = vhost.channel.basic_publish(exchange, key, options, body, properties);
        let confirm = sent.await.unwrap().await.unwrap();
        assert!(confirm.is_ack() && confirm.take_message().is_none());
    }

    /// What of it is not the same in `found`; headers of the host's own may have joined.
    fn differences(&self, found: &Delivery, joined: &[&str]) -> Vec<String> {
        let mut differences = Vec::new();
        if found.data != self.body {
            differences.push(format!("{} bytes for {}", found.data.len(), self.body.len()));
        }
        let headers = found.properties.headers().clone().unwrap_or_default();
        let own = |name: &str| joined.iter().any(|prefix| name.starts_with(prefix));
        let rest = headers.inner().iter().filter(|(name, _)| !own(name.as_str()));
        let rest: BTreeMap<_, _> =
            rest.map(|(name, value)| (name.clone(), value.clone())).collect();
        let same = found.properties.clone().with_headers(FieldTable::from(rest));
        if same != self.properties {
            differences.push(format!("{same:?} for {:?}", self.properties));
        }
        differences
    }
}

fn headers(random: &mut Rng, script: &str) -> FieldTable {
    let letters = std::iter::repeat_with(|| random.alphanumeric()).take(50).collect::<String>();
    let nested = table(&[("price", AMQPValue::LongUInt(random.u32(..))), ("no", AMQPValue::Void)]);
    let list = vec![AMQPValue::ShortInt(random.i16(..)), AMQPValue::FieldTable(nested.clone())];
    let all = [
        ("flag", AMQPValue::Boolean(random.bool())),
        ("byte", AMQPValue::ShortShortInt(random.i8(..))),
        ("integer", AMQPValue::LongInt(random.i32(..))),
        ("long", AMQPValue::LongLongInt(random.i64(..))),
        ("double", AMQPValue::Double(random.f64())),
        ("time", AMQPValue::Timestamp(random.u64(..4_000_000_000))),
        ("tenant é", AMQPValue::LongString(letters.into())),
        ("bytes", AMQPValue::ByteArray(random.u64(..).to_be_bytes().as_slice().into())),
        ("table", AMQPValue::FieldTable(nested)),
        ("list", AMQPValue::FieldArray(FieldArray::from(list))),
    ];
    let mut some: Vec<_> = all.into_iter().filter(|_| random.bool()).collect();
    some.push(("script", AMQPValue::LongString(script.into())));
    table(&some)
}

/// A host in which everything about events is logged.
fn place() -> Place {
    Place::new().env("RUST_LOG", "info,wabbit=trace,lapin=off")
}

/// By message-id.
async fn take_all(vhost: &Vhost, queue: &str) -> BTreeMap<String, Vec<Delivery>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    while let Some(message) = vhost.take(queue).await {
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        all.entry(id.unwrap_or_default()).or_default().push(message);
    }
    all
}

async fn ends_well(mut host: Wabbit, report: &mut Report) -> History {
    let code = host.terminate().await.code();
    report.expect(code == Some(0), format!("SIGTERM ends it with {code:?}"));
    let history = History::of(&host.log_lines());
    report.expect(!history.panicked, "a panic in the log");
    history
}

/// A machine that does much else is late, and never early.
fn late() -> Duration {
    if full() { ms(0) } else { secs(3) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_failures() {
    let mut report = Report::new("transient failure three times, then success");
    let events = if full() { 300 } else { 200 };
    let delays = if full() { [1, 5, 30] } else { [1, 2, 3] };
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    // Without a circuit: a handler that fails each event is paused otherwise. And with room for all
    // of them, so that what comes again is received at once.
    let [one, two, three] = delays;
    let manifest = format!(
        "[[subscription]]\nprefetch = {events}\nconcurrency = 1\n[circuit]\nfailures = 0\n[retry]\nattempts = 4\n\
         delays = [\"{one}s\", \"{two}s\", \"{three}s\"]\n[grants]\npublish = [\":effects\"]\n"
    );
    let mut host = place().plugin("work", "scripted", &manifest).run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let began = Instant::now();
    let script = "[\"ok-from:4\", \"echo::effects\"]";
    let mut sent = BTreeMap::new();
    for number in 0..events {
        let id = format!("m{number}");
        let message = Message::random(&mut report.random, &id, "order", script);
        message.publish(&vhost, "", "work").await;
        sent.insert(id, message);
    }
    eventually("nothing in hand while events wait to come again", async || {
        let waiting = host.metric("wabbit_retries_total", &[]).await;
        let idle = host.metric("wabbit_inflight", &[]).await == 0.0;
        (idle && waiting < 3.0 * events as f64).then_some(())
    })
    .await;
    vhost.reaches("effects", events).await;
    let took = began.elapsed();
    // One slot: if an event kept it while it waits, they would wait one after the other.
    let in_turn = secs(delays.iter().sum::<u64>()) * events;
    report.expect(took < in_turn / 10, format!("it took {took:?}"));
    let mut found = take_all(&vhost, "effects").await;
    for (id, message) in &sent {
        match found.remove(id).unwrap_or_default().as_slice() {
            [one] => {
                message.differences(one, &[]).into_iter().for_each(|it| report.expect(false, it))
            }
            other => report.expect(false, format!("{} effects of {id}", other.len())),
        }
    }
    report.expect(found.is_empty(), format!("effects of nothing: {:?}", found.keys()));
    let history = ends_well(host, &mut report).await;
    let mut worst = [0.0_f64; 2];
    for id in sent.keys() {
        let steps = history.events.get(id).map_or(&[][..], Vec::as_slice);
        let did: Vec<_> = steps.iter().map(|step| (step.did.clone(), step.attempt)).collect();
        let delayed = (1..4).flat_map(|n| [(Did::Receive, n), (Did::Delay, n)]);
        let expected: Vec<_> = delayed.chain([(Did::Receive, 4), (Did::Handle, 4)]).collect();
        report.expect(did == expected, format!("{id}: {did:?}"));
        for (wait, delay) in history.waits(id).into_iter().zip(delays.map(secs)) {
            let kept = wait.keeps(delay, late());
            report.expect(kept, format!("{id} waited for {wait:?}, not {delay:?}"));
            let off = wait.least.as_secs_f64() / delay.as_secs_f64() - 1.0;
            worst = [worst[0].min(off), worst[1].max(off)];
        }
    }
    let [early, late] = worst.map(|off| off * 100.0);
    report.note(format!("delays {early:.0} % to {late:+.0} %, without a circuit"));
    report.set("attempt", events);
    report.set("ok", sent.len());
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_for_good() {
    let row = "permanent failure; body that is not what the handler expects; no plugin matches";
    let mut report = Report::new(row);
    let each = if full() { 1000 } else { 150 };
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    vhost.exchange("shop", ExchangeKind::Topic).await;
    let work = "[[subscription]]\nbindings = [{ exchange = \"shop\", key = \"order.#\" }]\n\
                match = { type = \"known\" }\n[grants]\npublish = [\":effects\"]\n";
    let json = "[[subscription]]\nbindings = [{ exchange = \"shop\", key = \"json.#\" }]\n";
    let place = place().plugin("work", "scripted", work).plugin("json", "json", json);
    let mut host = place.run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    // What, with which type and key; where it ends, and as what.
    let kinds = [
        ("rejected", "known", "order.a", "work.dlq", "reject"),
        ("unexpected", "known", "json.a.b", "json.dlq", "reject"),
        ("unmatched", "other", "order.b", "work.dlq", "unmatched"),
        ("good", "known", "order.c", "effects", ""),
    ];
    let mut sent = BTreeMap::new();
    for number in 0..each {
        for (name, kind, key, queue, class) in kinds {
            let id = format!("{name}-{number}");
            let script = if name == "good" { "echo::effects" } else { "reject:for good" };
            let message = Message::random(&mut report.random, &id, kind, script);
            message.publish(&vhost, "shop", key).await;
            sent.insert(id, (message, key, queue, class));
        }
    }
    for (queue, count) in [("work.dlq", 2 * each), ("json.dlq", each), ("effects", each)] {
        vhost.reaches(queue, count).await;
    }
    eventually("nothing in hand", async || {
        (host.metric("wabbit_inflight", &[]).await == 0.0).then_some(())
    })
    .await;
    let history = ends_well(host, &mut report).await;
    let mut queues = BTreeMap::new();
    for (queue, ready, unsettled) in vhost.depths().await {
        report.expect(unsettled == 0, format!("{unsettled} unsettled in `{queue}`"));
        let found = take_all(&vhost, &queue).await;
        let count: usize = found.values().map(Vec::len).sum();
        report.expect(count as u64 == ready, format!("{count} in `{queue}`, not {ready}"));
        queues.insert(queue, found);
    }
    for (id, (message, key, queue, class)) in &sent {
        let found = queues.get_mut(*queue).and_then(|found| found.remove(id)).unwrap_or_default();
        let [found] = found.as_slice() else {
            report.expect(false, format!("{id} is in `{queue}` {} times", found.len()));
            continue;
        };
        let joined: &[_] = if class.is_empty() { &[] } else { &["x-"] };
        for difference in message.differences(found, joined) {
            report.expect(false, format!("{id}: {difference}"));
        }
        if !class.is_empty() {
            let said = ["x-exception-type", "x-original-exchange", "x-original-routingKey"];
            let said = said.map(|name| text(found, name));
            report.expect(said == [class, "shop", key], format!("{id}: {said:?}"));
            let attempts = history.events.get(id).map_or(0, |steps| steps.len() / 2);
            report.expect(attempts == 1, format!("{attempts} attempts of {id}"));
        }
    }
    let rest: Vec<_> = queues.values().flat_map(BTreeMap::keys).collect();
    report.expect(rest.is_empty(), format!("elsewhere, too: {rest:?}"));
    report.set("attempt", sent.len());
    report.set("ok", each);
    report.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_and_long_delays() {
    let mut report = Report::new("1,000 events alternating 1 s and 120 s of delay");
    let delays = if full() { [secs(1), secs(120)] } else { [ms(300), secs(20)] };
    const EVENTS: u32 = 1000;
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    let manifest =
        format!("[[subscription]]\nprefetch = {EVENTS}\n[grants]\npublish = [\":effects\"]\n");
    let mut host = place().plugin("work", "scripted", &manifest).run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let of = |number: u32| delays[number as usize % 2];
    for number in 0..EVENTS {
        let script = format!("[\"once-after:{}\", \"publish::effects\"]", of(number).as_millis());
        let named = BasicProperties::default().with_message_id(format!("m{number}").into());
        vhost.publish_with("", "work", &script, named).await;
    }
    let began = Instant::now();
    while vhost.count("effects").await < EVENTS && began.elapsed() < delays[1] * 2 + secs(60) {
        tokio::time::sleep(ms(100)).await;
    }
    let done = vhost.count("effects").await;
    report.expect(done == EVENTS, format!("{done} effects"));
    let history = ends_well(host, &mut report).await;
    let mut longest = [Duration::ZERO; 2];
    for number in 0..EVENTS {
        let waits = history.waits(&format!("m{number}"));
        let delay = of(number);
        let kept = waits.len() == 1 && waits[0].keeps(delay, late());
        report.expect(kept, format!("m{number} waited for {waits:?}, not {delay:?}"));
        let longest = &mut longest[number as usize % 2];
        *longest = waits.iter().map(|wait| wait.least).fold(*longest, Duration::max);
    }
    let [short, long] = longest;
    report.note(format!("the short ones waited for {short:.2?} at most, the long ones {long:.1?}"));
    report.set("attempt", EVENTS);
    report.set("ok", done);
    report.finish();
}
