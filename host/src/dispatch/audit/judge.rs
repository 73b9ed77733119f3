//! What is not at the broker as the manifests have it, and what the user may not do there. Next:
//! [`super::super::host`], which logs it, and [`crate::cli`], which prints it.

use super::facts::Facts;
use super::{Finding, Kind, Subject};
use crate::broker::{Access, Item, Mode, Name, Queue, Right, Seen};
use crate::capability::grants::PublishGrant;
use crate::dispatch::moves;
use crate::plugin::manifest::Subscription;
use crate::policy::delays;
use std::collections::BTreeSet;

/// What a queue that the server names is called when permissions are asked for.
const BY_SERVER: &str = "amq.gen-wabbit";

/// Adds what is absent, and that none of `all` declares, or is not as stated.
pub(super) fn topology(
    subject: Subject<'_>,
    subscription: &Subscription,
    all: &[Subject<'_>],
    facts: &Facts,
    findings: &mut Vec<Finding>,
) {
    let consume = &subscription.consume;
    let exchanges = consume.topology.exchanges.iter().cloned().map(Item::Exchange);
    let queues = consume.topology.queues.iter().cloned().map(Item::Queue);
    for item in exchanges.chain(queues) {
        let name = item.name();
        let mut finding = match facts.of(&item) {
            None | Some(Ok(Seen::There(_))) => continue,
            Some(Ok(Seen::Absent)) if all.iter().any(|it| declares(*it, &name)) => continue,
            Some(Ok(Seen::Absent)) => absent(subject, subscription, &item),
            Some(Ok(Seen::Differs(differences))) => {
                let ensured = consume.mode == Mode::Ensure;
                let kind = if ensured { Kind::Mismatch } else { Kind::Note };
                let hint = "state the same settings in the manifest, leave them out to use what \
                            is there, or delete it at the broker";
                let problem = format!("{name} exists with other settings");
                let differences = differences.clone();
                Finding { differences, ..subject.finding("", kind, problem, hint) }
            }
            Some(Err(error)) => {
                let hint = error.hint().unwrap_or("see what the broker's log says");
                subject.finding("", Kind::Mismatch, error.to_string(), hint)
            }
        };
        finding.queue.clone_from(&consume.queue.name);
        finding.told = consume.mode != Mode::Off || name.text() == consume.queue.name;
        findings.push(finding);
    }
}

/// Nothing is there, and no plugin has the host create it.
fn absent(subject: Subject<'_>, subscription: &Subscription, item: &Item) -> Finding {
    let name = item.name();
    let is_for_dead_letters = subscription.dead_letter.exchange == name.text();
    let (problem, hint) = match item {
        Item::Exchange(_) if is_for_dead_letters => (
            format!("{name}, where dead letters are to go, does not exist"),
            "create it, with a queue bound to it, or state its `type` in a binding of the plugin \
             that consumes them",
        ),
        Item::Exchange(_) if subscription.consume.mode == Mode::Ensure => (
            format!("{name} does not exist"),
            "create it, or state its `type`, so that the host creates it",
        ),
        _ => (format!("{name} does not exist"), "create it, or set `topology = \"ensure\"`"),
    };
    subject.finding("", Kind::Mismatch, problem, hint)
}

/// Whether the host creates what is absent: not an exchange of which only the name is stated.
pub fn creates(item: &Item, mode: Mode) -> bool {
    mode == Mode::Ensure && !matches!(item, Item::Exchange(exchange) if exchange.kind.is_none())
}

/// Adds the destinations of publications that are not there, and that none of `all` declares.
pub(super) fn grants(
    subject: Subject<'_>,
    all: &[Subject<'_>],
    facts: &Facts,
    findings: &mut Vec<Finding>,
) {
    let granted = subject.manifest.grants.publish.effective();
    for name in granted.iter().filter_map(destination) {
        if facts.is_there(&name) == Some(false) && !all.iter().any(|it| declares(*it, &name)) {
            let problem =
                format!("{name}, which it may publish to, does not exist: its events would fail");
            let hint = "create it, or take the grant out of `publish`";
            findings.push(subject.finding("", Kind::Mismatch, problem, hint));
        }
    }
}

/// What must be there for a publication: the exchange, or with the default exchange the queue;
/// `None` if the grant does not name it.
pub(super) fn destination(grant: &PublishGrant) -> Option<Name> {
    match grant.exchange()? {
        "" => grant.key().map(Name::Queue),
        exchange => Some(Name::Exchange(exchange.to_owned())),
    }
}

/// Whether the host creates what is called `name` for this plugin.
pub(super) fn declares(subject: Subject<'_>, name: &Name) -> bool {
    subject.manifest.subscriptions.iter().any(|subscription| {
        let consume = &subscription.consume;
        let topology = &consume.topology;
        let exchanges = topology.exchanges.iter().cloned().map(Item::Exchange);
        let mut items = exchanges.chain(topology.queues.iter().cloned().map(Item::Queue));
        items.any(|item| item.name() == *name && creates(&item, consume.mode))
    })
}

/// Adds the permissions that are lacking, each once.
pub(super) fn permissions(subject: Subject<'_>, facts: &Facts, findings: &mut Vec<Finding>) {
    let mut known = BTreeSet::new();
    for need in needs(subject) {
        let Some(refused) = facts.refused(&need.access) else { continue };
        let unneeded = |queue: &Queue| {
            let is_there = facts.is_there(&Name::Queue(queue.name.clone()));
            is_there == Some(true) && !queue.states_something()
        };
        if need.unless_there.is_some_and(|queue| unneeded(&queue)) {
            continue;
        }
        let (right, on) = (refused.right, &refused.on);
        if !known.insert((right.to_string(), on.text().to_owned())) {
            continue;
        }
        let problem = format!("the user has no {right} permission on {on}, {}", need.purpose);
        let pattern = if on.text().starts_with(moves::DELAY_PREFIX) {
            format!("`^{}`", moves::DELAY_PREFIX.replace('.', "\\."))
        } else {
            format!("`{}`", on.text())
        };
        let mut hint =
            format!("let its {right} pattern match {pattern} (`rabbitmqctl set_permissions`)");
        if need.told && right == Right::Configure {
            hint.push_str(", or declare it by other means and set `topology = \"verify\"`");
        }
        let finding = subject.finding(&need.queue, Kind::Forbidden, problem, hint);
        findings.push(Finding { told: need.told, ..finding });
    }
}

/// Something that a plugin needs to be permitted.
pub(super) struct Need {
    pub(super) access: Access,
    queue: String,
    purpose: &'static str,
    /// It is only needed if this is not there as it is.
    unless_there: Option<Queue>,
    /// See [`Finding::told`].
    pub(super) told: bool,
}

/// What a plugin needs to be permitted.
pub(super) fn needs(subject: Subject<'_>) -> Vec<Need> {
    let mut needs = Vec::new();
    for subscription in &subject.manifest.subscriptions {
        let queue = &subscription.consume.queue.name;
        let mut add = |access, purpose, unless_there, told| {
            needs.push(Need { access, queue: queue.clone(), purpose, unless_there, told });
        };
        to_consume(subscription, &mut add);
        if subscription.at_most_once {
            continue;
        }
        let to = subscription.dead_letter.exchange.clone();
        add(Access::Publish(to), "by which dead letters are published", None, false);
        let delays = delays::of(&subject.manifest.policy);
        let first = delays.first().filter(|_| subject.retries_by_delay(subscription));
        if let Some(delay) = first {
            to_retry(moves::delay_queue(*delay), &mut add);
        }
    }
    let granted = subject.manifest.grants.publish.effective();
    for exchange in granted.iter().filter_map(PublishGrant::exchange) {
        let exchange = exchange.to_owned();
        let (access, purpose) = (Access::Publish(exchange), "which it may publish to");
        let queue = String::new();
        needs.push(Need { access, queue, purpose, unless_there: None, told: false });
    }
    needs
}

fn to_consume(
    subscription: &Subscription,
    add: &mut impl FnMut(Access, &'static str, Option<Queue>, bool),
) {
    let consume = &subscription.consume;
    let ensured = consume.mode == Mode::Ensure;
    let own = &consume.queue;
    // Nobody else can declare it.
    let alone = own.name.is_empty() || own.exclusive && consume.mode != Mode::Off;
    let called = |name: &str| if name.is_empty() { BY_SERVER.to_owned() } else { name.to_owned() };
    for exchange in consume.topology.exchanges.iter().filter(|it| ensured && it.kind.is_some()) {
        let access = Access::Declare(Name::Exchange(exchange.name.clone()));
        add(access, "to declare it", None, true);
    }
    for queue in &consume.topology.queues {
        let shared = !queue.exclusive && !queue.name.is_empty();
        if ensured && shared || alone && queue == own {
            let access = Access::Declare(Name::Queue(queue.name.clone()));
            add(access, "to declare it", shared.then(|| queue.clone()), true);
        }
    }
    for binding in &consume.topology.bindings {
        if ensured || alone && binding.queue == own.name {
            let (exchange, queue) = (binding.exchange.clone(), called(&binding.queue));
            add(Access::Bind { exchange, queue }, "to bind the queue", None, true);
        }
    }
    add(Access::Consume(called(&own.name)), "to consume", None, true);
}

/// The patterns of permissions are the same for queues and exchanges, which are called alike here.
fn to_retry(name: String, add: &mut impl FnMut(Access, &'static str, Option<Queue>, bool)) {
    let waiting = "where retries wait";
    add(Access::Declare(Name::Queue(name.clone())), waiting, None, false);
    add(Access::Bind { exchange: name.clone(), queue: name.clone() }, waiting, None, false);
    add(Access::Publish(name), waiting, None, false);
    add(Access::Publish(String::new()), "by which retries come back", None, false);
}
