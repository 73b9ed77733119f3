use super::*;
use crate::flow::{Fault, Publication};
use Happened::{Begun, Called, Lost, Moved, Published, Settled, Told};
use Mode::{AtMostOnce, InOrder, Plain, QueueDelays};
use Settlement::{DeadLetter, Drop, Postpone, Requeue, Retry};

const NONE: Shelter = Shelter::None;

/// What holds for the event.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    InOrder,
    AtMostOnce,
    QueueDelays,
}

fn end(settlement: Settlement) -> Step {
    Step::End(End::Settled(settlement))
}

fn ack() -> Step {
    Step::Settle(Verdict::Ack)
}

/// Plays an event's second attempt of three, where a row is what happens and what is to be done.
fn plays(name: &str, mode: Mode, rows: &[(Happened<'_>, Step)]) {
    let delays = vec![Duration::from_secs(1), Duration::from_secs(5)];
    let policy = Policy { attempts: 3, delays, jitter: 0.0, ..Policy::default() };
    let terms = Terms {
        policy: &policy,
        at_most_once: mode == AtMostOnce,
        in_order: mode == InOrder,
        queue_delays: mode == QueueDelays,
    };
    let mut course = Course::new(terms, 2, 0.5);
    for (row, (happened, step)) in rows.iter().enumerate() {
        assert_eq!(course.next(*happened), *step, "{name}, row {row}: {happened:?}");
    }
}

#[test]
fn an_event_goes_its_course() {
    let (good, two) = (Outcome::Ok(vec![]), Outcome::Ok(vec![Publication::default(); 2]));
    let fault = Outcome::Failed { fault: Fault::Publish, reason: String::new() };
    let retry = Outcome::Retry { after: None, reason: String::new() };
    let reject = Outcome::Reject(String::new());
    let delay = Duration::from_secs(5);
    let (well, unwell) = (Step::Tell(Sign::Well), Step::Tell(Sign::Unwell));
    let (begun, called) = ((Begun, Step::Call), Called(&retry));
    let moves = |to| (Told(NONE), Step::Move(to));
    let settled = |to| [(Settled(true), end(to))];

    plays("well", Plain, &[begun, (Called(&good), well), (Told(NONE), ack())]);
    let confirmed = [
        begun,
        (Called(&two), Step::Publish),
        (Published(&two), well),
        (Told(NONE), ack()),
        (Settled(true), end(Settlement::Ack)),
    ];
    plays("confirmed, then acked", Plain, &confirmed);
    let refused = [
        begun,
        (Called(&two), Step::Publish),
        (Published(&fault), unwell),
        moves(Retry(delay)),
        (Moved(true), ack()),
        (Settled(false), Step::End(End::Lost)),
    ];
    plays("a refused publication is a failure", Plain, &refused);
    let large = [
        begun,
        (called, unwell),
        moves(Retry(delay)),
        (Moved(false), Step::Move(DeadLetter)),
        (Moved(true), ack()),
    ];
    plays("too large for a retry", Plain, &[&large[..], &settled(DeadLetter)].concat());
    let sheltered = [
        begun,
        (called, unwell),
        (Told(Shelter::Postpone(Duration::ZERO)), Step::Move(Postpone(POSTPONE_MIN))),
        (Moved(true), ack()),
    ];
    let postponed = settled(Postpone(POSTPONE_MIN));
    plays("sheltered", Plain, &[&sheltered[..], &postponed].concat());
    let again = Step::End(End::Again { delay, counts: true });
    plays("a retry in place", InOrder, &[begun, (called, unwell), (Told(NONE), again)]);
    let again = Step::End(End::Again { delay, counts: false });
    let told = Told(Shelter::Postpone(delay));
    plays("sheltered in place", InOrder, &[begun, (called, unwell), (told, again)]);
    let neutral = Step::Tell(Sign::Neutral);
    let dead = [begun, (Called(&reject), neutral), moves(DeadLetter), (Moved(true), ack())];
    plays("a dead letter leaves its place", InOrder, &dead);
    let first = [(Begun, ack()), (Settled(true), Step::Call)];
    let failed = [&first[..], &[(called, unwell), (Told(NONE), end(Drop))]].concat();
    plays("acked first, and failed", AtMostOnce, &failed);
    let lost = [(Begun, ack()), (Settled(false), Step::End(End::Lost))];
    plays("acked first, in vain", AtMostOnce, &lost);
}

#[test]
fn a_lost_channel_ends_an_event_wherever_it_is() {
    let (two, retry) = (
        Outcome::Ok(vec![Publication::default(); 2]),
        Outcome::Retry { after: None, reason: String::new() },
    );
    let lost = (Lost, Step::End(End::Lost));
    let publishing = [(Begun, Step::Call), (Called(&two), Step::Publish)];
    let moving = [
        (Begun, Step::Call),
        (Called(&retry), Step::Tell(Sign::Unwell)),
        (Told(NONE), Step::Move(Retry(Duration::from_secs(5)))),
    ];
    for before in [&publishing[..0], &publishing[..1], &publishing, &moving] {
        plays("lost", Plain, &[before, &[lost, lost]].concat());
    }
}

#[test]
fn a_queue_that_delays_gets_the_retries_that_name_no_delay() {
    let retry = |after| Outcome::Retry { after, reason: String::new() };
    let (plain, named) = (retry(None), retry(Some(Duration::from_secs(9))));
    let unwell = (Called(&plain), Step::Tell(Sign::Unwell));
    let rejected = [
        (Begun, Step::Call),
        unwell,
        (Told(NONE), Step::Settle(Verdict::Requeue)),
        (Settled(true), end(Requeue)),
    ];
    plays("a rejection is the retry", QueueDelays, &rejected);
    let delayed = Step::Move(Retry(Duration::from_secs(9)));
    let own = [
        (Begun, Step::Call),
        (Called(&named), Step::Tell(Sign::Neutral)),
        (Told(NONE), delayed),
        (Moved(true), ack()),
    ];
    plays("a delay of the handler's own", QueueDelays, &own);
    let told = Told(Shelter::Postpone(Duration::ZERO));
    let sheltered = [(Begun, Step::Call), unwell, (told, Step::Move(Postpone(POSTPONE_MIN)))];
    plays("sheltered", QueueDelays, &sheltered);
}
