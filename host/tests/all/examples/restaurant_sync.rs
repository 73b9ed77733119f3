//! Two clusters of services that keep each other's data in step.

use super::play;
use crate::support::environment;
use crate::support::rabbit::Vhost;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_restaurants_are_in_four_databases() {
    let vhost = Vhost::new().await;
    play("restaurant-sync", &vhost.url, Path::new(&environment("WABBIT_TEST_RABBITMQCTL"))).await;
}
