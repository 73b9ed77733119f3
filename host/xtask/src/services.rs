//! Private databases: PostgreSQL, MariaDB and Redis from Debian's packages, each on a free port, with
//! data of its own. Tests start some to hurt them, and all share one of each. Next: http.rs.
//!
//! What was committed outlives a `kill -9`; nobody waits for the disk, so it would not outlive the
//! machine.

use crate::home::Home;
use crate::http;
use crate::machine::install;
use crate::process::{output, say, signal_group, until};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// A first start takes 2 to 10 s on two busy cores.
const START_MAX: Duration = Duration::from_secs(120);
/// An orderly end takes 2 s at most while nobody is connected.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Of the user that may do anything, databases included. The scripts below name it, too.
const PASSWORD: &str = "sesame";
/// Debian keeps PostgreSQL's programs here, by version.
const POSTGRES: &str = "/usr/lib/postgresql";
/// They refuse to run as root: as it they run as `nobody`, who may go wherever the scratch folder is.
const NOBODY: u32 = 65_534;

/// Begin their data at the first start, and become the server. `$PORT` is theirs.
const POSTGRES_SCRIPT: &str = "\
[ -e ready ] || {
    rm -rf data
    initdb --pgdata=data --username=wabbit --pwfile=password --auth=password \\
        --encoding=UTF8 --locale=C --no-sync --no-instructions && touch ready || exit 1
}
exec postgres -D data -c listen_addresses=127.0.0.1 -c port=\"$PORT\" \\
    -c unix_socket_directories= -c fsync=off -c full_page_writes=off \\
    -c shared_buffers=32MB -c max_connections=300 -c timezone=UTC";
const MARIADB_SCRIPT: &str = "\
[ -e ready ] || {
    rm -rf data
    mariadb-install-db --defaults-file=\"$PWD/my.cnf\" --skip-test-db \\
        --auth-root-authentication-method=normal && touch ready || exit 1
}
exec mariadbd --defaults-file=\"$PWD/my.cnf\" --port=\"$PORT\" --init-file=\"$PWD/init.sql\"";
/// Run at each start of MariaDB.
const MARIADB_USER: &str = "\
CREATE DATABASE IF NOT EXISTS wabbit;
CREATE USER IF NOT EXISTS wabbit IDENTIFIED BY 'sesame';
GRANT ALL ON *.* TO wabbit WITH GRANT OPTION;
";
const REDIS_SCRIPT: &str = "\
mkdir -p data
exec redis-server --bind 127.0.0.1 --port \"$PORT\" --requirepass sesame --dir data \\
    --save '' --appendonly yes --appendfsync no --databases 10000";

/// Which one a [`Service`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    Mariadb,
    Redis,
}

/// A database server. Dropping it ends it, and its data with it.
pub struct Service {
    kind: Kind,
    home: Home,
    address: SocketAddr,
    search: String,
    server: Option<Child>,
}

impl Service {
    /// Starts a PostgreSQL, installing it if need be. Returns at once: see [`Service::wait_ready`].
    pub fn postgres() -> Result<Service> {
        Self::start(Kind::Postgres)
    }

    /// The same with a MariaDB.
    pub fn mariadb() -> Result<Service> {
        Self::start(Kind::Mariadb)
    }

    /// The same with a Redis.
    pub fn redis() -> Result<Service> {
        Self::start(Kind::Redis)
    }

    fn start(kind: Kind) -> Result<Service> {
        let search = kind.search()?;
        say(&format!("starting a private {}", kind.name()));
        let home = Home::new(kind.folder())?;
        fs::write(home.dir().join("password"), PASSWORD)?;
        fs::write(home.dir().join("my.cnf"), mariadb_configuration(home.dir()))?;
        fs::write(home.dir().join("init.sql"), MARIADB_USER)?;
        if is_root() {
            chown(home.dir(), Some(NOBODY), Some(NOBODY))?;
        }
        let address = http::kept_address()?;
        let mut service = Service { kind, home, address, search, server: None };
        service.start_again()?;
        Ok(service)
    }

    /// Starts it after [`Service::stop`] or [`Service::kill`], with its data and on its port. Returns
    /// at once.
    pub fn start_again(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new("sh");
        if is_root() {
            // Nothing but the right to go through folders, such as /root, is kept.
            command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
            command.args(["--clear-groups", "--inh-caps=-all,+dac_override"]);
            command.args(["--ambient-caps=-all,+dac_override", "sh"]);
        }
        command.arg("-c").arg(self.kind.script());
        command.env("PORT", self.address.port().to_string()).env("PATH", &self.search);
        command.env("HOME", self.home.dir()).env("TZ", "UTC").env("LC_ALL", "C");
        command.stdout(log.try_clone()?).stderr(log);
        self.server = Some(self.home.start(self.kind.folder(), &mut command)?);
        Ok(())
    }

    /// Waits until it answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let (kind, address, log) = (self.kind, self.address, self.log());
        let server = self.server.as_mut().context("it was not started")?;
        until(&format!("starting {}", kind.name()), START_MAX, || {
            if let Some(status) = server.try_wait()? {
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} ended with {status}:\n{log}", kind.name());
            }
            Ok(kind.answers(address).unwrap_or(false).then_some(()))
        })
    }

    /// Whether it answers, and lets its user in as far as that can be seen at first.
    pub fn is_reachable(&self) -> bool {
        self.kind.answers(self.address).unwrap_or(false)
    }

    /// Ends it in good order; who is connected is sent away.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        self.home.forget(self.kind.folder());
        // To PostgreSQL, TERM says to wait until nobody is connected.
        let signal = if self.kind == Kind::Postgres { "INT" } else { "TERM" };
        signal_group(signal, &server);
        until(&format!("stopping {}", self.kind.name()), STOP_MAX, || {
            Ok(server.try_wait()?.map(drop))
        })
    }

    /// `kill -9`, of what it has started, too.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            let children = children(&server);
            self.home.kill(self.kind.folder(), server);
            each("KILL", &children);
            // One that is left would keep the data from the next server.
            let gone = |child: &String| !Path::new("/proc").join(child).exists();
            let _ = until("killing it", STOP_MAX, || Ok(children.iter().all(gone).then_some(())));
        }
    }

    /// Stops it as it is (`STOP`), connections that it serves included, or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal_group(name, server);
            // PostgreSQL's processes lead groups of their own.
            each(name, &children(server));
        }
    }

    /// `postgres://…`, `mysql://…` or `redis://…`, for a user who may do anything. Add `/NAME` to
    /// reach a database.
    pub fn url(&self) -> String {
        // Redis has a user of that name from the start.
        let user = if self.kind == Kind::Redis { "default" } else { "wabbit" };
        format!("{}://{user}:{PASSWORD}@{}", self.kind.scheme(), self.address)
    }

    /// The URL of an empty database.
    pub fn database_url(&self) -> String {
        let name = match self.kind {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "wabbit",
            Kind::Redis => "1",
        };
        format!("{}/{name}", self.url())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says, from its first start on.
    pub fn log(&self) -> PathBuf {
        self.home.dir().join("server.log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.kind == Kind::Postgres
            && let Some(server) = &mut self.server
        {
            // At once, but with the shared memory that it would otherwise leave to the system.
            signal_group("QUIT", server);
            let _ = until("its end", STOP_MAX, || Ok(server.try_wait()?));
        }
        self.kill();
    }
}

/// One of each, for the tests.
pub struct Services([(&'static str, Service); 3]);

impl Services {
    /// Starts them. Returns at once.
    pub fn start() -> Result<Services> {
        Ok(Services([
            ("WABBIT_TEST_POSTGRES", Service::postgres()?),
            ("WABBIT_TEST_MYSQL", Service::mariadb()?),
            ("WABBIT_TEST_REDIS", Service::redis()?),
        ]))
    }

    /// Waits until all answer.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(|(_, service)| service.wait_ready())
    }

    /// The variables by which tests find them, with their URLs.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(name, service)| (*name, service.url()))
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Postgres => "PostgreSQL",
            Kind::Mariadb => "MariaDB",
            Kind::Redis => "Redis",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mariadb",
            Kind::Redis => "redis",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Kind::Mariadb => "mysql",
            kind => kind.folder(),
        }
    }

    fn script(self) -> &'static str {
        match self {
            Kind::Postgres => POSTGRES_SCRIPT,
            Kind::Mariadb => MARIADB_SCRIPT,
            Kind::Redis => REDIS_SCRIPT,
        }
    }

    /// The path to search for its programs, which are there.
    fn search(self) -> Result<String> {
        let (program, package) = match self {
            Kind::Postgres => ("postgres", "postgresql"),
            Kind::Mariadb => ("mariadbd", "mariadb-server"),
            Kind::Redis => ("redis-server", "redis-server"),
        };
        let find = || {
            let path = std::env::var("PATH").unwrap_or_default();
            // What Debian keeps out of the way of its users.
            let path = [newest_postgres(), "/usr/sbin".to_owned(), path].join(":");
            let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
            found.then_some(path)
        };
        if let Some(path) = find() {
            return Ok(path);
        }
        install(self.name(), &[package])?;
        find().with_context(|| format!("no `{program}` in Debian's `{package}`"))
    }

    /// Whether it is ready to let someone in.
    fn answers(self, address: SocketAddr) -> Result<bool> {
        let mut stream = http::connect(address)?;
        // While it starts, PostgreSQL answers with `E`, and Redis with `-LOADING`. MariaDB speaks
        // first: a packet's length and number, and the version of its protocol.
        let (greeting, answer): (&[u8], &[u8]) = match self {
            Kind::Postgres => (b"\0\0\0\x27\0\x03\0\0user\0wabbit\0database\0postgres\0\0", b"R"),
            Kind::Mariadb => (b"", b"\x0a"),
            Kind::Redis => (b"AUTH sesame\r\nPING\r\n", b"+OK\r\n+PONG"),
        };
        stream.write_all(greeting)?;
        if self == Kind::Mariadb {
            stream.read_exact(&mut [0; 4])?;
        }
        let mut answered = vec![0; answer.len()];
        stream.read_exact(&mut answered)?;
        Ok(answered == answer)
    }
}

fn newest_postgres() -> String {
    let versions = fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    let number = |dir: &PathBuf| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(number).unwrap_or_default();
    newest.join("bin").display().to_string()
}

fn mariadb_configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[mysqld]\n\
         datadir={dir}/data\n\
         socket=mariadb.sock\n\
         pid-file=mariadb.pid\n\
         bind-address=127.0.0.1\n\
         skip-name-resolve\n\
         character-set-server=utf8mb4\n\
         innodb-log-file-size=16M\n\
         innodb-buffer-pool-size=64M\n\
         innodb-flush-log-at-trx-commit=2\n\
         innodb-flush-method=nosync\n\
         max-connections=300\n"
    )
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).as_deref() == Some("0")
}

/// The ids of the processes that a process has started.
fn children(parent: &Child) -> Vec<String> {
    let id = parent.id();
    let ids = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    ids.split_whitespace().map(str::to_owned).collect()
}

fn each(signal: &str, processes: &[String]) {
    if !processes.is_empty() {
        // One may have ended since.
        let _ = output(Command::new("kill").args(["-s", signal, "--"]).args(processes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ends_and_comes_back_where_it_was() {
        let start = [Service::postgres, Service::mariadb, Service::redis];
        let mut services: Vec<_> = start.iter().map(|start| start().unwrap()).collect();
        for service in &mut services {
            let kind = service.kind;
            service.wait_ready().unwrap();
            service.kill();
            assert!(!service.is_reachable(), "{kind:?} was killed");
            service.start_again().unwrap();
            service.wait_ready().unwrap();
            service.stop().unwrap();
            assert!(!service.is_reachable(), "{kind:?} was stopped");
            service.start_again().unwrap();
            service.wait_ready().unwrap();
        }
    }
}
