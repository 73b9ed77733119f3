//! When the log speaks of a trouble: as it begins, then now and then with how often it happened
//! meanwhile, and when it is over. It is given the time, and writes nothing itself.
//! Next: `trouble`, the events' own; connections, consumers and moves keep one each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What ended and comes back sooner is told of after this time, if it lasts: a trouble that comes
/// and goes is no flood either.
const ANEW: Duration = Duration::from_secs(10);
/// As many kinds are known at once: reasons come from the network, and may differ each time.
const KINDS_MAX: usize = 1000;

/// Troubles, each by its kind.
#[derive(Debug)]
pub struct Rarely<K> {
    every: Duration,
    troubles: BTreeMap<K, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    began: Instant,
    /// When it happened last.
    last: Instant,
    /// How often it happened, and how many of these nobody was told of.
    times: u64,
    untold: u64,
    /// Somebody was told of it, and not of another one of this kind before.
    told: bool,
    /// When somebody was told last, of this one or of one before.
    said: Option<Instant>,
    over: bool,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// It has begun.
    First,
    /// It goes on.
    Again {
        /// How often it happened since somebody was told last.
        more: u64,
    },
    /// It is over.
    Over {
        /// How often it happened.
        times: u64,
        /// From its beginning to its end.
        lasted: Duration,
    },
}

impl<K: Ord + Clone> Rarely<K> {
    /// To speak of each kind once in `every` at most; of its end besides.
    pub const fn new(every: Duration) -> Self {
        Self { every, troubles: BTreeMap::new() }
    }

    /// It happened.
    pub fn happened(&mut self, kind: K, now: Instant) -> Option<Say> {
        if !self.troubles.contains_key(&kind) {
            self.make_room(now);
        }
        let trouble = self.troubles.entry(kind).or_insert_with(|| Trouble::new(now, None));
        if trouble.over {
            *trouble = Trouble::new(now, trouble.said);
        }
        trouble.last = now;
        trouble.times += 1;
        trouble.untold += 1;
        trouble.may_be_told(now, self.every).then(|| trouble.tell(now))
    }

    /// It does not happen any more; what is said of that, if anybody knows that it did.
    pub fn well(&mut self, kind: &K, now: Instant) -> Option<Say> {
        self.troubles.get_mut(kind)?.end(now, now)
    }

    /// What happened less than `recent` ago and is not over, with when it began.
    pub fn lasting(&self, now: Instant, recent: Duration) -> impl Iterator<Item = (&K, Instant)> {
        let lasts =
            move |trouble: &Trouble| !trouble.over && now.duration_since(trouble.last) < recent;
        let lasting = self.troubles.iter().filter(move |(_, trouble)| lasts(trouble));
        lasting.map(|(kind, trouble)| (kind, trouble.began))
    }

    /// The same for all kinds, with nothing said.
    pub fn all_well(&mut self, now: Instant) {
        self.troubles.values_mut().for_each(|trouble| _ = trouble.end(now, now));
    }

    /// What is to be said by itself: to be asked now and then. What has not happened for `quiet` is
    /// over.
    pub fn due(&mut self, now: Instant, quiet: Duration) -> Vec<(K, Say)> {
        let every = self.every;
        let said = self.troubles.iter_mut().filter_map(|(kind, trouble)| {
            let say = if trouble.untold > 0 && trouble.may_be_told(now, every) {
                Some(trouble.tell(now))
            } else if now.duration_since(trouble.last) >= quiet {
                trouble.end(trouble.last, now)
            } else {
                None
            };
            say.map(|say| (kind.clone(), say))
        });
        let said = said.collect();
        self.forget(now);
        said
    }

    /// What nobody was told of so far, for the end of it all.
    pub fn rest(&mut self, now: Instant) -> Vec<(K, Say)> {
        let untold = self.troubles.iter_mut().filter(|(_, trouble)| trouble.untold > 0);
        untold.map(|(kind, trouble)| (kind.clone(), trouble.tell(now))).collect()
    }

    fn forget(&mut self, now: Instant) {
        let every = self.every;
        let anew = |trouble: &Trouble| Trouble::new(now, trouble.said).may_be_told(now, every);
        self.troubles.retain(|_, trouble| !trouble.over || !anew(trouble));
    }

    fn make_room(&mut self, now: Instant) {
        self.forget(now);
        if self.troubles.len() >= KINDS_MAX {
            let oldest = self.troubles.iter().min_by_key(|(_, trouble)| trouble.last);
            if let Some(kind) = oldest.map(|(kind, _)| kind.clone()) {
                self.troubles.remove(&kind);
            }
        }
    }
}

impl Trouble {
    fn new(now: Instant, said: Option<Instant>) -> Self {
        Self { began: now, last: now, times: 0, untold: 0, told: false, said, over: false }
    }

    fn may_be_told(&self, now: Instant, every: Duration) -> bool {
        let every = if self.told { every } else { every.min(ANEW) };
        self.said.is_none_or(|said| now.duration_since(said) >= every)
    }

    fn tell(&mut self, now: Instant) -> Say {
        self.said = Some(now);
        let more = std::mem::take(&mut self.untold);
        let first = !std::mem::replace(&mut self.told, true) && more == 1;
        if first { Say::First } else { Say::Again { more } }
    }

    fn end(&mut self, at: Instant, now: Instant) -> Option<Say> {
        let known = self.told && !self.over;
        (self.over, self.untold) = (true, 0);
        known.then(|| {
            self.said = Some(now);
            Say::Over { times: self.times, lasted: at.duration_since(self.began) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);
    const QUIET: Duration = Duration::from_secs(30);

    /// What may happen at a second.
    #[derive(Clone, Copy)]
    enum Is {
        Happened,
        Well,
        Looked,
    }
    use Is::{Happened, Looked, Well};

    type Story<'a> = &'a [(u64, Is)];
    /// What is said at which second.
    type Told<'a> = &'a [(u64, &'a str)];

    fn said(story: Story<'_>) -> Vec<(u64, String)> {
        let (mut rarely, start) = (Rarely::new(EVERY), Instant::now());
        let said = story.iter().filter_map(|(second, is)| {
            let now = start + Duration::from_secs(*second);
            let say = match is {
                Happened => rarely.happened("kind", now),
                Well => rarely.well(&"kind", now),
                Looked => rarely.due(now, QUIET).pop().map(|(_, say)| say),
            };
            let say = match say? {
                Say::First => "first".to_owned(),
                Say::Again { more } => format!("{more} more"),
                Say::Over { times, lasted } => format!("over: {times} in {}", lasted.as_secs()),
            };
            Some((*second, say))
        });
        said.collect()
    }

    #[test]
    fn the_beginning_now_and_then_and_the_end_are_said() {
        let flood = |from, to| (from..to).map(|second| (second, Happened));
        let many: Vec<_> = flood(0, 25).chain([(30, Looked), (54, Looked), (60, Looked)]).collect();
        let table: [(&str, Story<'_>, Told<'_>); 9] = [
            ("once", &[(0, Happened), (10, Looked), (29, Looked)], &[(0, "first")]),
            (
                "once, and its end",
                &[(0, Happened), (30, Looked), (60, Looked)],
                &[(0, "first"), (30, "over: 1 in 0")],
            ),
            (
                "many",
                &many,
                &[
                    (0, "first"),
                    (10, "10 more"),
                    (20, "10 more"),
                    (30, "4 more"),
                    (54, "over: 25 in 24"),
                ],
            ),
            (
                "a burst",
                &[(0, Happened), (0, Happened), (0, Happened), (5, Looked), (10, Looked)],
                &[(0, "first"), (10, "2 more")],
            ),
            (
                "an end that is known",
                &[(0, Happened), (3, Happened), (4, Well), (5, Well), (60, Looked)],
                &[(0, "first"), (4, "over: 2 in 4")],
            ),
            (
                "it comes and goes",
                &[(0, Happened), (1, Well), (2, Happened), (3, Well), (4, Happened), (5, Well)],
                &[(0, "first"), (1, "over: 1 in 1")],
            ),
            (
                "it comes back and stays",
                &[(0, Happened), (1, Well), (2, Happened), (5, Looked), (11, Looked), (12, Well)],
                &[(0, "first"), (1, "over: 1 in 1"), (11, "first"), (12, "over: 1 in 10")],
            ),
            (
                "it comes back later",
                &[(0, Happened), (1, Well), (20, Happened), (21, Happened)],
                &[(0, "first"), (1, "over: 1 in 1"), (20, "first")],
            ),
            ("nothing", &[(0, Well), (1, Looked)], &[]),
        ];
        for (what, story, expected) in table {
            let expected: Vec<_> =
                expected.iter().map(|(second, say)| (*second, (*say).to_owned())).collect();
            assert_eq!(said(story), expected, "{what}");
        }
    }

    #[test]
    fn each_kind_has_its_own_story() {
        let (mut rarely, now) = (Rarely::new(EVERY), Instant::now());
        assert_eq!(rarely.happened("away", now), Some(Say::First));
        assert_eq!(rarely.happened("wrong password", now), Some(Say::First));
        assert_eq!(rarely.happened("away", now), None);
        assert_eq!(rarely.rest(now), [("away", Say::Again { more: 1 })]);
        assert_eq!(rarely.rest(now), []);
        rarely.all_well(now);
        assert_eq!(rarely.well(&"away", now), None);
        assert_eq!(rarely.happened("wrong password", now), None, "too soon");
    }

    #[test]
    fn what_comes_back_is_told_of_sooner_than_what_goes_on() {
        let (mut rarely, start) = (Rarely::new(EVERY * 6), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(rarely.happened("away", at(0)), Some(Say::First));
        assert_eq!(rarely.happened("away", at(20)), None);
        rarely.all_well(at(21));
        assert_eq!(rarely.happened("away", at(30)), None);
        assert_eq!(rarely.happened("away", at(31)), Some(Say::Again { more: 2 }));
        assert_eq!(rarely.happened("away", at(90)), None);
        assert_eq!(rarely.happened("away", at(91)), Some(Say::Again { more: 2 }));
    }

    #[test]
    fn kinds_are_forgotten_in_time() {
        let (mut rarely, start) = (Rarely::new(EVERY), Instant::now());
        let kinds = |rarely: &Rarely<u64>| rarely.troubles.len();
        for kind in 0..2 * KINDS_MAX as u64 {
            rarely.happened(kind, start + Duration::from_millis(kind));
        }
        assert_eq!(kinds(&rarely), KINDS_MAX);
        assert!(rarely.troubles.contains_key(&1999) && !rarely.troubles.contains_key(&0));
        assert_eq!(rarely.due(start + QUIET * 2, QUIET).len(), KINDS_MAX);
        rarely.due(start + QUIET * 3, QUIET);
        assert_eq!(kinds(&rarely), 0);
    }
}
