//! Whether an event was handled before: which event it is, and what the home store of its plugin has
//! recorded of that. Next: `steps`, which asks.

use super::handle::Target;
use crate::capability::transaction::Home;
use crate::flow::{Event, Outcome, Publication};
use crate::plugin::manifest::Dedupe;
use crate::store::{EventId, Recalled, Record, StoreError};
use crate::telemetry::report;
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How long a store may take to say what it knows.
const RECALL_MAX: Duration = Duration::from_secs(30);

/// One event in the memory of its plugin.
pub struct Memory<'a> {
    home: &'a Home,
    id: EventId,
    window: Duration,
    /// A value of its own tells it from others, and not its id.
    pub by_key: bool,
}

impl<'a> Memory<'a> {
    /// `None` if nothing is recorded of it. An event that is recognized by its id has that then.
    pub fn of(target: &'a Target, event: &mut Event) -> Option<Self> {
        let plugin = target.plugin.as_ref()?;
        let home = plugin.stores.home.as_ref().filter(|_| !target.subscription.at_most_once)?;
        let default = Dedupe::default();
        let Dedupe { key, window } = plugin.manifest.dedupe.as_ref().unwrap_or(&default);
        let value = match key {
            Some(key) => key.of(event),
            None => Some(identify(event)),
        };
        let Some(value) = value else {
            report::EventNotRecorded { subscription: &target.metrics }.emit();
            return None;
        };
        let by_key = key.is_some();
        let kind = if by_key { "key" } else { "id" };
        let id = EventId(digest(&[&*plugin.name, &event.queue, kind, &value].map(str::as_bytes)));
        Some(Self { home, id, window: *window, by_key })
    }

    /// What is left to be published for it, if it was handled before; or why that is not known.
    pub async fn recall(&self) -> Option<Outcome> {
        let asked = tokio::time::timeout(RECALL_MAX, self.home.inbox().recall(self.id)).await;
        let away = || StoreError::Unavailable("the store gives no answer".to_owned());
        match asked.unwrap_or_else(|_| Err(away())) {
            Ok(Recalled::New) => None,
            Ok(Recalled::Done(left)) => Some(Outcome::Ok(left)),
            Err(error) => Some(error.into()),
        }
    }

    /// That it is handled, and `publications` are to be published for it.
    pub fn record<'p>(&self, publications: &'p [Publication]) -> Record<'p> {
        let expires = SystemTime::now() + self.window;
        Record { event: self.id, publications, expires }
    }

    /// Nothing is left to be published. If the store can't be told, copies may be, with the same
    /// message-ids, should the event come again.
    pub async fn forget(&self) {
        let told = tokio::time::timeout(RECALL_MAX, self.home.inbox().published(self.id)).await;
        if let Ok(Err(error)) = told {
            tracing::debug!(%error, "publications that were confirmed are still recorded");
        }
    }

    /// A name for what belongs to it, the same each time that it comes.
    pub fn name(&self) -> String {
        hex(&self.id.0)
    }
}

/// Gives `event` an id of the host's if it has no message-id and came without one; whether it did.
pub fn named_by_host(event: &mut Event) -> bool {
    let nameless = event.id.is_none() && event.message_id().is_none();
    if nameless {
        identify(event);
    }
    nameless
}

/// What the host knows `event` by, and its moves carry: message-id and content together, since there
/// are publishers that use an id again for something else.
fn identify(event: &mut Event) -> String {
    if let Some(id) = &event.id {
        return id.clone();
    }
    let id = match event.message_id() {
        Some(id) => {
            let Event { exchange, routing_key, properties, body, .. } = &*event;
            let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
            let (content_type, kind) = (text(&properties.content_type), text(&properties.kind));
            let texts = [id, exchange, routing_key, &content_type, &kind].map(str::as_bytes);
            digest(&[&texts[..], &[&body[..]]].concat())
        }
        None => unique(),
    };
    event.id.insert(hex(&id[..16])).clone()
}

/// Another one each time, in all processes.
fn unique() -> [u8; 32] {
    static PROCESS: LazyLock<[u64; 2]> =
        LazyLock::new(|| [(); 2].map(|()| RandomState::new().hash_one(SystemTime::now())));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let [a, b] = PROCESS.map(u64::to_le_bytes);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    digest(&[&a, &b, &count.to_le_bytes(), &std::process::id().to_le_bytes()])
}

/// Of all `parts`, and of where each one ends.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Properties;

    fn event(message_id: Option<&str>, exchange: &str, body: &str) -> Event {
        let message_id = message_id.map(str::to_owned);
        Event {
            exchange: exchange.into(),
            routing_key: "order.placed".into(),
            queue: "orders".into(),
            redelivered: false,
            attempt: 1,
            first_seen: 0,
            returned: 0,
            id: None,
            properties: Properties { message_id, ..Properties::default() },
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn copies_of_an_event_have_one_id_and_others_have_others() {
        let one = || event(Some("m1"), "shop", "body");
        let with = |content_type: &str, kind: &str| {
            let mut event = one();
            event.properties.content_type = Some(content_type.to_owned());
            event.properties.kind = Some(kind.to_owned());
            event
        };
        let table = [
            (one(), one(), true),
            (one(), Event { attempt: 3, redelivered: true, ..one() }, true),
            (one(), event(Some("m2"), "shop", "body"), false),
            (one(), event(Some("m1"), "shop", "other"), false),
            (one(), event(Some("m1"), "", "body"), false),
            // Lengths are a part of it.
            (event(Some("m"), "1shop", ""), event(Some("m1"), "shop", ""), false),
            (event(None, "shop", "body"), event(None, "shop", "body"), false),
            (event(Some(""), "shop", "body"), event(Some(""), "shop", "body"), false),
            (with("placed", ""), with("placed", ""), true),
            (with("placed", ""), with("cancelled", ""), false),
            (with("", "placed"), with("", "cancelled"), false),
            (with("", "placed"), with("placed", ""), false),
            (with("", ""), one(), true),
        ];
        for (mut a, mut b, same) in table {
            assert_eq!(identify(&mut a) == identify(&mut b), same, "{a:?} {b:?}");
        }
        let mut moved = Event { id: Some("known".to_owned()), ..event(None, "", "") };
        assert_eq!(identify(&mut moved), "known");
        assert!(!named_by_host(&mut moved));
        for (id, named) in [(None, true), (Some(""), true), (Some("m1"), false)] {
            let mut event = event(id, "shop", "body");
            assert_eq!(named_by_host(&mut event), named, "{id:?}");
            assert_eq!(event.id.is_some(), named, "{id:?}");
        }
    }
}
