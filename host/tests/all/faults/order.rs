//! Order, while what keeps it is hurt.

use super::oracle::Pass;
use super::run::{PREFETCH, Plan};
use super::{full, ms, secs};
use crate::support::process::{Wabbit, eventually};
use tokio::time::{Instant, sleep, sleep_until};

/// The attempts of an event that asks to come again once.
const ATTEMPTS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_key_while_connections_close() {
    let times = if full() { 10 } else { 5 };
    let pause = secs(2);
    let plan = Plan::new("order by key while connections close").during(pause * times);
    let run = plan.keys(16).subscription("order-by = \"header:key\"").start().await;
    let mut next = Instant::now();
    for _ in 0..times {
        run.host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
        run.vhost.close_all_connections().await;
        next += pause;
        sleep_until(next).await;
    }
    let mut account = run.account().await;
    let wrong = account.out_of_order(16);
    account.report.expect(wrong.is_empty(), format!("out of order: {wrong:?}"));
    let losses = times as usize;
    let pass = Pass { losses, publish_losses: losses, attempts: ATTEMPTS, ..Pass::default() };
    account.passes(&pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_active_and_one_waiting() {
    let times = if full() { 20 } else { 5 };
    let row = "one active host and one waiting, active killed 20 times";
    let plan = Plan::new(row).during(secs(3) * times as u32).keys(1);
    let subscription = "order-by = \"queue\"\narguments = { x-single-active-consumer = true }";
    let mut run = plan.subscription(subscription).at_once(1).start().await;
    run.join().await;
    for _ in 0..times {
        let nth = eventually("one of the hosts is active", async || {
            let mut hosts = [&run.host, &run.others[0]].into_iter().enumerate();
            loop {
                let (nth, host) = hosts.next()?;
                if is_active(host).await {
                    return Some(nth);
                }
            }
        })
        .await;
        let active = if nth == 0 { &mut run.host } else { &mut run.others[0] };
        active.signal("KILL");
        active.ended().await;
        let waiting = if nth == 0 { &run.others[0] } else { &run.host };
        eventually("the other one is active", async || is_active(waiting).await.then_some(()))
            .await;
        let killed = if nth == 0 { &mut run.host } else { &mut run.others[0] };
        killed.again().await;
        killed.ready().await;
        sleep(ms(run.report.random.u64(1..500))).await;
    }
    let mut account = run.account().await;
    let wrong = account.out_of_order(1);
    account.report.expect(wrong.is_empty(), format!("out of order: {wrong:?}"));
    account.passes(&Pass {
        losses: times,
        publish_losses: times,
        attempts: ATTEMPTS,
        prefetch: vec![PREFETCH; 2],
        same_life: false,
        ..Pass::default()
    });
}

/// Whether it has an event in hand.
async fn is_active(host: &Wabbit) -> bool {
    host.metric("wabbit_inflight", &[]).await > 0.0
}
