//! TLS for requests: the system's certificate authorities, and those of the host's configuration.

use super::super::grants::Host;
use super::connect::ConnectError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Whom requests trust, the same for all plugins.
#[derive(Clone, Default)]
pub struct Tls {
    own: Arc<[CertificateDer<'static>]>,
    /// The system's are read when the first request needs them.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

/// A file of certificates that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("`[http] ca`: `{}` {cause}", file.display())]
pub struct TlsError {
    file: PathBuf,
    cause: String,
}

impl Tls {
    /// Trusts the system's authorities, and those in the PEM file `ca`.
    ///
    /// # Errors
    /// The file can't be read, or has no certificate.
    pub fn new(ca: Option<&Path>) -> Result<Self, TlsError> {
        let Some(file) = ca else { return Ok(Self::default()) };
        let wrong = |cause: String| TlsError { file: file.to_owned(), cause };
        let read = CertificateDer::pem_file_iter(file);
        let read = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let own = read.map_err(|error| wrong(format!("can't be read: {error}")))?;
        if own.is_empty() {
            return Err(wrong("has no certificate in PEM".to_owned()));
        }
        Ok(Self { own: own.into(), config: Arc::default() })
    }

    /// Begins TLS with `host`, over `stream`.
    pub async fn connect(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| ConnectError::Tls(io::Error::other(error)))?,
        };
        let config = match self.config.get() {
            Some(config) => config,
            None => {
                let read =
                    self.read().map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
                self.config.get_or_init(|| Arc::new(read))
            }
        };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        connector.connect(name, stream).await.map_err(ConnectError::Tls)
    }

    fn read(&self) -> Result<ClientConfig, rustls::Error> {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "certificates of the system were left out");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.certs);
        roots.add_parsable_certificates(self.own.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions()?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}
