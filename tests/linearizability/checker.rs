//! Looks for one order of all operations that respects real time and in which the model gives every answer.
//!
//! The search is that of J. M. Wing and C. Gong, "Testing and Verifying Concurrent Objects" (Journal of Parallel
//! and Distributed Computing 17, 1993): depth first, next comes any operation that began before the first answer
//! among those that are left. As G. Lowe adds in "Testing for Linearizability" (Concurrency and Computation:
//! Practice and Experience 29(4), 2017), what was reached once, the operations done and the state after them, is
//! not gone into again.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::history::{Operation, prefix};
use super::model::State;

/// The smallest part of a history, from its beginning, that no order explains.
pub struct Unexplained {
    pub prefix: Vec<Operation>,
    /// Where the longest attempt got stuck: so many answers explained, and the state then.
    explained: usize,
    state: State,
}

/// `history` need not be in any order.
pub fn check(start: &State, history: &[Operation]) -> Result<(), Box<Unexplained>> {
    if Search::of(history).succeeds(start) {
        return Ok(());
    }
    // Every part of what can be explained can be, too.
    let sizes: Vec<usize> = (1..=history.iter().filter(|o| o.answer.is_some()).count()).collect();
    let explained = sizes.partition_point(|size| Search::of(&prefix(history, *size)).succeeds(start));
    let mut prefix = prefix(history, sizes[explained]);
    prefix.sort_by_key(|operation| operation.invoked);
    let mut search = Search::of(&prefix);
    assert!(!search.succeeds(start));
    let (explained, state) = search.deepest.unwrap_or_else(|| (0, start.clone()));
    Err(Box::new(Unexplained {
        prefix,
        explained,
        state,
    }))
}

struct Search {
    /// In the order in which they began.
    operations: Vec<Operation>,
    answers: usize,
    seen: HashSet<(Done, State)>,
    deepest: Option<(usize, State)>,
}

impl Search {
    fn of(history: &[Operation]) -> Self {
        let mut operations = history.to_vec();
        operations.sort_by_key(|operation| operation.invoked);
        Self {
            answers: operations.iter().filter(|operation| operation.answer.is_some()).count(),
            operations,
            seen: HashSet::new(),
            deepest: None,
        }
    }

    fn succeeds(&mut self, start: &State) -> bool {
        let done = Done(vec![0; self.operations.len().div_ceil(64)]);
        self.explains_rest(&done, 0, start)
    }

    /// Whether what is not `done` can follow `state`; `explained` of the answers are done.
    fn explains_rest(&mut self, done: &Done, explained: usize, state: &State) -> bool {
        if explained == self.answers {
            return true;
        }
        if self.deepest.as_ref().is_none_or(|(most, _)| explained > *most) {
            self.deepest = Some((explained, state.clone()));
        }
        let mut steps = self.steps(done, state);
        // What fits and changes nothing may as well come now: an order that puts it later holds with it here, too. But
        // not where it would be too late for something else then.
        let is_harmless = |step: &Step| step.after == *state && !self.ends_an_era(step.operation, done);
        if let Some(i) = steps.iter().position(is_harmless) {
            steps = vec![steps.swap_remove(i)];
        }
        steps.into_iter().any(|Step { operation, after }| {
            let explained = explained + usize::from(self.operations[operation].answer.is_some());
            let done = done.and(operation);
            self.seen.insert((done.clone(), after.clone())) && self.explains_rest(&done, explained, &after)
        })
    }

    /// What may come next and fits.
    fn steps(&self, done: &Done, state: &State) -> Vec<Step> {
        let steps = self.next(done).into_iter().filter_map(|operation| {
            let mut after = state.clone();
            let told = after.answer(&self.operations[operation].asked);
            let fits = match &self.operations[operation].answer {
                Some(answer) => answer.told == told,
                // That it did nothing is the same as that it never happened.
                None => after != *state,
            };
            fits.then_some(Step { operation, after })
        });
        steps.collect()
    }

    /// It would be the first to begin after something was gone that may still have taken effect before.
    fn ends_an_era(&self, operation: usize, done: &Done) -> bool {
        let left = self.operations.iter().enumerate().filter(|(i, _)| !done.has(*i));
        let mut gone = left.filter_map(|(_, operation)| operation.gone);
        let begun = self.operations[operation].invoked;
        gone.any(|gone| begun > gone && !self.has_begun_after(gone, done))
    }

    /// Something that began after this moment is done.
    fn has_begun_after(&self, moment: Duration, done: &Done) -> bool {
        let first = self.operations.partition_point(|operation| operation.invoked <= moment);
        (first..self.operations.len()).any(|i| done.has(i))
    }

    /// What real time allows to come next; last what was never answered, as it is needed only where all else fails.
    fn next(&self, done: &Done) -> Vec<usize> {
        let mut first_answer = Duration::MAX;
        let mut next = Vec::new();
        for (i, operation) in self.operations.iter().enumerate().filter(|(i, _)| !done.has(*i)) {
            if operation.invoked > first_answer {
                break;
            }
            if operation.gone.is_some_and(|gone| self.has_begun_after(gone, done)) {
                continue;
            }
            next.push(i);
            first_answer = first_answer.min(operation.answer.as_ref().map_or(Duration::MAX, |answer| answer.at));
        }
        next.sort_by_key(|i| self.operations[*i].answer.is_none());
        next
    }
}

struct Step {
    operation: usize,
    after: State,
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    fn and(&self, i: usize) -> Self {
        let mut words = self.0.clone();
        words[i / 64] |= 1 << (i % 64);
        Self(words)
    }
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order explains these operations (begun..answered, in µs);")?;
        writeln!(f, "without the last of the answers, and what began after it, one does:")?;
        self.prefix
            .iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))?;
        writeln!(
            f,
            "The best order explains {} answers and then stands at",
            self.explained
        )?;
        writeln!(f, "{:?}", self.state.levels)?;
        let mut reservations = self.state.reservations.values();
        reservations.try_for_each(|reservation| writeln!(f, "{reservation:?}"))
    }
}
