//! A web server in this process, which remembers what it was asked for. Its paths: `/redirect`
//! answers 302; `/slow` never; `/large` with 10,000 bytes; `/held` when no more come, see
//! [`Web::most_at_once`]; all others at once.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// How long `/held` holds a request for others to come.
const HELD: Duration = Duration::from_millis(50);

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    /// The value of a header, nothing if it has none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The server. It ends with the test's runtime.
pub struct Web {
    /// Of 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
    connections: AtomicUsize,
}

/// A server's certificate for `localhost`, and the authority that signed it, in PEM.
pub struct Certificate {
    pub authority: String,
    certificate: String,
    key: String,
}

impl Certificate {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Self { authority, certificate, key: key.serialize_pem() }
    }
}

impl Web {
    /// By `http://`.
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    /// By `https://`.
    pub async fn secured(by: &Certificate) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(by.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(by.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (serving.clone(), tls.clone());
                state.connections.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, state }
    }

    /// What it was asked for so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests it had to answer at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.state.most.load(Relaxed)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Relaxed)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let answer = |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    };
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let at_once = self.at_once.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(at_once, Relaxed);
        let _ = body.collect().await;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        let path = head.uri.path().to_owned();
        let seen = Seen { path: path.clone(), headers: headers.collect() };
        self.seen.lock().unwrap().push(seen);
        match path.as_str() {
            "/slow" => std::future::pending().await,
            "/held" => tokio::time::sleep(HELD).await,
            _ => {}
        }
        self.at_once.fetch_sub(1, Relaxed);
        let body = if path == "/large" { vec![b'x'; 10_000] } else { b"hello".to_vec() };
        let response = Response::builder();
        let response = match path.as_str() {
            "/redirect" => response.status(302).header("location", "/elsewhere"),
            _ => response.header("x-answer", "yes"),
        };
        response.body(Full::from(body)).unwrap()
    }
}
