//! Why a connection could not be made, told apart by what a person must do about it. Next in the
//! flow: [`super::link`].

use super::uri::Uri;
use lapin::ErrorKind;

/// AMQP's code for credentials that are not accepted.
const ACCESS_REFUSED: u16 = 403;
/// AMQP's code for a virtual host that is not there or not for this user.
const NOT_ALLOWED: u16 = 530;

/// Why a connection could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answers there, or what answers is no AMQP broker.
    #[error("cannot reach the broker at `{uri}`: {reason}")]
    Unreachable {
        /// Where, without the password.
        uri: String,
        /// The cause.
        reason: String,
    },
    /// The broker does not accept this user and password.
    #[error("the broker at `{uri}` refuses the user or the password: {reason}")]
    Credentials {
        /// Where, without the password.
        uri: String,
        /// The broker's words.
        reason: String,
    },
    /// The virtual host is not there, or this user may not use it.
    #[error("the broker at `{uri}` refuses the virtual host `{vhost}`: {reason}")]
    VirtualHost {
        /// Where, without the password.
        uri: String,
        /// The virtual host.
        vhost: String,
        /// The broker's words.
        reason: String,
    },
    /// The configuration has no URI.
    #[error("no broker URI is given")]
    Unconfigured,
}

impl ConnectError {
    /// The broker is there and said no: the configuration is wrong, or the broker's permissions.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Credentials { .. } | Self::VirtualHost { .. })
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "is it running, and are host, port and scheme right?",
            Self::Credentials { .. } => "check the user and the password of the URL",
            Self::VirtualHost { .. } => {
                "create it (`rabbitmqctl add_vhost`), or give the user a permission in it \
                 (`rabbitmqctl set_permissions`)"
            }
            Self::Unconfigured => "give `--broker URL`",
        }
    }

    pub(super) fn unreachable(uri: &Uri, reason: impl ToString) -> Self {
        Self::Unreachable { uri: uri.to_string(), reason: reason.to_string() }
    }

    pub(super) fn of(uri: &Uri, error: &lapin::Error) -> Self {
        let (uri, vhost, reason) = (uri.to_string(), uri.amqp.vhost.clone(), words(error));
        match code(error) {
            Some(ACCESS_REFUSED) => Self::Credentials { uri, reason },
            Some(NOT_ALLOWED) => Self::VirtualHost { uri, vhost, reason },
            _ => Self::Unreachable { uri, reason },
        }
    }
}

/// AMQP's code, if it is the broker that complains.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// The error for people: the broker's own words where it spoke.
pub(super) fn words(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => format!("{} {}", error.get_id(), error.get_message()),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "the broker has fallen silent".to_owned(),
        _ => error.to_string(),
    }
}
