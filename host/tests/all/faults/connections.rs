//! Connections that an operator or the network ends.

use super::nodes::{self, Nodes};
use super::oracle::Pass;
use super::run::Plan;
use super::{full, ms, secs};
use crate::support::proxy::{Blow, Proxy};
use tokio::time::{Instant, sleep, sleep_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_closed_ten_times() {
    const TIMES: usize = 10;
    // Quick or not: `rabbitmqctl` itself takes this long.
    let pause = secs(2);
    let plan = Plan::new("all connections closed, ten times").during(pause * TIMES as u32);
    let run = plan.start().await;
    let mut next = Instant::now();
    for time in 1..=TIMES {
        run.host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
        run.vhost.close_all_connections().await;
        for role in ["consume", "publish"] {
            let label = format!("role=\"{role}\"");
            run.host.metric_reaches("wabbit_reconnects_total", &[&label], time as f64).await;
        }
        next += pause;
        sleep_until(next).await;
    }
    let mut account = run.account().await;
    let counted = account.evidence.reconnects;
    account.report.expect(counted == [TIMES; 2], format!("counted {counted:?} reconnects"));
    account.passes(&Pass { losses: TIMES, publish_losses: TIMES, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_publishing_one_closed() {
    only("only the publishing connection closed", "publish").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_consuming_one_closed() {
    only("only the consuming connection closed", "consume").await;
}

async fn only(row: &'static str, role: &str) {
    let run = Plan::new(row).during(secs(5)).start().await;
    assert_eq!(run.vhost.close_connections(role).await, 1);
    let label = format!("role=\"{role}\"");
    run.host.metric_reaches("wabbit_reconnects_total", &[&label], 1.0).await;
    let mut account = run.account().await;
    let (consume, publish) = (usize::from(role == "consume"), usize::from(role == "publish"));
    let counted = account.evidence.reconnects;
    account.report.expect(counted == [consume, publish], format!("reconnects {counted:?}"));
    let gap = Some(if full() { ms(200) } else { secs(2) });
    account.passes(&Pass { losses: consume, publish_losses: publish, gap, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_in_the_middle_of_a_frame() {
    struck("connection reset in the middle of a frame, 50 times", &[Blow::ResetInFrame]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn ended_by_the_network() {
    struck("connection ended or reset by the network, 50 times", &[Blow::Close, Blow::Reset]).await;
}

/// As RabbitMQ names them. What is not there, or is forced on a client, is none.
const PROTOCOL_ERRORS: [&str; 6] = [
    "frame_error",
    "syntax_error",
    "command_invalid",
    "channel_error",
    "unexpected_frame",
    "unknown delivery tag",
];

/// What the node has logged about clients that do not keep to the protocol.
fn errors(nodes: &Nodes) -> Vec<String> {
    let log = std::fs::read_to_string(nodes[0].log()).unwrap();
    let is_error = |line: &&str| PROTOCOL_ERRORS.iter().any(|error| line.contains(error));
    log.lines().filter(is_error).map(str::to_owned).collect()
}

async fn struck(row: &'static str, blows: &[Blow]) {
    let times = if full() { 50 } else { 10 };
    // Nobody else is to make mistakes there meanwhile.
    let nodes = nodes::hurt().await;
    let before = errors(&nodes);
    let proxy = Proxy::new(nodes.broker(0).address).await;
    proxy.open();
    let plan = Plan::on(row, nodes.broker(0)).at([proxy.address.to_string()]);
    let mut run = plan.during(ms(500) * times as u32).start().await;
    while proxy.landed() < times {
        let before = proxy.landed();
        while proxy.landed() == before {
            // At a moment without a connection it hits nobody.
            proxy.strike(blows[before % blows.len()]);
            sleep(ms(20)).await;
        }
        sleep(ms(run.report.random.u64(100..500))).await;
    }
    let mut account = run.account().await;
    let errors = errors(&nodes);
    let ours = errors.get(before.len()..).unwrap_or_default();
    account.report.expect(ours.is_empty(), format!("the broker logs errors: {ours:#?}"));
    let losses = proxy.landed();
    let counted: usize = account.evidence.reconnects.iter().sum();
    account.report.note(format!("{losses} connections ended, {counted} of them were up"));
    account.passes(&Pass { losses, publish_losses: losses, ..Pass::default() });
}
