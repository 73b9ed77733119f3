//! The state machine alone, with a clock that the tests move. What RabbitMQ does too is tested in
//! the conformance suite.

use super::core::Core;
use super::queue::Consumer;
use crate::broker::{
    Binding, Exchange, ExchangeKind, Mode, PublishError, Queue, QueueType, Topology,
};
use crate::flow::{Delivery, Field, Properties, Publication, Receipt, Verdict};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

struct Bench {
    core: Core,
    next_id: u64,
}

struct Client {
    queue: String,
    id: u64,
    deliveries: mpsc::Receiver<Delivery>,
    verdicts: mpsc::UnboundedReceiver<(u64, Verdict)>,
    lost: oneshot::Receiver<Infallible>,
}

impl Bench {
    fn new(queues: impl IntoIterator<Item = Queue>) -> Self {
        let mut bench = Self { core: Core::new(Instant::now()), next_id: 1 };
        bench.declare(Topology { queues: queues.into_iter().collect(), ..Topology::default() });
        bench
    }

    fn declare(&mut self, topology: Topology) {
        self.core.declare(&topology, Mode::Ensure).unwrap();
        self.core.run();
    }

    fn publish(&mut self, queue: &str, body: &str) -> Result<(), PublishError> {
        self.publish_with(queue, body, Properties::default())
    }

    fn publish_with(
        &mut self,
        queue: &str,
        body: &str,
        properties: Properties,
    ) -> Result<(), PublishError> {
        let published = self.core.publish(Publication {
            exchange: String::new(),
            routing_key: queue.to_owned(),
            properties,
            body: body.as_bytes().to_vec(),
        });
        self.core.run();
        published
    }

    fn pass(&mut self, ms: u64) {
        self.core.now += Duration::from_millis(ms);
        if self.core.alarm().is_some_and(|at| at <= self.core.now) {
            self.core.tick();
            self.core.run();
        }
    }

    fn consume(&mut self, queue: &str, prefetch: usize) -> Client {
        let (to, deliveries) = mpsc::channel(prefetch);
        let (verdicts, settled) = mpsc::unbounded_channel();
        let (alive, lost) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        let delivered = Arc::default();
        let consumer =
            Consumer { id, prefetch, unacked: 0, delivered, deliveries: to, verdicts, alive };
        self.core.consume(queue, consumer);
        self.core.run();
        Client { queue: queue.to_owned(), id, deliveries, verdicts: settled, lost }
    }

    /// Carries out what the client's receipts said.
    fn settle(&mut self, client: &mut Client) {
        while let Ok((tag, verdict)) = client.verdicts.try_recv() {
            self.core.settle(&client.queue, tag, verdict);
            self.core.run();
        }
    }

    fn depth(&self, queue: &str) -> (usize, usize) {
        self.core.queues[queue].depth()
    }
}

impl Client {
    fn next(&mut self) -> Option<(String, u32, Receipt)> {
        let Delivery { event, receipt } = self.deliveries.try_recv().ok()?;
        Some((String::from_utf8(event.body).unwrap(), event.returned, receipt))
    }
}

fn queue(name: &str, arguments: &[(&str, Field)]) -> Queue {
    Queue { arguments: arguments.iter().cloned().collect(), ..Queue::durable(name) }
}

fn expiring(ms: u64) -> Properties {
    Properties { expiration: Some(ms.to_string()), ..Properties::default() }
}

#[test]
fn a_message_expires_only_at_the_head() {
    let mut bench = Bench::new([queue("q", &[])]);
    bench.publish("q", "stays").unwrap();
    bench.publish_with("q", "expires", expiring(10)).unwrap();
    bench.pass(1000);
    assert_eq!(bench.depth("q"), (2, 0));
    let mut client = bench.consume("q", 1);
    let (body, _, receipt) = client.next().unwrap();
    assert_eq!(body, "stays");
    assert_eq!(bench.depth("q"), (0, 1), "it came to the head and went");
    receipt.settle(Verdict::GiveBack);
    bench.settle(&mut client);
    assert_eq!(client.next().unwrap().0, "stays");
}

#[test]
fn the_shorter_time_to_live_wins() {
    let mut bench = Bench::new([queue("q", &[("x-message-ttl", Field::I32(100))])]);
    bench.publish_with("q", "", expiring(1000)).unwrap();
    bench.pass(99);
    assert_eq!(bench.depth("q"), (1, 0));
    bench.pass(1);
    assert_eq!(bench.depth("q"), (0, 0));
    bench.publish_with("q", "", expiring(10)).unwrap();
    bench.pass(10);
    assert_eq!(bench.depth("q"), (0, 0));
}

#[test]
fn what_expires_at_once_is_for_who_takes_it_at_once() {
    let mut bench = Bench::new([queue("q", &[])]);
    bench.publish_with("q", "lost", expiring(0)).unwrap();
    let mut client = bench.consume("q", 1);
    bench.publish_with("q", "taken", expiring(0)).unwrap();
    assert_eq!(client.next().unwrap().0, "taken");
}

#[test]
fn what_goes_round_by_itself_is_dropped() {
    let to = |queue: &str| {
        [
            ("x-message-ttl", Field::I32(10)),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", queue.into()),
        ]
    };
    let mut bench = Bench::new([queue("a", &to("b")), queue("b", &to("a"))]);
    bench.publish("a", "x").unwrap();
    bench.pass(10);
    assert_eq!((bench.depth("a"), bench.depth("b")), ((0, 0), (1, 0)));
    bench.pass(10);
    assert_eq!((bench.depth("a"), bench.depth("b")), ((0, 0), (0, 0)));
}

#[test]
fn what_is_given_back_does_not_count_and_what_is_requeued_does() {
    let arguments = [("x-delivery-limit", Field::I32(1))];
    let quorum = Queue { kind: Some(QueueType::Quorum), ..queue("q", &arguments) };
    let mut bench = Bench::new([quorum]);
    bench.publish("q", "x").unwrap();
    let mut client = bench.consume("q", 1);
    for (verdict, returned) in [
        (Verdict::GiveBack, 0),
        (Verdict::GiveBack, 0),
        (Verdict::Requeue, 0),
        (Verdict::GiveBack, 1),
    ] {
        let (_, was, receipt) = client.next().unwrap();
        assert_eq!(was, returned);
        receipt.settle(verdict);
        bench.settle(&mut client);
    }
    client.next().unwrap().2.settle(Verdict::Requeue);
    bench.settle(&mut client);
    assert_eq!(bench.depth("q"), (0, 0), "it is over the limit");
}

#[test]
fn a_rejected_publication_can_be_dead_lettered_as_well() {
    let arguments = [
        ("x-max-length-bytes", Field::I32(3)),
        ("x-overflow", "reject-publish-dlx".into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", "dead".into()),
    ];
    let mut bench = Bench::new([queue("q", &arguments), queue("dead", &[])]);
    bench.publish("q", "12").unwrap();
    assert_eq!(bench.publish("q", "34"), Err(PublishError::Nacked));
    assert_eq!((bench.depth("q"), bench.depth("dead")), ((1, 0), (1, 0)));
}

#[test]
fn consumers_are_served_in_turn_and_only_within_their_prefetch() {
    let mut bench = Bench::new([queue("q", &[])]);
    let (mut one, mut two) = (bench.consume("q", 1), bench.consume("q", 3));
    for body in ["1", "2", "3", "4", "5"] {
        bench.publish("q", body).unwrap();
    }
    let (first, _, receipt) = one.next().unwrap();
    assert_eq!(first, "1");
    let others: Vec<_> = std::iter::from_fn(|| two.next()).collect();
    assert_eq!(others.iter().map(|(body, ..)| body.as_str()).collect::<Vec<_>>(), ["2", "3", "4"]);
    receipt.settle(Verdict::Ack);
    bench.settle(&mut one);
    assert_eq!(one.next().unwrap().0, "5");
}

#[test]
fn an_unused_queue_expires_and_a_used_one_does_not() {
    let mut bench = Bench::new([queue("q", &[("x-expires", Field::I32(100))])]);
    bench.pass(60);
    let client = bench.consume("q", 1);
    bench.pass(500);
    bench.core.cancel(&client.queue, client.id);
    bench.core.run();
    bench.pass(60);
    bench.declare(Topology {
        queues: vec![queue("q", &[("x-expires", Field::I32(100))])],
        ..Topology::default()
    });
    bench.pass(60);
    assert_eq!(bench.depth("q"), (0, 0));
    bench.pass(40);
    assert!(!bench.core.queues.contains_key("q"));
}

#[test]
fn with_a_deleted_queue_go_its_consumers_bindings_and_auto_delete_exchanges() {
    let mut bench = Bench::new([queue("q", &[])]);
    let exchange = Exchange {
        name: "e".to_owned(),
        kind: Some(ExchangeKind::Fanout),
        durable: true,
        auto_delete: true,
    };
    let binding = Binding {
        exchange: "e".to_owned(),
        queue: "q".to_owned(),
        routing_key: String::new(),
        headers_match: crate::broker::HeadersMatch::None,
        headers: crate::flow::Headers::default(),
    };
    bench.declare(Topology { exchanges: vec![exchange], bindings: vec![binding], queues: vec![] });
    let mut client = bench.consume("q", 2);
    bench.publish("q", "x").unwrap();
    assert!(bench.core.delete_queue("q"));
    assert!(!bench.core.delete_queue("q"));
    assert!(
        client.lost.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
    );
    assert!(!bench.core.exchanges.contains_key("e"));
    bench.declare(Topology { queues: vec![queue("q", &[])], ..Topology::default() });
    client.next().unwrap().2.settle(Verdict::Requeue);
    bench.settle(&mut client);
    assert_eq!(bench.depth("q"), (0, 0), "of the old queue nothing comes back");
}

/// Schedules of everything at once: each message is acked once, or still there, and an ack is for
/// good.
#[test]
fn whatever_happens_no_message_is_lost_or_doubled() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let limit = [
            ("x-message-ttl", Field::I32(20)),
            ("x-max-length", Field::I32(5)),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
        ];
        let mut bench = Bench::new([queue("work", &limit), queue("dead", &[])]);
        let mut clients: Vec<Client> = Vec::new();
        let mut held: Vec<(String, Receipt)> = Vec::new();
        let mut acked: BTreeMap<String, u32> = BTreeMap::new();
        let mut published = 0;
        for _ in 0..400 {
            match random.u32(..10) {
                0..3 => {
                    bench.publish("work", &published.to_string()).unwrap();
                    published += 1;
                }
                3 if clients.len() < 4 => {
                    let from = random.choice(["work", "work", "dead"]).unwrap();
                    clients.push(bench.consume(from, random.usize(1..4)));
                }
                4 => bench.pass(random.u64(..15)),
                5 if random.u32(..4) == 0 && !clients.is_empty() => {
                    let at = random.usize(..clients.len());
                    bench.core.cancel(&clients[at].queue, clients[at].id);
                    bench.core.run();
                }
                6 | 7 if !held.is_empty() => {
                    let (body, receipt) = held.swap_remove(random.usize(..held.len()));
                    match random.u32(..4) {
                        0 => drop(receipt),
                        1 => assert!(receipt.settle(Verdict::GiveBack)),
                        _ => {
                            assert!(receipt.settle(Verdict::Ack));
                            *acked.entry(body).or_default() += 1;
                        }
                    }
                }
                _ => {
                    for client in &mut clients {
                        held.extend(client.next().map(|(body, _, receipt)| (body, receipt)));
                    }
                }
            }
            clients.iter_mut().for_each(|client| bench.settle(client));
        }
        assert!(acked.values().all(|times| *times == 1), "seed {seed}: {acked:?}");
        let there = ["work", "dead"].map(|queue| bench.depth(queue));
        let there: usize = there.iter().map(|(ready, unacked)| ready + unacked).sum();
        assert_eq!(there + acked.len(), published, "seed {seed}");
    }
}
