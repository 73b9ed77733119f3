//! Where a store is: the `url` of `[stores.NAME]`. It may hold a password, so that it is shown without
//! whatever could be one. Next: [`super::registry`], which opens what is there.

use std::fmt::{self, Debug, Display};
use std::path::{Path, PathBuf};

/// The kinds of stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `redb:FILE`: an embedded key-value store.
    Redb,
    /// `redis://` or `rediss://`: a key-value store.
    Redis,
    /// `sqlite:FILE`: an embedded database.
    Sqlite,
    /// `postgres://`: a database.
    Postgres,
    /// `mysql://`: a database, MariaDB too.
    Mysql,
}

/// What urls begin with.
const SCHEMES: [(&str, Engine); 8] = [
    ("redb:", Engine::Redb),
    ("redis://", Engine::Redis),
    ("rediss://", Engine::Redis),
    ("sqlite:", Engine::Sqlite),
    ("postgres://", Engine::Postgres),
    ("postgresql://", Engine::Postgres),
    ("mysql://", Engine::Mysql),
    ("mariadb://", Engine::Mysql),
];

/// What the urls of servers may say after their `?`, as sqlx reads it: it passes over all else.
const POSTGRES: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[",
];

const MYSQL: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "charset",
    "collation",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

impl Engine {
    /// What may be set in its url.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Redb | Self::Sqlite => &[],
            Self::Redis => &["prefix"],
            Self::Postgres => &POSTGRES,
            Self::Mysql => &MYSQL,
        }
    }

    /// Whether it is a SQL database.
    pub fn is_sql(self) -> bool {
        matches!(self, Self::Sqlite | Self::Postgres | Self::Mysql)
    }
}

/// Where a store is. Formatted, it does not show passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// What is there.
    pub engine: Engine,
    url: String,
}

/// Why a url names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It does not say what is there.
    #[error(
        "must begin with `redb:`, `redis://`, `rediss://`, `sqlite:`, `postgres://` or `mysql://`"
    )]
    Scheme,
    /// It has a setting that nothing would come of.
    #[error("has the setting `{name}`, which is not known there: {known}")]
    Setting {
        /// Without its value.
        name: String,
        /// What would be.
        known: String,
    },
    /// There is nothing after that.
    #[error("names nothing after `{0}`")]
    Nothing(&'static str),
}

impl Location {
    /// What `url` says.
    ///
    /// # Errors
    /// A scheme that is not known, nothing after it, or a setting that is not known.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let known = SCHEMES.iter().find(|(scheme, _)| url.starts_with(scheme));
        let (scheme, engine) = known.ok_or(LocationError::Scheme)?;
        match &url[scheme.len()..] {
            "" => Err(LocationError::Nothing(scheme)),
            rest => {
                known_settings(*engine, rest)?;
                Ok(Self { engine: *engine, url: url.to_owned() })
            }
        }
    }

    /// The embedded store of this engine in the file `path`.
    pub fn embedded(sql: bool, path: &Path) -> Self {
        let (scheme, engine) =
            if sql { ("sqlite", Engine::Sqlite) } else { ("redb", Engine::Redb) };
        Self { engine, url: format!("{scheme}:{}", path.display()) }
    }

    /// As it was written, with its password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file of an embedded store: what is behind the scheme.
    pub fn path(&self) -> PathBuf {
        let rest = self.url.split_once(':').map_or("", |(_, rest)| rest);
        rest.strip_prefix("//").unwrap_or(rest).into()
    }
}

/// Whether `rest`, which is behind the scheme, has settings of `engine` alone after its `?`.
fn known_settings(engine: Engine, rest: &str) -> Result<(), LocationError> {
    let known = engine.settings();
    let settings = rest.split_once('?').map_or("", |(_, settings)| settings);
    let settings = settings.split_once('#').map_or(settings, |(settings, _)| settings);
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let (name, _) = setting.split_once('=').unwrap_or(("", setting));
        let fits = |known: &&str| name == *known || known.ends_with('[') && name.starts_with(known);
        if known.iter().any(fits) {
            continue;
        }
        // A password with a `?` in it is no name.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let name = if name.chars().all(plain) && !settings.contains('@') { name } else { "" };
        let known = match known {
            [] => "there are none, and a file's name has no `?`".to_owned(),
            known => known.join(", ").replace("options[", "options[NAME]"),
        };
        let name = if name.is_empty() { "…".to_owned() } else { name.to_owned() };
        return Err(LocationError::Setting { name, known });
    }
    Ok(())
}

impl Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever comes after a `?` may be a password as well.
        let (url, _) = self.url.split_once('?').unwrap_or((&self.url, ""));
        match (url.split_once("://"), self.engine) {
            (_, Engine::Redb | Engine::Sqlite) | (None, _) => f.write_str(url),
            (Some((scheme, rest)), _) => {
                let (_, address) = rest.rsplit_once('@').unwrap_or(("", rest));
                write!(f, "{scheme}://{address}")
            }
        }
    }
}

impl Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_is_there_and_its_password_is_not_shown() {
        let table = [
            ("redb:data/a.redb", Some((Engine::Redb, "redb:data/a.redb"))),
            ("redis://:pw@cache:6379/1", Some((Engine::Redis, "redis://cache:6379/1"))),
            ("rediss://u:p@w@cache", Some((Engine::Redis, "rediss://cache"))),
            ("sqlite:a.sqlite", Some((Engine::Sqlite, "sqlite:a.sqlite"))),
            ("redis://cache?prefix=pw", Some((Engine::Redis, "redis://cache"))),
            ("sqlite:a.sqlite?mode=pw", None),
            ("redb:a.redb?pw", None),
            ("redis://cache?db=pw", None),
            ("postgres://db/shop?sslmod=pw", None),
            ("postgres://u:a?pw=p@w@db/shop", None),
            ("mysql://db/shop?ssl-mode=required&pw", None),
            ("postgres://u:pw@db/shop", Some((Engine::Postgres, "postgres://db/shop"))),
            ("postgresql://db/shop?password=pw", Some((Engine::Postgres, "postgresql://db/shop"))),
            ("mysql://u:pw@db:3306/shop", Some((Engine::Mysql, "mysql://db:3306/shop"))),
            ("mongodb://u:pw@db", None),
            ("redb:", None),
            ("", None),
        ];
        for (url, expected) in table {
            let parsed = Location::parse(url);
            let shown = parsed.as_ref().ok().map(|it| (it.engine, it.to_string()));
            assert_eq!(shown, expected.map(|(engine, text)| (engine, text.to_owned())), "{url}");
            let said = match &parsed {
                Ok(location) => format!("{location:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!said.contains("pw") && !said.contains("p@w"), "{said}");
        }
    }

    #[test]
    fn a_setting_that_is_not_known_is_said_with_those_that_are() {
        let table = [
            (
                "sqlite:a?mode=ro",
                "has the setting `mode`, which is not known there: there are none",
            ),
            ("redb:a?pw", "has the setting `…`"),
            ("redis://cache?db=1", "has the setting `db`, which is not known there: prefix"),
            ("postgres://db/a?host=/run&sslmod=off", "has the setting `sslmod`"),
            ("postgres://db/a?options[work_mem]=1MB", ""),
            ("mysql://db/a?ssl-mode=required&charset=utf8mb4", ""),
            ("mysql://db/a?sslrootcert=a", "has the setting `sslrootcert`"),
        ];
        for (url, said) in table {
            let error = Location::parse(url).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert_eq!(error.is_empty(), said.is_empty(), "{url}: {error}");
            assert!(error.starts_with(said), "{url}: {error}");
        }
    }

    #[test]
    fn an_embedded_store_is_a_file() {
        let table = [
            ("redb:a.redb", "a.redb"),
            ("redb:/data/a.redb", "/data/a.redb"),
            ("sqlite:///data/a.sqlite", "/data/a.sqlite"),
            ("sqlite://a.sqlite", "a.sqlite"),
        ];
        for (url, path) in table {
            assert_eq!(Location::parse(url).unwrap().path(), Path::new(path), "{url}");
        }
        for path in ["/data/shop.sqlite", "/what?/shop.sqlite"].map(Path::new) {
            assert_eq!(Location::embedded(true, path).path(), path);
        }
    }
}
