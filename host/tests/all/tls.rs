//! `amqps://`: an authority of one's own, and a broker that asks for a client's certificate.

use crate::support::process::Place;
use crate::support::python::Script;
use crate::support::rabbit::{Vhost, address};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM files `ca`, `server`, `server.key`, `client`, `client.key`, and `other`, another authority.
pub fn certificates() -> Place {
    let mut place = Place::new();
    let (ca, issuer) = authority();
    place = place.file("ca.pem", ca).file("other.pem", authority().0);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        place = place.file(&format!("{name}.pem"), certificate.pem());
        place = place.file(&format!("{name}.key"), key.serialize_pem());
    }
    place
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(params, key))
}

/// A virtual host, and a listener for TLS in front of it.
struct Secured {
    vhost: Vhost,
    url: String,
    _proxy: Script,
}

impl Secured {
    async fn new(place: &Place) -> Self {
        let vhost = Vhost::new().await;
        let broker = address();
        let (host, port) = broker.rsplit_once(':').unwrap();
        let files = ["server.pem", "server.key", "ca.pem"];
        let [certificate, key, ca] = files.map(|file| place.path(file).display().to_string());
        let mut proxy = Script::start("tls_proxy", &[host, port, &certificate, &key, &ca]);
        let port = proxy.line().await.expect("its port");
        let url = format!("amqps://guest:guest@127.0.0.1:{port}/{}", vhost.name);
        Self { vhost, url, _proxy: proxy }
    }
}

const CLIENT: &str = "certificate = \"client.pem\"\nkey = \"client.key\"\n";

#[tokio::test]
async fn a_custom_authority_and_a_client_certificate_are_used() {
    let place = certificates();
    let secured = Secured::new(&place).await;
    let toml = format!("[broker.tls]\nca = \"ca.pem\"\n{CLIENT}");
    let place = place
        .plugin("orders", "scripted", "[grants]\npublish = [\":out\"]\n")
        .file("wabbit.toml", toml);
    let args = ["publish", "", "nobody", "--broker", &secured.url];
    place.wabbit(&args).await.fails(1, &["no queue took it"]);
    let host = place.run(&secured.url).await;
    host.ready().await;
    secured.vhost.publish("", "orders", "log:by tls").await;
    host.logs(&["by tls", "\"target\":\"guest\""]).await;
}

#[tokio::test]
async fn a_uri_may_name_the_files() {
    let place = certificates();
    let secured = Secured::new(&place).await;
    let url = format!(
        "{}?cacertfile=ca.pem&certfile=client.pem&keyfile=client.key&verify=verify_peer",
        secured.url
    );
    place.plugin("orders", "noop", "").run(&url).await.ready().await;
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_told() {
    let mut place = certificates().plugin("orders", "noop", "");
    let secured = Secured::new(&place).await;
    let table = [
        (format!("ca = \"other.pem\"\n{CLIENT}"), "invalid peer certificate"),
        (CLIENT.to_owned(), "invalid peer certificate"),
        ("ca = \"ca.pem\"\n".to_owned(), "ertificate"),
        (format!("ca = \"none.pem\"\n{CLIENT}"), "cannot read `none.pem`"),
    ];
    for (tls, said) in &table {
        place = place.file("wabbit.toml", format!("[broker.tls]\n{tls}"));
        let args = ["publish", "", "nobody", "--broker", &secured.url];
        let texts = ["cannot reach the broker at `amqps://guest@127.0.0.1:", said];
        place.wabbit(&args).await.fails(69, &texts);
    }
    place = place.file("wabbit.toml", format!("[broker.tls]\n{}", table[0].0));
    let host = place.run(&secured.url).await;
    host.unready(&["queue `orders`", "cannot reach the broker", "invalid peer certificate"]).await;
}
