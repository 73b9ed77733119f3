//! Which event this is, wherever it comes from again: a hash of what stays the same at each of its
//! deliveries. Next: `book`, which keeps what is known of it.

use crate::flow::Event;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Two hashes with seeds of their own make 128 bits. Another seed forgets what is kept on disk.
const SEEDS: [RapidSecrets; 2] = [RapidSecrets::seed(1), RapidSecrets::seed(2)];

/// 128 bits that tell an event from others; neither half is 0, which marks free places on disk.
/// Copies of a message that its publisher gave no id are one event here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub [u64; 2]);

impl Identity {
    /// Of `event`: neither its headers nor its attempt count, they change on the way.
    pub fn of(event: &Event) -> Self {
        let properties = &event.properties;
        let timestamp = properties.timestamp.map(u64::to_le_bytes);
        let parts = [
            Some(event.queue.as_bytes()),
            Some(event.exchange.as_bytes()),
            Some(event.routing_key.as_bytes()),
            text(properties.message_id.as_deref()),
            timestamp.as_ref().map(<[u8; 8]>::as_slice),
            text(properties.kind.as_deref()),
            text(properties.correlation_id.as_deref()),
            Some(event.body.as_slice()),
        ];
        Self(SEEDS.map(|seed| {
            let mut hashes = [0; 64];
            for (part, to) in parts.iter().zip(hashes.as_chunks_mut::<8>().0) {
                // What is absent stays 0, and differs from what is empty.
                *to = part.map_or(0, |part| rapidhash_v3_seeded(part, &seed)).to_le_bytes();
            }
            rapidhash_v3_seeded(&hashes, &seed).max(1)
        }))
    }
}

fn text(text: Option<&str>) -> Option<&[u8]> {
    text.map(str::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Field, Properties};

    fn event() -> Event {
        Event {
            exchange: "shop".into(),
            routing_key: "order.created".into(),
            queue: "orders".into(),
            redelivered: false,
            attempt: 1,
            returned: 0,
            first_seen: 5,
            id: None,
            properties: Properties {
                message_id: Some("m-1".into()),
                timestamp: Some(7),
                ..Properties::default()
            },
            body: b"body".to_vec(),
        }
    }

    #[test]
    fn an_event_is_the_same_at_each_delivery() {
        let mut again = event();
        (again.attempt, again.returned, again.redelivered, again.first_seen) = (3, 2, true, 9);
        again.properties.headers.0.push(("x-seen".into(), Field::Bool(true)));
        assert_eq!(Identity::of(&again), Identity::of(&event()));
    }

    #[test]
    fn what_was_published_tells_events_apart() {
        let changes: [fn(&mut Event); 10] = [
            |event| event.queue = "others".into(),
            |event| event.exchange = String::new(),
            |event| event.routing_key = "order".into(),
            |event| event.properties.message_id = Some("m-2".into()),
            |event| event.properties.message_id = None,
            |event| event.properties.message_id = Some(String::new()),
            |event| event.properties.timestamp = None,
            |event| event.properties.kind = Some("m-1".into()),
            |event| event.properties.correlation_id = Some("m-1".into()),
            |event| event.body.push(0),
        ];
        let mut all = std::collections::BTreeSet::from([Identity::of(&event())]);
        for change in changes {
            let mut other = event();
            change(&mut other);
            all.insert(Identity::of(&other));
        }
        assert_eq!(all.len(), 11);
    }
}
