//! What an error of Redis means for an event: that the server is away, or that it will not do this.

use crate::store::StoreError;
use redis::{ErrorKind, RedisError};

/// What a server answers that can't serve anybody now: it is busy, loading, full, a replica, one of a
/// cluster, or does not know us or
/// let us. All of that passes, or is put right by a person.
const AWAY: [&str; 15] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "WRONGPASS",
];

/// What `error` of the server at `address` means.
pub fn judge(address: &str, error: &RedisError) -> StoreError {
    let text = format!("the store `{address}`: {}", explain(error));
    match refusal(error) {
        Some(_) if !is_away(error) => StoreError::Failed(text),
        _ => StoreError::Unavailable(text),
    }
}

/// Whether the connection that gave `error` is of no more use. A server that has become a replica is
/// not the one that its name leads to now.
pub fn is_broken(error: &RedisError) -> bool {
    refusal(error).is_none_or(|code| code == "READONLY")
}

/// The code of the server's answer, if the server answered.
fn refusal(error: &RedisError) -> Option<&str> {
    let answered = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    answered.then(|| error.code().unwrap_or_default())
}

fn is_away(error: &RedisError) -> bool {
    // Before Redis 7, what went wrong inside of a script is inside of the text.
    let inside = |code: &str| error.detail().is_some_and(|it| it.contains(&format!("-{code} ")));
    AWAY.iter().any(|code| error.code() == Some(code) || inside(code)) || is_denied(error)
}

/// Whether its user may not do this; what happens inside of a script has another code.
fn is_denied(error: &RedisError) -> bool {
    let inside = |text: &str| error.detail().is_some_and(|it| it.contains(text));
    error.code() == Some("NOPERM")
        || inside("ACL failure")
        || inside("The user executing the script")
}

fn explain(error: &RedisError) -> String {
    match (refusal(error), error.detail()) {
        (Some("WRONGTYPE"), _) => {
            "what is under this key is no plain value: another program keeps a list, a hash or the \
             like there"
                .to_owned()
        }
        (Some(code @ ("ASK" | "CROSSSLOT" | "MOVED")), _) => {
            format!("{code}: it is a Redis Cluster, and stores are on single servers")
        }
        (Some(code), detail) if is_denied(error) => format!(
            "{code} {}; let the user of its url run EVAL, EVALSHA, SCAN, GET, SET, DEL, EXISTS, STRLEN \
             and PTTL on all keys under its prefix",
            detail.unwrap_or_default()
        ),
        (Some(code), detail) => format!("{code} {}", detail.unwrap_or_default()),
        (None, _) if error.is_timeout() => "no answer in time".to_owned(),
        (None, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::parse_redis_value;

    #[test]
    fn a_server_that_serves_nobody_is_away_and_a_refusal_is_one() {
        let table = [
            ("-LOADING Redis is loading the dataset in memory", true),
            ("-BUSY Redis is busy running a script", true),
            ("-OOM command not allowed when used memory > 'maxmemory'.", true),
            ("-READONLY You can't write against a read only replica.", true),
            ("-MISCONF Errors writing to the AOF file: No space left on device", true),
            ("-WRONGPASS invalid username-password pair or user is disabled.", true),
            ("-ERR Error running script (call to f_1): @user_script:9: -OOM command", true),
            ("-MOVED 3999 127.0.0.1:6381", true),
            ("-ERR unknown command 'EVALSHA'", false),
            ("-NOPERM this user has no permissions to access one of the keys", true),
            (
                "-ERR ACL failure in script: User a has no permissions to run the 'set' command",
                true,
            ),
            ("-ERR The user executing the script can't run this command or subcommand", true),
            ("-WRONGTYPE Operation against a key holding the wrong kind of value", false),
        ];
        for (line, away) in table {
            let answer = parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
            let error = answer.extract_error().unwrap_err();
            let judged = judge("redis://cache:6379/0", &error);
            assert_eq!(matches!(judged, StoreError::Unavailable(_)), away, "{line}: {judged}");
            assert!(judged.to_string().starts_with("the store `redis://cache:6379/0`: "));
            assert_eq!(is_broken(&error), line.starts_with("-READONLY"), "{line}");
        }
        let gone = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(judge("", &gone), StoreError::Unavailable(_)) && is_broken(&gone));
    }
}
