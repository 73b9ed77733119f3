//! A work queue that several hosts compete for, from before there is a broker.

use super::play;
use xtask::node::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_reaches_the_catalogue_once() {
    // A broker of its own, which is stopped and started.
    let started = tokio::task::spawn_blocking(|| {
        let mut node = Node::start()?;
        node.wait_ready()?;
        anyhow::Ok(node)
    });
    let node = started.await.unwrap().unwrap();
    play("product-catalogue", &node.amqp_url(), &node.rabbitmqctl()).await;
}
