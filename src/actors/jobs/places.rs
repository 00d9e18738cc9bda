//! Places for bodies that come. A body may come slowly and take hours: so nobody has all of them, where callers are told
//! apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::Principal;

/// Bodies that may come at a time.
const MAX_COMING: usize = 16;
/// Those of one principal among them.
const MAX_OF_ONE: usize = 4;

pub struct Places {
    taken: Arc<Mutex<HashMap<Principal, usize>>>,
    of_one: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Too many come or wait.
    ForAll,
    /// The principal has as many as one may have.
    ForOne { limit: usize },
}

/// A place among the bodies that come, free again when this is dropped.
pub struct Admission {
    taken: Arc<Mutex<HashMap<Principal, usize>>>,
    by: Principal,
}

impl Places {
    pub fn new(tells_callers_apart: bool) -> Self {
        let of_one = if tells_callers_apart { MAX_OF_ONE } else { MAX_COMING };
        let taken = Arc::default();
        Self { taken, of_one }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        lock(&self.taken).values().sum()
    }

    pub fn take(&self, by: &Principal) -> Result<Admission, Full> {
        let mut taken = lock(&self.taken);
        if taken.values().sum::<usize>() >= MAX_COMING {
            return Err(Full::ForAll);
        }
        let own = taken.get(by).copied().unwrap_or(0);
        if own >= self.of_one {
            return Err(Full::ForOne { limit: self.of_one });
        }
        taken.insert(by.clone(), own + 1);
        Ok(Admission {
            taken: self.taken.clone(),
            by: by.clone(),
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.by) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.by)),
        }
    }
}

fn lock(taken: &Mutex<HashMap<Principal, usize>>) -> MutexGuard<'_, HashMap<Principal, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Principal {
        Principal::parse(name).unwrap()
    }

    #[test]
    fn one_principal_leaves_places_to_the_others_and_gets_back_what_it_gives_back() {
        let places = Places::new(true);
        let take = |name: &str| places.take(&named(name));
        let mut own: Vec<Admission> = (0..MAX_OF_ONE).map(|_| take("ada").unwrap()).collect();
        assert_eq!(take("ada").err(), Some(Full::ForOne { limit: MAX_OF_ONE }));
        let others: Vec<Admission> = ["bob", "cy", "dee"]
            .iter()
            .flat_map(|name| (0..MAX_OF_ONE).map(|_| take(name).unwrap()))
            .collect();
        assert_eq!((places.taken(), take("eve").err()), (MAX_COMING, Some(Full::ForAll)));
        own.pop();
        own.push(take("ada").unwrap());
        drop((own, others));
        assert_eq!((places.taken(), lock(&places.taken).len()), (0, 0));
    }

    #[test]
    fn where_all_callers_are_one_it_has_all_places() {
        let places = Places::new(false);
        let all: Vec<_> = (0..MAX_COMING).map(|_| places.take(&Principal::anonymous())).collect();
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(places.take(&Principal::anonymous()).err(), Some(Full::ForAll));
    }
}
