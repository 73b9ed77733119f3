//! The log: one line per event on stderr, for people or for machines. Next: `metrics`.

use std::io::IsTerminal as _;
use tracing::{Level, Metadata, Subscriber, subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter, registry::LookupSpan};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One line of text, in colour on a terminal.
    #[default]
    Human,
    /// One JSON object, flat: `timestamp`, `level`, `target`, `message` and the line's own fields.
    Json,
}

/// Libraries that tell at `info` what only their authors need, or whose errors the host reports in
/// its own words.
const QUIETER: &str = "lapin=off,amq_protocol=off,async_rs=off,rustls=warn,hyper=warn,notify=warn,\
                       sqlx=warn,wasmtime=warn,wasmtime_wasi=warn,cranelift_codegen=warn,\
                       regalloc2=warn";

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("bad log filter `{filter}`: {cause}")]
pub struct FilterError {
    filter: String,
    cause: tracing_subscriber::filter::ParseError,
}

impl FilterError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        "write a level (`error`, `warn`, `info`, `debug`, `trace`) or `target=level`, with commas"
    }
}

/// Starts to write the log to stderr. What is shown: `RUST_LOG` if that is set, otherwise `filter`,
/// otherwise `info`. Only the first call in a process takes effect.
///
/// # Errors
/// If the filter cannot be parsed.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), FilterError> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty());
    let filter = parse_filter(from_env.as_deref().or(filter).unwrap_or("info"))?;
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // An error says that there is a log already, as in tests.
    let _ = match format {
        Format::Human => subscriber::set_global_default(human(filter, ansi, std::io::stderr)),
        Format::Json => subscriber::set_global_default(json(filter, std::io::stderr)),
    };
    Ok(())
}

/// A filter with the quieter libraries first, so that what is asked for by name is shown.
fn parse_filter(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::builder()
        .parse(format!("{QUIETER},{filter}"))
        .map_err(|cause| FilterError { filter: filter.to_owned(), cause })
}

fn human<W>(filter: EnvFilter, ansi: bool, writer: W) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(writer)
        .finish()
        .with(filter_fn(is_harmless))
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
        .with(filter_fn(is_harmless))
}

/// At `trace` the client writes out every frame, the one with the password too: nobody gets those.
fn is_harmless(line: &Metadata<'_>) -> bool {
    *line.level() < Level::TRACE || !line.target().starts_with("lapin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn writer(&self) -> impl Fn() -> Buffer + Send + Sync + 'static {
            let buffer = self.clone();
            move || buffer.clone()
        }
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_line_for_machines_is_one_flat_object() {
        let buffer = Buffer::default();
        let filter = parse_filter("info").unwrap();
        subscriber::with_default(json(filter, buffer.writer()), || {
            tracing::info!(target: "guest", plugin = "orders", size = 3, "said \"hi\"");
        });
        let line: serde_json::Value = serde_json::from_str(buffer.text().trim_end()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "guest");
        assert_eq!(line["message"], "said \"hi\"");
        assert_eq!(line["plugin"], "orders");
        assert_eq!(line["size"], 3);
        assert!(line["timestamp"].is_string());
        assert_eq!(line.as_object().unwrap().len(), 6, "{line}");
    }

    #[test]
    fn a_line_for_people_names_level_message_and_fields() {
        let buffer = Buffer::default();
        let filter = parse_filter("info").unwrap();
        subscriber::with_default(human(filter, false, buffer.writer()), || {
            tracing::warn!(plugin = "orders", "gone");
        });
        let text = buffer.text();
        assert!(text.contains("WARN") && text.ends_with("gone plugin=\"orders\"\n"), "{text}");
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let lines = |filter: &str| {
            let buffer = Buffer::default();
            subscriber::with_default(
                human(parse_filter(filter).unwrap(), false, buffer.writer()),
                || {
                    tracing::info!(target: "lapin::channel", "chatter");
                    tracing::warn!(target: "lapin::channel", "trouble");
                    tracing::trace!(target: "lapin::io_loop", "a frame with a password");
                    tracing::debug!(target: "wabbit", "detail");
                },
            );
            buffer.text().lines().count()
        };
        assert_eq!(lines("info"), 0);
        assert_eq!(lines("debug"), 1);
        assert_eq!(lines("info,lapin=info"), 2);
        assert_eq!(lines("trace,lapin=trace"), 3);
    }

    #[test]
    fn a_bad_filter_is_an_error_and_a_second_init_is_not() {
        let error = parse_filter("wabbit=loud").unwrap_err();
        assert!(error.to_string().starts_with("bad log filter `wabbit=loud`: "), "{error}");
        assert!(init(Format::Human, Some("info")).is_ok());
        assert!(init(Format::Json, Some("info")).is_ok());
    }
}
