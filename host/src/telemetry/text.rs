//! Makes text that comes from guests or from the network fit for a terminal and a log.
//! Next: `report`, which uses it.

use std::{borrow::Cow, fmt::Write as _};

/// Where text was cut.
const CUT: char = '…';

/// `text` without anything that moves a terminal's cursor, reorders or hides other text: such
/// characters are shown as escapes (`\n`, `\u{1b}`). Of the result, at most `bytes_max` bytes are
/// kept, cut between characters, and `…` follows if there was more.
pub fn printable(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let plain = text.len() <= bytes_max && !text.chars().any(is_unsafe);
    if plain {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(bytes_max) + CUT.len_utf8());
    for c in text.chars() {
        let before = out.len();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c if is_unsafe(c) => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
            c => out.push(c),
        }
        if out.len() > bytes_max {
            out.truncate(before);
            out.push(CUT);
            break;
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    // C0, DEL and C1, among them the escape sequences' first characters.
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of bidirectional text.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separator.
            | '\u{2028}' | '\u{2029}'
            // Invisible: soft hyphen, zero-width space, word joiner and the like, byte order mark,
            // annotations, tags. The joiners of emoji and of Indic scripts (200C, 200D) stay.
            | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_a_terminal_becomes_an_escape() {
        let table = [
            ("", 10, ""),
            ("plain", 10, "plain"),
            ("größe ✓ 👩‍🚀", 40, "größe ✓ 👩‍🚀"),
            ("back\\slash", 20, "back\\slash"),
            ("two\nlines\r\n", 40, "two\\nlines\\r\\n"),
            ("a\tb", 10, "a\\tb"),
            ("\x1b[31mred", 40, "\\u{1b}[31mred"),
            ("\0\x07\x7f", 40, "\\u{0}\\u{7}\\u{7f}"),
            ("\u{9b}2J", 40, "\\u{9b}2J"),
            ("\u{202e}gnp.exe", 40, "\\u{202e}gnp.exe"),
            ("\u{2066}\u{2069}\u{200f}", 40, "\\u{2066}\\u{2069}\\u{200f}"),
            ("\u{2028}\u{feff}\u{200b}", 40, "\\u{2028}\\u{feff}\\u{200b}"),
            ("\u{e0041}", 40, "\\u{e0041}"),
            ("12345", 5, "12345"),
            ("123456", 5, "12345…"),
            ("ééé", 5, "éé…"),
            ("ab\x1b", 5, "ab…"),
            ("abc", 0, "…"),
            ("", 0, ""),
        ];
        for (text, max, expected) in table {
            assert_eq!(printable(text, max), expected, "{text:?} in {max}");
        }
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(printable("plain", 5), Cow::Borrowed("plain")));
    }
}
