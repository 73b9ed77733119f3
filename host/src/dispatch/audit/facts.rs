//! What the broker has and permits, as far as plugins are concerned by it. Next: [`super::judge`],
//! which makes findings of it.

use super::Subject;
use super::judge::{destination, needs};
use crate::broker::{
    Access, Broker, Exchange, Item, Name, Queue, Refused, Seen, Server, TopologyError,
};
use crate::plugin::manifest::Subscription;
use std::collections::BTreeSet;

/// What is known of a broker; nothing by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Who it is.
    pub server: Option<Server>,
    /// What there is.
    pub seen: Vec<(Item, Result<Seen, TopologyError>)>,
    /// What the user may not do.
    pub refused: Vec<(Access, Refused)>,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    All,
    /// What a host that runs does not find out, and say, by itself.
    Untold,
}

impl Facts {
    /// Asks `broker` about `subjects`. Waits for its connection for a while. `granted` is what is known
    /// to be permitted and is not asked again: each such question is a line in the broker's log.
    ///
    /// # Errors
    /// The broker is not there, or was lost on the way.
    pub async fn ask(
        broker: &dyn Broker,
        subjects: &[Subject<'_>],
        extent: Extent,
        granted: &mut BTreeSet<Access>,
    ) -> Result<Self, TopologyError> {
        let mut facts = Self::default();
        for item in items(subjects, extent) {
            facts.see(broker, item).await?;
        }
        for exchange in facts.dead_letter_exchanges() {
            facts.see(broker, Item::Exchange(any_exchange(exchange))).await?;
        }
        let needs = subjects.iter().flat_map(|subject| needs(*subject));
        let needs = needs.filter(|need| extent == Extent::All || !need.told);
        for access in needs.map(|need| need.access).collect::<BTreeSet<_>>() {
            if granted.contains(&access) {
                continue;
            }
            match broker.may(&access).await {
                Ok(None) => _ = granted.insert(access),
                Ok(Some(refused)) => facts.refused.push((access, refused)),
                Err(error) if is_away(broker) => return Err(error),
                // What can't be asked is not a finding.
                Err(_) => {}
            }
        }
        facts.server = broker.server();
        Ok(facts)
    }

    /// Looks at `item` as well.
    ///
    /// # Errors
    /// The broker was lost on the way.
    pub async fn see(&mut self, broker: &dyn Broker, item: Item) -> Result<(), TopologyError> {
        if self.of(&item).is_none() {
            match broker.look(&item).await {
                Err(error) if is_away(broker) => return Err(error),
                seen => self.seen.push((item, seen)),
            }
        }
        Ok(())
    }

    /// What was seen in the place of `item`; `None` if nobody looked.
    pub fn of(&self, item: &Item) -> Option<&Result<Seen, TopologyError>> {
        self.seen.iter().find(|(asked, _)| asked == item).map(|(_, seen)| seen)
    }

    /// Whether something of this name is there; `None` if that is not known.
    pub fn is_there(&self, name: &Name) -> Option<bool> {
        self.seen.iter().filter(|(asked, _)| asked.name() == *name).find_map(|(_, seen)| match seen
        {
            Ok(Seen::Absent) => Some(false),
            Ok(Seen::There(_) | Seen::Differs(_)) => Some(true),
            Err(_) => None,
        })
    }

    /// The queue `stated` as it is, if that is known.
    pub fn queue(&self, stated: &Queue) -> Option<Queue> {
        match self.of(&Item::Queue(stated.clone()))? {
            Ok(Seen::There(Some(Item::Queue(queue)))) => Some(queue.clone()),
            _ => None,
        }
    }

    /// Where the queues that were seen, or are to be, have the broker dead-letter to.
    fn dead_letter_exchanges(&self) -> BTreeSet<String> {
        let queue = |(asked, seen): &(Item, Result<Seen, TopologyError>)| match (asked, seen) {
            (_, Ok(Seen::There(Some(Item::Queue(queue))))) | (Item::Queue(queue), _) => {
                let exchange = queue.arguments.get("x-dead-letter-exchange")?.as_text()?;
                // The default exchange is always there.
                (!exchange.is_empty()).then(|| exchange.to_owned())
            }
            _ => None,
        };
        self.seen.iter().filter_map(queue).collect()
    }

    /// What the user lacks for `access`.
    pub fn refused(&self, access: &Access) -> Option<&Refused> {
        self.refused.iter().find(|(asked, _)| asked == access).map(|(_, refused)| refused)
    }
}

/// Whether a connection of `broker` was lost, so that there is no answer to be had.
pub fn is_away(broker: &dyn Broker) -> bool {
    broker.health().links.iter().any(|link| !link.up && link.reason.is_some())
}

/// What must be there, or be created.
fn items(subjects: &[Subject<'_>], extent: Extent) -> Vec<Item> {
    let mut items = Vec::new();
    for subject in subjects {
        for Subscription { consume, .. } in &subject.manifest.subscriptions {
            let topology = &consume.topology;
            // An exclusive queue is there for its own connection alone.
            let shared = topology.queues.iter().filter(|it| !it.exclusive && !it.name.is_empty());
            let told = |queue: &&Queue| extent == Extent::All || **queue == consume.queue;
            items.extend(shared.filter(told).cloned().map(Item::Queue));
            if extent == Extent::All {
                items.extend(topology.exchanges.iter().cloned().map(Item::Exchange));
            }
        }
        for grant in &subject.manifest.grants.publish.effective() {
            items.extend(destination(grant).map(|name| match name {
                Name::Exchange(name) => Item::Exchange(any_exchange(name)),
                Name::Queue(name) => Item::Queue(Queue::durable(name)),
            }));
        }
    }
    items
}

fn any_exchange(name: String) -> Exchange {
    Exchange { name, kind: None, durable: true, auto_delete: false }
}
