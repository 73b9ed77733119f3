//! Puts right, in place, what a client may publish, RabbitMQ passes on, and lapin cannot read: a
//! single such message would otherwise end the connection, again at every attempt, or even the
//! process. Next in the flow: [`super::wire`], which has every frame from the broker looked over.
//!
//! In names and short strings, `?` stands for each byte that is not UTF-8. A field of a type that
//! nobody knows, or nested deeper than [`DEPTH_MAX`], becomes a byte array or another plain value,
//! together with the rest of its table. Nothing is ever moved: every length stays what it was.

/// Tables within tables: every level costs the parser stack, and a message has room for 20,000.
const DEPTH_MAX: usize = 64;

/// Frames of methods.
pub(super) const METHOD: u8 = 1;
/// Frames of content headers: the properties of a message.
pub(super) const HEADER: u8 = 2;

/// Looks over the payload of a frame of type `kind`; true if something had to be changed.
pub(super) fn mend(kind: u8, payload: &mut [u8]) -> bool {
    let end = payload.len();
    let mut walk = Walk { bytes: payload, at: 0, changed: false };
    // Whatever does not fit its frame is left for lapin to complain about.
    let _ = match kind {
        METHOD => walk.method(end),
        HEADER => walk.properties(end),
        _ => None,
    };
    walk.changed
}

struct Walk<'a> {
    bytes: &'a mut [u8],
    at: usize,
    changed: bool,
}

impl Walk<'_> {
    fn method(&mut self, end: usize) -> Option<()> {
        match (self.number(2, end)?, self.number(2, end)?) {
            // connection.start: version of the protocol, server-properties.
            (10, 10) => {
                self.skip(2, end)?;
                let length = self.number(4, end)?;
                let inner = self.at.checked_add(length).filter(|inner| *inner <= end)?;
                self.table(inner, 1)
            }
            // connection.close, channel.close: code and text.
            (10, 50) | (20, 40) => {
                self.skip(2, end)?;
                self.short_string(end)
            }
            // connection.blocked: the reason.
            (10, 60) => self.short_string(end),
            // basic.return: code, text, exchange, routing key.
            (60, 50) => {
                self.skip(2, end)?;
                (0..3).try_for_each(|_| self.short_string(end))
            }
            // basic.deliver: consumer tag, delivery tag, redelivered, exchange, routing key.
            (60, 60) => {
                self.short_string(end)?;
                self.skip(9, end)?;
                self.short_string(end)?;
                self.short_string(end)
            }
            _ => None,
        }
    }

    /// Class, weight, size of the body, flags, and the properties that the flags announce.
    fn properties(&mut self, end: usize) -> Option<()> {
        self.skip(12, end)?;
        let flags = self.number(2, end)?;
        for bit in (2..16).rev().filter(|bit| flags >> bit & 1 == 1) {
            match bit {
                13 => {
                    let length = self.number(4, end)?;
                    let inner = self.at.checked_add(length).filter(|inner| *inner <= end)?;
                    self.table(inner, 1)?;
                }
                12 | 11 => self.skip(1, end)?,
                6 => self.skip(8, end)?,
                _ => self.short_string(end)?,
            }
        }
        Some(())
    }

    fn table(&mut self, end: usize, depth: usize) -> Option<()> {
        while self.at < end {
            let entry = self.at;
            if self.short_string(end).is_none() || self.at == end {
                // The name does not fit: make it an empty one.
                *self.bytes.get_mut(entry)? = 0;
                self.replace(entry + 1, end, [0, b'V'])?;
            } else {
                let kind = self.at;
                if self.value(end, depth).is_none() {
                    self.replace(kind, end, [0, b'V'])?;
                }
            }
        }
        Some(())
    }

    fn array(&mut self, end: usize, depth: usize) -> Option<()> {
        while self.at < end {
            let kind = self.at;
            if self.value(end, depth).is_none() {
                self.replace(kind, end, [b'V', b'V'])?;
            }
        }
        Some(())
    }

    /// Passes over the type and the value; `None` if it cannot stay.
    fn value(&mut self, end: usize, depth: usize) -> Option<()> {
        match self.number(1, end)? as u8 {
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.skip(1, end),
            b's' | b'U' | b'u' => self.skip(2, end),
            b'I' | b'i' | b'f' => self.skip(4, end),
            b'D' => self.skip(5, end),
            b'L' | b'l' | b'd' | b'T' => self.skip(8, end),
            b'S' | b'x' => {
                let length = self.number(4, end)?;
                self.skip(length, end)
            }
            kind @ (b'A' | b'F') if depth < DEPTH_MAX => {
                let length = self.number(4, end)?;
                let inner = self.at.checked_add(length).filter(|inner| *inner <= end)?;
                if kind == b'A' {
                    self.array(inner, depth + 1)
                } else {
                    self.table(inner, depth + 1)
                }
            }
            _ => None,
        }
    }

    /// Makes the bytes from the type at `kind` up to `end` one plain value. If no single value has
    /// that length, `second` is what makes another one out of two bytes.
    fn replace(&mut self, kind: usize, end: usize, second: [u8; 2]) -> Option<()> {
        self.changed = true;
        let room = self.bytes.get_mut(kind..end)?;
        let (kind, rest) = room.split_first_mut()?;
        *kind = match rest.len() {
            0 => b'V',
            1 => b't',
            2 => b's',
            3 => {
                rest.get_mut(1..)?.copy_from_slice(&second);
                b't'
            }
            more => {
                let length = u32::try_from(more - 4).ok()?;
                rest.get_mut(..4)?.copy_from_slice(&length.to_be_bytes());
                b'x'
            }
        };
        self.at = end;
        Some(())
    }

    fn short_string(&mut self, end: usize) -> Option<()> {
        let length = self.number(1, end)?;
        let text = self.bytes.get_mut(self.at..self.at + length)?;
        if self.at + length > end {
            return None;
        }
        let mut from = 0;
        while let Err(error) = std::str::from_utf8(text.get(from..)?) {
            let bad = from + error.valid_up_to();
            from = error.error_len().map_or(length, |n| bad + n);
            text.get_mut(bad..from)?.fill(b'?');
            self.changed = true;
        }
        self.at += length;
        Some(())
    }

    fn number(&mut self, bytes: usize, end: usize) -> Option<usize> {
        let from = self.at;
        self.skip(bytes, end)?;
        let read = self.bytes.get(from..self.at)?;
        Some(read.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn skip(&mut self, bytes: usize, end: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= end)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::parsing::parse_field_table;
    use lapin::types::{AMQPValue, FieldTable};

    /// A content header with only a table, whose entries are `entries`.
    fn header(entries: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; 12];
        payload.extend([0x20, 0]);
        payload.extend((entries.len() as u32).to_be_bytes());
        payload.extend(entries);
        payload
    }

    fn mended(entries: &[u8]) -> (bool, FieldTable) {
        let mut payload = header(entries);
        let changed = mend(HEADER, &mut payload);
        let (rest, table) = parse_field_table(&payload[14..]).expect("lapin reads it");
        assert!(rest.is_empty());
        (changed, table)
    }

    #[test]
    fn what_lapin_can_read_stays_as_it_is() {
        let clean = b"\x01aS\0\0\0\x02\xff\xfe\x01dA\0\0\0\x03Vt\x01\x01eL\0\0\0\0\0\0\0\x01";
        let mut payload = header(clean);
        let before = payload.clone();
        assert!(!mend(HEADER, &mut payload));
        assert_eq!(payload, before);
    }

    #[test]
    fn names_that_are_not_utf8_get_question_marks() {
        let (changed, table) = mended(b"\x03a\xffbV\x04\xc3\xa4\xc3\xc3t\x01");
        assert!(changed);
        assert_eq!(table.inner().get("a?b"), Some(&AMQPValue::Void));
        assert_eq!(table.inner().get("ä??"), Some(&AMQPValue::Boolean(true)));
    }

    #[test]
    fn unknown_types_become_plain_values_of_the_same_length() {
        for rest in 0..20 {
            let mut entries = b"\x01kI\0\0\0\x07\x01z?".to_vec();
            entries.extend(vec![0xee; rest]);
            let (changed, table) = mended(&entries);
            assert!(changed, "{rest}");
            assert_eq!(table.inner().get("k"), Some(&AMQPValue::LongInt(7)), "{rest}");
            assert!(table.contains_key("z"), "{rest}");
        }
        for rest in 0..20_u8 {
            let mut entries = vec![1, b'a', b'A', 0, 0, 0, rest + 1, b'?'];
            entries.extend(vec![0xee; rest.into()]);
            assert!(mended(&entries).0, "{rest}");
        }
    }

    #[test]
    fn lengths_that_lie_are_put_right() {
        for entries in [
            &b"\x01aS\0\0\0\x63xy"[..],
            b"\x01aF\x7f\xff\xff\xff\x01bV",
            b"\x01aA\xff\xff\xff\xff",
            b"\x63a",
            b"\x01aT\0\0",
            b"\x01a",
        ] {
            assert!(mended(entries).0, "{entries:?}");
        }
    }

    #[test]
    fn a_table_nested_20_000_deep_is_cut() {
        let mut entries = b"\x01vV".to_vec();
        for _ in 0..20_000 {
            let mut outer = b"\x01tF".to_vec();
            outer.extend((entries.len() as u32).to_be_bytes());
            outer.append(&mut entries);
            entries = outer;
        }
        assert!(mended(&entries).0);
    }

    #[test]
    fn exchange_and_routing_key_of_a_delivery_are_looked_over() {
        let mut deliver = b"\0\x3c\0\x3c\x03tag\0\0\0\0\0\0\0\x01\x00\x02e\xfe\x03r\xffk".to_vec();
        assert!(mend(METHOD, &mut deliver));
        assert!(deliver.ends_with(b"\x02e?\x03r?k"));
        assert!(!mend(METHOD, &mut deliver));
    }

    #[test]
    fn any_bytes_at_all_end_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let mut entries: Vec<u8> = (0..random.usize(2..60))
                .map(|_| {
                    *random.choice(b"\0\0\0\0\x01\x02\x03\x05AFStVIx?\xff\xc3a").expect("not empty")
                })
                .collect();
            let mut payload = header(&entries);
            mend(HEADER, &mut payload);
            // One lone byte at the end has room for no entry; everything else must be readable.
            if parse_field_table(&payload[14..]).is_err() {
                let once = payload.clone();
                mend(HEADER, &mut payload);
                assert_eq!(once, payload, "from {entries:?}");
            }
            mend(METHOD, &mut entries);
        }
    }
}
