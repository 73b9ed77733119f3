//! The metrics: their names, units and buckets, and the page that Prometheus reads.
//! Next: `report`, which moves them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, time::Duration};

/// Names, which dashboards and alerts rely on.
#[allow(missing_docs, reason = "each is described, with its unit, in the table below")]
pub mod name {
    pub const DELIVERIES: &str = "wabbit_deliveries_total";
    pub const OUTCOMES: &str = "wabbit_outcomes_total";
    pub const HANDLER_SECONDS: &str = "wabbit_handler_seconds";
    pub const INFLIGHT: &str = "wabbit_inflight";
    pub const EVENT_AGE_SECONDS: &str = "wabbit_event_age_seconds";
    pub const RETRIES: &str = "wabbit_retries_total";
    pub const DEAD_LETTERS: &str = "wabbit_dead_letters_total";
    pub const DEDUPLICATED: &str = "wabbit_deduplicated_total";
    pub const CONFLICTS: &str = "wabbit_conflicts_total";
    pub const UNRECORDED: &str = "wabbit_unrecorded_total";
    pub const ACK_LOST: &str = "wabbit_ack_lost_total";
    pub const RESENT: &str = "wabbit_publications_resent_total";
    pub const RECONNECTS: &str = "wabbit_reconnects_total";
    pub const CONNECTION_UP: &str = "wabbit_connection_up";
    pub const CONNECTION_BLOCKED: &str = "wabbit_connection_blocked";
    pub const STALLED: &str = "wabbit_stalled_total";
    pub const GAPS: &str = "wabbit_gaps_total";
    pub const GAP_SECONDS: &str = "wabbit_gap_seconds";
    pub const CONSUMER_UP: &str = "wabbit_consumer_up";
    pub const PLUGIN_INFO: &str = "wabbit_plugin_info";
    pub const PLUGIN_RELOADS: &str = "wabbit_plugin_reloads_total";
    pub const PLUGIN_TRAPS: &str = "wabbit_plugin_traps_total";
    pub const CIRCUIT_OPEN: &str = "wabbit_circuit_open";
}

use name::*;

const COUNTERS: [(&str, &str); 14] = [
    (DELIVERIES, "Events received from the broker, redelivered ones included"),
    (OUTCOMES, "Events by what came of them: the outcome, and the class of a failure"),
    (RETRIES, "Events that were sent to come again later"),
    (DEAD_LETTERS, "Events that were made dead letters"),
    (DEDUPLICATED, "Events that had been handled before: their handlers were not called"),
    (CONFLICTS, "Calls made anew, since other events had changed what the handler had read"),
    (UNRECORDED, "Events handled without a record, for want of what `[dedupe] key` names"),
    (ACK_LOST, "Acks that never reached the broker: it delivers these events again, though done"),
    (
        RESENT,
        "Publications sent again as their confirm was lost, by whose they are: there may be two",
    ),
    (RECONNECTS, "Connections lost or refused, by what for"),
    (STALLED, "Consumers begun anew because the broker had events and delivered none"),
    (GAPS, "Queues of one connection alone that were lost and declared anew, empty"),
    (PLUGIN_RELOADS, "New versions of plugins: loaded, reloaded, refused or removed"),
    (PLUGIN_TRAPS, "Calls that ended with a trap or at a limit, by kind"),
];

const GAUGES: [(&str, &str); 6] = [
    (INFLIGHT, "Events that are being handled"),
    (CONNECTION_UP, "1 while the connection to the broker is open"),
    (CONNECTION_BLOCKED, "1 while the broker takes no publications"),
    (CONSUMER_UP, "1 while the broker delivers from the queue to this host"),
    (PLUGIN_INFO, "1 for the version of a plugin that is active"),
    (CIRCUIT_OPEN, "1 while a subscription is paused for trouble that is not its events' fault"),
];

/// From a call that does next to nothing (µs) to the usual limit of time, and twice that.
const HANDLER_BUCKETS: [f64; 18] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.5, 1.0, 5.0, 30.0, 60.0,
];

/// From an event that is handled as it comes to one that waited for a day.
const AGE_BUCKETS: [f64; 12] =
    [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0];

/// From a connection that comes back at once to a broker that was away for a day.
const GAP_BUCKETS: [f64; 8] = [0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0];

/// How often samples of histograms are sorted into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Gives the metrics out.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl Handle {
    /// All metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        let text = self.0.render();
        // The exporter cannot forget a series. A version that is not active is no information.
        let is_old = |line: &str| line.starts_with("wabbit_plugin_info{") && line.ends_with(" 0");
        text.split_inclusive('\n').filter(|line| !is_old(line.trim_end())).collect()
    }

    /// Keeps the memory of histograms bounded. Never ends: to be spawned.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }
}

/// Starts to count. Metrics that were registered before are not counted, so this comes before all
/// else; further calls return the same handle.
///
/// # Errors
/// If another recorder was installed in this process.
pub fn init() -> Result<Handle, InitError> {
    static HANDLE: OnceLock<Result<Handle, String>> = OnceLock::new();
    HANDLE.get_or_init(|| install().map_err(|error| error.to_string())).clone().map_err(InitError)
}

/// See [`init`].
#[derive(Debug, thiserror::Error)]
#[error("cannot start the metrics: {0}")]
pub struct InitError(String);

fn install() -> Result<Handle, Box<dyn std::error::Error>> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(HANDLER_SECONDS.into()), &HANDLER_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(EVENT_AGE_SECONDS.into()), &AGE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(GAP_SECONDS.into()), &GAP_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    for (name, text) in COUNTERS {
        describe_counter!(name, Unit::Count, text);
    }
    for (name, text) in GAUGES {
        describe_gauge!(name, Unit::Count, text);
    }
    describe_histogram!(HANDLER_SECONDS, Unit::Seconds, "Time in the handler, host calls included");
    describe_histogram!(
        EVENT_AGE_SECONDS,
        Unit::Seconds,
        "Time from an event's publishing to its receipt, where it bears a timestamp"
    );
    describe_histogram!(
        GAP_SECONDS,
        Unit::Seconds,
        "Time in which a queue of one connection alone was not there"
    );
    Ok(Handle(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_init_returns_the_same_metrics() {
        let (first, second) = (init().unwrap(), init().unwrap());
        metrics::counter!(RECONNECTS, "role" => "twice", "reason" => "test").increment(2);
        let line = "wabbit_reconnects_total{role=\"twice\",reason=\"test\"} 2\n";
        assert!(first.render().contains(line) && second.render().contains(line));
        assert!(first.render().contains("# TYPE wabbit_reconnects_total counter\n"));
    }

    #[test]
    fn seconds_are_counted_in_buckets() {
        let handle = init().unwrap();
        metrics::histogram!(HANDLER_SECONDS, "plugin" => "buckets").record(0.00002);
        let text = handle.render();
        let bucket = |le: &str, n: u32| {
            let line =
                format!("wabbit_handler_seconds_bucket{{plugin=\"buckets\",le=\"{le}\"}} {n}\n");
            assert!(text.contains(&line), "no {line} in {text}");
        };
        bucket("0.00001", 0);
        bucket("0.000025", 1);
        bucket("60", 1);
        bucket("+Inf", 1);
    }
}
