//! What is counted, and how: cheaply enough to be done always.
//!
//! Whoever counts adds to cells of its own thread ([`PerThread`]), by unordered additions that no other thread contends
//! for; whoever asks adds the threads up, and is told nothing that was counted a moment ago in another order. Counts only
//! rise: what counts from a later moment on is the difference to what they were then.

pub mod histogram;
pub mod process;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use histogram::{Distribution, Histogram};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The same cells once for each thread: with more threads than cells, some share theirs, and count as rightly.
pub struct PerThread<T>([Apart<T>; CELLS]);

const CELLS: usize = 16;

/// Kept to cache lines of its own; processors fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerThread<T> {
    pub fn of(make: impl Fn() -> T) -> Self {
        Self(std::array::from_fn(|_| Apart(make())))
    }

    /// Those of the thread that asks.
    pub fn own(&self) -> &T {
        &self.0[own_cell()].0
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|cell| &cell.0)
    }

    /// What a counter has come to over all threads.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.all().map(|cell| counter(cell).get()).sum()
    }
}

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        Self::of(T::default)
    }
}

/// The place of this thread, which it keeps.
fn own_cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let own = match OWN.get() {
        usize::MAX => {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % CELLS;
            OWN.set(next);
            next
        }
        own => own,
    };
    own % CELLS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_at_once_adds_up() {
        let counts: PerThread<Counter> = PerThread::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * CELLS {
                scope.spawn(|| (0..1000).for_each(|_| counts.own().one()));
            }
        });
        assert_eq!(counts.sum(|counter| counter), 3 * CELLS as u64 * 1000);
    }

    #[test]
    fn a_thread_keeps_its_cell_and_the_next_one_has_another() {
        let own = own_cell();
        assert_eq!(own_cell(), own);
        let others: Vec<usize> = (0..CELLS)
            .map(|_| std::thread::spawn(own_cell).join().unwrap())
            .collect();
        assert!(others.iter().any(|other| *other != own), "{others:?}");
    }
}
