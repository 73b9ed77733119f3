//! What came out of the run: totals and dead letters, by event, and whether that is what must.

use super::journal::Journal;
use super::{CLOSURES, EVENTS, Kind, LANGUAGES, Number, PREFETCH, REPLACEMENTS};
use crate::support::rabbit::{Vhost, body, header, text};
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// Everything that came out, by event.
pub struct Account {
    totals: BTreeMap<Number, Vec<Delivery>>,
    letters: BTreeMap<Number, Vec<Delivery>>,
}

fn number(message: &Delivery) -> Number {
    let id = message.properties.correlation_id().as_ref().expect("a correlation-id").as_str();
    id.strip_prefix("order-").and_then(|number| number.parse().ok()).expect("an order's id")
}

async fn collect(vhost: &Vhost, queue: &str, into: &mut BTreeMap<Number, Vec<Delivery>>) {
    while let Some(message) = vhost.take(queue).await {
        into.entry(number(&message)).or_default().push(message);
    }
}

impl Account {
    /// Takes the results from their queues.
    pub async fn collect(vhost: &Vhost) -> Self {
        let mut account = Self { totals: BTreeMap::new(), letters: BTreeMap::new() };
        collect(vhost, "totals", &mut account.totals).await;
        for language in LANGUAGES {
            collect(vhost, &format!("orders-{language}.dlq"), &mut account.letters).await;
        }
        account
    }

    /// Compares all that came out with what must have.
    pub fn check(&self, journal: &Journal) {
        assert_eq!(journal.activations(), LANGUAGES.len() + REPLACEMENTS);
        assert!(journal.lost.values().all(|times| *times == CLOSURES), "{:?}", journal.lost);
        let mut unexplained = 0;
        for number in 0..EVENTS {
            let of = |all: &BTreeMap<Number, Vec<Delivery>>| all.get(&number).map_or(0, Vec::len);
            let (totals, letters) = (of(&self.totals), of(&self.letters));
            let came = journal.last_received(number);
            let (effects, none) = match Kind::of(number) {
                Kind::Bad => (letters, totals),
                Kind::Plain | Kind::Pending => (totals, letters),
            };
            assert!(effects >= 1, "event {number} is lost");
            assert_eq!(none, 0, "event {number} has an effect that it must not have");
            // More than one only where the event came more than once, or where the confirm of a
            // publication was lost with its connection, so that it was published again.
            unexplained += effects.saturating_sub(came);
            let entry = &journal.entries[&number];
            assert!(!entry.digests.is_empty(), "event {number} was settled by nobody");
            let retried = entry.retried;
            match Kind::of(number) {
                Kind::Pending => assert!(retried >= 1, "event {number} did not come again"),
                _ => assert_eq!(retried, 0, "event {number} came again"),
            }
        }
        assert_eq!(self.totals.len() + self.letters.len(), EVENTS);
        // At most what is handled at once, for each connection that was closed.
        let at_once = 8 * LANGUAGES.len();
        assert!(unexplained <= at_once * CLOSURES, "{unexplained} copies without a reason");
        let copies = self.copies();
        assert!(copies <= 2 * PREFETCH * LANGUAGES.len() * CLOSURES, "{copies} copies");
        self.totals.iter().for_each(|(number, all)| all.iter().for_each(|it| total(*number, it)));
        for (number, all) in &self.letters {
            all.iter().for_each(|it| letter(*number, it, journal));
        }
    }

    fn copies(&self) -> usize {
        self.totals.values().chain(self.letters.values()).map(|all| all.len() - 1).sum()
    }

    /// A table for people, past the test's capture of what is printed.
    pub fn print(&self, journal: &Journal, ack_lost: f64, took: Duration) {
        let mut out = std::io::stderr();
        let per_second = EVENTS as f64 / took.as_secs_f64();
        let row = |of: &dyn Fn(usize) -> usize| {
            let counts = (0..LANGUAGES.len()).map(of);
            let (cells, sum) = counts.fold((String::new(), 0), |(cells, sum), count| {
                (format!("{cells}{count:>12}"), sum + count)
            });
            format!("{cells}{sum:>12}")
        };
        let own = |language: usize| (0..EVENTS).filter(move |n| n % LANGUAGES.len() == language);
        let kind = |kind: Kind| {
            move |language: usize| own(language).filter(|n| Kind::of(*n) == kind).count()
        };
        let of = |all: &BTreeMap<Number, Vec<Delivery>>, language: usize| -> usize {
            own(language).filter_map(|n| all.get(&n)).map(Vec::len).sum()
        };
        let distinct = |all: &BTreeMap<Number, Vec<Delivery>>, language: usize| -> usize {
            own(language).filter(|n| all.contains_key(n)).count()
        };
        let versions = |language: usize| {
            let name = format!("orders-{}", LANGUAGES[language]);
            journal.handled.keys().filter(|(plugin, _)| *plugin == name).count()
        };
        let lost = |language: usize| {
            own(language)
                .filter(|n| !self.totals.contains_key(n) && !self.letters.contains_key(n))
                .count()
        };
        let rows = [
            ("published", row(&|language| own(language).count())),
            ("  asked to come again", row(&kind(Kind::Pending))),
            ("  bad", row(&kind(Kind::Bad))),
            ("totals", row(&|language| distinct(&self.totals, language))),
            ("dead letters", row(&|language| distinct(&self.letters, language))),
            ("lost", row(&lost)),
            ("delivered again", row(&|language| journal.redelivered(language))),
            ("copies of totals", row(&|l| of(&self.totals, l) - distinct(&self.totals, l))),
            ("copies of dead letters", row(&|l| of(&self.letters, l) - distinct(&self.letters, l))),
            ("versions at work", row(&versions)),
        ];
        let head = LANGUAGES.map(|language| format!("{language:>12}")).concat();
        let _ = writeln!(out, "\n{:24}{head}{:>12}", "", "all");
        for (name, row) in rows {
            let _ = writeln!(out, "{name:24}{row}");
        }
        let _ = writeln!(
            out,
            "{REPLACEMENTS} handlers replaced, {:?} connections lost, and with them {ack_lost} acks\n\
             {EVENTS} events in {took:.1?}, {per_second:.0} per second\n",
            journal.lost
        );
    }
}

/// The total of the order `number` is what its lines add up to.
fn total(number: Number, message: &Delivery) {
    let total: Value = serde_json::from_slice(&message.data).unwrap();
    let cents = (number % 5 + 1) * (number * 37 % 10_000) + 99;
    assert_eq!(total["id"], format!("order-{number}"));
    assert_eq!((&total["total_cents"], &total["items"]), (&cents.into(), &(number % 5 + 2).into()));
    assert_eq!(text(message, "handled-by"), LANGUAGES[number % LANGUAGES.len()]);
    let id = format!("m-{number}.orders-{}.0", LANGUAGES[number % LANGUAGES.len()]);
    assert_eq!(message.properties.message_id().as_ref().unwrap().as_str(), id);
}

/// The dead letter of the event `number` has all that it came with, and why it is one.
fn letter(number: Number, message: &Delivery, journal: &Journal) {
    let language = LANGUAGES[number % LANGUAGES.len()];
    let plugin = format!("orders-{language}");
    assert_eq!(text(message, "x-exception-type"), "reject");
    assert_ne!(text(message, "x-exception-message"), "");
    assert_eq!(text(message, "x-original-exchange"), "shop");
    assert_eq!(text(message, "x-original-routingKey"), format!("order.created.{language}"));
    assert_eq!(text(message, "x-wabbit-plugin"), plugin);
    let digest = text(message, "x-wabbit-digest");
    assert!(journal.was_active(&plugin, &digest), "`{digest}` was never active");
    assert_eq!(header(message, "x-wabbit-attempt"), Some(&AMQPValue::LongLongInt(1)));
    assert!(
        matches!(header(message, "x-wabbit-first-seen"), Some(AMQPValue::LongLongInt(ms)) if *ms > 0)
    );
    assert_eq!(header(message, "number"), Some(&AMQPValue::LongInt(number as i32)));
    assert_eq!(text(message, "tenant"), format!("tenant-{}", number % 7));
    let properties = &message.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), format!("m-{number}"));
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(body(message).starts_with(&format!("{{\"id\": \"order-{number}\"")), "{message:?}");
}
