//! `wabbit:publish/publisher`: what a guest asks to publish waits here until it has succeeded.

use super::grants::Grants;
use super::{Budget, Guest};
use crate::flow::{Field, Headers, Publication};
use crate::wit::v0_1::{self, import::wabbit::publish::publisher};
use publisher::{Property, PublishError};
use std::borrow::Cow;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

/// The publications of one event.
pub struct Outbox {
    grants: Arc<Grants>,
    waiting: Vec<Publication>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Outbox {
    /// An empty one.
    pub fn new(grants: Arc<Grants>, budget: &Budget) -> Self {
        Self {
            grants,
            waiting: Vec::new(),
            bytes: 0,
            count_max: budget.publications,
            bytes_max: budget.publication_bytes,
        }
    }

    /// Forgets what an event left behind.
    pub fn clear(&mut self) {
        self.take();
    }

    /// What is to be published, in the order in which it was asked for.
    pub fn take(&mut self) -> Vec<Publication> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    fn add(&mut self, publication: Publication) -> Result<(), PublishError> {
        let Publication { exchange, routing_key, properties, body } = &publication;
        let key = Cow::from(routing_key);
        for key in std::iter::once(key).chain(copy_keys(&properties.headers)) {
            if !self.grants.allows_publish(exchange, &key) {
                return Err(PublishError::NotGranted(format!(
                    "the grants do not cover publishing to `{exchange}:{key}`"
                )));
            }
        }
        if self.waiting.len() >= self.count_max {
            let most = self.count_max;
            return Err(PublishError::Limit(format!("one event may publish {most} messages")));
        }
        let bytes =
            self.bytes.saturating_add(body.len()).saturating_add(properties.headers.wire_size());
        if bytes > self.bytes_max {
            let most = self.bytes_max;
            return Err(PublishError::Limit(format!("one event may publish {most} bytes")));
        }
        self.bytes = bytes;
        self.waiting.push(publication);
        Ok(())
    }
}

/// The further keys that the broker routes a message with these headers by.
fn copy_keys(headers: &Headers) -> impl Iterator<Item = Cow<'_, str>> {
    let copies = headers.0.iter().filter(|(name, _)| name == "CC" || name == "BCC");
    let items = copies.flat_map(|(_, value)| match value {
        Field::Array(items) => items.as_slice(),
        _ => &[],
    });
    items.filter_map(|item| match item {
        Field::Text(key) => Some(key.into()),
        Field::RawText(key) => Some(String::from_utf8_lossy(key)),
        _ => None,
    })
}

impl publisher::Host for Guest {
    fn publish(
        &mut self,
        exchange: String,
        routing_key: String,
        body: Vec<u8>,
        properties: Vec<Property>,
    ) -> Result<Result<(), PublishError>> {
        let publication = v0_1::publication(exchange, routing_key, body, properties);
        Ok(publication.and_then(|publication| self.outbox.add(publication)))
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    use crate::wit::v0_1::import::wabbit::amqp::types;
    types::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    publisher::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl crate::wit::v0_1::import::wabbit::amqp::types::Host for Guest {}
