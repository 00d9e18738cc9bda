//! Random numbers to spread a load.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64 (Steele, Lea and Flood): uniform enough to spread load, and a few cycles a number.
pub struct Random(u64);

impl Random {
    pub fn new(client: u32) -> Self {
        Self(RandomState::new().hash_one(client))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// True in so many cases of one.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_reach_every_sku() {
        let mut random = Random::new(1);
        let mut hits = [0; 10];
        for _ in 0..10_000 {
            hits[random.below(10)] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn a_chance_comes_up_as_often_as_it_says() {
        let mut random = Random::new(1);
        let mut hits = |share| (0..10_000).filter(|_| random.chance(share)).count();
        assert_eq!((hits(0.0), hits(1.0)), (0, 10_000));
        assert!((2_200..2_800).contains(&hits(0.25)));
    }
}
