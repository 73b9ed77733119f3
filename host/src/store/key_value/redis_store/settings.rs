//! What a `redis://` url says.

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};

/// See the module.
pub struct Settings {
    pub client: Client,
    /// The server and its database, without user and password: what errors show.
    pub address: String,
    /// What every key begins with.
    pub prefix: String,
}

impl Settings {
    /// Reads `url`.
    ///
    /// # Errors
    /// What is wrong with it, without showing it: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let parsed = redis::parse_redis_url(url).ok_or("it is no url of a Redis server")?;
        if parsed.fragment().is_some() {
            return Err(
                "it may have no `#`; write `%23` if that is part of the password".to_owned()
            );
        }
        let mut prefix = String::new();
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "prefix" => prefix = value.into_owned(),
                _ => {
                    return Err(format!("`{name}` is no setting of its; `prefix` is the only one"));
                }
            }
        }
        let scheme = parsed.scheme().to_owned();
        let info = parsed.into_connection_info().map_err(|error| error.to_string())?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let address = format!("{scheme}://{}/{}", info.addr(), info.redis_settings().db());
        let client = Client::open(info).map_err(|error| error.to_string())?;
        Ok(Self { client, address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_never_shown_with_its_password() {
        let table = [
            ("redis://cache", Ok(("redis://cache:6379/0", ""))),
            ("redis://:p%40ss@cache:1/7?prefix=shop:", Ok(("redis://cache:1/7", "shop:"))),
            ("rediss://user:pass@[::1]/?prefix=a%26b", Ok(("rediss://::1:6379/0", "a&b"))),
            ("redis://:pass@", Err("it is no url of a Redis server")),
            ("redis://:pass@cache/shop", Err("Invalid database number - InvalidClientConfig")),
            ("redis://:pa#ss@cache", Err("it is no url of a Redis server")),
            (
                "redis://pass#x",
                Err("it may have no `#`; write `%23` if that is part of the password"),
            ),
            ("redis://cache?db=pass", Err("`db` is no setting of its; `prefix` is the only one")),
        ];
        for (url, expected) in table {
            let read = Settings::parse(url).map(|it| (it.address, it.prefix));
            let read = read.as_ref().map(|(address, prefix)| (&**address, &**prefix));
            assert_eq!(read.map_err(String::as_str), expected, "{url}");
        }
    }
}
