//! Nodes to be hurt: one, and a cluster of three, that rows have for themselves one after the other.
//! They start with the first row that wants them and end with the run.

use crate::support::broker::Broker;
use std::ops::{Deref, DerefMut};
use tokio::sync::{Mutex, MutexGuard};
use xtask::node::Node;

static HURT: Mutex<Vec<Node>> = Mutex::const_new(Vec::new());
static CLUSTER: Mutex<Vec<Node>> = Mutex::const_new(Vec::new());

/// Nodes that nobody else uses meanwhile; running and well at first, and left so.
pub struct Nodes(MutexGuard<'static, Vec<Node>>);

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.0
    }
}

impl DerefMut for Nodes {
    fn deref_mut(&mut self) -> &mut [Node] {
        &mut self.0
    }
}

impl Nodes {
    /// One of them, for its operator.
    pub fn broker(&self, number: usize) -> Broker {
        Broker::of(&self[number])
    }

    /// Waits until all are well, and members of one cluster.
    pub async fn whole(&mut self) {
        let count = self.len().to_string();
        for number in 0..self.len() {
            self[number].wait_ready().unwrap();
            self.broker(number).ctl(&["await_online_nodes", &count]).await;
        }
    }

    /// The address of each.
    pub fn addresses(&self) -> Vec<String> {
        self.iter().map(|node| Broker::of(node).address).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // After a row that failed half-way nobody knows how they are: the next one gets others.
        if std::thread::panicking() {
            self.0.clear();
        }
    }
}

/// The one node.
pub async fn hurt() -> Nodes {
    ready(&HURT, || Node::start().map(|node| vec![node])).await
}

/// The three nodes of a cluster.
pub async fn cluster() -> Nodes {
    let mut nodes = ready(&CLUSTER, Node::start_cluster).await;
    nodes.whole().await;
    nodes
}

async fn ready(
    nodes: &'static Mutex<Vec<Node>>,
    start: impl FnOnce() -> anyhow::Result<Vec<Node>>,
) -> Nodes {
    let mut nodes = nodes.lock().await;
    if nodes.is_empty() {
        *nodes = start().unwrap();
    }
    // All at once, then each.
    nodes.iter_mut().for_each(|node| node.wait_ready().unwrap());
    Nodes(nodes)
}
