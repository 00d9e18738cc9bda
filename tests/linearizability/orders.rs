//! Small histories, told one by one: those that some order explains, and those that none does.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::checker::check;
use super::history::{A, Answer, Asked, B, Id, Level, Line, Lines, Operation, Place, Reservation, Settle, Shortage};
use super::history::{Status, Told};
use super::model::State;

/// What is in every place at the beginning.
const STOCK: u64 = 10;
const CART: Id = 0;

#[track_caller]
fn accepts(history: &[Operation]) {
    if let Err(unexplained) = check(&State::stocked(STOCK), history) {
        panic!("{unexplained}");
    }
}

/// No order explains it, and the last answer is the first that is wrong.
#[track_caller]
fn rejects(history: &[Operation]) {
    let Err(unexplained) = check(&State::stocked(STOCK), history) else {
        panic!("some order explains {history:#?}");
    };
    let shown = unexplained
        .prefix
        .iter()
        .filter(|operation| operation.answer.is_some())
        .count();
    let answers = history.iter().filter(|operation| operation.answer.is_some()).count();
    assert_eq!(shown, answers, "{unexplained}");
}

fn told(asked: Asked, during: RangeInclusive<u64>, told: Told) -> Operation {
    let at = Duration::from_micros(*during.end());
    Operation {
        answer: Some(Answer { at, told }),
        ..lost(asked, *during.start())
    }
}

/// It was sent, and no answer came.
fn lost(asked: Asked, invoked: u64) -> Operation {
    Operation {
        client: 0,
        asked,
        invoked: Duration::from_micros(invoked),
        answer: None,
        gone: None,
    }
}

/// Quantity, reserved and version of a level.
fn read(place: Place, during: RangeInclusive<u64>, level: (u64, u64, u64)) -> Operation {
    told(Asked::ReadLevel(place), during, shows(level))
}

fn add(delta: i64) -> Asked {
    Asked::Adjust {
        place: A,
        delta,
        expected: None,
    }
}

fn shows((quantity, reserved, version): (u64, u64, u64)) -> Told {
    Told::Level(level((quantity, reserved, version)))
}

fn level((quantity, reserved, version): (u64, u64, u64)) -> Level {
    Level {
        quantity,
        reserved,
        version,
    }
}

/// Three of A and two of B.
fn reserve_cart() -> Asked {
    let lines = Lines::from([(A, 3), (B, 2)]);
    Asked::ReserveCart { id: CART, lines }
}

fn settle(how: Settle) -> Asked {
    let (id, lines) = (CART, None);
    Asked::Settle { how, id, lines }
}

/// The cart when so much of it is held, committed or released, as its status says.
fn cart(status: Status) -> Reservation {
    let line = |quantity| {
        let of = |wanted| if status == wanted { quantity } else { 0 };
        Line {
            quantity,
            held: of(Status::Active),
            committed: of(Status::Committed),
            released: of(Status::Released),
        }
    };
    Reservation {
        id: CART,
        status,
        lines: [(A, line(3)), (B, line(2))].into(),
    }
}

fn shows_cart(status: Status) -> Told {
    Told::Reservation(cart(status))
}

fn short(requested: u64, available: u64, reserved: u64) -> Told {
    Told::Short(vec![Shortage {
        place: A,
        requested,
        available,
        reserved,
    }])
}

#[test]
fn a_read_during_a_write_may_show_it_or_not() {
    let write = told(add(1), 10..=30, shows((11, 0, 2)));
    accepts(&[write.clone(), read(A, 20..=40, (10, 0, 1))]);
    accepts(&[write.clone(), read(A, 0..=15, (11, 0, 2))]);
    accepts(&[
        write.clone(),
        read(A, 15..=17, (10, 0, 1)),
        read(A, 18..=20, (11, 0, 2)),
    ]);
}

#[test]
fn overlapping_writes_may_take_effect_in_either_order() {
    for (first, second) in [((11, 0, 2), (13, 0, 3)), ((13, 0, 3), (12, 0, 2))] {
        let (one, two) = (
            told(add(1), 10..=30, shows(first)),
            told(add(2), 20..=40, shows(second)),
        );
        accepts(&[one, two, read(A, 50..=60, (13, 0, 3))]);
    }
}

#[test]
fn an_answer_does_not_rest_on_what_began_after_it() {
    rejects(&[told(add(2), 0..=10, shows((13, 0, 3))), lost(add(1), 11)]);
    accepts(&[told(add(2), 0..=10, shows((13, 0, 3))), lost(add(1), 10)]);
}

#[test]
fn a_refusal_may_rest_on_a_write_that_is_under_way() {
    let sold = told(add(-9), 10..=30, shows((1, 0, 2)));
    accepts(&[sold, told(add(-2), 20..=25, short(2, 1, 0))]);
    rejects(&[lost(add(-9), 10), told(add(-2), 0..=5, short(2, 1, 0))]);
}

#[test]
fn a_write_without_an_answer_may_have_happened_or_not_and_late() {
    let lost = lost(add(5), 10);
    accepts(&[lost.clone(), read(A, 20..=30, (10, 0, 1))]);
    accepts(&[lost.clone(), read(A, 20..=30, (15, 0, 2))]);
    accepts(&[lost.clone(), read(A, 20..=30, (10, 0, 1)), read(A, 40..=50, (15, 0, 2))]);
    rejects(&[lost.clone(), read(A, 0..=5, (15, 0, 2))]);
    rejects(&[lost.clone(), read(A, 20..=30, (15, 0, 2)), read(A, 40..=50, (10, 0, 1))]);
    rejects(&[lost, read(A, 20..=30, (20, 0, 3))]);
}

#[test]
fn a_stale_read_is_rejected() {
    let write = told(add(1), 0..=10, shows((11, 0, 2)));
    accepts(&[write.clone(), read(A, 10..=20, (10, 0, 1))]);
    rejects(&[write, read(A, 11..=20, (10, 0, 1))]);
}

#[test]
fn what_one_read_has_shown_no_later_read_may_miss() {
    let write = told(add(1), 0..=100, shows((11, 0, 2)));
    let reads = [read(A, 10..=20, (11, 0, 2)), read(A, 30..=40, (10, 0, 1))];
    rejects(&[&reads[..], &[lost(add(1), 0)]].concat());
    accepts(&[write, reads[0].clone()]);
}

#[test]
fn a_lost_update_is_rejected() {
    let both = |second| {
        [
            told(add(1), 0..=20, shows((11, 0, 2))),
            told(add(2), 10..=30, shows(second)),
        ]
    };
    rejects(&both((12, 0, 2)));
    let both = both((13, 0, 3));
    accepts(&both);
    for shown in [(11, 0, 3), (12, 0, 3), (11, 0, 2)] {
        rejects(&[&both[..], &[read(A, 40..=50, shown)]].concat());
    }
}

#[test]
fn a_double_apply_is_rejected() {
    let write = told(add(1), 0..=10, shows((11, 0, 2)));
    for shown in [(12, 0, 3), (12, 0, 2)] {
        rejects(&[write.clone(), read(A, 20..=30, shown)]);
    }
}

#[test]
fn a_cart_is_seen_in_all_its_levels_at_once_or_in_none() {
    let (with, without) = ((10, 3, 2), (10, 0, 1));
    let (with_b, without_b) = ((10, 2, 2), (10, 0, 1));
    let reserve = told(reserve_cart(), 0..=100, shows_cart(Status::Active));
    for is_answered in [true, false] {
        let reserve = if is_answered {
            reserve.clone()
        } else {
            lost(reserve_cart(), 0)
        };
        let seen = |a, b| [read(A, 10..=20, a), read(B, 30..=40, b), reserve.clone()];
        accepts(&seen(with, with_b));
        accepts(&seen(without, without_b));
        accepts(&seen(without, with_b));
        let half = [
            read(A, 10..=20, with),
            read(B, 30..=40, without_b),
            lost(reserve_cart(), 0),
        ];
        rejects(&half);
    }
    rejects(&[
        told(reserve_cart(), 0..=5, shows_cart(Status::Active)),
        read(B, 10..=20, without_b),
    ]);
}

#[test]
fn a_cart_is_seen_together_with_its_levels() {
    let reserve = lost(reserve_cart(), 0);
    let reservation = |during, shown| told(Asked::ReadReservation(CART), during, shown);
    let active = || shows_cart(Status::Active);
    accepts(&[
        reserve.clone(),
        reservation(10..=20, Told::NotFound),
        read(B, 30..=40, (10, 2, 2)),
    ]);
    accepts(&[
        reserve.clone(),
        reservation(10..=20, active()),
        read(B, 30..=40, (10, 2, 2)),
    ]);
    rejects(&[
        reserve.clone(),
        reservation(10..=20, active()),
        read(B, 30..=40, (10, 0, 1)),
    ]);
    rejects(&[
        reserve,
        read(B, 10..=20, (10, 2, 2)),
        reservation(30..=40, Told::NotFound),
    ]);
}

#[test]
fn a_cart_is_sold_or_given_back_in_all_its_levels_at_once() {
    for (how, status, a, b) in [
        (Settle::Commit, Status::Committed, (7, 0, 3), (8, 0, 3)),
        (Settle::Release, Status::Released, (10, 0, 3), (10, 0, 3)),
    ] {
        let reserved = told(reserve_cart(), 0..=5, shows_cart(Status::Active));
        let settled = |during| told(settle(how), during, shows_cart(status));
        accepts(&[
            reserved.clone(),
            settled(10..=20),
            read(A, 30..=40, a),
            read(B, 50..=60, b),
        ]);
        rejects(&[
            reserved.clone(),
            settled(10..=20),
            read(A, 30..=40, a),
            read(B, 50..=60, (10, 2, 2)),
        ]);
        rejects(&[
            reserved.clone(),
            lost(settle(how), 10),
            read(A, 30..=40, a),
            read(B, 50..=60, (10, 2, 2)),
        ]);
        let again = |during, told_again| told(settle(how), during, told_again);
        rejects(&[reserved.clone(), settled(10..=20), again(10..=30, shows_cart(status))]);
        accepts(&[
            reserved,
            settled(10..=20),
            again(10..=30, Told::NotActiveAs(cart(status))),
        ]);
    }
}

#[test]
fn an_oversold_reserve_is_rejected() {
    let take = |id: Id, during, shown| {
        let reserve = Asked::Reserve {
            place: A,
            id,
            quantity: 6,
        };
        let line = Line {
            quantity: 6,
            held: 6,
            committed: 0,
            released: 0,
        };
        let reservation = Reservation {
            id,
            status: Status::Active,
            lines: [(A, line)].into(),
        };
        told(reserve, during, Told::Reserved(level(shown), reservation))
    };
    let first = take(1, 0..=30, (10, 6, 2));
    rejects(&[first.clone(), take(2, 10..=40, (10, 12, 3))]);
    rejects(&[first.clone(), take(2, 10..=40, (10, 6, 2))]);
    rejects(&[first.clone(), take(2, 10..=40, (10, 10, 3))]);
    accepts(&[
        first,
        told(
            Asked::Reserve {
                place: A,
                id: 2,
                quantity: 6,
            },
            10..=40,
            short(6, 4, 6),
        ),
    ]);
}

#[test]
fn a_refusal_without_its_reason_is_rejected() {
    rejects(&[told(add(-10), 0..=10, short(10, 9, 1))]);
    rejects(&[told(add(-11), 0..=10, short(11, 11, 0))]);
    let expecting = |expected| Asked::Adjust {
        place: A,
        delta: 1,
        expected: Some(expected),
    };
    accepts(&[told(expecting(2), 0..=10, Told::VersionMismatch { current: 1 })]);
    rejects(&[told(expecting(1), 0..=10, Told::VersionMismatch { current: 1 })]);
    rejects(&[told(expecting(2), 0..=10, Told::VersionMismatch { current: 3 })]);
    rejects(&[told(expecting(2), 0..=10, shows((11, 0, 2)))]);

    let reserved = told(reserve_cart(), 0..=10, shows_cart(Status::Active));
    let refused = Told::NotActiveAs(cart(Status::Active));
    rejects(&[reserved.clone(), told(settle(Settle::Commit), 20..=30, refused.clone())]);
    let too_much = Asked::Settle {
        how: Settle::Commit,
        id: CART,
        lines: Some(Lines::from([(A, 4)])),
    };
    accepts(&[reserved.clone(), told(too_much, 20..=30, refused)]);
    rejects(&[reserved.clone(), told(settle(Settle::Commit), 20..=30, Told::NotFound)]);
    for wrong in [Told::NotActive, Told::NotReserved, Told::NotFound] {
        rejects(&[
            reserved.clone(),
            told(Asked::ReleaseHere { place: B, id: CART }, 20..=30, wrong),
        ]);
    }
    let release = Asked::ReleaseQuantity { place: A, quantity: 3 };
    rejects(&[reserved, told(release, 20..=30, Told::NotReserved)]);
}

#[test]
fn an_answer_of_another_form_is_rejected() {
    rejects(&[told(add(1), 0..=10, Told::Other("500 {}".to_owned()))]);
}

#[test]
fn the_smallest_part_that_no_order_explains_is_shown() {
    let wrong = [read(A, 10..=20, (11, 0, 2)), read(B, 15..=30, (10, 0, 1))];
    let history = [&wrong[..], &[lost(add(1), 25), read(A, 40..=50, (10, 0, 1))]].concat();
    let unexplained = check(&State::stocked(STOCK), &history).unwrap_err();
    let shown: Vec<_> = unexplained
        .prefix
        .iter()
        .map(|operation| (&operation.asked, operation.answer.is_some()))
        .collect();
    assert_eq!(shown, [(&Asked::ReadLevel(A), true), (&Asked::ReadLevel(B), false)]);
}
