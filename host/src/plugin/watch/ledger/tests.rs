//! The ledger over time, without a folder.

use super::super::listing::Seen;
use super::super::{Component, Manifest};
use super::*;
use std::io::ErrorKind;

/// A folder of one plugin at points in time, in milliseconds.
struct Story {
    ledger: Ledger,
    start: Instant,
    open: HashSet<OsString>,
}

impl Story {
    fn new() -> Self {
        Self { ledger: Ledger::new(SETTLE), start: Instant::now(), open: HashSet::new() }
    }

    /// At `ms` the folder holds these: what is told, or `read`, or when to look again.
    fn at(&mut self, ms: u64, component: Option<u8>, manifest: Option<u8>) -> String {
        let now = self.start + Duration::from_millis(ms);
        let step = self.ledger.observe(listing(component, manifest), &self.open, now);
        if let [Change { kind: Kind::Removed, .. }] = &step.changes[..] {
            return "removed".into();
        }
        match (&step.due[..], step.next) {
            ([_], None) => "read".into(),
            ([], Some(next)) => format!("wait {}", (next - self.start).as_millis()),
            ([], None) => String::new(),
            other => panic!("{other:?}"),
        }
    }

    fn record(&mut self, ms: u64, pair: (u8, Option<u8>), reading: Result<u8, Obstacle>) -> &str {
        let now = self.start + Duration::from_millis(ms);
        let files = reading.map(|content| Files {
            component: Component {
                path: "a.wasm".into(),
                digest: Digest::of(&[content]),
                bytes: vec![content],
            },
            manifest: pair.1.map(|content| Manifest {
                path: "a.toml".into(),
                digest: Digest::of(&[content]),
                text: String::new(),
            }),
        });
        let pair = listing(Some(pair.0), pair.1).remove("a").unwrap();
        match self.ledger.record("a", pair, files, now).map(|change| change.kind) {
            None => "nothing",
            Some(Kind::Added(Ok(_))) => "added",
            Some(Kind::Added(Err(_))) => "added, wrong",
            Some(Kind::Changed(Ok(_))) => "changed",
            Some(Kind::Changed(Err(_))) => "changed, wrong",
            Some(Kind::Removed) => "removed",
        }
    }

    fn told() -> Self {
        let mut story = Self::new();
        assert_eq!(story.at(0, Some(1), Some(1)), "wait 20");
        assert_eq!(story.at(20, Some(1), Some(1)), "read");
        assert_eq!(story.record(20, (1, Some(1)), Ok(1)), "added");
        assert_eq!(story.at(30, Some(1), Some(1)), "");
        story
    }
}

/// Stamps that differ stand for versions that do.
fn listing(component: Option<u8>, manifest: Option<u8>) -> Listing {
    let kinds = [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::TimedOut];
    let entry = |file: &str, version: Option<u8>| {
        let seen = Seen::Unreadable(kinds[usize::from(version?)]);
        Some(Entry { path: file.into(), seen })
    };
    let pair = Pair { component: entry("a.wasm", component), manifest: entry("a.toml", manifest) };
    if pair == Pair::default() { Listing::new() } else { [("a".to_owned(), pair)].into() }
}

fn unfinished() -> Result<u8, Obstacle> {
    Err(Obstacle::Unfinished(WatchError::Empty { file: "a.wasm".into() }))
}

#[test]
fn a_change_must_settle_and_a_new_one_begins_again() {
    let mut story = Story::told();
    assert_eq!(story.at(40, Some(2), Some(1)), "wait 60");
    assert_eq!(story.at(55, Some(0), Some(1)), "wait 75");
    assert_eq!(story.at(75, Some(0), Some(1)), "read");
    assert_eq!(story.record(75, (0, Some(1)), Err(Obstacle::Moved)), "nothing");
    assert_eq!(story.at(80, Some(2), Some(1)), "wait 100");
    assert_eq!(story.at(100, Some(2), Some(1)), "read");
    assert_eq!(story.record(100, (2, Some(1)), Ok(1)), "nothing", "the same content");
    assert_eq!(story.at(110, Some(2), Some(1)), "");
    assert_eq!(story.at(120, Some(1), Some(1)), "wait 140");
    assert_eq!(story.at(130, Some(2), Some(1)), "", "it is as it was told");
}

#[test]
fn a_short_absence_is_no_removal() {
    let mut story = Story::told();
    assert_eq!(story.at(100, None, None), "wait 200");
    assert_eq!(story.at(199, Some(1), Some(1)), "");
    assert_eq!(story.at(300, None, None), "wait 400");
    assert_eq!(story.at(400, None, None), "removed");
    assert_eq!(story.at(410, None, None), "");
    assert_eq!(story.at(500, Some(1), None), "wait 520");
    assert_eq!(story.at(520, Some(1), None), "read");
    assert_eq!(story.record(520, (1, None), Ok(1)), "added");
}

#[test]
fn a_manifest_may_be_absent_for_as_long() {
    let mut story = Story::told();
    assert_eq!(story.at(100, Some(1), None), "wait 200");
    assert_eq!(story.at(200, Some(1), None), "read");
    assert_eq!(story.record(200, (1, None), Ok(1)), "changed");
}

#[test]
fn a_file_that_is_open_is_given_more_time_until_it_is_closed() {
    let mut story = Story::told();
    story.open.insert("a.wasm".into());
    assert_eq!(story.at(100, Some(2), Some(1)), "wait 1600");
    story.open.clear();
    assert_eq!(story.at(300, Some(2), Some(1)), "read");
}

#[test]
fn an_unfinished_file_is_an_error_only_after_a_while() {
    let mut story = Story::told();
    assert_eq!(story.at(100, Some(2), Some(1)), "wait 120");
    assert_eq!(story.at(120, Some(2), Some(1)), "read");
    assert_eq!(story.record(120, (2, Some(1)), unfinished()), "nothing");
    assert_eq!(story.at(130, Some(2), Some(1)), "wait 5100");
    assert_eq!(story.at(5100, Some(2), Some(1)), "read");
    assert_eq!(story.record(5100, (2, Some(1)), unfinished()), "changed, wrong");
    assert_eq!(story.at(5200, Some(2), Some(1)), "");
    assert_eq!(story.at(5300, Some(1), Some(1)), "wait 5320");
    assert_eq!(story.at(5320, Some(1), Some(1)), "read");
    assert_eq!(story.record(5320, (1, Some(1)), Ok(1)), "changed");
}

#[test]
fn a_manifest_alone_is_waited_with_and_then_left_alone() {
    let mut story = Story::new();
    assert_eq!(story.at(0, None, Some(1)), "wait 2000");
    assert_eq!(story.at(2000, None, Some(1)), "");
    assert_eq!(story.at(2100, None, Some(1)), "");
    assert_eq!(story.at(2200, None, Some(2)), "wait 4200");
    assert_eq!(story.at(4200, None, Some(2)), "");
    assert_eq!(story.at(5000, Some(1), Some(2)), "wait 5020");
    assert_eq!(story.at(5020, Some(1), Some(2)), "read");
    assert_eq!(story.record(5020, (1, Some(2)), Ok(1)), "added");
}

#[test]
fn a_file_that_grows_over_the_limit_is_news_once() {
    let too_large = |bytes| {
        Err(Obstacle::Wrong(WatchError::TooLarge { file: "a.wasm".into(), bytes, limit: 1 }))
    };
    let mut story = Story::told();
    assert_eq!(story.at(100, Some(2), Some(1)), "wait 120");
    assert_eq!(story.record(120, (2, Some(1)), too_large(2)), "changed, wrong");
    assert_eq!(story.at(200, Some(0), Some(1)), "wait 220");
    assert_eq!(story.record(220, (0, Some(1)), too_large(3)), "nothing");
}

#[test]
fn a_plugin_that_is_renamed_goes_before_it_comes() {
    let renamed = |name: &str| -> Listing {
        let pair = listing(Some(1), None).remove("a").unwrap();
        [(name.to_owned(), pair)].into()
    };
    let mut story = Story::new();
    story.at(0, Some(1), None);
    assert_eq!(story.at(20, Some(1), None), "read");
    assert_eq!(story.record(20, (1, None), Ok(1)), "added");
    let mut at = |ms: u64| {
        let now = story.start + Duration::from_millis(ms);
        let step = story.ledger.observe(renamed("b"), &HashSet::new(), now);
        let next = step.next.map(|next| (next - story.start).as_millis());
        (step.changes.len(), step.due.len(), next)
    };
    assert_eq!(at(30), (0, 0, Some(130)), "gone for 100 ms, and not added before that");
    assert_eq!(at(60), (0, 0, Some(130)));
    assert_eq!(at(130), (1, 1, Some(130)), "removed, and the new one is read");
}
