//! Other clients than ours: scripts of host/tests/all/python, run by a Python that has pika.

use super::environment;
use super::process::PATIENCE;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// A script that runs. Dropping it kills it.
pub struct Script {
    child: Child,
    lines: UnboundedReceiver<String>,
}

impl Script {
    /// Starts `python/NAME.py`.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/python");
        let mut command = Command::new(environment("WABBIT_TEST_PYTHON"));
        command.arg("-u").arg(folder.join(format!("{name}.py"))).args(args);
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Perhaps nobody wants it any more.
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that it prints; `None` at its end.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Runs it to its end, which must be a good one; what else it prints.
    pub async fn finish(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let to_its_end = async {
            while let Some(line) = self.lines.recv().await {
                lines.push(line);
            }
        };
        assert!(timeout(PATIENCE, to_its_end).await.is_ok(), "the script does not end");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the script ended with {status}: {lines:?}");
        lines
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
