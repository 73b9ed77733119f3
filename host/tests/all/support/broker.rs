//! A RabbitMQ as its operator sees it: the node that all tests share, or one of a test's own.
//! Next: rabbit.rs, a virtual host on it.

use super::environment;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use xtask::node::Node;

/// How to reach one.
#[derive(Debug, Clone)]
pub struct Broker {
    /// `IP:PORT` of AMQP.
    pub address: String,
    management: String,
    rabbitmqctl: PathBuf,
}

impl Broker {
    /// The one that all tests share, and none may hurt.
    pub fn shared() -> Self {
        let rabbitmqctl = environment("WABBIT_TEST_RABBITMQCTL").into();
        let management = environment("WABBIT_TEST_MANAGEMENT");
        Self { address: address_in(&environment("WABBIT_TEST_AMQP")), management, rabbitmqctl }
    }

    /// A private one.
    pub fn of(node: &Node) -> Self {
        let (management, rabbitmqctl) = (node.management_url(), node.rabbitmqctl());
        Self { address: address_in(&node.amqp_url()), management, rabbitmqctl }
    }

    /// Runs `rabbitmqctl`; what it prints.
    pub async fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.rabbitmqctl);
        command.arg("--quiet").args(args);
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(ended.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Asks the management API.
    pub async fn api(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let (this, path, body) = (self.clone(), path.to_owned(), body.clone());
        tokio::task::spawn_blocking(move || this.ask(method, &path, &body)).await.unwrap()
    }

    /// The same, while nothing else goes on here.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let rest = self.management.strip_prefix("http://").expect("`http://USER:PASSWORD@…`");
        let (user, address) = rest.trim_end_matches('/').split_once('@').expect("`USER:PASSWORD@`");
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent = ureq::Agent::from(config);
        let url = format!("http://{address}/api/{path}");
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(user));
        let answered = match method {
            "GET" => agent.get(url).header("authorization", authorization).call(),
            "DELETE" => agent.delete(url).header("authorization", authorization).call(),
            "POST" => {
                let request = agent.post(url).header("authorization", authorization);
                request.header("content-type", "application/json").send(body.to_string())
            }
            _ => agent.put(url).header("authorization", authorization).send(body.to_string()),
        };
        let mut answer = answered.expect("the management API");
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }
}

/// `amqp://USER:PASSWORD@ADDRESS/…`
fn address_in(url: &str) -> String {
    let (_, rest) = url.split_once('@').expect("`amqp://USER:PASSWORD@HOST:PORT/…`");
    rest.split_once('/').map_or(rest, |(address, _)| address).to_owned()
}
