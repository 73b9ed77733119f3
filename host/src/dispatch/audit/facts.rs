//! What the broker has and permits, as far as plugins are concerned by it. Next: [`super::judge`],
//! which makes findings of it.

use super::Subject;
use super::judge::{destination, needs};
use crate::broker::{
    Access, Broker, Exchange, Item, Name, Queue, Refused, Seen, Server, TopologyError,
};
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

impl Facts {
    /// Asks `broker` for all that concerns `subjects`. Waits for its connections; whoever asks
    /// limits how long.
    ///
    /// # Errors
    /// The broker was lost on the way.
    pub async fn ask(broker: &dyn Broker, subjects: &[Subject<'_>]) -> Result<Self, TopologyError> {
        let mut facts = Self::default();
        for item in items(subjects) {
            facts.see(broker, item).await?;
        }
        let needs = subjects.iter().flat_map(|subject| needs(*subject));
        for access in needs.map(|need| need.access).collect::<BTreeSet<_>>() {
            match broker.may(&access).await {
                Ok(None) => {}
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

    /// What the user lacks for `access`.
    pub fn refused(&self, access: &Access) -> Option<&Refused> {
        self.refused.iter().find(|(asked, _)| asked == access).map(|(_, refused)| refused)
    }
}

fn is_away(broker: &dyn Broker) -> bool {
    broker.health().links.iter().any(|link| !link.up && link.reason.is_some())
}

/// Everything that must be there, or be created.
fn items(subjects: &[Subject<'_>]) -> Vec<Item> {
    let mut items = Vec::new();
    for subject in subjects {
        for subscription in &subject.manifest.subscriptions {
            let topology = &subscription.consume.topology;
            // An exclusive queue is there for its own connection alone.
            let queues = topology.queues.iter().filter(|it| !it.exclusive && !it.name.is_empty());
            items.extend(topology.exchanges.iter().cloned().map(Item::Exchange));
            items.extend(queues.cloned().map(Item::Queue));
        }
        for grant in &subject.manifest.grants.publish {
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
