use super::*;
use crate::flow::{Fault, Publication};
use Happened::{
    Begun, Called, Committed, Forgotten, Lost, Moved, Published, Recalled, Settled, Told,
};
use Mode::{AtMostOnce, InOrder, Plain, QueueDelays, Recorded, Stores};
use Settlement::{DeadLetter, Drop, Postpone, Requeue, Retry};

const NONE: Shelter = Shelter::None;

/// What holds for the event.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    InOrder,
    AtMostOnce,
    QueueDelays,
    /// With stores, and a record of what was handled.
    Recorded,
    /// With stores, and no such record.
    Stores,
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
        commits: matches!(mode, Recorded | Stores),
        recalls: mode == Recorded,
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

#[test]
fn what_a_handler_did_is_committed_before_it_is_published_and_recalled_when_it_comes_again() {
    let (good, two) = (Outcome::Ok(vec![]), Outcome::Ok(vec![Publication::default(); 2]));
    let failed = |fault| Outcome::Failed { fault, reason: String::new() };
    let (refused, fails) = (failed(Fault::Publish), failed(Fault::Store));
    let away = Outcome::Unavailable { after: None, reason: String::new() };
    let retry = Outcome::Retry { after: None, reason: String::new() };
    let [well, unwell, neutral] = [Sign::Well, Sign::Unwell, Sign::Neutral].map(Step::Tell);
    let gone = Step::Tell(Sign::Away(None));
    let delay = Duration::from_secs(5);
    let recall = (Begun, Step::Recall);
    let called = [recall, (Recalled(None), Step::Call)];
    let committing = [&called[..], &[(Called(&two), Step::Commit)]].concat();
    let told = |step| (Told(NONE), step);

    let whole = [
        (Committed(&two), Step::Publish),
        (Published(&two), Step::Forget),
        (Forgotten, well),
        told(ack()),
        (Settled(true), end(Settlement::Ack)),
    ];
    plays("the whole", Recorded, &[&committing[..], &whole].concat());
    let silent = [(Called(&good), Step::Commit), (Committed(&good), well), told(ack())];
    plays("nothing to publish", Recorded, &[&called[..], &silent].concat());
    let fresh = [(Begun, Step::Call), (Called(&two), Step::Commit), whole[0]];
    plays("no record", Stores, &[&fresh[..], &[(Published(&two), well), told(ack())]].concat());

    let done = [recall, (Recalled(Some(&good)), neutral), told(ack())];
    plays("done", Recorded, &done);
    let left = [
        recall,
        (Recalled(Some(&two)), Step::Publish),
        (Published(&two), Step::Forget),
        (Forgotten, neutral),
        told(ack()),
    ];
    plays("done but for its publications", Recorded, &left);
    let unroutable = [
        recall,
        (Recalled(Some(&two)), Step::Publish),
        (Published(&refused), unwell),
        told(Step::Move(Retry(delay))),
    ];
    plays("what is left is refused again", Recorded, &unroutable);

    let postponed = [told(Step::Move(Postpone(delay)))];
    let unknown = [recall, (Recalled(Some(&away)), gone)];
    plays("no store to ask", Recorded, &[&unknown[..], &postponed].concat());
    let lost = [(Committed(&away), gone)];
    plays("no store to commit to", Recorded, &[&committing[..], &lost, &postponed].concat());
    let broken = [(Committed(&fails), unwell), told(Step::Move(Retry(delay)))];
    plays("a commit that fails", Recorded, &[&committing[..], &broken].concat());
    let failed = [(Called(&retry), unwell), told(Step::Move(Retry(delay)))];
    plays("a failure commits nothing", Recorded, &[&called[..], &failed].concat());
}

#[test]
fn a_handler_that_was_in_anothers_way_is_called_anew_and_not_without_end() {
    let good = Outcome::Ok(vec![]);
    let conflict = Outcome::Failed { fault: Fault::Conflict, reason: String::new() };
    let mut rows = vec![(Begun, Step::Recall), (Recalled(None), Step::Call)];
    for nth in 0..CONFLICTS_MAX {
        if nth % 2 == 0 {
            rows.extend([(Called(&good), Step::Commit), (Committed(&conflict), Step::Recall)]);
        } else {
            // A statement said so.
            rows.push((Called(&conflict), Step::Recall));
        }
        rows.push((Recalled(None), Step::CallAnew));
    }
    let well = [(Called(&good), Step::Commit), (Committed(&good), Step::Tell(Sign::Well))];
    plays("at last", Recorded, &[&rows[..], &well].concat());
    let unwell = (Called(&conflict), Step::Tell(Sign::Unwell));
    // No attempt is used up.
    let postponed = (Told(NONE), Step::Move(Postpone(Duration::from_secs(5))));
    plays("too often", Recorded, &[&rows[..], &[unwell, postponed]].concat());

    let twice = [
        (Begun, Step::Recall),
        (Recalled(None), Step::Call),
        (Called(&good), Step::Commit),
        (Committed(&conflict), Step::Recall),
        (Recalled(Some(&good)), Step::Tell(Sign::Neutral)),
    ];
    plays("the same event was in the way", Recorded, &twice);
    let plain = [(Begun, Step::Call), (Called(&conflict), Step::CallAnew)];
    plays("without a record", Stores, &plain);
}
