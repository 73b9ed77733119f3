//! What is there, and how it differs from what is wanted: as [`super::declare`] compares, without
//! creating anything. Next: [`super::consume`].

use super::core::Core;
use crate::broker::{Difference, Exchange, Item, Queue, Seen};
use crate::flow::Field;

impl Core {
    /// See [`crate::broker::Broker::look`].
    pub fn look(&self, wanted: &Item) -> Seen {
        let (differences, found) = match wanted {
            Item::Exchange(wanted) => {
                let Some(found) = self.exchanges.get(&wanted.name) else { return Seen::Absent };
                let found = Exchange {
                    name: wanted.name.clone(),
                    kind: Some(found.kind),
                    durable: found.durable,
                    auto_delete: found.auto_delete,
                };
                let Some(kind) = wanted.kind else { return Seen::There(None) };
                let is = found.kind.map_or("", |kind| kind.name());
                let mut differences = differ("type", kind.name().into(), Some(is.into()));
                let (durable, auto_delete) = (found.durable, found.auto_delete);
                differences
                    .extend(flags((wanted.durable, durable), (wanted.auto_delete, auto_delete)));
                (differences, Item::Exchange(found))
            }
            Item::Queue(wanted) => {
                let Some(found) = self.queues.get(&wanted.name) else { return Seen::Absent };
                (of_queues(wanted, &found.spec), Item::Queue(found.spec.clone()))
            }
        };
        if differences.is_empty() { Seen::There(Some(found)) } else { Seen::Differs(differences) }
    }
}

fn of_queues(wanted: &Queue, found: &Queue) -> Vec<Difference> {
    let flags = flags((wanted.durable, found.durable), (wanted.auto_delete, found.auto_delete));
    let mut differences: Vec<_> = flags.collect();
    if let Some(kind) = wanted.kind {
        let is = found.kind.map(|kind| kind.name().into());
        differences.extend(differ("x-queue-type", kind.name().into(), is));
    }
    for (argument, stated) in &wanted.arguments.0 {
        differences.extend(differ(
            argument,
            stated.clone(),
            found.arguments.get(argument).cloned(),
        ));
    }
    differences
}

/// Takes what was wanted and what was found of each. A flag at its default was not stated.
fn flags(durable: (bool, bool), auto_delete: (bool, bool)) -> impl Iterator<Item = Difference> {
    let durable = (!durable.0).then_some(("durable", durable));
    let auto_delete = auto_delete.0.then_some(("auto_delete", auto_delete));
    let stated = durable.into_iter().chain(auto_delete);
    stated.flat_map(|(setting, (stated, current))| {
        differ(setting, Field::Bool(stated), Some(Field::Bool(current)))
    })
}

fn differ(setting: &str, stated: Field, current: Option<Field>) -> Vec<Difference> {
    if current.as_ref().is_some_and(|current| stated.same(current)) {
        return Vec::new();
    }
    vec![Difference { setting: setting.to_owned(), stated: Some(stated), current }]
}
