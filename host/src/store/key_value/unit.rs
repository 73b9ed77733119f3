//! What one event has read and written in one key-value store, and how much that may be. Pure: the
//! stores themselves come next, `embedded.rs` first.

use std::collections::{BTreeMap, BTreeSet};

/// Keys that one event may read and write in one store.
pub const KEYS_MAX: usize = 10_000;

/// Bytes of keys and values that one event may read and write in one store.
pub const BYTES_MAX: usize = 16 << 20;

/// Bytes of one key.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// What the keys of the host begin with. No guest may use one, in no store, so that a handler that
/// works on one works on all.
pub const RESERVED: &str = "wabbit:";

/// Why an event may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key is the host's.
    #[error("keys that begin with `{RESERVED}` are the host's own")]
    Reserved,
    /// The key is too long.
    #[error("a key may have {KEY_BYTES_MAX} bytes, this one has {0}")]
    Key(usize),
    /// Too many keys.
    #[error("one event may read and write {KEYS_MAX} keys of one store")]
    Keys,
    /// Too many bytes.
    #[error("one event may read and write {BYTES_MAX} bytes of one store")]
    Bytes,
    /// No listing of this event gave this cursor.
    #[error("{0} is no cursor that this event was given")]
    Cursor(u64),
}

/// Nothing of it is in the store yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// What the store had when the event first asked, by key; `None`: no such key.
    read: BTreeMap<String, Option<Vec<u8>>>,
    /// What is to be there; `None`: no such key.
    written: BTreeMap<String, Option<Vec<u8>>>,
    bytes: usize,
    /// The keys that were written when the listing under way began.
    listed: BTreeSet<String>,
    /// Those that were given to the guest as numbers, from 1.
    cursors: Vec<String>,
}

type Entry<'a> = (&'a str, Option<&'a [u8]>);

impl Unit {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// What the store had when the event first asked: it must still be so at the commit.
    pub fn read(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.read.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    /// What is to be there after the commit.
    pub fn written(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.written.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    /// What the event sees under `key`: what it wrote itself, or what it has read; `None`: the store
    /// must be asked.
    pub fn seen(&self, key: &str) -> Option<Option<&[u8]>> {
        self.written.get(key).or_else(|| self.read.get(key)).map(Option::as_deref)
    }

    /// Those of `keys` that the store must be asked for, each once.
    ///
    /// # Errors
    /// A key that may not be used, or too many.
    pub fn unseen(&self, keys: &[String]) -> Result<Vec<String>, Refused> {
        keys.iter().try_for_each(|key| allowed(key))?;
        let unseen: BTreeSet<_> = keys.iter().filter(|key| self.seen(key).is_none()).collect();
        match self.keys().saturating_add(unseen.len()) > KEYS_MAX {
            true => Err(Refused::Keys),
            false => Ok(unseen.into_iter().cloned().collect()),
        }
    }

    /// How many bytes the event may still read or write.
    pub fn room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.bytes)
    }

    /// Keeps what the store has under a key that was [unseen](Self::unseen).
    ///
    /// # Errors
    /// Too much.
    pub fn keep(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), Refused> {
        self.take_room(&key, value.as_deref(), 0)?;
        self.read.insert(key, value);
        Ok(())
    }

    /// Writes `value` under `key`; `None` deletes it. What the store has there does not matter.
    ///
    /// # Errors
    /// A key that may not be used, or too much.
    pub fn write(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), Refused> {
        allowed(&key)?;
        let before = self.written.get(&key).map(|value| size(&key, value.as_deref()));
        if before.is_none() && self.keys() >= KEYS_MAX {
            return Err(Refused::Keys);
        }
        self.take_room(&key, value.as_deref(), before.unwrap_or(0))?;
        self.written.insert(key, value);
        Ok(())
    }

    /// What a listing shows of a page of the store's `keys`: what the event deleted is left out, what
    /// it wrote comes with the first page.
    pub fn list(&mut self, first: bool, keys: Vec<String>) -> Vec<String> {
        let mut page = Vec::new();
        if first {
            self.listed = self.written.keys().cloned().collect();
            let there = self.written.iter().filter(|(_, value)| value.is_some());
            page.extend(there.map(|(key, _)| key.clone()));
        }
        let shown = |key: &String| {
            let deleted = matches!(self.written.get(key), Some(None));
            !deleted && !self.listed.contains(key) && !key.starts_with(RESERVED)
        };
        page.extend(keys.into_iter().filter(shown));
        page
    }

    /// A number that stands for `cursor` until the event ends, for guests whose cursors are numbers.
    ///
    /// # Errors
    /// Too many.
    pub fn number(&mut self, cursor: String) -> Result<u64, Refused> {
        let known = self.cursors.iter().position(|known| *known == cursor);
        let index = match known {
            Some(index) => index,
            None if self.cursors.len() >= KEYS_MAX => return Err(Refused::Keys),
            None => {
                self.cursors.push(cursor);
                self.cursors.len() - 1
            }
        };
        Ok(index as u64 + 1)
    }

    /// The cursor that `number` stands for; `None` for 0, which is the beginning.
    ///
    /// # Errors
    /// There is none.
    pub fn cursor(&self, number: u64) -> Result<Option<String>, Refused> {
        let Some(index) = number.checked_sub(1) else { return Ok(None) };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.cursors.get(index).cloned().map(Some).ok_or(Refused::Cursor(number))
    }

    fn keys(&self) -> usize {
        self.read.len() + self.written.len()
    }

    fn take_room(&mut self, key: &str, value: Option<&[u8]>, before: usize) -> Result<(), Refused> {
        let bytes = (self.bytes - before).saturating_add(size(key, value));
        if bytes > BYTES_MAX {
            return Err(Refused::Bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

fn size(key: &str, value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len)
}

fn allowed(key: &str) -> Result<(), Refused> {
    match key {
        _ if key.starts_with(RESERVED) => Err(Refused::Reserved),
        _ if key.len() > KEY_BYTES_MAX => Err(Refused::Key(key.len())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn an_event_sees_its_own_writes_and_what_it_has_read_before() {
        // What was read, what was then written, what is seen.
        let (old, new): (&[u8], &[u8]) = (b"old", b"new");
        let table = [
            (None, None, None),
            (Some(None), None, Some(None)),
            (Some(Some(old)), None, Some(Some(old))),
            (None, Some(Some(new)), Some(Some(new))),
            (Some(Some(old)), Some(Some(new)), Some(Some(new))),
            (Some(Some(old)), Some(None), Some(None)),
            (None, Some(None), Some(None)),
        ];
        for (read, written, seen) in table {
            let mut unit = Unit::default();
            let bytes = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
            if let Some(value) = read {
                unit.keep("a".into(), bytes(value)).unwrap();
            }
            if let Some(value) = written {
                unit.write("a".into(), bytes(value)).unwrap();
            }
            assert_eq!(unit.seen("a"), seen, "{read:?} {written:?}");
            // What is written without a look is no reason for a conflict.
            assert_eq!(unit.read().collect::<Vec<_>>(), Vec::from_iter(read.map(|it| ("a", it))));
            assert_eq!(
                unit.written().collect::<Vec<_>>(),
                Vec::from_iter(written.map(|it| ("a", it)))
            );
            assert_eq!(unit.is_empty(), written.is_none());
            let asked = if seen.is_none() { own(&["a", "b"]) } else { own(&["b"]) };
            assert_eq!(unit.unseen(&own(&["b", "a", "b"])), Ok(asked));
        }
    }

    #[test]
    fn there_is_a_limit_to_everything() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let table = [
            ("wabbit:", 0, Err(Refused::Reserved)),
            ("wabbit:inbox:00", 0, Err(Refused::Reserved)),
            ("wabbits", 0, Ok(())),
            ("", 0, Ok(())),
            (&long[1..], 0, Ok(())),
            (&long, 0, Err(Refused::Key(KEY_BYTES_MAX + 1))),
            ("a", BYTES_MAX - 1, Ok(())),
            ("a", BYTES_MAX, Err(Refused::Bytes)),
        ];
        for (key, bytes, expected) in table {
            let mut unit = Unit::default();
            assert_eq!(unit.write(key.to_owned(), Some(vec![0; bytes])), expected, "{key}");
            if bytes == 0 {
                let unseen = Unit::default().unseen(&own(&[key]));
                assert_eq!(unseen.map(|_| ()), expected, "{key}");
            }
        }
    }

    #[test]
    fn room_comes_back_and_keys_are_counted_once() {
        let mut unit = Unit::default();
        for _ in 0..3 {
            unit.write("a".into(), Some(vec![0; BYTES_MAX - 1])).unwrap();
        }
        assert_eq!(unit.room(), 0);
        assert_eq!(unit.keep("b".into(), None), Err(Refused::Bytes));
        unit.write("a".into(), None).unwrap();
        assert_eq!(unit.room(), BYTES_MAX - 1);
        for key in 1..KEYS_MAX {
            unit.write(key.to_string(), None).unwrap();
        }
        assert_eq!(unit.write("more".into(), None), Err(Refused::Keys));
        assert_eq!(unit.unseen(&own(&["more"])), Err(Refused::Keys));
        unit.write("a".into(), Some(vec![1])).unwrap();
    }

    #[test]
    fn a_listing_has_what_the_event_wrote_once_and_not_what_it_deleted() {
        let mut unit = Unit::default();
        unit.write("new".into(), Some(vec![1])).unwrap();
        unit.write("b".into(), Some(vec![1])).unwrap();
        unit.write("c".into(), None).unwrap();
        assert_eq!(unit.list(true, own(&["a", "b", "wabbit:inbox:00"])), ["b", "new", "a"]);
        // Changing what was listed does not show it again; deleting hides what is still to come.
        unit.write("a".into(), Some(vec![2])).unwrap();
        unit.write("e".into(), None).unwrap();
        assert_eq!(unit.list(false, own(&["c", "d", "e", "new"])), ["d"]);
        assert_eq!(unit.list(true, own(&["b", "d"])), ["a", "b", "new", "d"]);
    }

    #[test]
    fn a_number_stands_for_a_cursor() {
        let mut unit = Unit::default();
        assert_eq!(unit.cursor(0), Ok(None));
        assert_eq!(unit.cursor(1), Err(Refused::Cursor(1)));
        for (cursor, number) in [("a", 1), ("b", 2), ("a", 1)] {
            assert_eq!(unit.number(cursor.into()), Ok(number));
            assert_eq!(unit.cursor(number), Ok(Some(cursor.to_owned())));
        }
        assert_eq!(unit.cursor(u64::MAX), Err(Refused::Cursor(u64::MAX)));
    }
}
