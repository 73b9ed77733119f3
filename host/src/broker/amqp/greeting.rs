//! Who the broker is: read from the first method that it sends, `connection.start`, which lapin
//! keeps to itself. Next in the flow: [`super::link`], which says who it talks to.

use crate::broker::Server;
use crate::telemetry::text::printable;
use lapin::types::parsing::parse_field_table;
use lapin::types::{AMQPValue, FieldTable};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `connection.start`, by class and method, and before its table the version of the protocol.
const START: &[u8] = &[0, 10, 0, 10];
const TABLE_AT: usize = START.len() + 2;
/// What RabbitMQ sends has less than 1 KiB.
const TABLE_BYTES_MAX: usize = 64 * 1024;
/// The longest of its texts that is kept.
const TEXT_BYTES_MAX: usize = 100;

/// The broker that sent `payload`, if this is how it introduces itself.
pub(super) fn read(payload: &[u8]) -> Option<Server> {
    if !payload.starts_with(START) {
        return None;
    }
    let said = table(payload).unwrap_or_default();
    let text = |name: &str| match said.inner().get(name) {
        Some(AMQPValue::LongString(text)) => {
            let text = String::from_utf8_lossy(text.as_bytes());
            Some(printable(&text, TEXT_BYTES_MAX).into_owned())
        }
        _ => None,
    };
    let (product, version) = (text("product"), text("version"));
    let cluster = text("cluster_name");
    Some(Server::new(
        &product.unwrap_or_default(),
        &version.unwrap_or_default(),
        cluster.as_deref(),
    ))
}

fn table(payload: &[u8]) -> Option<FieldTable> {
    let (length, _) = payload.get(TABLE_AT..)?.split_first_chunk()?;
    let size = u32::from_be_bytes(*length) as usize;
    let end = TABLE_AT + length.len() + size;
    let whole = payload.get(TABLE_AT..end).filter(|_| size <= TABLE_BYTES_MAX)?;
    parse_field_table(whole).ok().map(|(_, table)| table)
}

/// Who the broker is, as both connections were told.
#[derive(Debug, Default)]
pub(super) struct Introduced(Mutex<BTreeMap<&'static str, Server>>);

impl Introduced {
    /// The connection `role` leads to `server`; true if that is news.
    pub(super) fn note(&self, role: &'static str, server: &Server) -> bool {
        let mut known = self.known();
        let news = !known.values().any(|known| known == server);
        known.insert(role, server.clone());
        news
    }

    /// The older one, where they lead to nodes of different versions: what that one lacks, the
    /// cluster lacks.
    pub(super) fn server(&self) -> Option<Server> {
        self.known().values().min_by_key(|server| server.version).cloned()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<&'static str, Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mend::{METHOD, mend};
    use super::*;
    use crate::broker::Version;

    fn start(entries: &[u8]) -> Vec<u8> {
        let size = (entries.len() as u32).to_be_bytes();
        [START, &[0, 9], &size, entries, b"\0\0\0\x05PLAIN\0\0\0\x05en_US"].concat()
    }

    fn entry(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        let size = (value.len() as u32).to_be_bytes();
        [&[name.len() as u8], name.as_bytes(), &[kind], &size, value].concat()
    }

    #[test]
    fn a_broker_is_read_from_its_greeting() {
        let entries = [
            entry("capabilities", b'F', &[&b"\x04test"[..], b"t\x01"].concat()),
            entry("cluster_name", b'S', b"rabbit@here"),
            entry("product", b'S', b"RabbitMQ"),
            entry("version", b'S', b"4.2.1"),
        ];
        let server = read(&start(&entries.concat())).expect("a greeting");
        assert_eq!(server.to_string(), "RabbitMQ 4.2.1");
        assert_eq!(server.cluster.as_deref(), Some("rabbit@here"));
        assert_eq!(read(b"\0\x0a\0\x1e\0\0"), None, "connection.tune");
        assert_eq!(read(b""), None);
    }

    #[test]
    fn what_is_absent_or_odd_is_unknown() {
        let long = "4".repeat(500);
        let table = [
            (start(b""), ""),
            (start(&entry("product", b'x', b"RabbitMQ")), ""),
            (start(&entry("product", b'S', b"Rab\x1b[0m\xff")), "Rab\\u{1b}[0m\u{fffd}"),
            (start(&vec![0; TABLE_BYTES_MAX + 1]), ""),
            (start(&[&b"\x07product"[..], b"?what"].concat()), ""),
            ([START, &[0, 9, 0xff, 0xff, 0xff, 0xff]].concat(), ""),
            (START.to_vec(), ""),
            (start(&entry("version", b'S', long.as_bytes())), ""),
        ];
        for (mut payload, product) in table {
            mend(METHOD, &mut payload);
            let server = read(&payload).expect("a greeting");
            assert_eq!((server.product.as_str(), server.version), (product, None), "{payload:?}");
        }
        let odd = [entry("x", b'?', b""), entry("product", b'S', b"RabbitMQ")].concat();
        let mut payload = start(&odd);
        assert!(mend(METHOD, &mut payload));
        assert!(read(&payload).is_some(), "what is mended can be read");
    }

    #[test]
    fn any_bytes_at_all_end_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..random.usize(0..60)).map(|_| random.u8(..)).collect();
            for mut payload in [start(&bytes), [START, bytes.as_slice()].concat()] {
                mend(METHOD, &mut payload);
                read(&payload);
            }
        }
    }

    #[test]
    fn the_older_of_two_nodes_counts_and_news_is_told_once() {
        let introduced = Introduced::default();
        assert_eq!(introduced.server(), None);
        let (old, new) =
            (Server::new("RabbitMQ", "4.2.0", None), Server::new("RabbitMQ", "4.3.0", None));
        assert!(introduced.note("consume", &old));
        assert!(!introduced.note("publish", &old));
        assert!(introduced.note("consume", &new));
        let version = || introduced.server().and_then(|server| server.version);
        assert_eq!(version(), Some(Version { major: 4, minor: 2, patch: 0 }));
        assert!(!introduced.note("publish", &new));
        assert_eq!(version(), Some(Version { major: 4, minor: 3, patch: 0 }));
    }
}
