//! Histories without a service: clients of the model in a time of its own, so that what must be accepted and
//! what must be noticed is known beforehand.

use std::sync::Arc;
use std::time::Duration;

use super::STOCK;
use super::checker::check;
use super::history::{Answer, Asked, LAST_READER, Operation, PLACES, Told};
use super::mix::{Chance, Shopper};
use super::model::State;

struct Client {
    shopper: Shopper,
    left: usize,
    /// When it goes on.
    at: u64,
    /// What it has asked, and when.
    waits: Option<(Asked, u64)>,
}

/// What overlapping clients are told, in the order in which it takes effect, then a read of everything. One answer
/// in `losing` (0: none) does not come, and half of what was asked for then did not take effect either.
fn history(seed: u64, clients: u64, each: usize, losing: usize) -> Vec<Operation> {
    let (mut state, mut book) = (State::stocked(STOCK), Vec::new());
    let mut chance = Chance(seed);
    let client = |i| Client {
        shopper: Shopper::new(seed * 1000 + i),
        left: each,
        at: i,
        waits: None,
    };
    let mut clients: Vec<Client> = (0..clients).map(client).collect();
    let mut operations = Vec::new();
    while let Some(i) = (0..clients.len())
        .filter(|i| clients[*i].left > 0)
        .min_by_key(|i| clients[*i].at)
    {
        let client = &mut clients[i];
        let Some((asked, invoked)) = client.waits.take() else {
            client.waits = Some((client.shopper.next(&mut book), client.at));
            client.at += chance.below(20) as u64;
            continue;
        };
        let is_lost = losing > 0 && chance.below(losing) == 0;
        let told = if is_lost && chance.below(2) == 0 {
            Told::Other("it never arrived".to_owned())
        } else {
            state.answer(&asked)
        };
        let answered = client.at + chance.below(20) as u64;
        (client.at, client.left) = (answered + 1, client.left - 1);
        if !is_lost {
            client.shopper.learn(&asked, &told);
        }
        let operation = operation(i, asked, invoked, answered, told);
        operations.push(if is_lost { unanswered(operation) } else { operation });
    }
    let end = clients.iter().map(|client| client.at).max().unwrap_or_default();
    let levels = PLACES.into_iter().map(Asked::ReadLevel);
    let reads = levels.chain((0..book.len()).map(Asked::ReadReservation));
    operations.extend((end..).zip(reads).map(|(at, asked)| {
        let told = state.answer(&asked);
        operation(LAST_READER, asked, at, at, told)
    }));
    operations
}

fn operation(client: usize, asked: Asked, invoked: u64, answered: u64, told: Told) -> Operation {
    let at = Duration::from_micros(answered);
    Operation {
        client,
        asked,
        invoked: Duration::from_micros(invoked),
        answer: Some(Answer { at, told }),
        gone: None,
    }
}

fn unanswered(operation: Operation) -> Operation {
    Operation {
        answer: None,
        ..operation
    }
}

#[test]
fn what_overlapping_clients_can_be_told_is_accepted() {
    for seed in 0..40 {
        let explained = check(&State::stocked(STOCK), &history(seed, 8, 40, 0));
        assert!(explained.is_ok(), "seed {seed}: {}", explained.unwrap_err());
    }
}

#[test]
fn what_was_not_answered_may_have_happened_or_not() {
    for seed in 0..40 {
        let explained = check(&State::stocked(STOCK), &history(seed, 8, 40, 40));
        assert!(explained.is_ok(), "seed {seed}: {}", explained.unwrap_err());
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A read shows a level as it was before a write that was answered before the read began.
    StaleRead,
    /// An adjust is acknowledged, raises the version, and leaves the quantity.
    LostUpdate,
    /// An adjust changes the quantity twice, and the version once.
    DoubleApply,
    /// A cart holds one of its levels only.
    HalfCart,
    CartWithoutLevels,
    LevelsWithoutCart,
    /// A reserve is granted what is not there.
    Oversold,
}

#[test]
fn a_fault_among_hundreds_of_right_answers_is_noticed() {
    use Fault::*;
    for fault in [
        StaleRead,
        LostUpdate,
        DoubleApply,
        HalfCart,
        CartWithoutLevels,
        LevelsWithoutCart,
        Oversold,
    ] {
        let faulty = (0..8).filter_map(|seed| Some((seed, planted(fault, history(seed, 8, 40, 0))?)));
        let faulty: Vec<_> = faulty.collect();
        assert!(faulty.len() >= 6, "{fault:?} fits into {} of 8", faulty.len());
        for (seed, history) in faulty {
            assert!(
                check(&State::stocked(STOCK), &history).is_err(),
                "{fault:?}, seed {seed}"
            );
        }
    }
}

/// The history as a service tells it that does one thing wrong on the way, if there is an occasion.
fn planted(fault: Fault, mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let mut states = vec![State::stocked(STOCK)];
    let mut is_planted = false;
    for i in 0..operations.len() {
        let mut after = states[i].clone();
        let mut told = after.answer(&operations[i].asked);
        if !is_planted && i > 50 && strike(fault, &operations[..=i], &states, &mut after, &mut told).is_some() {
            is_planted = true;
        }
        operations[i].answer.as_mut()?.told = told;
        states.push(after);
    }
    is_planted.then_some(operations)
}

/// Spoils the last of `operations`, which led from the last of `states` to `after`; `None` where it does not fit.
fn strike(fault: Fault, operations: &[Operation], states: &[State], after: &mut State, told: &mut Told) -> Option<()> {
    let (operation, earlier) = operations.split_last()?;
    let before = states.last()?;
    match (fault, &operation.asked, &*told) {
        (Fault::StaleRead, Asked::ReadLevel(place), _) => {
            let is_written_before = |i: &usize| {
                let answered = earlier[*i]
                    .answer
                    .as_ref()
                    .is_some_and(|answer| answer.at < operation.invoked);
                answered && states[*i].levels[place].version < states[*i + 1].levels[place].version
            };
            let written = (0..earlier.len()).rev().find(is_written_before)?;
            *told = Told::Level(states[written].levels[place]);
        }
        (Fault::LostUpdate, Asked::Adjust { place, .. }, Told::Level(_)) => {
            after.levels.get_mut(place)?.quantity = before.levels[place].quantity;
        }
        (Fault::DoubleApply, Asked::Adjust { place, delta: 1.., .. }, Told::Level(level)) => {
            after.levels.get_mut(place)?.quantity += level.quantity - before.levels[place].quantity;
        }
        (Fault::HalfCart, Asked::ReserveCart { lines, .. }, Told::Reservation(_)) => {
            let (place, _) = lines.last_key_value()?;
            after.levels.insert(*place, before.levels[place]);
        }
        (Fault::CartWithoutLevels, Asked::ReserveCart { .. }, Told::Reservation(_)) => {
            after.levels = before.levels.clone();
        }
        (Fault::LevelsWithoutCart, Asked::ReserveCart { id, .. }, Told::Reservation(_)) => {
            Arc::make_mut(&mut after.reservations).remove(id);
        }
        (Fault::Oversold, Asked::Reserve { place, quantity, .. }, Told::Short(_)) => {
            after.levels.get_mut(place)?.quantity += quantity;
            *told = after.answer(&operation.asked);
            after.levels.get_mut(place)?.quantity -= quantity;
            let Told::Reserved(level, _) = told else { return None };
            level.quantity -= quantity;
        }
        _ => return None,
    }
    Some(())
}

#[test]
fn the_search_finds_an_order_exactly_where_trying_all_of_them_does() {
    let (mut explained, mut unexplained) = (0, 0);
    for seed in 0..400 {
        let (start, mut operations) = middle(seed);
        let mut chance = Chance(seed);
        for _ in 0..2 {
            move_in_time(&mut operations[chance.below(5)], &mut chance);
        }
        operations[chance.below(5)].answer = None;
        let is_explained = some_order_explains(&start, &mut Vec::new(), &operations);
        let found = check(&start, &operations);
        assert_eq!(found.is_ok(), is_explained, "seed {seed}: {operations:#?}");
        *(if is_explained { &mut explained } else { &mut unexplained }) += 1;
    }
    assert!(explained > 50 && unexplained > 50, "{explained} and {unexplained}");
}

/// A few operations of a history, and the state before them.
fn middle(seed: u64) -> (State, Vec<Operation>) {
    let mut earlier = history(seed, 3, 20, 0);
    let mut operations = earlier.split_off(30);
    operations.truncate(5);
    let mut start = State::stocked(STOCK);
    for operation in &earlier {
        start.answer(&operation.asked);
    }
    (start, operations)
}

/// Later by about as long as an operation or two take.
fn move_in_time(operation: &mut Operation, chance: &mut Chance) {
    let later = Duration::from_micros(chance.below(60) as u64);
    operation.invoked += later;
    if let Some(answer) = &mut operation.answer {
        answer.at += later;
    }
}

/// Whether `chosen`, or an order that goes on from it, explains all answers: the definition, word for word.
fn some_order_explains(start: &State, chosen: &mut Vec<usize>, operations: &[Operation]) -> bool {
    let is_whole = (0..operations.len()).all(|i| operations[i].answer.is_none() || chosen.contains(&i));
    if is_whole && respects_time(chosen, operations) && explains(start, chosen, operations) {
        return true;
    }
    (0..operations.len()).any(|i| {
        if chosen.contains(&i) {
            return false;
        }
        chosen.push(i);
        let found = some_order_explains(start, chosen, operations);
        chosen.pop();
        found
    })
}

fn respects_time(order: &[usize], operations: &[Operation]) -> bool {
    let is_over_before = |later: usize, earlier: usize| {
        let answer = operations[later].answer.as_ref();
        answer.is_some_and(|answer| answer.at < operations[earlier].invoked)
    };
    let pairs = order
        .iter()
        .enumerate()
        .flat_map(|(i, first)| order[i + 1..].iter().map(move |then| (first, then)));
    pairs.into_iter().all(|(first, then)| !is_over_before(*then, *first))
}

fn explains(start: &State, order: &[usize], operations: &[Operation]) -> bool {
    let mut state = start.clone();
    order.iter().all(|i| {
        let told = state.answer(&operations[*i].asked);
        let answer = operations[*i].answer.as_ref();
        answer.is_none_or(|answer| answer.told == told)
    })
}
