//! Running other programs, so that Ctrl-C and SIGTERM end them first and this one in good order.
//! Next: machine.rs.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM make every wait return an error. A second one ends the process.
pub fn catch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(())
}

/// Whether Ctrl-C or SIGTERM has come.
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// One line for the person at the keyboard, on stderr.
pub fn say(line: &str) {
    // There is nobody left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line of what was asked for, on stdout.
pub fn show(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The repository's top folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The folder for everything that xtask makes and can make again.
pub fn scratch() -> PathBuf {
    root().join("target/xtask")
}

/// Whether `program` is found by PATH.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs to the end; its output goes where ours goes. An exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs to the end; its output goes where ours goes.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    // A group of its own: Ctrl-C reaches it by way of `end`, with all that it has started.
    let child = command.stdin(Stdio::null()).process_group(0).spawn();
    let mut child = child.with_context(|| format!("`{}` does not start", line(command)))?;
    let status = wait(&mut child);
    if status.is_err() {
        end(&mut child);
    }
    status
}

/// Runs to the end and shows its output only when it fails.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    std::fs::create_dir_all(scratch())?;
    let log = scratch().join(format!("output-{}.log", std::process::id()));
    let file = std::fs::File::create(&log)?;
    let result = run(command.stdout(file.try_clone()?).stderr(file));
    if result.is_err() && !interrupted() {
        say(&String::from_utf8_lossy(&std::fs::read(&log)?));
    }
    std::fs::remove_file(&log)?;
    result
}

/// What it prints to stdout, without the last line break; `None` if it fails or is not there.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// Waits until the child has ended; an error as soon as we are interrupted.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        pause()?;
    }
}

/// Asks until `condition` has an answer; an error after `limit`, or when we are interrupted.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("{what} took more than {} s", limit.as_secs());
        }
        pause()?;
    }
}

/// One step of a wait.
pub fn pause() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    std::thread::sleep(POLL);
    Ok(())
}

/// Ends a child of ours, and the group if it leads one: SIGTERM, and SIGKILL after a while.
pub fn end(child: &mut Child) {
    signal_group("TERM", child);
    let start = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && start.elapsed() < GRACE {
        std::thread::sleep(POLL);
    }
    kill(child);
}

/// Ends a child of ours, and the group if it leads one, at once.
pub fn kill(child: &mut Child) {
    signal_group("KILL", child);
    // Only a child that has been waited for already is an error.
    let _ = child.wait();
}

/// Sends a signal by its name to a child of ours, and to the group if it leads one.
pub fn signal_group(signal: &str, leader: &Child) {
    let send = |target: String| {
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, "--", &target]).stderr(Stdio::null()).status()
    };
    // A child that leads no group gets it alone. One that has ended gets nothing.
    if !send(format!("-{}", leader.id())).is_ok_and(|status| status.success()) {
        let _ = send(leader.id().to_string());
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
