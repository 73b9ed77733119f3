//! The suite on a real RabbitMQ, which `cargo xtask test` starts and names in the environment.

use super::{Control, Fixture};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wabbit::broker::Broker;
use wabbit::broker::amqp::{AmqpBroker, Config};

conformance!(super::fixture);

async fn fixture() -> Fixture {
    let management = Management::new(&environment("WABBIT_TEST_MANAGEMENT"));
    Fixture::new(management.connect(), management)
}

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("`{name}` does not say where a RabbitMQ for tests is: run `cargo xtask test`")
    })
}

/// RabbitMQ's management API.
struct Management {
    address: String,
    authorization: String,
}

impl Management {
    /// From `http://USER:PASSWORD@HOST:PORT`.
    fn new(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("a URL with `http://`");
        let (user, address) = rest.trim_end_matches('/').split_once('@').expect("`USER:PASSWORD@`");
        Self { address: address.to_owned(), authorization: BASE64_STANDARD.encode(user) }
    }

    /// The status and the body. HTTP/1.0, so that the body ends with the connection.
    async fn ask(&self, method: &str, queue: &str) -> (u16, Value) {
        let Self { address, authorization } = self;
        let mut stream = TcpStream::connect(address).await.expect("the management API");
        let request = format!(
            "{method} /api/queues/%2F/{queue} HTTP/1.0\r\nHost: {address}\r\n\
             Authorization: Basic {authorization}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), serde_json::from_str(body).unwrap_or_default())
    }
}

impl Control for Management {
    fn connect(&self) -> Arc<dyn Broker> {
        let uri = environment("WABBIT_TEST_AMQP");
        AmqpBroker::connect(Config::from_uris(&[uri]).expect("an AMQP URI"))
    }

    fn delete_queue<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (status, answer) = self.ask("DELETE", name).await;
            assert_eq!(status, 204, "deleting `{name}`: {answer}");
        })
    }

    fn queue_depth<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<(usize, usize)>> {
        Box::pin(async move {
            let (_, answer) = self.ask("GET", name).await;
            let count = |of: &str| answer[of].as_u64().and_then(|n| usize::try_from(n).ok());
            Some((count("messages_ready")?, count("messages_unacknowledged")?))
        })
    }
}
