//! One suite that every broker passes, so that the embedded one cannot drift from RabbitMQ. A test
//! is a function of a [`Fixture`]; the table below gives each of them to each broker, and a test
//! that is missing there is dead code, which the compiler reports.

/// Makes a test of every function of the suite, each with what `$fixture` makes.
macro_rules! conformance {
    ($fixture:expr) => {
        conformance! { @ $fixture;
            routing {
                default_exchange_routes_by_queue_name
                direct_exchange_routes_by_equal_key
                fanout_exchange_copies_to_every_queue
                topic_exchange_routes_by_pattern
                headers_exchange_routes_by_all_or_any
                exchanges_of_the_broker_are_there
                carbon_copies_are_routed_and_blind_ones_hidden
                what_no_queue_takes_is_returned
                a_missing_exchange_is_refused_and_publishing_goes_on
                a_foreign_user_id_is_refused
                names_over_255_bytes_are_refused
                each_publication_gets_its_own_answer
                order_of_publishing_is_order_of_delivery
            }
            content {
                every_property_round_trips
                every_type_of_field_round_trips_at_every_depth
                an_empty_body_round_trips
                a_body_of_one_mebibyte_round_trips
                what_was_stashed_is_back_after_a_delay_queue
            }
            consuming {
                prefetch_is_honoured
                requeued_comes_back_to_its_place_as_redelivered
                given_back_comes_back_to_its_place
                an_unsettled_receipt_that_is_dropped_requeues
                consumers_of_one_queue_share_it
                a_cancelled_subscription_settles_what_it_holds
                a_quorum_queue_counts_what_it_takes_back
                a_quorum_queue_gives_up_at_its_delivery_limit
                a_single_active_consumer_is_followed_by_the_next
                one_that_leaves_gives_back_all_at_once_and_in_its_place
                a_deleted_queue_is_declared_anew_with_ensure
                a_deleted_queue_is_waited_for_with_verify
                a_subscription_that_cannot_be_says_why_and_stops_no_other
                closing_settles_what_was_settled_and_gives_back_the_rest
            }
            counting {
                a_census_counts_what_is_ready_held_and_delivered
                a_census_counts_the_consumers_of_others
                nothing_is_missing_from_a_census_while_events_flow
                only_a_live_consumer_has_a_census
                a_subscription_is_over_when_the_last_it_held_is_settled
                a_queue_that_is_not_there_has_no_depth
                a_sweep_finds_the_delay_queues_that_are_there
            }
            lifetime {
                a_delay_queue_returns_to_the_queue_named_by_the_key
                an_expired_message_is_dead_lettered_without_its_expiration
                the_oldest_over_the_maximum_length_is_dead_lettered
                a_full_queue_that_rejects_says_nack
                an_unused_queue_expires
                an_auto_delete_queue_goes_with_its_last_consumer
                an_exclusive_queue_goes_with_its_connection
            }
            topology {
                declaring_twice_is_declaring_once
                what_is_left_out_may_be_as_it_is
                another_durability_is_a_mismatch_with_both_sides
                another_argument_is_a_mismatch_with_both_sides
                another_type_of_exchange_is_a_mismatch_with_both_sides
                looking_tells_what_is_there_and_creates_nothing
                looking_tells_every_difference
                verify_finds_what_is_missing
                an_exchange_without_a_type_must_exist
                a_binding_to_a_missing_exchange_is_an_error
                reserved_names_are_forbidden
                the_server_names_exclusive_queues
            }
        }
    };
    (@ $fixture:expr; $($module:ident { $($test:ident)* })*) => {
        $(mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    crate::conformance::$module::$test($fixture().await).await;
                }
            )*
        })*
    };
}

mod amqp;
mod consuming;
mod content;
mod counting;
mod lifetime;
mod memory;
mod routing;
mod topology;

use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use wabbit::broker::{
    Binding, Broker, Consume, Exchange, ExchangeKind, HeadersMatch, Mode, PublishError, Queue,
    State, Subscription, Topology,
};
use wabbit::flow::{Delivery, Field, Headers, Publication, Verdict};

/// How long a condition may take. The management API lags by up to five seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker in which nobody else uses the names that [`Fixture::name`] gives.
struct Fixture {
    broker: Arc<dyn Broker>,
    control: Box<dyn Control>,
    suffix: String,
}

/// What is done to a broker from outside.
trait Control: Send + Sync {
    /// Another connection to the same broker.
    fn connect(&self) -> Arc<dyn Broker>;
    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
    /// Ready and unsettled messages, if they are known yet.
    fn queue_depth<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<(usize, usize)>>;
}

impl Fixture {
    fn new(broker: Arc<dyn Broker>, control: impl Control + 'static) -> Self {
        let suffix = format!("{:012x}", fastrand::u64(..1 << 48));
        Self { broker, control: Box::new(control), suffix }
    }

    /// A name of a queue or an exchange that no other test has.
    fn name(&self, base: &str) -> String {
        format!("{base}-{}", self.suffix)
    }

    async fn declare(&self, topology: Topology) {
        self.broker.declare(&topology, Mode::Ensure).await.unwrap();
    }

    /// Declares a durable queue; returns its name.
    async fn queue(&self, base: &str, arguments: &[(&str, Field)]) -> String {
        let queue = self.queue_like(base, arguments);
        let name = queue.name.clone();
        self.declare(queues([queue])).await;
        name
    }

    fn queue_like(&self, base: &str, arguments: &[(&str, Field)]) -> Queue {
        Queue { arguments: arguments.iter().cloned().collect(), ..Queue::durable(self.name(base)) }
    }

    /// Declares an exchange that goes with its bindings; returns its name.
    async fn exchange(&self, base: &str, kind: ExchangeKind) -> String {
        let name = self.name(base);
        let exchange =
            Exchange { name: name.clone(), kind: Some(kind), durable: false, auto_delete: true };
        self.declare(Topology { exchanges: vec![exchange], ..Topology::default() }).await;
        name
    }

    async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        self.declare(Topology {
            bindings: vec![binding(exchange, queue, key)],
            ..Topology::default()
        })
        .await;
    }

    async fn publish(&self, exchange: &str, key: &str, body: &str) {
        self.broker.publish(publication(exchange, key, body)).await.unwrap();
    }

    /// Consumes a queue that was declared; ready when it does.
    async fn consume(&self, queue: &str, prefetch: u16) -> Subscription {
        let mut subscription = self.broker.subscribe(Consume {
            queue: Queue::durable(queue),
            topology: Topology::default(),
            mode: Mode::Off,
            prefetch,
        });
        live(&mut subscription).await;
        subscription
    }

    /// Waits until a queue has this many ready and unsettled messages.
    async fn depth(&self, queue: &str, depth: (usize, usize)) {
        let mut last = None;
        let reached = timeout(PATIENCE, async {
            while last != Some(depth) {
                last = self.control.queue_depth(queue).await;
                sleep(Duration::from_millis(20)).await;
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached, "`{queue}` has {last:?} messages and not {depth:?}");
    }
}

fn publication(exchange: &str, key: &str, body: &str) -> Publication {
    Publication {
        exchange: exchange.to_owned(),
        routing_key: key.to_owned(),
        body: body.as_bytes().to_vec(),
        ..Publication::default()
    }
}

fn queues(queues: impl Into<Vec<Queue>>) -> Topology {
    Topology { queues: queues.into(), ..Topology::default() }
}

fn binding(exchange: &str, queue: &str, key: &str) -> Binding {
    Binding {
        exchange: exchange.to_owned(),
        queue: queue.to_owned(),
        routing_key: key.to_owned(),
        headers_match: HeadersMatch::None,
        headers: Headers::default(),
    }
}

/// Waits until it consumes; returns the name of its queue.
async fn live(subscription: &mut Subscription) -> String {
    let is_live = |state: &State| match state {
        State::Live { queue } => Some(queue.clone()),
        _ => None,
    };
    reaches(subscription, is_live).await
}

/// Waits for a state in which `of` finds something.
async fn reaches<T>(subscription: &mut Subscription, of: impl Fn(&State) -> Option<T>) -> T {
    let status = &mut subscription.status;
    let reached = async {
        let status = status.wait_for(|status| of(&status.state).is_some()).await;
        status.ok().and_then(|status| of(&status.state))
    };
    let found = timeout(PATIENCE, reached).await.ok().flatten();
    found.unwrap_or_else(|| panic!("the subscription stays {:?}", status.borrow().state))
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let delivery = timeout(PATIENCE, subscription.deliveries.recv()).await;
    delivery.expect("a delivery in time").expect("a live subscription")
}

/// The next one's body, acked.
async fn take(subscription: &mut Subscription) -> String {
    let delivery = next(subscription).await;
    let body = body(&delivery).to_owned();
    assert!(delivery.receipt.settle(Verdict::Ack));
    body
}

fn body(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.event.body).unwrap()
}

/// Waits until there is no such queue. Asking for it would be a use, which keeps it alive.
async fn gone(at: &Fixture, queue: &str) {
    let end = async {
        loop {
            match at.broker.publish(publication("", queue, "")).await {
                Ok(()) => sleep(Duration::from_millis(20)).await,
                Err(PublishError::Unroutable { .. }) => return,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    assert!(timeout(PATIENCE, end).await.is_ok(), "`{queue}` stays");
}
