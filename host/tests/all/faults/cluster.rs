//! A cluster of three nodes with quorum queues, of which the host knows all.

use super::nodes::{self, Nodes};
use super::oracle::{Account, Pass};
use super::run::{Plan, Run};
use super::secs;
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const COLUMNS: [&str; 4] = ["name", "leader", "members", "online"];

/// A host under load. Returns also which node leads the queue `work`.
async fn start(row: &'static str, nodes: &Nodes, during: Duration) -> (Run, usize) {
    begin(Plan::on(row, nodes.broker(0)).during(during), nodes).await
}

async fn begin(plan: Plan, nodes: &Nodes) -> (Run, usize) {
    let mut run = plan.at(nodes.addresses()).quorum().start().await;
    let args = ["list_queues", "--formatter", "json", "-p", &run.vhost.name];
    let listed = nodes.broker(0).ctl(&[&args[..], &COLUMNS].concat()).await;
    let queues: Vec<Value> = serde_json::from_str(&listed).unwrap();
    for queue in queues.iter().filter(|queue| queue["members"].is_array()) {
        let members = queue["members"].as_array().map_or(0, Vec::len);
        run.report.expect(members == nodes.len(), format!("not on all nodes: {queue}"));
    }
    let work = queues.iter().find(|queue| queue["name"] == "work").unwrap();
    let leader = nodes.iter().position(|node| work["leader"] == node.name()).unwrap();
    (run, leader)
}

/// Leaves how the queues are while node number `without` is away, as its neighbour sees them.
fn watch(run: &Run, nodes: &Nodes, without: usize) -> JoinHandle<()> {
    let broker = nodes.broker((without + 1) % nodes.len());
    let (vhost, file) = (run.vhost.name.clone(), run.report.file("queues"));
    tokio::spawn(async move {
        let args = ["list_queues", "--formatter", "json", "-p", &vhost];
        std::fs::write(file, broker.ctl(&[&args[..], &COLUMNS].concat()).await).unwrap();
    })
}

async fn account(run: Run) -> (Account, Pass) {
    let account = run.account().await;
    let [losses, publish_losses] = account.evidence.reconnects;
    (account, Pass { losses, publish_losses, ..Pass::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_killed() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: leader killed";
    let (mut run, leader) = start(row, &nodes, secs(10)).await;
    nodes[leader].kill();
    run.over();
    let watched = watch(&run, &nodes, leader);
    sleep(secs(10)).await;
    watched.await.unwrap();
    nodes[leader].start_again().unwrap();
    nodes.whole().await;
    let (account, pass) = account(run).await;
    account.passes(&Pass { gap: Some(secs(5)), ..pass });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_stopped() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: leader stopped 30 s";
    let (mut run, leader) = start(row, &nodes, secs(40)).await;
    nodes[leader].signal("STOP");
    let watched = watch(&run, &nodes, leader);
    sleep(secs(30)).await;
    nodes[leader].signal("CONT");
    run.over();
    watched.await.unwrap();
    nodes.whole().await;
    let (account, pass) = account(run).await;
    // The stopped node is noticed only by its silence: the gap counts, and not from when on it goes.
    account.passes(&Pass { gap: Some(secs(45)), back: secs(45), ..pass });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_nodes_restarted_one_after_the_other() {
    let mut nodes = nodes::cluster().await;
    let row = "3-node cluster, quorum queue: rolling restart of all three";
    let (mut run, _) = start(row, &nodes, secs(120)).await;
    for number in 0..nodes.len() {
        nodes.broker(number).ctl(&["stop_app"]).await;
        nodes[number].kill();
        nodes[number].start_again().unwrap();
        nodes.whole().await;
    }
    run.over();
    let (mut account, pass) = account(run).await;
    let paused = account.paused;
    account.report.note(format!("{paused:.1?} without effects in all"));
    account.report.expect(paused <= secs(15), format!("{paused:?} without effects in all"));
    account.passes(&pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_stopped_while_retries_wait() {
    let mut nodes = nodes::cluster().await;
    let row = "retries through a stopped leader";
    let plan = Plan::on(row, nodes.broker(0)).during(secs(40)).retried(secs(1));
    let (mut run, leader) = begin(plan, &nodes).await;
    nodes[leader].signal("STOP");
    let watched = watch(&run, &nodes, leader);
    sleep(secs(30)).await;
    nodes[leader].signal("CONT");
    run.over();
    watched.await.unwrap();
    nodes.whole().await;
    let (account, pass) = account(run).await;
    account.passes(&Pass { gap: Some(secs(45)), back: secs(45), attempts: 2, ..pass });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn its_leader_killed_while_retries_wait() {
    let mut nodes = nodes::cluster().await;
    let row = "retries through a killed leader";
    let plan = Plan::on(row, nodes.broker(0)).during(secs(10)).retried(secs(1));
    let (mut run, leader) = begin(plan, &nodes).await;
    nodes[leader].kill();
    run.over();
    let watched = watch(&run, &nodes, leader);
    sleep(secs(10)).await;
    watched.await.unwrap();
    nodes[leader].start_again().unwrap();
    nodes.whole().await;
    let (account, pass) = account(run).await;
    // Where delay queues were on that node, retries wait for it.
    account.passes(&Pass { gap: Some(secs(40)), back: secs(40), attempts: 2, ..pass });
}
