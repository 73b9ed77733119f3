//! From a URL to a connection: its name is looked up once, each address is judged by the grants, and
//! the connection goes to exactly one that passed.

use super::super::grants::{Denied, Granted, Host, HostGrant, Scheme, Target};
use super::CONNECT_MAX;
use super::tls::Tls;
use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Where `uri` leads.
///
/// # Errors
/// It has no host, or one in a form that different programs take for different ones.
pub fn target(uri: &Uri) -> Result<Target, Denied> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        _ => Scheme::Https,
    };
    Target::new(scheme, uri.authority().map_or("", |authority| authority.as_str()))
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The grants refuse where it would go.
    #[error("{0}")]
    Denied(Denied),
    /// The name has no address.
    #[error("`{0}` can't be looked up: {1}")]
    Name(String, io::Error),
    /// Nobody is there.
    #[error("can't connect to {0}: {1}")]
    Refused(SocketAddr, io::Error),
    /// It took too long.
    #[error("no connection after {}", humantime::format_duration(CONNECT_MAX))]
    Timeout,
    /// There is no agreement about TLS.
    #[error("{0}")]
    Tls(io::Error),
}

/// Makes connections for one plugin.
#[derive(Clone)]
pub struct Connector {
    hosts: Granted<HostGrant>,
    tls: Tls,
}

/// What bytes go over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Connection for Box<dyn Wire> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Connector {
    /// One for what `hosts` allow.
    pub fn new(hosts: Granted<HostGrant>, tls: Tls) -> Self {
        Self { hosts, tls }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Box<dyn Wire>>, ConnectError> {
        let connecting = async {
            let target = target(&uri).map_err(ConnectError::Denied)?;
            let stream = self.reach(&target).await?;
            // Small requests are not to wait for more of them.
            let _ = stream.set_nodelay(true);
            let wire: Box<dyn Wire> = match target.scheme {
                Scheme::Http => Box::new(stream),
                Scheme::Https => Box::new(self.tls.connect(&target.host, stream).await?),
            };
            Ok(TokioIo::new(wire))
        };
        timeout(CONNECT_MAX, connecting).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn reach(&self, target: &Target) -> Result<TcpStream, ConnectError> {
        let addresses = self.addresses(target).await?;
        let until = Instant::now() + CONNECT_MAX;
        let mut failed = ConnectError::Timeout;
        for (at, address) in addresses.iter().enumerate() {
            // One that does not answer leaves time for the others.
            let share = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            let limit = until.saturating_duration_since(Instant::now()) / share;
            match timeout(limit.max(Duration::from_millis(1)), TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = ConnectError::Refused(*address, error),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// The addresses of `target` to which it may go; never empty.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        let found: Vec<IpAddr> = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), target.port)).await;
                let found = found.map_err(|error| ConnectError::Name(name.clone(), error))?;
                found.map(|address| address.ip()).collect()
            }
        };
        let (mut addresses, mut denied) = (Vec::new(), None);
        for address in found {
            match self.hosts.judge_address(target, address) {
                Ok(()) => addresses.push(SocketAddr::new(address, target.port)),
                Err(why) => denied = Some(why),
            }
        }
        match denied {
            Some(denied) if addresses.is_empty() => Err(ConnectError::Denied(denied)),
            _ if addresses.is_empty() => {
                let none = io::Error::new(io::ErrorKind::NotFound, "it has no address");
                Err(ConnectError::Name(target.to_string(), none))
            }
            _ => Ok(addresses),
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
