//! A running host as the demo sees it: its JSON log, line by line, and its admin address.

use crate::http;
use crate::process::{end, pause, root, scratch, until};
use anyhow::{Result, bail};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Python's component alone compiles for seconds.
const READY_MAX: Duration = Duration::from_secs(120);

/// A host of ours. Dropping it ends it.
pub struct Host {
    /// Its admin address.
    pub admin: SocketAddr,
    child: Child,
    lines: Receiver<Line>,
}

/// One line of the log.
pub struct Line(Value);

impl Host {
    /// Starts `wabbit run` on the plugins folder.
    pub fn start(broker: &str) -> Result<Host> {
        let admin = http::free_address()?;
        let mut child = Command::new(root().join("target/debug/wabbit"))
            .args(["--log-format", "json", "run", "--broker", broker, "--plugins"])
            .arg(root().join("plugins"))
            .args(["--admin", &admin.to_string()])
            // What becomes of each event is logged at trace.
            .env("RUST_LOG", "warn,wabbit=trace,guest=info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C must not reach it twice, once from us.
            .process_group(0)
            .spawn()?;
        let (sender, lines) = channel();
        let log = File::create(scratch().join("demo-host.log"))?;
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || forward(stderr, log, &sender));
        }
        Ok(Host { admin, child, lines })
    }

    /// Waits until every subscription has a live consumer.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut reasons = String::new();
        let ready = until("starting the host", READY_MAX, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended with {status}; its log is target/xtask/demo-host.log");
            }
            let answer = http::get(self.admin, "/readyz", &[]);
            let Ok((status, body)) = answer else { return Ok(None) };
            reasons = body;
            Ok((status == 200).then_some(()))
        });
        ready.map_err(|error| error.context(format!("not ready: {}", reasons.trim())))
    }

    /// Publishes an event by the admin address.
    pub fn publish(&self, key: &str, id: &str, body: &str) -> Result<()> {
        let event = serde_json::json!({
            "exchange": "shop",
            "routing-key": key,
            "properties": { "message-id": id, "content-type": "application/json" },
            "body": body,
        });
        let (status, answer) = http::post(self.admin, "/api/publish", &event)?;
        if status != 200 {
            bail!("`{id}` was not published: {status} {answer}");
        }
        Ok(())
    }

    /// The next lines, those that have come by now.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.try_iter().collect()
    }

    /// Leaves the host running until it ends or we are interrupted.
    pub fn keep(&mut self) -> Result<()> {
        while self.child.try_wait()?.is_none() && pause().is_ok() {}
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn forward(stderr: ChildStderr, mut log: File, lines: &Sender<Line>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // The copy is for people who look into a failure; the demo works without it.
        let _ = writeln!(log, "{line}");
        let Ok(value) = serde_json::from_str(&line) else { continue };
        if lines.send(Line(value)).is_err() {
            return;
        }
    }
}

impl Line {
    fn field(&self, name: &str) -> &Value {
        let flat = &self.0[name];
        if flat.is_null() { &self.0["fields"][name] } else { flat }
    }

    /// A field as text; empty when it has none.
    pub fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_default()
    }

    /// A field as a number; 0 when it has none.
    pub fn number(&self, name: &str) -> u64 {
        self.field(name).as_u64().unwrap_or_default()
    }

    /// Whether a guest has written it.
    pub fn is_guests(&self) -> bool {
        self.0["target"] == "guest"
    }
}
