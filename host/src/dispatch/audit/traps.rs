//! Ways to lose events that are in a manifest, or in a queue as it is. What somebody asked for by
//! name is a note; what happens by a default is an error. Next: [`super::judge`].

use super::facts::Facts;
use super::judge::declares;
use super::{Finding, Kind, Subject};
use crate::broker::{ConsumerTimeout, Features, Mode, Name, Queue, QueueType};
use crate::flow::Field;
use crate::plugin::manifest::Subscription;
use crate::policy::{Policy, RETURNS_ALONE};
use std::iter::repeat;
use std::time::Duration;

/// One subscription of a plugin, with its queue as it is at the broker, or else as it is stated.
struct Case<'a> {
    subject: Subject<'a>,
    subscription: &'a Subscription,
    queue: Queue,
    /// The broker's; none are known without one.
    features: Option<Features>,
    /// The plugins that run together.
    all: &'a [Subject<'a>],
    facts: &'a Facts,
}

/// How long RabbitMQ lets a consumer hold an event, unless it is told otherwise.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Adds what there is to say about `subscription`.
pub(super) fn find(
    subject: Subject<'_>,
    subscription: &Subscription,
    all: &[Subject<'_>],
    facts: &Facts,
    findings: &mut Vec<Finding>,
) {
    let stated = &subscription.consume.queue;
    let queue = facts.queue(stated).unwrap_or_else(|| stated.clone());
    let features = facts.server.as_ref().map(|server| server.features);
    let case = Case { subject, subscription, queue, features, all, facts };
    let rules = [
        overflow,
        age,
        dead_letter_exchange,
        delivery_limit,
        consumer_timeout,
        order,
        transience,
        exchanges,
        at_most_once,
        dedupe,
        unchecked,
    ];
    findings.extend(rules.iter().filter_map(|rule| rule(&case)));
}

/// A queue that is full.
fn overflow(case: &Case<'_>) -> Option<Finding> {
    let limit = ["x-max-length", "x-max-length-bytes"];
    let limit = limit.into_iter().find(|limit| case.argument(limit).is_some())?;
    let queue = &case.queue.name;
    let retried = case.subject.manifest.policy.attempts > 1
        && case.subject.retries_by_delay(case.subscription);
    match case.argument("x-overflow").and_then(Field::as_text) {
        Some("drop-head") | None if case.has_dead_letter_exchange() => None,
        // A limit was asked for, and this is what limits do.
        Some("drop-head") | None => Some(case.says(
            Kind::Note,
            format!("the queue `{queue}` forgets its oldest events when `{limit}` is reached"),
            case.keep_them(),
        )),
        Some("reject-publish-dlx") if case.has_dead_letter_exchange() => None,
        Some(overflow @ ("reject-publish" | "reject-publish-dlx")) if retried => Some(case.says(
            Kind::Loses,
            format!(
                "the queue `{queue}` has `x-overflow = \"{overflow}\"`: a retry that comes back \
                 while it is full is gone"
            ),
            format!("leave `x-overflow` out, and {}; or have no retries", case.keep_them()),
        )),
        Some(_) => None,
    }
}

/// A queue whose events expire.
fn age(case: &Case<'_>) -> Option<Finding> {
    let ms = case.argument("x-message-ttl")?.as_integer()?;
    if case.has_dead_letter_exchange() {
        return None;
    }
    let age = humantime::format_duration(Duration::from_millis(ms.unsigned_abs()));
    let problem =
        format!("the queue `{}` forgets events that wait longer than {age}", case.queue.name);
    let hint = format!("leave `x-message-ttl` out, or {}", case.keep_them());
    Some(case.says(Kind::Loses, problem, hint))
}

/// A queue that dead-letters to nowhere, which RabbitMQ does without a word.
fn dead_letter_exchange(case: &Case<'_>) -> Option<Finding> {
    let name = case.argument("x-dead-letter-exchange")?.as_text()?;
    let exchange = Name::Exchange(name.to_owned());
    let absent = case.facts.is_there(&exchange) == Some(false);
    if !absent || case.all.iter().any(|it| declares(*it, &exchange)) {
        return None;
    }
    let problem = format!(
        "the dead-letter exchange `{name}` of the queue `{}` does not exist: what the broker \
         dead-letters is gone",
        case.queue.name
    );
    Some(case.says(Kind::Loses, problem, "create it, with a queue bound to it"))
}

/// A quorum queue that gives up before the host makes a dead letter of it.
fn delivery_limit(case: &Case<'_>) -> Option<Finding> {
    if case.queue.kind != Some(QueueType::Quorum) || case.has_dead_letter_exchange() {
        return None;
    }
    let limit = match case.argument("x-delivery-limit") {
        // Below zero it is no limit.
        Some(stated) => u32::try_from(stated.as_integer()?).ok()?,
        None => case.features?.default_delivery_limit?,
    };
    if limit >= RETURNS_ALONE {
        return None;
    }
    let problem = format!(
        "the queue `{}` drops an event that comes back {} times, by crashes or lost connections; \
         the host looks after it from the {RETURNS_ALONE}th time on",
        case.queue.name,
        limit.saturating_add(1)
    );
    let hint =
        format!("state an `x-delivery-limit` of {RETURNS_ALONE} or more, or {}", case.keep_them());
    Some(case.says(Kind::Loses, problem, hint))
}

/// A handler that may hold an event for longer than the broker lets it.
fn consumer_timeout(case: &Case<'_>) -> Option<Finding> {
    let most = match case.argument("x-consumer-timeout").and_then(Field::as_integer) {
        Some(ms) => Duration::from_millis(ms.unsigned_abs()),
        None => CONSUMER_TIMEOUT,
    };
    let then = match case.features?.consumer_timeout {
        ConsumerTimeout::ClosesChannel => "closes the channel",
        ConsumerTimeout::CancelsConsumer if case.queue.kind == Some(QueueType::Quorum) => {
            "cancels the consumer"
        }
        ConsumerTimeout::CancelsConsumer | ConsumerTimeout::None => return None,
    };
    let Subscription { consume, concurrency, at_most_once, order_by, .. } = case.subscription;
    let timeout = case.subject.manifest.limits.timeout;
    // What is prefetched counts as held, while it waits for those before it.
    let turns = usize::from(consume.prefetch).div_ceil(*concurrency);
    let mut longest = timeout.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
    if order_by.is_some() {
        // It keeps its place through all its attempts.
        let Policy { attempts, delays, .. } = &case.subject.manifest.policy;
        let tries = timeout.saturating_mul(*attempts);
        let waits =
            delays.iter().copied().chain(repeat(delays.last().copied().unwrap_or_default()));
        let waits = waits.take(attempts.saturating_sub(1) as usize);
        longest = longest.max(waits.fold(tries, Duration::saturating_add));
    }
    if *at_most_once || longest <= most {
        return None;
    }
    let [timeout_is, longest_is, most_is] =
        [timeout, longest, most].map(humantime::format_duration);
    let (kind, problem) = if timeout > most {
        let problem = format!(
            "the handler's `timeout` is {timeout_is}, and the broker {then} over an event that is \
             held for {most_is}: it would never end"
        );
        (Kind::Mismatch, problem)
    } else {
        let problem = format!(
            "an event may be held for {longest_is} until it is settled, and the broker {then} after \
             {most_is}: what is held would be delivered again"
        );
        (Kind::Note, problem)
    };
    let hint =
        "lower `timeout`, `prefetch` or `attempts`, or raise the broker's `consumer_timeout`";
    Some(case.says(kind, problem, hint))
}

/// An order that ends where a second host begins.
fn order(case: &Case<'_>) -> Option<Finding> {
    case.subscription.order_by.as_ref()?;
    let exclusive = case.queue.exclusive || case.queue.name.is_empty();
    if exclusive || case.argument("x-single-active-consumer") == Some(&Field::Bool(true)) {
        return None;
    }
    let problem = "`order-by` holds as long as one host consumes the queue, and not across two";
    let hint = "add `x-single-active-consumer = true` to `arguments`: other hosts then stand by";
    Some(case.says(Kind::Note, problem, hint))
}

/// A queue that is not always there.
fn transience(case: &Case<'_>) -> Option<Finding> {
    let queue = &case.queue;
    let (problem, hint) = if queue.name.is_empty() || queue.exclusive {
        let named = if queue.name.is_empty() { "that the server names" } else { "is exclusive" };
        let what = if queue.name.is_empty() {
            format!("a queue {named} goes with its connection")
        } else {
            format!("the queue `{}` {named} and goes with its connection", queue.name)
        };
        (
            format!("{what}: what is published while the host is away is gone"),
            "name a durable queue, with `arguments = { x-expires = … }` if it is not needed for ever",
        )
    } else if queue.auto_delete {
        (
            format!(
                "the queue `{}` goes with its last consumer, and its events with it",
                queue.name
            ),
            "leave `auto-delete` out, or use the argument `x-expires`",
        )
    } else if !queue.durable {
        (
            format!("the queue `{}` does not outlive a restart of the broker", queue.name),
            "leave `durable = false` out",
        )
    } else {
        return None;
    };
    Some(case.says(Kind::Note, problem, hint))
}

/// An exchange that goes with its last binding, under its publishers.
fn exchanges(case: &Case<'_>) -> Option<Finding> {
    let topology = &case.subscription.consume.topology;
    let exchange = topology.exchanges.iter().find(|exchange| exchange.auto_delete)?;
    let passing = case.queue.exclusive || case.queue.name.is_empty() || case.queue.auto_delete;
    let problem = format!(
        "the exchange `{}` goes when its last binding does: what is published then is gone",
        exchange.name
    );
    // With a queue that comes and goes, this is as much as one can have.
    let kind = if passing { Kind::Note } else { Kind::Loses };
    Some(case.says(kind, problem, "leave `auto-delete` of the binding out"))
}

fn at_most_once(case: &Case<'_>) -> Option<Finding> {
    if !case.subscription.at_most_once {
        return None;
    }
    let problem = "`delivery = \"at-most-once\"`: an event is gone when its handler fails or the \
                   host ends, and never becomes a dead letter";
    Some(case.says(Kind::Note, problem, "leave `delivery` out where each event counts"))
}

/// A record that is never made.
fn dedupe(case: &Case<'_>) -> Option<Finding> {
    if !case.subscription.at_most_once || case.subject.manifest.dedupe.is_none() {
        return None;
    }
    let problem = "`[dedupe]` does nothing with `delivery = \"at-most-once\"`: what is acknowledged \
                   before it is handled is not recorded, and copies are handled";
    Some(case.says(Kind::Note, problem, "leave one of the two out"))
}

/// A destination of dead letters that nobody looks at.
fn unchecked(case: &Case<'_>) -> Option<Finding> {
    if case.subscription.consume.mode != Mode::Off || case.subscription.at_most_once {
        return None;
    }
    let to = case.subscription.dead_letter.told();
    let problem = format!(
        "`topology = \"off\"`: nobody looks whether dead letters arrive at {to}; while they do \
         not, they are held and the queue stands still"
    );
    Some(case.says(Kind::Note, problem, "set `topology = \"verify\"`, which looks for it"))
}

impl Case<'_> {
    fn argument(&self, name: &str) -> Option<&Field> {
        self.queue.arguments.get(name)
    }

    fn has_dead_letter_exchange(&self) -> bool {
        self.argument("x-dead-letter-exchange").is_some()
    }

    /// How to have the broker keep what it would forget.
    fn keep_them(&self) -> String {
        let to = &self.subscription.dead_letter;
        format!(
            "add `x-dead-letter-exchange = \"{}\"` and `x-dead-letter-routing-key = \"{}\"` to \
             `arguments`",
            to.exchange, to.routing_key
        )
    }

    fn says(&self, kind: Kind, problem: impl Into<String>, hint: impl Into<String>) -> Finding {
        self.subject.finding(&self.queue.name, kind, problem, hint)
    }
}
