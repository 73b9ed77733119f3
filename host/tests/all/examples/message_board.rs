//! Appends that are not lost, however many hosts there are.

use super::play;
use crate::support::environment;
use crate::support::rabbit::Vhost;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_reach_the_board() {
    let vhost = Vhost::new().await;
    play("message-board", &vhost.url, Path::new(&environment("WABBIT_TEST_RABBITMQCTL"))).await;
}
