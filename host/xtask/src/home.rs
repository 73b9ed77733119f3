//! A folder for private servers, and what ends them: nothing of it is left afterwards, even if this
//! process is killed. node.rs and services.rs keep theirs in one. Next: http.rs.

use crate::process::{kill, run_quietly, say, scratch};
use anyhow::Result;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Waits for the end of its input, which is that of the process that holds the other end, and leaves
/// nothing of what was started here.
const LEASH: &str = "\
    read -r _
    for file in *.group; do [ -f \"$file\" ] && kill -s KILL -- \"-$(cat \"$file\")\"; done
    rm -rf -- \"$PWD\" || { sleep 1; rm -rf -- \"$PWD\"; }";

/// The folder. Dropping it kills what still runs there, and removes it.
pub struct Home {
    dir: PathBuf,
    leash: Child,
}

impl Home {
    /// A new one, `target/xtask/KIND/PROCESS/NUMBER`. Ends what earlier runs have left of this kind.
    pub fn new(kind: &str) -> Result<Home> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let all = scratch().join(kind);
        end_leftovers(&all);
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = all.join(std::process::id().to_string()).join(number);
        fs::create_dir_all(&dir)?;
        let leash = Command::new("sh")
            .args(["-c", LEASH])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Home { dir, leash })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a server that this folder is the end of. It leads a group of its own: Ctrl-C must not
    /// reach it before the tests have ended.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Child> {
        command.current_dir(&self.dir).stdin(Stdio::null()).process_group(0);
        let server = command.spawn()?;
        fs::write(self.group_file(name), server.id().to_string())?;
        Ok(server)
    }

    /// `kill -9`.
    pub fn kill(&self, name: &str, mut server: Child) {
        self.forget(name);
        kill(&mut server);
    }

    /// Leaves alone what was started under this name, as it has ended or is about to: its id may go
    /// to someone else from now on.
    pub fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.group_file(name));
    }

    fn group_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.group"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
        // Gone unless another one of this process is in it.
        let _ = self.dir.parent().map(fs::remove_dir);
    }
}

/// Ends the servers of earlier runs that were killed along with what watched them: their folders bear
/// the runs' process ids.
fn end_leftovers(all: &Path) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    for run in entries(all) {
        let run_is_alive = Path::new("/proc").join(run.file_name()).exists();
        if run_is_alive {
            continue;
        }
        for home in entries(&run.path()) {
            let groups = entries(&home.path()).map(|entry| entry.path());
            for file in groups.filter(|path| path.extension().is_some_and(|it| it == "group")) {
                end_leftover(&file, &home.path());
            }
        }
        let _ = fs::remove_dir_all(run.path());
    }
}

fn end_leftover(file: &Path, home: &Path) {
    let leader = fs::read_to_string(file).unwrap_or_default();
    let working_dir = fs::read_link(format!("/proc/{leader}/cwd")).unwrap_or_default();
    // The id may have gone to someone else since.
    if working_dir.starts_with(home) {
        say(&format!("ending process {leader} of an earlier run in {}", home.display()));
        let _ = run_quietly(Command::new("kill").args(["-s", "KILL", "--", &format!("-{leader}")]));
    }
}
