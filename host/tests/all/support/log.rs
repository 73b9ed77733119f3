//! The log of this process, as people would see it, kept for tests to look into.

use std::io::Write;
use std::sync::{Arc, Mutex, Once, PoisonError};
use tracing_subscriber::EnvFilter;

static LINES: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());

/// Begins to keep it.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .compact()
            .with_ansi(false)
            .with_env_filter(EnvFilter::new("warn,lapin=off,wabbit=debug,guest=trace"))
            .with_writer(|| Keeper)
            .try_init()
            .ok();
    });
}

/// Those of its lines that hold `text`.
pub fn lines(text: &str) -> Vec<Arc<str>> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.contains(text)).cloned().collect()
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // One call for each line, and a line may hold any character but the last line break.
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
