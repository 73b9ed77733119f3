use super::*;
use Do::{Again, Arrive, End, Purge, Reload, Said, Stop, Tick, Withdraw};
use std::collections::BTreeMap;

/// What happens; an event's first letter is its key where there is an order.
#[derive(Debug, Clone, Copy)]
enum Do {
    Arrive(&'static str),
    /// How it went.
    Said(&'static str, Sign),
    End(&'static str),
    /// It ends, and begins again after so many seconds.
    Again(&'static str, u64),
    /// So many seconds have passed since the beginning.
    Tick(u64),
    /// These events came by a lost connection.
    Purge(&'static str),
    Stop,
    Withdraw,
    /// This concurrency and version; none: the lane is taken away.
    Reload(usize, u8),
}

struct Scene {
    intake: Intake<&'static str>,
    order: bool,
    pausing: Pausing,
    lane: Option<LaneId>,
    begun: BTreeMap<&'static str, Ticket>,
    now: Duration,
}

impl Scene {
    fn new(order: bool, pausing: Pausing, concurrency: usize) -> Self {
        let mut scene = Self {
            intake: Intake::default(),
            order,
            pausing,
            lane: None,
            begun: BTreeMap::new(),
            now: Duration::ZERO,
        };
        scene.happens(Reload(concurrency, 1));
        scene
    }

    /// What the intake says to it: `a1` is begun, `?a1` as a probe, `-a1` given back.
    fn happens(&mut self, what: Do) -> String {
        let mut actions = Vec::new();
        let (intake, now) = (&mut self.intake, self.now);
        match what {
            Arrive(it) => {
                let key = self.order.then(|| u64::from(it.as_bytes()[0]));
                intake.arrived(self.lane.expect("there is a lane"), key, it, &mut actions);
            }
            Said(it, sign) => {
                let shelter = intake.concluded(&self.begun[it], sign, now, &mut actions);
                if let Shelter::Postpone(delay) = shelter {
                    let said = said(actions, &mut self.begun);
                    return format!("{said} postpone {} s", delay.as_secs()).trim().to_owned();
                }
            }
            End(it) => intake.ended(self.begun[it], None, now, &mut actions),
            Again(it, delay) => {
                let again = (it, Duration::from_secs(delay));
                intake.ended(self.begun[it], Some(again), now, &mut actions);
            }
            Tick(at) => {
                self.now = Duration::from_secs(at);
                intake.tick(self.now, &mut actions);
            }
            Purge(stale) => intake.purge(|it| stale.contains(it), &mut actions),
            Stop => intake.stop(),
            Withdraw => intake.withdraw(&mut actions),
            Reload(concurrency, version) => {
                let circuit = circuit::Rules { failures: 2, ..circuit::Rules::default() };
                let (name, version) = ("orders".into(), version.to_string());
                let rules = LaneRules { name, version, concurrency, circuit };
                let lanes = if concurrency > 0 { vec![rules] } else { vec![] };
                let ids = intake.reload(lanes, self.pausing, now, &mut actions);
                self.lane = ids.first().copied();
            }
        }
        said(actions, &mut self.begun)
    }

    fn plays(&mut self, table: &[(Do, &str)]) {
        for (row, (what, expected)) in table.iter().enumerate() {
            assert_eq!(self.happens(*what), *expected, "row {row}: {what:?}");
        }
    }
}

fn said(actions: Vec<Action<&'static str>>, begun: &mut BTreeMap<&'static str, Ticket>) -> String {
    let words = actions.into_iter().map(|action| match action {
        Action::Begin(ticket, it) => {
            begun.insert(it, ticket);
            format!("{}{it}", if ticket.probe { "?" } else { "" })
        }
        Action::GiveBack(it) => format!("-{it}"),
        Action::Opened(_) => "opened".to_owned(),
        Action::Closed(_) => "closed".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn events_of_one_key_follow_each_other_and_a_retry_keeps_its_place() {
    let mut scene = Scene::new(true, Pausing::Hold, 8);
    scene.plays(&[
        (Arrive("a1"), "a1"),
        (Arrive("a2"), ""),
        (Arrive("b1"), "b1"),
        (Arrive("a3"), ""),
        (Again("a1", 5), ""),
        (End("b1"), ""),
        (Tick(4), ""),
        (Tick(5), "a1"),
        (End("a1"), "a2"),
        (End("a2"), "a3"),
        (Arrive("b2"), "b2"),
        (End("a3"), ""),
        (Arrive("a4"), "a4"),
    ]);
    assert_eq!(scene.intake.held(), (0, 2));
}

#[test]
fn as_many_are_begun_as_may_be_and_a_reload_says_how_many() {
    Scene::new(false, Pausing::GiveBack, 2).plays(&[
        (Arrive("a"), "a"),
        (Arrive("b"), "b"),
        (Arrive("c"), ""),
        (Arrive("d"), ""),
        (Arrive("e"), ""),
        (End("a"), "c"),
        (Reload(3, 1), "d"),
        (Reload(1, 1), ""),
        (End("b"), ""),
        (End("c"), ""),
        (End("d"), "e"),
    ]);
}

#[test]
fn an_open_circuit_pauses_the_queue_and_probes_with_one_event_at_a_time() {
    let mut scene = Scene::new(false, Pausing::GiveBack, 2);
    scene.plays(&[
        (Arrive("a"), "a"),
        (Arrive("b"), "b"),
        (Arrive("c"), ""),
        (Said("a", Sign::Away(None)), "opened postpone 5 s"),
        (End("a"), ""),
        (Said("b", Sign::Unwell), "postpone 5 s"),
    ]);
    let pace = |appetite, due: Option<u64>| Pace { appetite, due: due.map(Duration::from_secs) };
    assert_eq!(scene.intake.pace(), pace(Appetite::None, Some(5)));
    scene.plays(&[(Withdraw, "-c"), (End("b"), ""), (Tick(5), "")]);
    assert_eq!(scene.intake.pace(), pace(Appetite::One, None));
    scene.plays(&[
        (Arrive("c"), "?c"),
        (Arrive("d"), ""),
        (Said("c", Sign::Unwell), "postpone 10 s"),
        (Withdraw, "-d"),
        (End("c"), ""),
        (Tick(15), ""),
        (Arrive("d"), "?d"),
        (Said("d", Sign::Neutral), ""),
        (Arrive("e"), ""),
        (End("d"), "?e"),
        (Arrive("f"), ""),
        (Said("e", Sign::Well), "closed"),
        (Withdraw, ""),
        (End("e"), "f"),
    ]);
    assert_eq!(scene.intake.pace(), pace(Appetite::Full, None));
}

#[test]
fn where_order_or_others_depend_on_it_a_pause_holds_what_is_there() {
    let mut scene = Scene::new(true, Pausing::Hold, 2);
    scene.plays(&[
        (Arrive("a1"), "a1"),
        (Arrive("a2"), ""),
        (Said("a1", Sign::Away(None)), "opened postpone 5 s"),
        (Again("a1", 5), ""),
        (Arrive("b1"), ""),
        (Withdraw, ""),
    ]);
    assert_eq!(scene.intake.pace().appetite, Appetite::Full);
    scene.plays(&[
        (Tick(5), "?b1"),
        (Said("b1", Sign::Well), "closed"),
        (End("b1"), "a1"),
        (End("a1"), "a2"),
    ]);
}

#[test]
fn a_stop_gives_back_what_waits_and_what_is_behind_an_event_after_it() {
    for ends in [End("a1"), Again("a1", 5)] {
        let mut scene = Scene::new(true, Pausing::Hold, 2);
        scene.plays(&[
            (Arrive("a1"), "a1"),
            (Arrive("a2"), ""),
            (Arrive("b1"), "b1"),
            (Arrive("c1"), ""),
            (Again("b1", 5), "c1"),
            (Stop, ""),
            (Arrive("b2"), ""),
            (Tick(5), ""),
            (Withdraw, "-b1 -b2"),
            (End("c1"), ""),
        ]);
        let first = if matches!(ends, End(_)) { "-a2" } else { "-a1 -a2" };
        assert_eq!((scene.happens(ends), scene.intake.held()), (first.to_owned(), (0, 0)));
    }
}

#[test]
fn what_came_by_a_lost_connection_is_forgotten_and_holds_nothing_up() {
    Scene::new(true, Pausing::Hold, 2).plays(&[
        (Arrive("a1"), "a1"),
        (Arrive("a2"), ""),
        (Arrive("b1"), "b1"),
        (Again("b1", 60), ""),
        (Arrive("b2"), ""),
        (Arrive("b3"), ""),
        (Purge("a2 b1 b2"), "b3"),
        (Arrive("a3"), ""),
        (End("a1"), "a3"),
    ]);
}

#[test]
fn a_lane_that_comes_back_goes_on_with_its_keys_and_permits() {
    let mut scene = Scene::new(true, Pausing::Hold, 2);
    scene.plays(&[
        (Arrive("a1"), "a1"),
        (Arrive("a2"), ""),
        (Arrive("b1"), "b1"),
        (Arrive("c1"), ""),
        (Reload(0, 0), "-c1 -a2"),
    ]);
    assert_eq!(scene.intake.held(), (0, 2), "they are still under way");
    scene.plays(&[
        (Reload(2, 1), ""),
        (Arrive("a2"), ""),
        (Arrive("c1"), ""),
        (End("b1"), "c1"),
        (Again("a1", 5), ""),
        (Tick(5), "a1"),
        (End("a1"), "a2"),
        (Reload(0, 0), ""),
        (Again("a2", 5), "-a2"),
        (End("c1"), ""),
    ]);
    assert_eq!(scene.intake.held(), (0, 0));
}

#[test]
fn a_version_answers_for_itself_only() {
    let mut scene = Scene::new(false, Pausing::Hold, 3);
    scene.plays(&[
        (Arrive("a"), "a"),
        (Arrive("b"), "b"),
        (Said("a", Sign::Unwell), ""),
        (Reload(3, 2), ""),
        (Said("b", Sign::Away(None)), ""),
        (Arrive("c"), "c"),
        (Said("c", Sign::Unwell), ""),
        (End("a"), ""),
        (End("b"), ""),
        (Arrive("d"), "d"),
        (Said("d", Sign::Unwell), "opened postpone 5 s"),
        (End("c"), ""),
        (End("d"), ""),
        (Arrive("e"), ""),
        (Reload(3, 3), ""),
    ]);
    assert_eq!(scene.intake.pace().due, Some(Duration::ZERO), "it is tried at once");
    scene.plays(&[
        (Tick(0), "?e"),
        (Arrive("f"), ""),
        (Reload(3, 4), ""),
        (Said("e", Sign::Unwell), "postpone 0 s"),
        (End("e"), "?f"),
        (Said("f", Sign::Well), "closed"),
    ]);
}
