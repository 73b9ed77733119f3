//! Runs the built binary as users do: in a folder of its own, with plugins of its own, by its command
//! line. Next: rabbit.rs, the broker that it is pointed at.

use super::guest;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How long anything may take that a test waits for. Two busy cores may need some of it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
pub const LOOK: Duration = Duration::from_millis(25);

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            match look().await {
                Some(found) => return found,
                None => sleep(LOOK).await,
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A folder in which commands run.
pub struct Place {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// It ended with `code`, and says all of `texts` on standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not said: {self:#?}");
        }
    }

    /// It ended with 0; its standard output.
    #[track_caller]
    pub fn works(&self) -> &str {
        assert_eq!(self.code, 0, "{self:#?}");
        &self.stdout
    }
}

/// Makes hosts whose cache folder is `cache` compile a component once for all tests and all runs.
pub fn keep_compiled(cache: &Path) {
    let compiled = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    std::fs::create_dir_all(&compiled).unwrap();
    std::fs::create_dir_all(cache.join("wabbit")).unwrap();
    std::os::unix::fs::symlink(compiled, cache.join("wabbit/compiled")).unwrap();
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        keep_compiled(&dir.path().join("cache"));
        Self { dir, env: Vec::new() }
    }

    /// Sets a variable for what runs here.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable for what runs here from now on, in place of the value that it has.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file, which may be in a folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// Puts the built guest `of` into the plugins folder, with a manifest unless that is empty.
    pub fn plugin(self, name: &str, of: &str, manifest: &str) -> Self {
        self.install(name, of, manifest);
        self
    }

    /// See [`Place::plugin`]. The manifest comes first, so that a host which watches never sees the
    /// component without it.
    pub fn install(&self, name: &str, of: &str, manifest: &str) {
        if !manifest.is_empty() {
            std::fs::write(self.path(&format!("plugins/{name}.toml")), manifest).unwrap();
        }
        let bytes = guest(of);
        self.replace(name, &bytes);
    }

    /// Moves `component` over that of the plugin `name`.
    pub fn replace(&self, name: &str, component: &[u8]) {
        let beside = self.path(&format!("plugins/.{name}.new"));
        std::fs::write(&beside, component).unwrap();
        std::fs::rename(beside, self.path(&format!("plugins/{name}.wasm"))).unwrap();
    }

    /// Where `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wabbit"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        for name in ["PATH", "LD_LIBRARY_PATH", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("HOME", self.dir.path()).env("XDG_CACHE_HOME", self.path("cache"));
        command.env("WABBIT_DATA_DIR", self.path("data"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `wabbit` with `args` to its end.
    pub async fn wabbit(&self, args: &[&str]) -> Ended {
        self.wabbit_with(args, b"").await
    }

    /// The same, with `stdin` as its standard input.
    pub async fn wabbit_with(&self, args: &[&str], stdin: &[u8]) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut input, stdin) = (child.stdin.take().unwrap(), stdin.to_vec());
        let id = child.id();
        let ended = tokio::task::spawn_blocking(move || {
            // One that does not read is no mistake.
            let _ = input.write_all(&stdin);
            drop(input);
            child.wait_with_output().unwrap()
        });
        let Ok(ended) = timeout(PATIENCE, ended).await else {
            signal(id, "KILL");
            panic!("`wabbit {args:?}` does not end");
        };
        let ended = ended.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: ended.status.code().unwrap_or(-1),
            stdout: text(ended.stdout),
            stderr: text(ended.stderr),
        }
    }

    /// Starts `wabbit run` here, on `broker`. Returns when its admin address answers.
    pub async fn run(self, broker: &str) -> Wabbit {
        self.run_with(&["--broker", broker]).await
    }

    /// The same, with these flags.
    pub async fn run_with(self, flags: &[&str]) -> Wabbit {
        let mut args = vec!["run", "--log-format", "json"];
        if !flags.contains(&"--admin") {
            args.extend(["--admin", "127.0.0.1:0"]);
        }
        args.extend(flags);
        let log = Log::default();
        let child = self.spawn(&args, &log);
        let args = args.into_iter().map(str::to_owned).collect();
        let mut wabbit = Wabbit { place: self, args, child, log, kept: None, admin: String::new() };
        wabbit.admin = wabbit.listening(0).await;
        wabbit
    }

    fn spawn(&self, args: &[&str], log: &Log) -> Child {
        let mut command = self.command(args);
        if !self.env.iter().any(|(name, _)| name == "RUST_LOG") {
            command.env("RUST_LOG", "debug");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().unwrap().push(line);
            }
        });
        child
    }
}

/// The log of a host, as it grows.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

/// A running host. Dropping it kills it.
pub struct Wabbit {
    pub place: Place,
    args: Vec<String>,
    child: Child,
    log: Log,
    kept: Option<PathBuf>,
    admin: String,
}

impl Drop for Wabbit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(file) = &self.kept {
            std::fs::write(file, self.log_text()).unwrap();
        }
        if std::thread::panicking() {
            match &self.kept {
                Some(file) => eprintln!("the host's log: {}", file.display()),
                None => eprintln!("the host's log:\n{}", self.log_text()),
            }
        }
    }
}

impl Wabbit {
    /// Starts it anew after its end, as it was started; its log goes on. Returns when its admin
    /// address answers.
    pub async fn again(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let before = self.log.0.lock().unwrap().len();
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        self.child = self.place.spawn(&args, &self.log);
        self.admin = self.listening(before).await;
    }

    /// Leaves its log in `file` in the end, instead of showing it when the test fails.
    pub fn keep_log(&mut self, file: PathBuf) {
        self.kept = Some(file);
    }

    /// The memory that it takes, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("it runs") * 1024
    }

    /// The address in the log line about it, after the first `before` lines.
    async fn listening(&mut self, before: usize) -> String {
        eventually("the admin address", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the host ended with {status}");
            }
            let served = |line: &Value| line["message"].as_str()?.contains("/livez").then_some(());
            let lines = self.log_lines().into_iter().skip(before);
            let line = lines.into_iter().find(|line| served(line).is_some())?;
            // Asked on this machine, wherever else it is open to.
            Some(line["address"].as_str()?.replace("0.0.0.0", "127.0.0.1"))
        })
        .await
    }

    /// `IP:PORT`
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The status and the body of the answer to a GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.ask(path, None).await
    }

    /// The same, with a bearer token.
    pub async fn ask(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let (url, token) = (format!("http://{}{path}", self.admin), token.map(str::to_owned));
        let asked = tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).build();
            let mut request = ureq::Agent::from(config).get(url);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let mut response = request.call().unwrap();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
        });
        asked.await.unwrap()
    }

    /// What `/readyz` complains about.
    pub async fn reasons(&self) -> Vec<String> {
        let (_, body) = self.get("/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let reasons = body["reasons"].as_array().unwrap().iter();
        reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let mut last = String::new();
        let ready = timeout(PATIENCE, async {
            loop {
                let (status, body) = self.get("/readyz").await;
                if status == 200 {
                    return;
                }
                last = body;
                sleep(LOOK).await;
            }
        });
        assert!(ready.await.is_ok(), "not ready: {last}");
    }

    /// Waits until one of its reasons for not being ready contains all of `texts`; that reason.
    pub async fn unready(&self, texts: &[&str]) -> String {
        eventually(&format!("a reason with {texts:?}"), async || {
            let reasons = self.reasons().await;
            reasons.into_iter().find(|reason| texts.iter().all(|text| reason.contains(text)))
        })
        .await
    }

    /// The page of metrics.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// The sum of a metric over the series that have all these labels (`plugin="orders"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.metrics().await;
        let series = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (is, of) = series.split_once('{').unwrap_or((series, ""));
            let fits = is == name && labels.iter().all(|label| of.contains(label));
            fits.then(|| value.parse::<f64>().unwrap())
        });
        series.sum()
    }

    /// Waits until a metric is at least `value`.
    pub async fn metric_reaches(&self, name: &str, labels: &[&str], value: f64) {
        let what = format!("{name}{labels:?} of {value}");
        eventually(&what, async || (self.metric(name, labels).await >= value).then_some(())).await;
    }

    /// The log up to now.
    pub fn log_lines(&self) -> Vec<Value> {
        let lines = self.log.0.lock().unwrap();
        let object =
            |line: &String| serde_json::from_str(line).unwrap_or(Value::String(line.clone()));
        lines.iter().map(object).collect()
    }

    /// The log up to now, as it was written.
    pub fn log_text(&self) -> String {
        self.log.0.lock().unwrap().join("\n")
    }

    /// Waits for a line that contains all of `texts`.
    pub async fn logs(&self, texts: &[&str]) -> Value {
        eventually(&format!("a log line with {texts:?}"), async || {
            let lines = self.log.0.lock().unwrap();
            let line = lines.iter().find(|line| texts.iter().all(|text| line.contains(text)))?;
            serde_json::from_str(line).ok()
        })
        .await
    }

    /// When it has received an event for the first time after `began`.
    pub async fn received_after(&self, began: SystemTime) -> SystemTime {
        eventually("a delivery", async || {
            let log = self.log.0.lock().unwrap();
            let received = log.iter().filter(|line| line.contains("\"message\":\"received\""));
            let times = received.rev().filter_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                humantime::parse_rfc3339(line["timestamp"].as_str()?).ok()
            });
            times.take_while(|at| *at >= began).last()
        })
        .await
    }

    /// Publishes by `wabbit publish`, by way of this host.
    pub async fn publish(&self, exchange: &str, routing_key: &str, body: &str) -> Ended {
        let args = ["publish", exchange, routing_key, "--body", body, "--admin", &self.admin];
        self.place.wabbit(&args).await
    }

    /// Sends a signal by its name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the host", async || self.child.try_wait().unwrap()).await
    }

    /// SIGTERM, and its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
    assert!(sent.unwrap().success());
}
