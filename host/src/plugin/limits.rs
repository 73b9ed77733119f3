//! What one plugin may use up, and how that is written in `[limits]`. Next:
//! [`super::manifest`], which the limits are part of.

use super::manifest::written::{Section, bytes};
use crate::capability::http;
use crate::store::sql;
use std::time::Duration;

const MIB: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The smallest memory that can be asked for: one page of WebAssembly.
pub const MEMORY_MIN: usize = 64 << 10;

/// What one plugin may use up. Defaults are in [`Limits::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Wall clock of one event, host calls included.
    pub timeout: Duration,
    /// Time inside the guest for one event.
    pub cpu: Duration,
    /// Bytes of all linear memories of one instance together.
    pub memory: usize,
    /// Elements of all tables of one instance together.
    pub table_elements: usize,
    /// Core instances that make up one instance of the component.
    pub instances: usize,
    /// Whether an instance handles more than one event.
    pub instance: Instance,
    /// Events that one instance handles before a new one takes its place.
    pub max_invocations: u64,
    /// Bytes of the largest body that is handed to the handler, inclusive.
    pub body: usize,
    /// Publications of one event.
    pub publications: usize,
    /// Bytes of all publications of one event together.
    pub publication_bytes: usize,
    /// What one SQL statement may take.
    pub statement: sql::Limits,
    /// Log lines of one event.
    pub log_lines: u32,
    /// Log lines of one second, of all its events together.
    pub log_rate: u32,
    /// Bytes of one log line.
    pub log_line_bytes: usize,
    /// HTTP requests.
    pub http: http::Limits,
}

/// Whether an instance handles more than one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instance {
    /// A new instance for every event: nothing is left over from the one before.
    Fresh,
    /// One after the other, up to `max_invocations`.
    Reuse,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            cpu: Duration::from_secs(1),
            memory: 64 * MIB,
            table_elements: 100_000,
            instances: 64,
            instance: Instance::Reuse,
            max_invocations: 10_000,
            body: 16 * MIB,
            publications: 1000,
            publication_bytes: 16 * MIB,
            statement: sql::Limits { time: Duration::from_secs(10), rows: 10_000, bytes: 8 * MIB },
            log_lines: 1000,
            log_rate: 1000,
            log_line_bytes: 8 << 10,
            http: http::Limits::default(),
        }
    }
}

impl Limits {
    /// Reads `[limits]`. What is not stated is as in `base`; `memory_max` is the host's limit.
    pub fn read(limits: &Section<'_>, base: &Limits, memory_max: usize) -> Self {
        let ms = Duration::from_millis(1);
        let modes = [("reuse", Instance::Reuse), ("fresh", Instance::Fresh)];
        let memory = limits.size("memory", MEMORY_MIN..=usize::MAX);
        if let Some(memory) = memory.filter(|memory| *memory > memory_max) {
            let (asked, most) = (bytes(memory), bytes(memory_max));
            limits.wrong_with(
                "memory",
                format!("must not be over the host's limit of {most}, is `{asked}`"),
                Some("raise `memory` in `[limits]` of the host's configuration"),
            );
        }
        let count = |key, most| limits.integer(key, 0..=most);
        Self {
            timeout: limits.duration("timeout", ms..=DAY).unwrap_or(base.timeout),
            cpu: limits.duration("cpu", ms..=DAY).unwrap_or(base.cpu),
            memory: memory.unwrap_or(base.memory).min(memory_max),
            table_elements: count("table-elements", 10_000_000).unwrap_or(base.table_elements),
            instances: limits.integer("instances", 1..=1000).unwrap_or(base.instances),
            instance: limits.choice("instance", &modes).unwrap_or(base.instance),
            max_invocations: limits
                .integer("max-invocations", 1..=u64::from(u32::MAX))
                .unwrap_or(base.max_invocations),
            // 512 MiB is the largest message that RabbitMQ can be set to take.
            body: limits.size("body", 1..=512 * MIB).unwrap_or(base.body),
            publications: count("publications", 100_000).unwrap_or(base.publications),
            publication_bytes: limits
                .size("publication-bytes", 0..=512 * MIB)
                .unwrap_or(base.publication_bytes),
            statement: sql::Limits {
                time: limits.duration("statement-time", ms..=DAY).unwrap_or(base.statement.time),
                rows: count("statement-rows", 10_000_000).unwrap_or(base.statement.rows),
                bytes: limits
                    .size("statement-bytes", 0..=512 * MIB)
                    .unwrap_or(base.statement.bytes),
            },
            log_lines: limits.integer("log-lines", 0..=1_000_000).unwrap_or(base.log_lines),
            log_rate: limits.integer("log-rate", 0..=1_000_000).unwrap_or(base.log_rate),
            log_line_bytes: limits.size("log-line-bytes", 64..=MIB).unwrap_or(base.log_line_bytes),
            http: Self::read_http(limits, &base.http),
        }
    }

    fn read_http(limits: &Section<'_>, base: &http::Limits) -> http::Limits {
        http::Limits {
            requests: limits.integer("http-requests", 0..=100_000).unwrap_or(base.requests),
            concurrency: limits
                .integer::<u32>("http-concurrency", 1..=100_000)
                .map_or(base.concurrency, |most| most as usize),
            request_body: limits
                .size("http-request-body", 0..=512 * MIB)
                .unwrap_or(base.request_body),
            response_body: limits
                .size("http-response-body", 0..=512 * MIB)
                .unwrap_or(base.response_body),
        }
    }

    /// The smaller of both, limit by limit; a fresh instance is the smaller one.
    #[must_use]
    pub fn min(&self, other: &Limits) -> Limits {
        Self {
            timeout: self.timeout.min(other.timeout),
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
            table_elements: self.table_elements.min(other.table_elements),
            instances: self.instances.min(other.instances),
            instance: self.instance.min(other.instance),
            max_invocations: self.max_invocations.min(other.max_invocations),
            body: self.body.min(other.body),
            publications: self.publications.min(other.publications),
            publication_bytes: self.publication_bytes.min(other.publication_bytes),
            statement: self.statement.min(&other.statement),
            log_lines: self.log_lines.min(other.log_lines),
            log_rate: self.log_rate.min(other.log_rate),
            log_line_bytes: self.log_line_bytes.min(other.log_line_bytes),
            http: self.http.min(&other.http),
        }
    }
}
