//! What a guest is told when a request failed, and what people are told.

use super::super::grants::Denied;
use super::Limits;
use super::connect::ConnectError;
use http_body_util::LengthLimitError;
use hyper_util::client::legacy;
use std::error::Error as StdError;
use std::io;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error;

/// A request that has no answer.
pub struct Failure {
    /// What the guest is told.
    pub told: Error,
    /// What people are told.
    pub cause: String,
    /// What refused it, if it was refused.
    pub denied: Option<Denied>,
}

impl Failure {
    /// With a cause in words.
    pub fn of(told: Error, cause: String) -> Self {
        Self { told, cause, denied: None }
    }
}

impl From<Error> for Failure {
    fn from(told: Error) -> Self {
        let cause = told.to_string();
        Self::of(told, cause)
    }
}

/// The first error of type `T` in `error` and its causes.
pub fn found<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What `error` comes to.
pub fn failure(error: &legacy::Error, limits: &Limits) -> Failure {
    if let Some(error) = found::<ConnectError>(error) {
        return unconnected(error);
    }
    if found::<LengthLimitError>(error).is_some() {
        let most = limits.request_body;
        let told = Error::HttpRequestBodySize(u64::try_from(most).ok());
        let cause = format!("its body is over `[limits] http-request-body` ({most} bytes)");
        return Failure::of(told, cause);
    }
    let told = match found::<hyper::Error>(error) {
        Some(error) if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        Some(error) if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        Some(error) if found::<io::Error>(error).is_some() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    };
    let (mut cause, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        cause += &format!(": {error}");
        next = error.source();
    }
    Failure::of(told, cause)
}

fn unconnected(error: &ConnectError) -> Failure {
    let told = match error {
        ConnectError::Denied(denied) => {
            let denied = Some(denied.clone());
            return Failure { told: Error::HttpRequestDenied, cause: error.to_string(), denied };
        }
        ConnectError::Name(_, cause) => {
            Error::DnsError { rcode: Some(cause.to_string()), info_code: None }
        }
        ConnectError::Refused(..) => Error::ConnectionRefused,
        ConnectError::Timeout => Error::ConnectionTimeout,
        ConnectError::Tls(error) => {
            match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
                    alert_id: Some(u8::from(*alert)),
                    alert_message: Some(format!("{alert:?}")),
                },
                _ => Error::TlsProtocolError,
            }
        }
    };
    Failure::of(told, error.to_string())
}
