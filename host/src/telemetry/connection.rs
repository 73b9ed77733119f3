//! Reports about the connections to the broker. Next in the flow: [`crate::broker`], which emits
//! them.

use super::{metrics::name, rarely::Say, text::printable};
use metrics::{counter, gauge};
use std::fmt::Display;
use std::time::Duration;
use tracing::{debug, info, warn};

/// The longest text of the broker in a log line, in bytes.
const CAUSE_BYTES_MAX: usize = 1024;

/// A connection is open.
pub struct ConnectionUp<'a> {
    /// `consume` or `publish`.
    pub role: &'static str,
    /// The broker's address, without credentials.
    pub address: &'a str,
    /// How long there was none, if there should have been.
    pub away: Option<Duration>,
    /// Whether people are to be told.
    pub loud: bool,
}

impl ConnectionUp<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        gauge!(name::CONNECTION_UP, "role" => self.role).set(1.0);
        gauge!(name::CONNECTION_BLOCKED, "role" => self.role).set(0.0);
        let Self { role, address, away, loud } = self;
        let away_seconds = away.map(|away| away.as_secs_f64());
        if loud {
            info!(role, address, away_seconds, "connected");
        } else {
            debug!(role, address, away_seconds, "connected");
        }
    }
}

/// A broker, or a version of it, that was not known before.
pub struct BrokerIntroduced<'a> {
    /// Product and version, in its own words, printable.
    pub server: &'a dyn Display,
    /// The name of its cluster, printable.
    pub cluster: Option<&'a str>,
    /// What follows from that.
    pub means: &'a dyn Display,
}

impl BrokerIntroduced<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { server, cluster, means } = self;
        info!(cluster, "the broker is {server}: {means}");
    }
}

/// A connection is lost.
pub struct ConnectionLost<'a> {
    /// `consume` or `publish`.
    pub role: &'static str,
    /// One of a few words for the metric, e.g. `heartbeat`, `closed`.
    pub reason: &'static str,
    /// What the broker or the system said.
    pub cause: &'a str,
    /// Whether people are to be told; of others there is a line for `debug`.
    pub say: Option<Say>,
}

impl ConnectionLost<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { role, reason, cause, say } = self;
        ConnectionClosed { role }.emit();
        counter!(name::RECONNECTS, "role" => role, "reason" => reason).increment(1);
        let reason = printable(cause, CAUSE_BYTES_MAX);
        match say {
            None => debug!(role, %reason, "lost the connection to the broker"),
            Some(Say::Again { more }) => {
                warn!(role, %reason, times = more, "lost the connection to the broker");
            }
            Some(_) => warn!(role, %reason, "lost the connection to the broker"),
        }
    }
}

/// A connection is closed, as was asked for.
pub struct ConnectionClosed {
    /// `consume` or `publish`.
    pub role: &'static str,
}

impl ConnectionClosed {
    /// Shows it.
    pub fn emit(self) {
        gauge!(name::CONNECTION_UP, "role" => self.role).set(0.0);
        gauge!(name::CONNECTION_BLOCKED, "role" => self.role).set(0.0);
    }
}

/// There is no connection; tried again by itself.
pub struct ConnectFailed<'a> {
    /// `consume` or `publish`.
    pub role: &'static str,
    /// What the broker or the system said.
    pub cause: &'a str,
    /// Whether people are to be told; of others there is a line for `debug`.
    pub say: Option<Say>,
}

impl ConnectFailed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { role, cause, say } = self;
        ConnectionClosed { role }.emit();
        let reason = printable(cause, CAUSE_BYTES_MAX);
        match say {
            None => debug!(role, %reason, "no connection to the broker, trying on"),
            Some(Say::Again { more }) => {
                warn!(role, %reason, "still no connection to the broker after {more} more tries");
            }
            Some(_) => warn!(role, %reason, "no connection to the broker, trying on"),
        }
    }
}

/// The broker takes no publications (a resource alarm), or takes them again.
pub struct ConnectionBlocked<'a> {
    /// `consume` or `publish`.
    pub role: &'static str,
    /// The broker's reason; `None`: no longer blocked.
    pub reason: Option<&'a str>,
}

impl ConnectionBlocked<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { role, reason } = self;
        let blocked = gauge!(name::CONNECTION_BLOCKED, "role" => role);
        match reason {
            Some(reason) => {
                blocked.set(1.0);
                warn!(
                    role,
                    "the broker takes no publications: {}",
                    printable(reason, CAUSE_BYTES_MAX)
                );
            }
            None => {
                blocked.set(0.0);
                info!(role, "the broker takes publications again");
            }
        }
    }
}
