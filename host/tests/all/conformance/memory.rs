//! The suite on the embedded broker.

use super::{Control, Fixture};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use wabbit::broker::Broker;
use wabbit::broker::memory::MemoryBroker;

conformance!(super::fixture);

async fn fixture() -> Fixture {
    let broker = MemoryBroker::new();
    Fixture::new(broker.clone(), broker)
}

impl Control for Arc<MemoryBroker> {
    fn connect(&self) -> Arc<dyn Broker> {
        self.clone()
    }

    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            assert!(MemoryBroker::delete_queue(self, name), "there is no queue `{name}`");
        })
    }

    fn queue_depth<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<(usize, usize)>> {
        Box::pin(async move { MemoryBroker::queue_depth(self, name) })
    }
}
