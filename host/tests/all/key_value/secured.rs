//! `rediss://`: Redis by TLS, trusted as the system does.

use crate::support::process::{Place, eventually};
use crate::tls::certificates;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// Ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn server(place: &Place, address: SocketAddr) -> Server {
    let path = |name: &str| place.path(name).display().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", "0", "--save", "", "--appendonly", "no"]);
    command.args(["--tls-port", &address.port().to_string(), "--tls-auth-clients", "no"]);
    command.args(["--tls-cert-file", &path("server.pem"), "--tls-key-file", &path("server.key")]);
    command.args(["--tls-ca-cert-file", &path("ca.pem"), "--dir", &path("")]);
    let server = Server(command.stdout(Stdio::null()).spawn().unwrap());
    eventually("redis-server listens", async || TcpStream::connect(address).ok()).await;
    server
}

#[tokio::test]
async fn a_server_is_trusted_as_the_system_trusts_it() {
    let address = xtask::http::kept_address().unwrap();
    let place = certificates();
    let _server = server(&place, address).await;
    let ca = place.path("ca.pem").display().to_string();
    let place = place
        .file("wabbit.toml", format!("[stores.default]\nurl = \"rediss://{address}\"\n"))
        .file("event.json", json!({ "body": [["get", "a"], ["set", "a", "1"]] }).to_string())
        .plugin(
            "keeper",
            "key-value-draft",
            "[grants]\npublish = [\":out\"]\nkey-value = [\"default\"]\n",
        );
    let invoke = ["invoke", "plugins/keeper.wasm", "--event", "event.json"];

    let refused = place.wabbit(&invoke).await;
    let said = format!("unavailable: the store `rediss://{address}/0`: ");
    assert!(refused.stdout.starts_with(&said), "{refused:?}");
    assert!(refused.stdout.contains("UnknownIssuer"), "{refused:?}");

    let place = place.env("SSL_CERT_FILE", &ca);
    let done = place.wabbit(&invoke).await;
    assert!(done.works().starts_with("ok"), "{done:?}");
}
