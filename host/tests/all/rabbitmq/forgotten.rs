//! A consumer that the broker has forgotten, played by a stretch of network that swallows deliveries
//! and lets everything else pass.

use crate::support::process::eventually;
use crate::support::rabbit::{Vhost, address};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use wabbit::broker::amqp::{AmqpBroker, Config};
use wabbit::broker::{Broker, Consume, Mode, Queue, State, Topology};
use wabbit::flow::Verdict;
use wabbit::telemetry::metrics;

/// Frame types and the method `basic.deliver` of AMQP 0-9-1.
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const DELIVER: [u8; 4] = [0, 60, 0, 60];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_the_broker_has_forgotten_is_begun_anew() {
    let handle = metrics::init().unwrap();
    let vhost = Vhost::new().await;
    let queue = format!("q{:08x}", fastrand::u32(..));
    vhost.queue(&queue, &[]).await;
    let swallows = Arc::new(AtomicBool::new(false));
    let proxy = proxy(swallows.clone()).await;
    let url = format!("amqp://guest:guest@{proxy}/{}", vhost.name);
    let mut config = Config::from_uris(&[url]).unwrap();
    config.watchdog = Duration::from_millis(100);
    let broker = AmqpBroker::connect(config);
    let mut subscription = broker.subscribe(Consume {
        queue: Queue::durable(&queue),
        topology: Topology::default(),
        mode: Mode::Off,
        prefetch: 2,
    });
    let live = |state: &State| matches!(state, State::Live { .. });
    subscription.status.wait_for(|status| live(&status.state)).await.unwrap();
    vhost.publish("", &queue, "0").await;
    let first = subscription.deliveries.recv().await.unwrap();
    assert!(first.receipt.settle(Verdict::Ack));
    // Longer than two looks: with nothing ready, nothing is wrong.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let stalled = || {
        let line = format!("wabbit_stalled_total{{queue=\"{queue}\"}} ");
        let page = handle.render();
        page.lines().find_map(|it| it.strip_prefix(&*line)?.parse::<u32>().ok()).unwrap_or(0)
    };
    assert_eq!(stalled(), 0);
    swallows.store(true, Ordering::SeqCst);
    for n in 1..=5 {
        vhost.publish("", &queue, &n.to_string()).await;
    }
    eventually("the watchdog", async || (stalled() > 0).then_some(())).await;
    assert!(live(&subscription.status.borrow().state), "it is not given up");
    swallows.store(false, Ordering::SeqCst);
    let mut bodies = HashSet::new();
    while bodies.len() < 5 {
        let delivery = subscription.deliveries.recv().await.unwrap();
        bodies.insert(delivery.event.body.clone());
        delivery.receipt.settle(Verdict::Ack);
    }
    eventually("an empty queue", async || (vhost.count(&queue).await == 0).then_some(())).await;
    subscription.cancel.cancel();
    broker.close().await;
}

/// Forwards to the broker; while `swallows` is set, without deliveries on the way back.
async fn proxy(swallows: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(address()).await.unwrap();
            let ((mut up, down), (from, mut to)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { copy(&mut up, &mut to).await });
            tokio::spawn(filter(from, down, swallows.clone()));
        }
    });
    proxy
}

async fn filter(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Arc<AtomicBool>) {
    // The channels on which the content of a swallowed delivery follows.
    let mut swallowing = HashSet::new();
    loop {
        let mut head = [0; 7];
        if from.read_exact(&mut head).await.is_err() {
            return;
        }
        let (channel, size) = ([head[1], head[2]], [head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; u32::from_be_bytes(size) as usize + 1];
        from.read_exact(&mut rest).await.unwrap();
        if head[0] == METHOD {
            match rest.starts_with(&DELIVER) && swallows.load(Ordering::SeqCst) {
                true => swallowing.insert(channel),
                false => swallowing.remove(&channel),
            };
        }
        if head[0] != HEARTBEAT && swallowing.contains(&channel) {
            continue;
        }
        if to.write_all(&[&head[..], &rest].concat()).await.is_err() {
            return;
        }
    }
}
