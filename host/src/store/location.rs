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

impl Engine {
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
    /// There is nothing after that.
    #[error("names nothing after `{0}`")]
    Nothing(&'static str),
}

impl Location {
    /// What `url` says.
    ///
    /// # Errors
    /// A scheme that is not known, or nothing after it.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let known = SCHEMES.iter().find(|(scheme, _)| url.starts_with(scheme));
        let (scheme, engine) = known.ok_or(LocationError::Scheme)?;
        match &url[scheme.len()..] {
            "" => Err(LocationError::Nothing(scheme)),
            _ => Ok(Self { engine: *engine, url: url.to_owned() }),
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

    /// The file of an embedded store: what is between the scheme and a `?`.
    pub fn path(&self) -> PathBuf {
        let rest = self.url.split_once(':').map_or("", |(_, rest)| rest);
        let path = rest.strip_prefix("//").unwrap_or(rest);
        path.split_once('?').map_or(path, |(path, _)| path).into()
    }
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
            ("sqlite:a.sqlite?mode=ro", Some((Engine::Sqlite, "sqlite:a.sqlite"))),
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
    fn an_embedded_store_is_a_file() {
        let table = [
            ("redb:a.redb", "a.redb"),
            ("redb:/data/a.redb", "/data/a.redb"),
            ("sqlite:///data/a.sqlite?mode=rwc", "/data/a.sqlite"),
            ("sqlite://a.sqlite", "a.sqlite"),
        ];
        for (url, path) in table {
            assert_eq!(Location::parse(url).unwrap().path(), Path::new(path), "{url}");
        }
        let path = Path::new("/data/shop.sqlite");
        assert_eq!(Location::embedded(true, path).path(), path);
    }
}
