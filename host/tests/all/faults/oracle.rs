//! What must have come of every event, and what has: the promises as accounts. Next: report.rs.

use super::report::Report;
use super::run::{CONCURRENCY, PREFETCH};
use super::workload::{Ledger, Number, key, number};
use super::{full, ms, secs};
use crate::support::rabbit::Vhost;
use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// Longer than between two effects of a busy host.
const PAUSE: Duration = ms(500);
/// What the log says at the beginning and at the end of a lost connection.
const LOST: &str = "lost the connection to the broker";
const CONNECTED: &str = "connected";
/// Beyond what it had before the fault.
const GROWTH_MAX: u64 = 50 << 20;

/// What the run has left.
pub struct Evidence {
    pub ledger: Ledger,
    pub log: Vec<Value>,
    pub began: SystemTime,
    pub over: SystemTime,
    pub thirds: [Range<Number>; 3],
    /// In bytes.
    pub growth: u64,
    /// Of the consuming and the publishing connection, in the host's last life.
    pub reconnects: [usize; 2],
    pub ack_lost: usize,
    /// Of each consumer.
    pub prefetch: Vec<u32>,
}

/// One effect of an event.
#[derive(Debug, Clone)]
struct Effect {
    /// Which call of the handler made it.
    call: String,
    redelivered: bool,
    attempt: u64,
    /// Which code made it.
    build: String,
    /// In the order in which they came.
    place: usize,
}

/// The end of a run, counted.
pub struct Account {
    pub report: Report,
    pub evidence: Evidence,
    /// The longest time without an effect, from the fault to the first effect after it.
    pub gap: Duration,
    /// From the end of the fault to the next effect.
    pub back: Duration,
    /// All times without an effect that are longer than [`PAUSE`], in the same time.
    pub paused: Duration,
    /// Of the rate after the fault to that before.
    pub ratio: f64,
    effects: BTreeMap<Number, Vec<Effect>>,
    dead: BTreeSet<Number>,
    /// Still in the queue, or in a delay queue.
    left: BTreeSet<Number>,
}

/// What a row allows; the rest is the same for all.
#[derive(Debug, Clone)]
pub struct Pass {
    /// How often the consuming connection, or the host, was lost.
    pub losses: usize,
    /// How often the publishing connection was lost.
    pub publish_losses: usize,
    /// Until the first effect after the fault.
    pub back: Duration,
    /// The longest time without an effect.
    pub gap: Option<Duration>,
    /// Whether the resident size can be compared.
    pub same_life: bool,
    /// The most that an event may need.
    pub attempts: u64,
    /// How many may come twice with nothing that says so: the broker is not to keep a copy of what it
    /// moves itself, and does when it is killed.
    pub copied: usize,
    /// Of each consumer, in the end.
    pub prefetch: Vec<u32>,
}

impl Default for Pass {
    fn default() -> Self {
        let back = secs(5);
        Self {
            losses: 0,
            publish_losses: 0,
            back,
            gap: None,
            same_life: true,
            attempts: 1,
            copied: 0,
            prefetch: vec![PREFETCH],
        }
    }
}

impl Account {
    /// Takes everything out of the queues, and compares.
    pub async fn draw_up(vhost: &Vhost, evidence: Evidence, report: Report) -> Self {
        let (mut effects, mut unknown) = (BTreeMap::<_, Vec<_>>::new(), 0);
        let (mut dead, mut left) = (BTreeSet::new(), BTreeSet::new());
        for (queue, ready, _) in vhost.depths().await {
            for (place, (id, body)) in take_all(vhost, &queue, ready).await.into_iter().enumerate()
            {
                if queue == "effects" {
                    let seen: Value = serde_json::from_slice(&body).unwrap();
                    match seen["message-id"].as_str().and_then(number) {
                        Some(number) => {
                            effects.entry(number).or_default().push(Effect::of(&seen, place));
                        }
                        None => unknown += 1,
                    }
                    continue;
                }
                let id = id.as_deref().and_then(number);
                match queue.as_str() {
                    "work.dlq" => dead.extend(id),
                    "work" => left.extend(id),
                    delay if delay.starts_with("wabbit.delay.") => left.extend(id),
                    // Of other plugins of the row.
                    _ => {}
                }
            }
        }
        let times = effect_times(&evidence.log);
        let (gap, back, paused) = gaps(&times, &evidence);
        let ratio = rate(&times, &evidence.thirds[2]) / rate(&times, &evidence.thirds[0]);
        let mut account = Self { report, evidence, gap, back, paused, ratio, effects, dead, left };
        account.report.expect(unknown == 0, format!("{unknown} effects of no event"));
        account
    }

    /// The standard pass.
    #[track_caller]
    pub fn passes(mut self, pass: &Pass) {
        let resent = self.evidence.ledger.resent.len();
        let (extra, unexplained, copies) = self.duplicates();
        self.tell(extra, unexplained.len(), copies);
        let (lost, unexpected) = (self.lost(), self.unexpected());
        let report = &mut self.report;
        report.expect(lost.is_empty(), format!("lost: {lost:?}"));
        report.expect(unexpected.is_empty(), format!("unexpected: {unexpected:?}"));
        let few = unexplained.len() <= pass.copied;
        report.expect(few, format!("duplicates, no reason: {unexplained:?}"));
        let most = PREFETCH as usize * pass.losses + resent + pass.copied;
        report.expect(extra <= most, format!("{extra} duplicates, {most} are the most"));
        let most = CONCURRENCY as usize * pass.publish_losses;
        report.expect(copies <= most, format!("{copies} effects published twice, {most} at most"));
        report.expect(self.dead.is_empty(), format!("dead letters: {:?}", self.dead));
        report.expect(self.left.is_empty(), format!("still in a queue: {:?}", self.left));
        let attempts = self.effects.values().flatten().map(|effect| effect.attempt).max();
        let most = Some(pass.attempts);
        report.expect(attempts == most, format!("an event had {attempts:?} attempts"));
        let prefetch = &self.evidence.prefetch;
        report.expect(*prefetch == pass.prefetch, format!("prefetch {prefetch:?}"));
        for (role, lost) in ["consume", "publish"].into_iter().zip(self.evidence.reconnects) {
            let told = told(&self.evidence.log, role);
            // Of more the log says rarely how many there were.
            let well = lost != 1 || !pass.same_life || told == [LOST, CONNECTED];
            report.expect(well, format!("told of the connection to {role}: {told:?}"));
        }
        let panicked = self.evidence.log.iter().any(|line| line.to_string().contains("panicked"));
        report.expect(!panicked, "a panic in the log");
        let growth = self.evidence.growth;
        report.expect(!pass.same_life || growth < GROWTH_MAX, format!("{growth} bytes more"));
        let (gap, back) = (self.gap, self.back);
        report.expect(back <= pass.back, format!("back after {back:?}, not {:?}", pass.back));
        let most = pass.gap.unwrap_or(Duration::MAX);
        report.expect(gap <= most, format!("a gap of {gap:?}, not {most:?}"));
        // Half a second of events says little while other tests keep the machine busy: only that it
        // does not crawl.
        let least = if full() { 0.8 } else { 0.05 };
        report.expect(self.ratio >= least, format!("{:.2} of the rate before", self.ratio));
        self.report.finish();
    }

    /// Which code made each effect.
    pub fn builds(&self) -> Vec<(Number, String)> {
        let all = self.effects.iter();
        let build = |(number, effect): (&Number, &Effect)| (*number, effect.build.clone());
        all.flat_map(|(number, of)| of.iter().map(move |it| (number, it))).map(build).collect()
    }

    /// Events whose effect came before that of an earlier one with the same of so many keys; those
    /// aside that came again by the broker or by their publisher.
    pub fn out_of_order(&self, keys: u32) -> Vec<Number> {
        let once = self.effects.iter().filter(|(number, effects)| {
            let resent = self.evidence.ledger.resent.contains(number);
            !resent && !effects.iter().any(|effect| effect.redelivered)
        });
        let places = once.map(|(number, effects)| (*number, effects[0].place));
        let mut last = BTreeMap::<u32, usize>::new();
        let wrong = places.filter(|(number, place)| {
            let before = last.entry(key(*number, keys)).or_default();
            std::mem::replace(before, (*before).max(*place)) > *place
        });
        wrong.map(|(number, _)| number).collect()
    }

    fn tell(&mut self, extra: usize, unexplained: usize, copies: usize) {
        let (lost, unexpected) = (self.lost().len(), self.unexpected().len());
        let ledger = &self.evidence.ledger;
        let is_ok = |number: &&Number| self.effects.contains_key(number);
        let ok = ledger.acknowledged.iter().filter(is_ok).count();
        let recovered = ledger.resent.iter().filter(is_ok).count();
        let numbers = [
            ("attempt", ledger.attempted.len()),
            ("acknowledged", ledger.acknowledged.len()),
            ("ok", ok),
            ("recovered", recovered),
            ("duplicated", extra + copies),
            ("unexplained", unexplained),
            ("lost", lost),
            ("unexpected", unexpected),
            ("dead", self.dead.len()),
            ("resent", ledger.resent.len()),
            ("returned", ledger.returned),
            ("published twice", copies),
            ("reconnects consume", self.evidence.reconnects[0]),
            ("reconnects publish", self.evidence.reconnects[1]),
            ("acks lost", self.evidence.ack_lost),
            ("growth MiB", (self.evidence.growth >> 20) as usize),
        ];
        for (name, value) in numbers {
            self.report.set(name, value);
        }
        self.report.took("gap", self.gap);
        self.report.took("back", self.back);
        self.report.set("ratio", (self.ratio * 100.0).round() / 100.0);
    }

    /// Confirmed, and nowhere.
    fn lost(&self) -> BTreeSet<Number> {
        let found = |number: &Number| {
            self.effects.contains_key(number)
                || self.dead.contains(number)
                || self.left.contains(number)
        };
        self.evidence.ledger.acknowledged.iter().copied().filter(|it| !found(it)).collect()
    }

    /// There, and never published; or in two places.
    fn unexpected(&self) -> BTreeSet<Number> {
        let attempted = &self.evidence.ledger.attempted;
        let (dead, left) = (&self.dead, &self.left);
        let all = self.effects.keys().chain(dead).chain(left).copied();
        all.filter(|it| {
            let places = [self.effects.contains_key(it), dead.contains(it), left.contains(it)];
            let copied = self.evidence.ledger.resent.contains(it);
            !attempted.contains(it) || (!copied && places.into_iter().filter(|is| *is).count() > 1)
        })
        .collect()
    }

    /// How often the host was given each event again, at any of its attempts.
    fn redelivered(&self) -> BTreeMap<Number, usize> {
        let log = self.evidence.log.iter();
        let again = log.filter(|it| it["message"] == "received" && it["redelivered"] == true);
        let mut times = BTreeMap::new();
        for number in again.filter_map(|it| number(it["message_id"].as_str()?)) {
            *times.entry(number).or_default() += 1;
        }
        times
    }

    /// Calls of a handler that were one too many, those of them without a reason, and effects that
    /// are there twice though their handler was called once: their confirm was lost.
    pub fn duplicates(&self) -> (usize, Vec<Number>, usize) {
        let (mut extra, mut unexplained, mut copies) = (0, Vec::new(), 0);
        let again = self.redelivered();
        for (number, effects) in &self.effects {
            let calls: BTreeSet<_> = effects.iter().map(|effect| &effect.call).collect();
            // One that was redelivered and is tried again then is a new one to the broker.
            let flagged = again.get(number).copied().unwrap_or_default();
            extra += calls.len() - 1;
            copies += effects.len() - calls.len();
            let resent = self.evidence.ledger.resent.contains(number);
            if calls.len() - 1 > flagged && !resent {
                unexplained.push(*number);
            }
        }
        (extra, unexplained, copies)
    }
}

impl Effect {
    fn of(seen: &Value, place: usize) -> Self {
        Self {
            place,
            build: seen["build"].as_str().unwrap_or_default().into(),
            call: seen["call"]
                .as_str()
                .expect("a guest that says which call it is: `cargo xtask guests`")
                .into(),
            redelivered: seen["redelivered"] == true,
            attempt: seen["attempt"].as_u64().unwrap(),
        }
    }
}

/// Everything in a queue: message-ids and bodies.
async fn take_all(vhost: &Vhost, queue: &str, count: u64) -> Vec<(Option<String>, Vec<u8>)> {
    if count == 0 {
        return Vec::new();
    }
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let tag = format!("oracle-{queue}");
    let consume = vhost.channel.basic_consume(
        queue.into(),
        tag.as_str().into(),
        options,
        FieldTable::default(),
    );
    let messages = consume.await.unwrap().take(count as usize).map(|message| {
        let message = message.unwrap();
        let id = message.properties.message_id().as_ref().map(|id| id.to_string());
        (id, message.data)
    });
    messages.collect().await
}

/// What people are told of a connection that is lost, and of its return.
fn told(log: &[Value], role: &str) -> Vec<String> {
    let loud = |it: &&Value| it["level"] != "DEBUG" && it["level"] != "TRACE" && it["role"] == role;
    let told = log.iter().filter(loud).filter_map(|line| line["message"].as_str());
    // The first time it is there, nothing was lost.
    let told = told.filter(|it| [LOST, CONNECTED].contains(it)).skip_while(|it| *it != LOST);
    told.map(str::to_owned).collect()
}

/// When each event was settled, by the host's log.
fn effect_times(log: &[Value]) -> Vec<(SystemTime, Number)> {
    let handled = log.iter().filter(|line| line["message"] == "handled");
    let mut times: Vec<_> = handled
        .filter_map(|line| {
            let at = humantime::parse_rfc3339(line["timestamp"].as_str()?).ok()?;
            Some((at, number(line["message_id"].as_str()?)?))
        })
        .collect();
    times.sort();
    times
}

/// The longest time without an effect around the fault, the one after it, and the sum of all pauses.
fn gaps(times: &[(SystemTime, Number)], evidence: &Evidence) -> (Duration, Duration, Duration) {
    let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    let after = times.iter().find(|(at, _)| *at >= evidence.over).map(|(at, _)| *at);
    // None at all is the longest gap.
    let Some(after) = after else { return (Duration::MAX, Duration::MAX, Duration::MAX) };
    let around = times.iter().map(|(at, _)| *at).filter(|at| *at >= evidence.began);
    let around: Vec<_> = around.filter(|at| *at <= after).collect();
    let gaps: Vec<_> = around.windows(2).map(|pair| since(pair[0], pair[1])).collect();
    let longest = gaps.iter().max().copied().unwrap_or_default();
    let paused = gaps.iter().filter(|gap| **gap > PAUSE).sum();
    (longest, since(evidence.over, after), paused)
}

/// Events per second in the later half of a third: the first may share the slots with what came
/// before it.
fn rate(times: &[(SystemTime, Number)], third: &Range<Number>) -> f64 {
    let of: Vec<_> = times.iter().filter(|(_, number)| third.contains(number)).collect();
    let of = &of[of.len() / 2..];
    let (Some((first, _)), Some((last, _))) = (of.first(), of.last()) else { return 0.0 };
    of.len() as f64 / last.duration_since(*first).unwrap_or_default().as_secs_f64()
}
