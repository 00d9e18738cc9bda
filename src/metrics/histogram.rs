//! How values are spread: counted in buckets that are never wider than a thirty-second of what is in them.
//!
//! Values below 64 have a bucket each; above that, each octave has 32 of equal width. So a percentile is at most 3.2 % above
//! the value itself, from a microsecond to an hour, in 7 KiB and by three additions a value. (The crate `histogram` does
//! the same; this is the part of it that is needed.)

use std::sync::atomic::{AtomicU64, Ordering};

use super::Counter;

/// An octave has 2 to the power of this many buckets.
const FINENESS: u32 = 5;
const WIDTH: usize = 1 << FINENESS;
/// What is larger counts as this: as microseconds, more than an hour.
const LARGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = bucket(LARGEST) + 1;

const fn bucket(value: u64) -> usize {
    if value < WIDTH as u64 {
        return value as usize;
    }
    let value = if value > LARGEST { LARGEST } else { value };
    let octave = value.ilog2() - FINENESS;
    ((octave as usize) << FINENESS) + (value >> octave) as usize
}

/// The first value that is beyond a bucket.
const fn end(bucket: usize) -> u64 {
    if bucket < 2 * WIDTH {
        return bucket as u64 + 1;
    }
    let octave = bucket / WIDTH - 1;
    ((bucket % WIDTH + WIDTH + 1) as u64) << octave
}

/// Counts values; any number of threads may.
pub struct Histogram {
    buckets: Box<[Counter]>,
    sum: Counter,
    largest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::iter::repeat_with(Counter::default).take(BUCKETS).collect(),
            sum: Counter::default(),
            largest: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket(value)) {
            bucket.one();
        }
        self.sum.add(value);
        if value > self.largest.load(Ordering::Relaxed) {
            self.largest.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        Distribution {
            counts: self.buckets.iter().map(Counter::get).collect(),
            sum: self.sum.get(),
            largest: self.largest.load(Ordering::Relaxed),
        }
    }
}

/// Values as they were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Empty where nothing was counted.
    counts: Vec<u64>,
    sum: u64,
    largest: u64,
}

impl Distribution {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// 0 of nothing.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }

    /// The value that so many percent do not pass: never below the true one, and at most a thirty-second above it. 0 of
    /// nothing.
    pub fn percentile(&self, percent: f64) -> u64 {
        let count = self.count();
        let rank = ((percent / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut passed = 0;
        let found = self.counts.iter().position(|counted| {
            passed += counted;
            passed >= rank
        });
        found.map_or(0, |bucket| self.last_of(bucket))
    }

    /// The largest value that was counted, as nearly as a percentile.
    pub fn max(&self) -> u64 {
        let last = self.counts.iter().rposition(|counted| *counted > 0);
        last.map_or(0, |bucket| self.last_of(bucket))
    }

    fn last_of(&self, bucket: usize) -> u64 {
        match bucket + 1 == BUCKETS {
            true => self.largest,
            false => (end(bucket) - 1).min(self.largest),
        }
    }

    /// How many lie below a value; exact of powers of two.
    pub fn below(&self, value: u64) -> u64 {
        let whole = self
            .counts
            .iter()
            .zip(0..)
            .take_while(|(_, bucket)| end(*bucket) <= value);
        whole.map(|(counted, _)| counted).sum()
    }

    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts = vec![0; other.counts.len()];
        }
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.sum += other.sum;
        self.largest = self.largest.max(other.largest);
    }

    /// What has been counted since it was as `before`.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        Self {
            counts: self
                .counts
                .iter()
                .zip(earlier)
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
            sum: self.sum.saturating_sub(before.sum),
            largest: self.largest,
        }
    }

    /// Several as one.
    pub fn all<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut whole = Self::default();
        parts.into_iter().for_each(|part| whole.add(part));
        whole
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(values: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram.read()
    }

    /// The same of a sorted list: the value of that rank.
    fn plain(values: &[u64], percent: f64) -> u64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    /// Of every size, as times are.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(
            (0_u32..32, any::<u64>()).prop_map(|(bits, any)| any % (1 << bits)),
            1..300,
        )
    }

    proptest! {
        #[test]
        fn a_percentile_is_that_of_the_values_or_hardly_more(values in values(), percent in 0.0..=100.0) {
            let (told, truth) = (counted(&values).percentile(percent), plain(&values, percent));
            prop_assert!(told >= truth && told - truth <= truth / 32, "{told} for {truth}");
        }

        #[test]
        fn count_sum_mean_and_the_largest_are_those_of_the_values(values in values()) {
            let told = counted(&values);
            let sum: u64 = values.iter().sum();
            prop_assert_eq!((told.count(), told.sum()), (values.len() as u64, sum));
            prop_assert_eq!(told.mean(), sum / values.len() as u64);
            prop_assert_eq!(told.max(), *values.iter().max().unwrap());
        }

        #[test]
        fn how_many_lie_below_a_power_of_two_is_exact(values in values(), bits in 0_u32..=32) {
            let below = values.iter().filter(|value| **value < 1 << bits).count();
            prop_assert_eq!(counted(&values).below(1 << bits), below as u64);
        }

        #[test]
        fn parts_make_the_whole_and_the_whole_less_one_is_the_other(first in values(), second in values()) {
            let (a, b) = (counted(&first), counted(&second));
            let whole = counted(&[first, second].concat());
            prop_assert_eq!(&Distribution::all([&a, &b]), &whole);
            let rest = whole.since(&a);
            prop_assert_eq!((rest.count(), rest.sum()), (b.count(), b.sum()));
            prop_assert_eq!(rest.below(1024), b.below(1024));
        }
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_no_bucket_is_wide() {
        for bucket_before in 0..BUCKETS - 1 {
            let (first, next) = (end(bucket_before), end(bucket_before + 1));
            assert_eq!(
                (bucket(first), bucket(next - 1)),
                (bucket_before + 1, bucket_before + 1)
            );
            assert!(next - first <= (first / 32).max(1), "{first} to {next}");
        }
        assert_eq!(BUCKETS, 896);
    }

    #[test]
    fn what_is_beyond_all_buckets_is_counted_in_the_last() {
        let told = counted(&[1, u64::MAX / 4]);
        assert_eq!(
            (told.count(), told.max(), told.percentile(99.0)),
            (2, u64::MAX / 4, u64::MAX / 4)
        );
    }

    #[test]
    fn of_nothing_everything_is_0() {
        for nothing in [Distribution::default(), counted(&[])] {
            assert_eq!((nothing.count(), nothing.mean(), nothing.max()), (0, 0, 0));
            assert_eq!((nothing.percentile(99.0), nothing.below(1 << 20)), (0, 0));
        }
    }

    #[test]
    fn after_a_reset_an_earlier_peak_is_forgotten() {
        let histogram = Histogram::default();
        histogram.record(1_000_000);
        let before = histogram.read();
        histogram.record(70);
        let since = histogram.read().since(&before);
        assert_eq!((since.count(), since.max(), since.percentile(50.0)), (1, 71, 71));
    }
}
