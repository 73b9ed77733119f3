//! A saga over HTTP, four exchanges and handlers in Go and C.

use super::play;
use crate::support::environment;
use crate::support::rabbit::Vhost;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_goes_through_or_is_undone() {
    let vhost = Vhost::new().await;
    play("profile-updates", &vhost.url, Path::new(&environment("WABBIT_TEST_RABBITMQCTL"))).await;
}
