//! A cluster of three nodes with quorum queues, of which the host knows all.

use super::nodes::{self, Nodes};
use super::oracle::Pass;
use super::run::{Plan, Run};
use super::{ms, secs};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Which node leads the queue `work`.
async fn leader(run: &Run, nodes: &Nodes) -> usize {
    let args = ["list_queues", "--formatter", "json", "-p", &run.vhost.name, "name", "leader"];
    let listed: Vec<Value> = serde_json::from_str(&run.vhost.broker.ctl(&args).await).unwrap();
    let work = listed.iter().find(|queue| queue["name"] == "work").unwrap();
    let named = |node: &xtask::node::Node| work["leader"] == node.name();
    nodes.iter().position(named).unwrap()
}

async fn start(row: &'static str, nodes: &Nodes, during: Duration) -> Run {
    let plan = Plan::on(row, nodes.broker(0)).at(nodes.addresses()).quorum().during(during);
    plan.start().await
}

async fn ends(run: Run, gap: Duration) {
    let account = run.account().await;
    let [losses, publish_losses] = account.evidence.reconnects;
    let pass = Pass {
        losses: losses + 1,
        publish_losses: publish_losses + 1,
        gap: Some(gap),
        ..Pass::default()
    };
    account.passes(&pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_killed() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: leader killed";
    let mut run = start(row, &nodes, secs(10)).await;
    let leader = leader(&run, &nodes).await;
    nodes[leader].kill();
    run.over();
    sleep(secs(10)).await;
    nodes[leader].start_again().unwrap();
    nodes.whole().await;
    ends(run, secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_stopped() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: leader stopped 30 s";
    let mut run = start(row, &nodes, secs(40)).await;
    let leader = leader(&run, &nodes).await;
    nodes[leader].signal("STOP");
    sleep(secs(30)).await;
    nodes[leader].signal("CONT");
    run.over();
    nodes.whole().await;
    ends(run, secs(45)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_nodes_restarted_one_after_the_other() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: rolling restart of all three";
    let mut run = start(row, &nodes, secs(120)).await;
    for number in 0..nodes.len() {
        nodes.broker(number).ctl(&["stop_app"]).await;
        nodes.broker(number).ctl(&["start_app"]).await;
        let began = Instant::now();
        while !nodes[number].is_reachable() && began.elapsed() < secs(60) {
            sleep(ms(100)).await;
        }
        nodes.whole().await;
    }
    run.over();
    ends(run, secs(15)).await;
}
