//! Keys and ids that a running request has to itself, process-wide, before any actor decides.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

use crate::journal::record::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    /// Its write may or may not have taken effect; only a restart can tell.
    Unknown,
}

#[derive(Default)]
pub struct Claims {
    held: Arc<DashMap<Digest, State, RandomState>>,
}

/// Travels with the write, not with the request: a client that goes away ends the request, and the
/// write goes on.
pub struct Claim {
    held: Arc<DashMap<Digest, State, RandomState>>,
    digest: Digest,
    keep: bool,
}

impl Claims {
    pub fn claim(&self, digest: Digest) -> Result<Claim, State> {
        match self.held.entry(digest) {
            Entry::Occupied(entry) => Err(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(State::Running);
                Ok(Claim {
                    held: self.held.clone(),
                    digest,
                    keep: false,
                })
            }
        }
    }

    pub fn count(&self) -> usize {
        self.held.len()
    }

    pub fn state(&self, digest: Digest) -> Option<State> {
        self.held.get(&digest).map(|state| *state)
    }
}

impl Claim {
    /// Keeps the key from being used again by this process.
    pub fn becomes_unknown(mut self) {
        self.keep = true;
        self.held.insert(self.digest, State::Unknown);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.keep {
            self.held.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_free_again_when_dropped_unless_its_outcome_is_unknown() {
        let (claims, digest) = (Claims::default(), Digest::of(&[b"key"]));
        let first = claims.claim(digest).ok().unwrap();
        assert_eq!(claims.claim(digest).err(), Some(State::Running));
        drop(first);
        claims.claim(digest).ok().unwrap().becomes_unknown();
        assert_eq!(claims.claim(digest).err(), Some(State::Unknown));
    }
}
