//! The words of a statement: a lexer that knows strings, comments, quoted names and dollar quotes of
//! the three dialects, so that what stands in them is taken for nothing else. Next: `statement`,
//! which judges by them.

use super::Dialect;
use std::borrow::Cow;

/// A part of a statement. Numbers and comments are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// A keyword or a name, as it is written.
    Bare(&'a str),
    /// A name in quotes, without them.
    Quoted(Cow<'a, str>),
    /// A string in single quotes, without them; SQLite takes it for a name where it expects one.
    Text(Cow<'a, str>),
    /// A place for a parameter, as it is written: `?`, `?2`, `$1`, `:name`.
    Place(&'a str),
    /// `;`
    End,
    /// Any other character, or another string.
    Other(char),
}

impl Word<'_> {
    /// Whether it is this keyword, which is in capitals.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Word::Bare(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// The words of `text`.
///
/// # Errors
/// What makes the text one that can't be told apart: a string without an end, a comment that is
/// carried out.
pub(super) fn words(dialect: Dialect, text: &str) -> Result<Vec<Word<'_>>, &'static str> {
    let mut lexer = Lexer { dialect, text, at: 0 };
    let mut words = Vec::new();
    while let Some(word) = lexer.next()? {
        words.push(word);
    }
    Ok(words)
}

struct Lexer<'a> {
    dialect: Dialect,
    text: &'a str,
    at: usize,
}

fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn in_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '$'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes as many characters as fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Goes on behind the next `end`.
    fn skip(&mut self, end: &str, missing: &'static str) -> Result<&'a str, &'static str> {
        let rest = self.rest();
        let length = rest.find(end).ok_or(missing)?;
        self.at += length + end.len();
        Ok(&rest[..length])
    }

    fn next(&mut self) -> Result<Option<Word<'a>>, &'static str> {
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return Ok(None) };
            if c.is_whitespace() {
                self.at += c.len_utf8();
            } else if self.line_comment(rest) {
                let returns = self.dialect == Dialect::Postgres;
                self.take(|c| c != '\n' && !(returns && c == '\r'));
            } else if rest.starts_with("/*") {
                self.comment()?;
            } else {
                return self.word(c).map(Some);
            }
        }
    }

    fn line_comment(&self, rest: &str) -> bool {
        if self.dialect != Dialect::MySql {
            return rest.starts_with("--");
        }
        let dashes = rest.strip_prefix("--");
        // `5--3` is a difference there.
        rest.starts_with('#')
            || dashes.is_some_and(|rest| rest.chars().next().is_none_or(|c| c <= ' '))
    }

    fn comment(&mut self) -> Result<(), &'static str> {
        let missing = "a comment has no end";
        let rest = self.rest();
        if self.dialect == Dialect::MySql && (rest.starts_with("/*!") || rest.starts_with("/*M!")) {
            return Err("comments that are carried out (`/*! … */`) are not served");
        }
        self.at += 2;
        let mut depth = 1;
        while depth > 0 {
            let inside = self.skip("*/", missing)?;
            // They nest in PostgreSQL only.
            let opened = if self.dialect == Dialect::Postgres { opens(inside) } else { 0 };
            depth = depth - 1 + opened;
        }
        Ok(())
    }

    fn word(&mut self, c: char) -> Result<Word<'a>, &'static str> {
        let dialect = self.dialect;
        match c {
            '\'' => self.quoted('\'', dialect == Dialect::MySql).map(Word::Text),
            '"' => self.quoted('"', dialect == Dialect::MySql).map(Word::Quoted),
            '`' if dialect != Dialect::Postgres => self.quoted('`', false).map(Word::Quoted),
            '[' if dialect == Dialect::Sqlite => {
                self.at += 1;
                let name = self.skip("]", "a name in brackets has no end")?;
                Ok(Word::Quoted(name.into()))
            }
            '$' if dialect == Dialect::Postgres => self.dollar(),
            '?' if dialect != Dialect::Postgres => Ok(self.place()),
            '$' | ':' | '@' if dialect == Dialect::Sqlite => Ok(self.place()),
            ';' => {
                self.at += 1;
                Ok(Word::End)
            }
            c if begins_name(c) => {
                let name = self.take(in_name);
                if name.eq_ignore_ascii_case("u") && self.rest().starts_with("&\"") {
                    return Err("names with escapes (`U&\"…\"`) are not served");
                }
                if self.rest().starts_with('\'') && dialect == Dialect::Postgres {
                    // E'…' has escapes; B, X, N, U& have not.
                    self.quoted('\'', name.eq_ignore_ascii_case("e"))?;
                    return Ok(Word::Other('\''));
                }
                Ok(Word::Bare(name))
            }
            c if c.is_ascii_digit() => {
                self.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                Ok(Word::Other(c))
            }
            c => {
                self.at += c.len_utf8();
                Ok(Word::Other(c))
            }
        }
    }

    /// What stands between two `quote`s; doubled they are one.
    fn quoted(&mut self, quote: char, escapes: bool) -> Result<Cow<'a, str>, &'static str> {
        let begin = self.at + 1;
        let mut doubled = false;
        self.at = begin;
        loop {
            self.take(|c| c != quote && !(escapes && c == '\\'));
            let mut next = self.rest().chars();
            match (next.next(), next.next()) {
                (Some('\\'), Some(escaped)) if escapes => self.at += 1 + escaped.len_utf8(),
                (Some(c), Some(d)) if c == quote && d == quote => {
                    doubled = true;
                    self.at += 2;
                }
                (Some(c), _) if c == quote => {
                    let inside = &self.text[begin..self.at];
                    self.at += 1;
                    let one = quote.to_string();
                    let two = one.repeat(2);
                    return Ok(if doubled {
                        inside.replace(&two, &one).into()
                    } else {
                        inside.into()
                    });
                }
                _ => return Err("a string or a name in quotes has no end"),
            }
        }
    }

    /// `$1`, or a string between two of `$tag$`.
    fn dollar(&mut self) -> Result<Word<'a>, &'static str> {
        let rest = self.rest();
        self.at += 1;
        if rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let digits = self.take(|c| c.is_ascii_digit());
            return Ok(Word::Place(&rest[..1 + digits.len()]));
        }
        let tag = self.take(|c| in_name(c) && c != '$');
        if self.rest().starts_with('$') {
            let quote = &rest[..tag.len() + 2];
            self.at += 1;
            self.skip(quote, "a string in dollars has no end")?;
        }
        Ok(Word::Other('$'))
    }

    fn place(&mut self) -> Word<'a> {
        let rest = self.rest();
        self.at += 1;
        let name = match self.dialect {
            Dialect::Sqlite => self.take(in_name),
            _ => "",
        };
        Word::Place(&rest[..1 + name.len()])
    }
}

/// How many comments begin in the text of a comment.
fn opens(text: &str) -> usize {
    text.matches("/*").count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    /// Names and keywords, quoted ones in angle brackets; places; `;`. All else as `.`.
    fn sketch(dialect: Dialect, text: &str) -> String {
        let words = match words(dialect, text) {
            Ok(words) => words,
            Err(problem) => return format!("! {problem}"),
        };
        let sketch = words.into_iter().map(|word| match word {
            Word::Bare(name) => name.to_owned(),
            Word::Quoted(name) => format!("<{name}>"),
            Word::Place(name) => name.to_owned(),
            Word::End => ";".to_owned(),
            Word::Text(_) | Word::Other(_) => ".".to_owned(),
        });
        sketch.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_stands_in_quotes_and_comments_is_no_word() {
        let table = [
            (Sqlite, "SELECT ';' -- ; x\n FROM [a;b] /* ; */", "SELECT . FROM <a;b>"),
            (Sqlite, "SELECT 'it''s;', \"a\"\"b\", `c;`", "SELECT . . <a\"b> . <c;>"),
            (Sqlite, r"SELECT '\', x", "SELECT . . x"),
            (Sqlite, "SELECT ?, ?2, $1, :a, @b", "SELECT ? . ?2 . $1 . :a . @b"),
            (Sqlite, "SELECT 'a", "! a string or a name in quotes has no end"),
            (Sqlite, "/* /* */ x", "x"),
            (Postgres, "/* /* */ x */ y", "y"),
            (Postgres, "/* /* */ x", "! a comment has no end"),
            (Postgres, "SELECT $1, $$;$$, $a$ $$ ; $a$, x$y", "SELECT $1 . . . . . x$y"),
            (Postgres, "SELECT $a$ ;", "! a string in dollars has no end"),
            (Postgres, r"SELECT E'\';', e'a''b', 'c\', d", "SELECT . . . . . . d"),
            (Postgres, "SELECT a ? 'b'", "SELECT a . ."),
            (Postgres, "SELECT a -- b\r; COMMIT", "SELECT a ; COMMIT"),
            (Sqlite, "SELECT a -- b\r; COMMIT", "SELECT a"),
            (Postgres, "SELECT U&\"a\\005fb\"", "! names with escapes (`U&\"…\"`) are not served"),
            (Postgres, "SELECT 1e5, 0x1F, 'ä', größe", "SELECT . . . . . . größe"),
            (MySql, r#"SELECT 'a\';', "b\";" # ;"#, r#"SELECT . . <b\";>"#),
            (MySql, "SELECT 5--3, x -- y", "SELECT . . . . . x"),
            (MySql, "SELECT `a``b`", "SELECT <a`b>"),
            (MySql, "/*! COMMIT */", "! comments that are carried out (`/*! … */`) are not served"),
            (MySql, "SELECT ?;", "SELECT ? ;"),
        ];
        for (dialect, text, expected) in table {
            assert_eq!(sketch(dialect, text), expected, "{text}");
        }
    }
}
