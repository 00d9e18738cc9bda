//! Entries of an index: what records are found by, and how those that have several keys are found.

use std::sync::Arc;

use smallvec::SmallVec;

use super::IndexFault;
use crate::domain::{Event, EventKind, HoldStep, Movement, ReservationId, Sku, StoreId, Timestamp};
use crate::journal::{HistoryFilter, KeyHash, Receipt};

/// Entries are kept in pieces of about so many, which are shared with readers and not copied.
const PIECE: usize = 4096;

/// That a record has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub hash: u64,
    /// The record's place in its segment: its sequence is the segment's first one and this.
    pub nth: u32,
    /// Where its line begins.
    pub offset: u32,
}

/// A record as the index takes it in.
pub struct Posting {
    pub seq: u64,
    pub at: Timestamp,
    pub offset: u64,
    pub keys: Keys,
}

/// What a record is found by. Mostly these are few, and then they lie in no memory of their own.
pub type Keys = SmallVec<[u64; 4]>;

impl Posting {
    pub fn of(seq: u64, event: &Event, offset: u64, keys: Keys) -> Self {
        Self {
            seq,
            at: event.at,
            offset,
            keys,
        }
    }
}

/// The hashes of all that a record is found by, each once.
pub fn keys(event: &Event, receipt: Option<&Receipt>) -> Keys {
    let mut keys = Keys::new();
    for change in &event.changes {
        keys.extend([of_sku(&change.sku), of_store(&change.store_id)]);
        keys.extend(change.moves().map(|one| of_movement(one.movement)));
    }
    // What is said of a product alone is in no change.
    keys.extend(
        event
            .items
            .iter()
            .flat_map(|item| [of_sku(&item.sku), of_details(&item.sku)]),
    );
    let ended = event.items.iter().filter(|item| item.details.is_none());
    keys.extend(ended.map(|item| of_end(&item.sku)));
    if event.kind == EventKind::ReservationExpired {
        keys.extend(event.changes.iter().map(|change| of_expiry(&change.sku)));
    }
    let runs = event.holds.chunk_by(|a, b| a.reservation_id == b.reservation_id);
    keys.extend(runs.map(|run| of_reservation(&run[0].reservation_id)));
    let placed = || event.holds.iter().filter(|hold| hold.step == HoldStep::Placed);
    keys.extend(placed().next().map(|_| PLACED));
    // What there was nothing of to hold is in no change.
    let nothing = placed().filter(|hold| hold.held == 0);
    keys.extend(nothing.flat_map(|hold| [of_sku(&hold.sku), of_store(&hold.store_id)]));
    let of_holds = event.holds.iter().map(|hold| &hold.reference);
    let references = std::iter::once(&event.reference).chain(of_holds).flatten();
    keys.extend(references.map(|reference| of_reference(reference)));
    keys.extend(receipt.map(|receipt| of_receipt(receipt.id())));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The hashes that every record has which the filter takes.
pub fn keys_of(filter: &HistoryFilter) -> Vec<u64> {
    let sku = filter.sku.as_ref().map(of_sku);
    let store = filter.only_store().map(of_store);
    let details = filter.sku.as_ref().filter(|_| filter.described).map(of_details);
    let end = filter.sku.as_ref().filter(|_| filter.ended).map(of_end);
    let expiry = filter.sku.as_ref().filter(|_| filter.expired).map(of_expiry);
    sku.into_iter()
        .chain(store)
        .chain(details)
        .chain(end)
        .chain(expiry)
        .chain(filter.movement.map(of_movement))
        .chain(filter.reservation.as_ref().map(of_reservation))
        .chain(filter.placed.then_some(PLACED))
        .chain(filter.reference.as_deref().map(of_reference))
        .collect()
}

fn of_sku(sku: &Sku) -> u64 {
    hash(b's', sku.as_str())
}

/// Of the events that end holds on a SKU.
fn of_expiry(sku: &Sku) -> u64 {
    hash(b'x', sku.as_str())
}

/// Of the events that name or price a SKU.
fn of_details(sku: &Sku) -> u64 {
    hash(b'd', sku.as_str())
}

/// Of the events that delete the product of a SKU.
fn of_end(sku: &Sku) -> u64 {
    hash(b'e', sku.as_str())
}

fn of_store(store: &StoreId) -> u64 {
    hash(b'l', store.as_str())
}

fn of_reservation(id: &ReservationId) -> u64 {
    hash(b'r', id.as_str())
}

fn of_reference(reference: &str) -> u64 {
    hash(b'o', reference)
}

/// Of the events that make reservations. It stands in files, as the numbers of movements do.
const PLACED: u64 = 8;

/// A receipt's id is a hash already.
fn of_receipt(id: KeyHash) -> u64 {
    beginning(id.as_bytes())
}

/// There are so few that each has a number, which stands in files: it is never given to another.
fn of_movement(movement: Movement) -> u64 {
    match movement {
        Movement::StockIn => 1,
        Movement::Return => 2,
        Movement::Sale => 3,
        Movement::ManualRemove => 4,
        Movement::TransferIn => 5,
        Movement::TransferOut => 6,
        Movement::Count => 7,
    }
}

/// The kind goes first, so that a SKU and a store of the same name are two keys.
fn hash(kind: u8, name: &str) -> u64 {
    // FNV-1a (Fowler, Noll and Vo), as it is short and will be the same for ever. Names that share a hash cost a
    // record read in vain.
    let bytes = std::iter::once(&kind).chain(name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn beginning(hash: &[u8]) -> u64 {
    hash.iter()
        .take(8)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The times of the first and the last of some events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

impl Default for Span {
    /// Of no events.
    fn default() -> Self {
        Self {
            earliest: Timestamp::from_millis(i64::MAX),
            latest: Timestamp::from_millis(i64::MIN),
        }
    }
}

impl Span {
    /// False only where the filter can take none of the events.
    pub fn meets(&self, filter: &HistoryFilter) -> bool {
        filter.from.is_none_or(|from| from <= self.latest) && filter.to.is_none_or(|to| to >= self.earliest)
    }

    fn add(&mut self, at: Timestamp) {
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
    }
}

/// Entries in memory, in order of their records. All entries of a record lie in one piece.
#[derive(Clone, Default)]
pub struct Gathered {
    full: Vec<Arc<Vec<Entry>>>,
    last: Vec<Entry>,
    span: Span,
}

impl Gathered {
    /// Takes in a record whose offset counts from `start`.
    pub fn add(&mut self, posting: &Posting, first_seq: u64, start: u64) {
        if self.last.len() + posting.keys.len() > PIECE && !self.last.is_empty() {
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(PIECE));
            self.full.push(Arc::new(full));
        }
        let (nth, offset) = ((posting.seq - first_seq) as u32, (start + posting.offset) as u32);
        let entry = |hash: &u64| Entry {
            hash: *hash,
            nth,
            offset,
        };
        self.last.extend(posting.keys.iter().map(entry));
        self.span.add(posting.at);
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub fn sorted(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.full.iter().flat_map(|piece| piece.iter()).copied().collect();
        entries.extend(&self.last);
        entries.sort_unstable();
        entries
    }

    /// The entries under some keys, piece by piece, the newest first.
    pub fn newest_first(&self, keys: &[u64]) -> impl Iterator<Item = Vec<Entry>> {
        let pieces = std::iter::once(&self.last).chain(self.full.iter().rev().map(|piece| &**piece));
        pieces.map(move |piece| {
            let mut entries: Vec<Entry> = piece.iter().filter(|e| keys.contains(&e.hash)).copied().collect();
            entries.sort_unstable();
            entries
        })
    }
}

/// Entries in order, wherever they lie.
pub trait Sorted {
    fn count(&self) -> u64;
    fn get(&mut self, at: u64) -> Result<Entry, IndexFault>;
}

impl Sorted for Vec<Entry> {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn get(&mut self, at: u64) -> Result<Entry, IndexFault> {
        Ok(self[at as usize])
    }
}

/// The records that have all of some keys, newest first.
pub struct Newest<'a> {
    entries: &'a mut dyn Sorted,
    /// Each hash, and where the entries end among which its next one is looked for.
    keys: Vec<(u64, u64)>,
    below: u64,
}

impl<'a> Newest<'a> {
    /// Begins below a place in the segment.
    pub fn new(entries: &'a mut dyn Sorted, keys: &[u64], below: u64) -> Self {
        let end = entries.count();
        Self {
            entries,
            keys: keys.iter().map(|hash| (*hash, end)).collect(),
            below,
        }
    }

    pub fn next(&mut self) -> Result<Option<Entry>, IndexFault> {
        loop {
            let (mut first, mut last) = (None, None);
            for (hash, end) in &mut self.keys {
                let Some(entry) = newest_below(self.entries, *hash, end, self.below)? else {
                    return Ok(None);
                };
                first.get_or_insert(entry);
                last = Some(entry);
                // The next key is asked for the same record or an older one.
                self.below = u64::from(entry.nth) + 1;
            }
            let (Some(first), Some(last)) = (first, last) else {
                return Ok(None);
            };
            if first.nth == last.nth {
                self.below = last.nth.into();
                return Ok(Some(last));
            }
        }
    }
}

/// The newest entry of a hash below a place, among those before `end`, which moves there.
fn newest_below(entries: &mut dyn Sorted, hash: u64, end: &mut u64, below: u64) -> Result<Option<Entry>, IndexFault> {
    let is_below = |entry: Entry| (entry.hash, u64::from(entry.nth)) < (hash, below);
    // Mostly it is the one beside the one before, which was the last below `end`.
    if *end > 1 && !is_below(entries.get(*end - 1)?) && is_below(entries.get(*end - 2)?) {
        *end -= 1;
    } else if *end > 0 && !is_below(entries.get(*end - 1)?) {
        let mut start = 0;
        while start < *end {
            let middle = start + (*end - start) / 2;
            if is_below(entries.get(middle)?) {
                start = middle + 1;
            } else {
                *end = middle;
            }
        }
    }
    let Some(at) = end.checked_sub(1) else { return Ok(None) };
    Ok(Some(entries.get(at)?).filter(|entry| entry.hash == hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hash: u64, nth: u32) -> Entry {
        Entry { hash, nth, offset: nth }
    }

    fn newest(entries: &[Entry], keys: &[u64], below: u64) -> Vec<u32> {
        let mut entries = entries.to_vec();
        entries.sort_unstable();
        let mut newest = Newest::new(&mut entries, keys, below);
        std::iter::from_fn(|| newest.next().unwrap())
            .map(|entry| entry.nth)
            .collect()
    }

    #[test]
    fn records_that_have_all_keys_are_found_newest_first() {
        let of = |hash: u64, all: &'static [u32]| all.iter().map(move |nth| entry(hash, *nth));
        let entries: Vec<Entry> = of(5, &[0, 2, 3, 7, 8])
            .chain(of(6, &[1, 2, 4, 7, 9]))
            .chain(of(u64::MAX, &[2]))
            .collect();
        assert_eq!(newest(&entries, &[5], u64::MAX), [8, 7, 3, 2, 0]);
        assert_eq!(newest(&entries, &[5], 7), [3, 2, 0]);
        assert_eq!(newest(&entries, &[5, 6], 100), [7, 2]);
        assert_eq!(newest(&entries, &[6, 5], 7), [2]);
        assert_eq!(newest(&entries, &[6, u64::MAX, 5], 100), [2]);
        assert_eq!(newest(&entries, &[5, 4], 100), [0; 0]);
        assert_eq!(newest(&[], &[5], 100), [0; 0]);
    }

    #[test]
    fn entries_of_a_record_lie_in_one_piece() {
        let mut gathered = Gathered::default();
        for seq in 1..=3000 {
            let posting = Posting {
                seq,
                at: Timestamp::from_millis(seq as i64),
                offset: seq,
                keys: Keys::from_slice(&[1, 2, 3]),
            };
            gathered.add(&posting, 1, 10);
        }
        let pieces: Vec<Vec<Entry>> = gathered.newest_first(&[1, 3]).collect();
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() % 2 == 0));
        assert_eq!(
            pieces[0].last().map(|entry| (entry.nth, entry.offset)),
            Some((2999, 3010))
        );
        assert_eq!(gathered.sorted().len(), 9000);
        assert_eq!(gathered.span().latest, Timestamp::from_millis(3000));
    }
}
