//! The PEM files of an `amqps://` connection, read anew for every attempt so that renewed
//! certificates are taken up. Next in the flow: [`super::link`], which connects.

use super::uri::Tls;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use std::path::Path;

/// A file that could not be read, or half of a client certificate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The file is not there or not readable.
    #[error("cannot read `{path}`: {reason}")]
    Read {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// One of certificate and key is missing.
    #[error("a client certificate needs both a certificate file and a key file")]
    Half,
}

/// Reads what `of_uri` names, else what `of_config` names.
pub(super) async fn load(
    of_uri: &Tls,
    of_config: Option<&Tls>,
) -> Result<OwnedTLSConfig, TlsError> {
    let empty = Tls::default();
    let tls = if of_uri.is_empty() { of_config.unwrap_or(&empty) } else { of_uri };
    let cert_chain = match &tls.ca_file {
        Some(path) => Some(String::from_utf8_lossy(&read(path).await?).into_owned()),
        None => None,
    };
    let identity = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            Some(OwnedIdentity::PKCS8 { pem: read(cert).await?, key: read(key).await? })
        }
        (None, None) => None,
        _ => return Err(TlsError::Half),
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(owned)).await;
    let failed = |reason: String| TlsError::Read { path: path.display().to_string(), reason };
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
