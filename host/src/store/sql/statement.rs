//! Which statements a guest may have carried out: one at a time, none that ends the event's
//! transaction or outlives it on a connection that the next event uses. Pure. Next: `session`.

use super::Dialect;
use super::words::{Word, words};

/// The host's own tables.
const OWN: [&str; 2] = ["wabbit_inbox", "wabbit_outbox"];

/// Words that statements of every dialect may begin with.
const COMMON: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "EXPLAIN"];

const SQLITE: [&str; 4] = ["REPLACE", "CREATE", "ALTER", "DROP"];

const POSTGRES: [&str; 12] = [
    "CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "MERGE", "TABLE", "SHOW", "CALL", "LOCK",
    "NOTIFY", "REFRESH",
];

const MYSQL: [&str; 5] = ["REPLACE", "TABLE", "SHOW", "DESCRIBE", "DESC"];

/// Words that begin, end or escape transactions.
const TRANSACTION: [&str; 10] = [
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE",
    "XA",
];

/// Words that commit in MySQL and MariaDB.
const COMMITS: [&str; 6] = ["CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "GRANT"];

/// Functions and schemas whose effect outlives the transaction, or reaches other connections.
const SESSION: [&str; 11] = [
    "pg_temp",
    "set_config",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "get_lock",
    "release_lock",
    "release_all_locks",
];

/// How the names of PostgreSQL's functions begin that carry out a query, or read a table, which they are
/// told in a string: `query_to_xml`, `table_to_xmlschema`.
const TOLD: [&str; 5] =
    ["query_to_xml", "cursor_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml"];

/// What is known of a statement that may be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    /// It changes rows, so that the database's count of them means something.
    pub(super) writes: bool,
}

/// Judges a guest's statement.
///
/// # Errors
/// Why it is not carried out.
pub(super) fn check(dialect: Dialect, text: &str) -> Result<Checked, String> {
    if text.contains('\0') {
        return Err("the statement holds a null character".to_owned());
    }
    let words = words(dialect, text)?;
    let ended = words.iter().rposition(|word| *word != Word::End).map_or(0, |last| last + 1);
    let words = &words[..ended];
    let first = words.iter().find(|word| **word != Word::Other('('));
    let first = match first {
        None => return Err("there is no statement".to_owned()),
        Some(Word::Bare(first)) => first.to_ascii_uppercase(),
        Some(_) => return Err("the statement does not begin with a word of SQL".to_owned()),
    };
    begins_well(dialect, &first, words)?;
    if !one(dialect, words) {
        return Err("there are several statements in one: each is a call of its own".to_owned());
    }
    words.iter().try_for_each(|word| harmless(dialect, word))?;
    let writing = ["INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"];
    let inside = |word: &Word<'_>| writing[..3].iter().any(|writing| word.is(writing));
    let writes = writing.contains(&&*first) || (first == "WITH" && words.iter().any(inside));
    Ok(Checked { writes })
}

fn begins_well(dialect: Dialect, first: &str, words: &[Word<'_>]) -> Result<(), String> {
    let own: &[&str] = match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
        Dialect::MySql => &MYSQL,
    };
    if COMMON.contains(&first) || own.contains(&first) {
        let temporary = |word: &Word<'_>| word.is("TEMP") || word.is("TEMPORARY");
        let into = words.windows(2).any(|pair| pair[0].is("INTO") && temporary(&pair[1]));
        if into || (first == "CREATE" && words.iter().take(4).any(temporary)) {
            return Err("a temporary table would outlive the event: the next one has the same \
                        connection"
                .to_owned());
        }
        return Ok(());
    }
    Err(if TRANSACTION.contains(&first) {
        format!(
            "`{first}` is the host's: the transaction begins with the first statement, is committed \
             when the handler returns ok, and rolled back when it does not"
        )
    } else if dialect == Dialect::MySql && COMMITS.contains(&first) {
        format!("`{first}` would commit the transaction: MySQL and MariaDB do so by themselves")
    } else {
        format!("`{first}` is not served, as it may reach beyond the event's transaction")
    })
}

/// Whether no second statement follows. A body between BEGIN and END is part of its statement.
fn one(dialect: Dialect, words: &[Word<'_>]) -> bool {
    let Some(first) = words.iter().position(|word| *word == Word::End) else { return true };
    let creates = words.first().is_some_and(|word| word.is("CREATE"));
    let of =
        |kinds: &[&str]| words.iter().take(4).any(|word| kinds.iter().any(|kind| word.is(kind)));
    let body = match dialect {
        Dialect::Sqlite => creates && of(&["TRIGGER"]),
        Dialect::Postgres => creates && of(&["FUNCTION", "PROCEDURE"]),
        Dialect::MySql => false,
    };
    let begin = words[..first].iter().position(|word| word.is("BEGIN"));
    let (true, Some(begin)) = (body, begin) else { return false };
    let mut depth = 1;
    for (at, word) in words.iter().enumerate().skip(begin + 1) {
        if word.is("CASE") {
            depth += 1;
        } else if word.is("END") {
            depth -= 1;
        }
        if depth == 0 {
            return at + 1 == words.len();
        }
    }
    false
}

fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn harmless(dialect: Dialect, word: &Word<'_>) -> Result<(), String> {
    let name = match word {
        Word::Bare(name) => *name,
        Word::Quoted(name) => name,
        Word::Text(name) if dialect == Dialect::Sqlite && is_own(name) => {
            return Err(format!(
                "`'{name}'` may be read as the name of a table of the host: as a value, it is a parameter"
            ));
        }
        Word::Place(place) if dialect == Dialect::Sqlite && !place.starts_with('?') => {
            return Err(format!("`{place}` has no value: parameters stand where `?` or `?1` is"));
        }
        Word::Text(_) | Word::Place(_) | Word::End | Word::Other(_) => return Ok(()),
    };
    if is_own(name) {
        return Err(format!("`{name}` is a table of the host"));
    }
    if SESSION.iter().any(|function| name.eq_ignore_ascii_case(function)) {
        return Err(format!("the effect of `{name}` would outlive the event"));
    }
    let lower = name.to_ascii_lowercase();
    if dialect == Dialect::Postgres && TOLD.iter().any(|told| lower.starts_with(told)) {
        return Err(format!("`{name}` reads what this statement does not name"));
    }
    if dialect == Dialect::Sqlite && word.is("ROLLBACK") {
        return Err("`ROLLBACK` would end the transaction: use `ABORT` or `FAIL`".to_owned());
    }
    if dialect == Dialect::MySql && (word.is("OUTFILE") || word.is("DUMPFILE")) {
        return Err("files are not served".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    const ALL: [Dialect; 3] = [Sqlite, Postgres, MySql];

    #[test]
    fn one_statement_that_stays_in_the_transaction_is_carried_out() {
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN \
                       UPDATE b SET n = CASE WHEN 1 THEN 2 ELSE 3 END; DELETE FROM c; END";
        let function = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;";
        let everywhere = [
            ("SELECT 1", false),
            (" select ';' ; ", false),
            ("(SELECT 1) UNION (SELECT 2)", false),
            ("INSERT INTO a VALUES (?)", true),
            ("UPDATE a SET b = 'COMMIT'", true),
            ("DELETE FROM a -- ; DROP TABLE b", true),
            ("WITH x AS (SELECT 1) SELECT * FROM x", false),
            ("WITH x AS (SELECT 1) DELETE FROM a", true),
        ];
        let cases = everywhere.iter().flat_map(|(text, writes)| ALL.map(|d| (d, *text, *writes)));
        let single = [
            (Sqlite, trigger, false),
            (Sqlite, "CREATE TABLE a (b INTEGER)", false),
            (Sqlite, "REPLACE INTO a VALUES (1)", true),
            (Sqlite, "INSERT INTO a VALUES ('wabbit_inbox is full')", true),
            (Postgres, "INSERT INTO a VALUES ('wabbit_inbox')", true),
            (Postgres, function, false),
            (Postgres, "CREATE TABLE a (b int)", false),
            (Postgres, "SELECT a ? 'b' FROM c WHERE d = $1", false),
            (Postgres, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$", false),
            (MySql, "REPLACE INTO a VALUES (1)", true),
            (MySql, "SHOW TABLES", false),
        ];
        for (dialect, text, writes) in cases.chain(single) {
            assert_eq!(check(dialect, text), Ok(Checked { writes }), "{dialect:?}: {text}");
        }
    }

    #[test]
    fn what_ends_or_outlives_the_transaction_is_refused_with_the_reason() {
        let everywhere = [
            ("", "there is no statement"),
            (" ; -- a\n", "there is no statement"),
            ("'a'", "does not begin with a word"),
            ("SELECT 1; SELECT 2", "several statements"),
            ("SELECT 1; COMMIT", "several statements"),
            ("COMMIT", "`COMMIT` is the host's"),
            ("begin", "`BEGIN` is the host's"),
            ("ROLLBACK TO a", "`ROLLBACK` is the host's"),
            ("SAVEPOINT a", "`SAVEPOINT` is the host's"),
            ("/* a */ RELEASE a", "`RELEASE` is the host's"),
            ("PRAGMA synchronous = OFF", "`PRAGMA` is not served"),
            ("SET autocommit = 1", "`SET` is not served"),
            ("COPY a FROM STDIN", "`COPY` is not served"),
            ("LISTEN a", "`LISTEN` is not served"),
            ("ATTACH 'a' AS b", "`ATTACH` is not served"),
            ("VACUUM", "`VACUUM` is not served"),
            ("DELETE FROM wabbit_inbox", "a table of the host"),
            ("SELECT * FROM \"Wabbit_Outbox\"", "a table of the host"),
            ("SELECT a\0", "null character"),
        ];
        let cases = everywhere.iter().flat_map(|(text, why)| ALL.map(|d| (d, *text, *why)));
        let single = [
            (Sqlite, "DELETE FROM 'wabbit_outbox'", "a table of the host"),
            (Sqlite, "DELETE FROM main.'Wabbit_Inbox'", "a table of the host"),
            (Postgres, "SELECT query_to_xml('SELECT 1', true, true, '')", "does not name"),
            (
                Postgres,
                "SELECT \"query_to_xmlschema\"('SELECT 1', true, true, '')",
                "does not name",
            ),
            (Postgres, "SELECT cursor_to_xml('c', 1, true, true, '')", "does not name"),
            (Postgres, "SELECT table_to_xml('wabbit_outbox', true, true, '')", "does not name"),
            (Sqlite, "CREATE TEMP TABLE a (b)", "would outlive the event"),
            (Sqlite, "INSERT OR ROLLBACK INTO a VALUES (1)", "would end the transaction"),
            (Sqlite, "SELECT :a", "`:a` has no value"),
            (Sqlite, "SELECT $0", "`$0` has no value"),
            (
                Sqlite,
                "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; DELETE FROM b",
                "several statements",
            ),
            (
                Sqlite,
                "CREATE TRIGGER begin AFTER INSERT ON a BEGIN SELECT 1 AS end; END; DELETE FROM b",
                "several statements",
            ),
            (Sqlite, "SELECT 1 BEGIN; SELECT 2; END", "several statements"),
            (Postgres, "SELECT set_config('a', 'b', false)", "would outlive the event"),
            (Postgres, "SELECT 1 AS a INTO TEMP b", "would outlive the event"),
            (Postgres, "CREATE TABLE pg_temp.a (b int)", "would outlive the event"),
            (Postgres, "SELECT pg_advisory_lock(1)", "would outlive the event"),
            (Postgres, "DO $$ BEGIN COMMIT; END $$", "`DO` is not served"),
            (MySql, "CREATE TABLE a (b INT)", "would commit the transaction"),
            (MySql, "TRUNCATE a", "would commit the transaction"),
            (MySql, "LOCK TABLES a WRITE", "`LOCK` is not served"),
            (MySql, "UNLOCK TABLES", "`UNLOCK` is not served"),
            (MySql, "CALL p()", "`CALL` is not served"),
            (MySql, "/*! COMMIT */", "carried out"),
            (MySql, "SELECT 1 INTO OUTFILE '/tmp/a'", "files are not served"),
        ];
        for (dialect, text, why) in cases.chain(single) {
            let refused = check(dialect, text).unwrap_err();
            assert!(refused.contains(why), "{dialect:?}: {text}: {refused}");
        }
    }
}
