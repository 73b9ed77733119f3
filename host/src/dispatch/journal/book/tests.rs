//! The rules, as tables.

use super::*;

fn id(number: u64) -> Identity {
    Identity([number + 1, 1])
}

fn known(crashes: u32, suspicions: u32) -> Known {
    Known { crashes, suspicions, attempt: 0 }
}

fn alone(number: u64) -> InFlight {
    InFlight { identity: id(number), alone: true }
}

/// What is known of an event soon after.
fn now_known(book: &Book, number: u64) -> Known {
    book.known(id(number), 20_000)
}

fn beside(number: u64) -> InFlight {
    InFlight { identity: id(number), alone: false }
}

#[test]
fn what_a_host_handled_when_it_ended_is_counted() {
    type Row<'a> = (&'a [&'a [InFlight]], &'a [(u64, Known)]);
    let table: [Row<'_>; 7] = [
        (&[&[]], &[(0, known(0, 0))]),
        (&[&[beside(0)]], &[(0, known(0, 1))]),
        (&[&[beside(0), beside(1)]], &[(0, known(0, 1)), (1, known(0, 1)), (2, known(0, 0))]),
        (&[&[beside(0), beside(1)], &[alone(0)]], &[(0, known(1, 1)), (1, known(0, 1))]),
        (&[&[alone(0)], &[alone(0)], &[alone(1)]], &[(0, known(2, 0)), (1, known(1, 0))]),
        // Copies without an id of their own are one event, and one end is one end.
        (&[&[beside(0), beside(0), beside(1)]], &[(0, known(0, 1)), (1, known(0, 1))]),
        (&[&[beside(0), alone(0)]], &[(0, known(1, 0))]),
    ];
    for (ends, expected) in table {
        let mut book = Book::new();
        ends.iter().for_each(|in_flight| book.ended(in_flight, 1));
        for (number, known) in expected {
            assert_eq!(now_known(&book, *number), *known, "{number} after {ends:?}");
        }
    }
}

#[test]
fn an_event_ends_with_its_attempts_or_with_too_many_suspicions() {
    // Crashes, suspicions, attempt, attempts, whether it is handled.
    let table = [
        (0, 0, 1, 1, true),
        (0, 0, 9, 5, true),
        (0, 1, 1, 1, true),
        (0, 19, 1, 1, true),
        (0, 20, 1, 5, false),
        (0, 21, 1, 99, false),
        (1, 0, 1, 1, false),
        (1, 0, 1, 2, true),
        (4, 0, 1, 5, true),
        (5, 0, 1, 5, false),
        (1, 0, 4, 5, true),
        (1, 0, 5, 5, false),
        (3, 3, 3, 5, false),
        (u32::MAX, 0, u32::MAX, u32::MAX, false),
    ];
    for (crashes, suspicions, attempt, attempts, handled) in table {
        let judged = known(crashes, suspicions).judge(attempt, attempts);
        assert_eq!(judged.is_ok(), handled, "{crashes} {suspicions} {attempt}/{attempts}");
    }
}

#[test]
fn a_reason_says_how_often_and_where_to_look() {
    let table = [
        (known(3, 0), "the host ended 3 times while it handled only this event; its exit status"),
        (known(0, 20), "the host ended 20 times while it handled this event beside others; its"),
        (known(2, 1), "2 times while it handled only this event and once while it handled this"),
    ];
    for (known, expected) in table {
        let spent = known.judge(1, 2).unwrap_err();
        assert!(spent.reason().contains(expected), "{}", spent.reason());
    }
}

#[test]
fn who_is_suspect_and_who_stays_apart() {
    let table = [
        (known(0, 0), false, false),
        (Known { attempt: 3, ..known(0, 0) }, false, false),
        (known(0, 1), true, false),
        (known(1, 0), true, false),
        (known(0, 3), true, true),
    ];
    for (known, suspect, apart) in table {
        assert_eq!((known.is_suspect(), known.is_apart()), (suspect, apart), "{known:?}");
    }
}

#[test]
fn what_another_host_knew_is_added() {
    let mut book = Book::new();
    book.ended(&[beside(0)], 10);
    let other = Known { crashes: 2, suspicions: 1, attempt: 3 };
    book.merge([Record { identity: id(0), known: other, at: 5 }]);
    book.merge([Record { identity: id(1), known: other, at: 5 }]);
    assert_eq!(now_known(&book, 0), Known { suspicions: 2, ..other });
    assert_eq!(now_known(&book, 1), other);
    book.expire(AGE_MAX_MS + 7);
    assert_eq!(book.len(), 1, "the younger of the two times counts");
}

#[test]
fn an_event_that_ended_or_is_too_old_is_forgotten() {
    let mut book = Book::new();
    book.ended(&[beside(0), beside(1)], 1);
    book.note(id(2), 4, 2);
    assert_eq!(now_known(&book, 2).attempt, 4);
    book.forget(id(0));
    book.forget(id(9));
    assert_eq!((book.len(), now_known(&book, 0)), (2, known(0, 0)));
    book.expire(AGE_MAX_MS + 2);
    assert_eq!((book.len(), now_known(&book, 2).attempt), (1, 4));
}

#[test]
fn what_is_settled_is_known_for_a_while() {
    let start = 100 * AGE_MAX_MS;
    let mut book = Book::new();
    book.ended(&[beside(0), beside(1)], start);
    book.retire(id(0), start);
    assert_eq!(book.known(id(0), start + SETTLED_MS), known(0, 1));
    assert_eq!(book.known(id(0), start + SETTLED_MS + 1), known(0, 0));
    book.sweep(start + SETTLED_MS + 1);
    assert_eq!(book.len(), 1);
    book.retire(id(1), start + SETTLED_MS);
    book.sweep(start + SETTLED_MS + SWEEP_MS);
    assert_eq!(book.len(), 1);
    book.close(start + SETTLED_MS + SWEEP_MS);
    assert_eq!(book.len(), 0);
}

#[test]
fn the_oldest_makes_room() {
    let mut book = Book::new();
    for number in 0..=RECORDS_MAX as u64 {
        book.ended(&[beside(number)], number);
    }
    assert_eq!(book.len(), RECORDS_MAX);
    assert_eq!(now_known(&book, 0), known(0, 0));
    assert_eq!(now_known(&book, 1), known(0, 1));
}

#[test]
fn what_is_kept_is_what_is_known() {
    let mut book = Book::new();
    let mut kept = vec![None; RECORDS_MAX];
    let mut random = fastrand::Rng::with_seed(7);
    for now in 0..20_000 {
        let number = random.u64(..6000);
        match random.u8(..5) {
            0 => book.forget(id(number)),
            1 => book.note(id(number), random.u32(1..5), now),
            2 => book.ended(&[alone(number)], now),
            _ => book.ended(&[beside(number), beside(number / 2)], now),
        }
        for (place, record) in book.changes() {
            kept[place] = record;
        }
    }
    let mut again = Book::new();
    let records: Vec<_> = kept.into_iter().flatten().collect();
    again.merge(records.iter().copied());
    assert_eq!((records.len(), again.len()), (book.len(), book.len()));
    assert!(records.iter().all(|record| record.known == book.known(record.identity, 20_000)));
}

#[test]
fn only_what_is_not_just_a_bystander_waits_to_be_alone_however_long_that_takes() {
    // Crashes, suspicions, whether it must be alone.
    let table = [
        (0, 0, false),
        (0, 1, false),
        (0, 2, false),
        (0, 3, true),
        (0, 9, true),
        (1, 0, true),
        (1, 1, true),
    ];
    for (crashes, suspicions, must) in table {
        for trial in [Duration::ZERO, Duration::from_secs(7)] {
            let waits = known(crashes, suspicions).waits(trial);
            assert_eq!(waits, (!must).then_some(trial), "{crashes}, {suspicions}");
        }
    }
}
