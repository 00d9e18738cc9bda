//! Whether what is shown is what the log says: looked at for a few SKUs at a time, in turn, all day long. It never is
//! otherwise, or there is a defect.
//!
//! What else is made from the log and could differ from it becomes another [`Found`] in the list.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::actors::Inventory;
use crate::domain::totals::Sums;
use crate::domain::{Sku, StoreId, Timestamp, Totals};
use crate::journal::{HistoryFilter, ItemFilter, Journal, JournalError, LevelView};

/// Two that must say the same, and how often they did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub between: &'static str,
    /// How often they were compared since the start.
    pub compared: u64,
    pub differing: u64,
    /// The last difference, or why nothing could be compared.
    pub fault: Option<String>,
    /// When they were compared last.
    pub at: Option<Timestamp>,
}

pub struct Drift {
    seen: Mutex<Seen>,
}

struct Seen {
    levels: Found,
    totals: Found,
    checked_at: Option<Timestamp>,
    /// The last SKU, and the last store, that were looked at.
    sku: Option<Sku>,
    store: Option<StoreId>,
}

impl Default for Drift {
    fn default() -> Self {
        let found = |between| Found {
            between,
            ..Found::default()
        };
        let seen = Seen {
            levels: found(LEVELS),
            totals: found(TOTALS),
            checked_at: None,
            sku: None,
            store: None,
        };
        Self { seen: Mutex::new(seen) }
    }
}

/// What readers are shown of a level, and the last event of it.
const LEVELS: &str = "levels and log";
/// What a store has in all as of the last sync, and its levels added up.
const TOTALS: &str = "totals and levels";

/// SKUs that are looked at together, and levels of each.
const SKUS: usize = 4;
const LEVELS_OF_A_SKU: usize = 8;
/// A level that changes again and again meanwhile is left for another time.
const TRIES: usize = 3;

impl Drift {
    pub fn found(&self) -> Vec<Found> {
        let seen = self.seen();
        vec![seen.levels.clone(), seen.totals.clone()]
    }

    /// When it was last looked, whatever there was to be compared.
    pub fn checked_at(&self) -> Option<Timestamp> {
        self.seen().checked_at
    }

    /// Compares the next few.
    pub async fn look(&self, inventory: &Inventory) {
        let journal = &**inventory.journal();
        self.look_at_levels(journal).await;
        if let Some(totals) = inventory.totals() {
            self.look_at_totals(journal, &totals).await;
        }
        self.seen().checked_at = Some(chrono::Utc::now().into());
    }

    async fn look_at_levels(&self, journal: &dyn Journal) {
        let after = self.seen().sku.clone();
        let looked = compare_next(journal, after.as_ref()).await;
        let mut seen = self.seen();
        let looked = looked.map(|(differences, last)| {
            seen.sku = last;
            differences
        });
        seen.levels.note_all(looked);
    }

    /// Of the next store.
    async fn look_at_totals(&self, journal: &dyn Journal, totals: &Totals) {
        let after = self.seen().store.clone();
        let behind = |store: &&StoreId| after.as_ref().is_none_or(|after| **store > *after);
        let Some(store) = totals.stores.keys().find(behind).or(totals.stores.keys().next()) else {
            return;
        };
        let looked = compare_totals(journal, totals, store).await;
        let mut seen = self.seen();
        seen.store = Some(store.clone());
        seen.totals
            .note_all(looked.map(|difference| difference.into_iter().collect()));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn note_all(&mut self, looked: Result<Differences, JournalError>) {
        match looked {
            Ok(differences) => {
                // That they could not be compared is over; that they differed is not.
                if self.differing == 0 {
                    self.fault = None;
                }
                differences.into_iter().for_each(|difference| self.note(difference));
            }
            Err(error) => self.fault = Some(format!("they could not be compared: {error}")),
        }
    }

    fn note(&mut self, difference: Option<String>) {
        self.compared += 1;
        self.at = Some(chrono::Utc::now().into());
        if let Some(difference) = difference {
            tracing::error!(
                difference,
                "what is shown is not what the log says; run `holdfast verify`"
            );
            self.differing += 1;
            self.fault = Some(difference);
        }
    }
}

type Differences = Vec<Option<String>>;

/// Each level that was compared, and the last SKU, behind which to go on.
async fn compare_next(journal: &dyn Journal, after: Option<&Sku>) -> Result<(Differences, Option<Sku>), JournalError> {
    let items = journal.items(&ItemFilter::default(), after, SKUS).await?;
    let mut differences = Vec::new();
    for (sku, view) in &items {
        for level in view.item.levels.iter().take(LEVELS_OF_A_SKU) {
            differences.extend(compare(journal, sku, &level.store_id).await?);
        }
    }
    // After the last one it begins anew.
    let last = items.into_iter().map(|(sku, _)| sku).nth(SKUS - 1);
    Ok((differences, last))
}

/// How a level and the log differ, if they do; none where the level changed in between.
async fn compare(journal: &dyn Journal, sku: &Sku, store: &StoreId) -> Result<Option<Option<String>>, JournalError> {
    let filter = HistoryFilter {
        sku: Some(sku.clone()),
        store: Some(store.clone()),
        ..HistoryFilter::default()
    };
    for _ in 0..TRIES {
        let before = journal.level(sku, store).await?;
        let last = journal.history(filter.clone(), u64::MAX, 1).await?;
        if journal.level(sku, store).await? != before {
            continue;
        }
        let changes = last.iter().flat_map(|(_, event)| &event.changes);
        let mut own = changes.filter(|change| change.sku == *sku && change.store_id == *store);
        let logged = own
            .next()
            .map(|change| [change.quantity, change.reserved, change.version]);
        let shown = before.map(|LevelView { level, .. }| [level.quantity, level.reserved, level.version]);
        // A level that is gone by now is none in both.
        return Ok(shown.map(|shown| difference(sku, store, shown, logged)));
    }
    Ok(None)
}

fn difference(sku: &Sku, store: &StoreId, shown: [u64; 3], logged: Option<[u64; 3]>) -> Option<String> {
    let told = |[quantity, reserved, version]: [u64; 3]| {
        format!("quantity {quantity}, reserved {reserved}, version {version}")
    };
    let logged_text = || logged.map_or_else(|| "no event of it".to_owned(), told);
    let differs = logged != Some(shown);
    differs.then(|| {
        format!(
            "SKU {sku:?} in store {store:?} is shown as {}, and the log has {}",
            told(shown),
            logged_text()
        )
    })
}

/// How the totals of a store and its levels differ, if they do; none where something was recorded since the totals were
/// made, or the store has too many levels to be added up beside all else.
async fn compare_totals(
    journal: &dyn Journal,
    totals: &Totals,
    store: &StoreId,
) -> Result<Option<Option<String>>, JournalError> {
    let (mut sums, mut after) = (Sums::default(), None::<Sku>);
    loop {
        let page = journal.levels_in(store, after.as_ref(), PAGE).await?;
        for (_, LevelView { level, .. }) in &page {
            sums.skus += 1;
            sums.quantity += u128::from(level.quantity);
            sums.reserved += u128::from(level.reserved);
        }
        if journal.visible() != totals.seq || sums.skus > MOST_LEVELS {
            return Ok(None);
        }
        if page.len() < PAGE {
            break;
        }
        after = page.last().map(|(sku, _)| sku.clone());
    }
    let told = totals.stores.get(store).map(|store| store.sums).unwrap_or_default();
    Ok(Some((told != sums).then(|| {
        format!(
            "store {store:?} has {told:?} as of record {}, and its levels come to {sums:?}",
            totals.seq
        )
    })))
}

/// Levels that are read at a time, and added up at most.
const PAGE: usize = 1000;
const MOST_LEVELS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::catalogue::AllOpen;
    use crate::domain::command::{Resource, Set};
    use crate::domain::{Action, Expected, Origin, Principal, Request, RequestId, Scope, Stock, decide};
    use crate::journal::contract::Bug;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::{Append, Record};

    fn append(stock: &mut Stock, quantity: u64) -> Append {
        let sku = Sku::parse("A").unwrap();
        let set = Set {
            quantity,
            ..Set::default()
        };
        let request = Request {
            sku: sku.clone(),
            store_id: StoreId::parse("s").unwrap(),
            action: Action::Set(Box::new(set)),
            resource: Resource::Level,
            expected: Expected::default(),
            origin: Arc::new(Origin {
                by: Principal::anonymous(),
                request_id: RequestId::parse("r").unwrap(),
                scope: Scope::default(),
            }),
        };
        let grounds = vec![(sku.clone(), stock.version())];
        let event = decide(stock, &request, &AllOpen, Timestamp::from_millis(1000)).unwrap();
        stock.evolve(&sku, &event);
        let record = Record {
            event: Arc::new(event),
            receipt: None,
        };
        Append::of_stock(grounds, vec![record])
    }

    #[tokio::test]
    async fn what_is_shown_and_not_in_the_log_is_found() {
        let journal = MemoryJournal::with_bug(60_000, Bug::PublishBeforeDurable);
        let (drift, mut stock) = (Drift::default(), Stock::default());
        journal.append(append(&mut stock, 10)).await.unwrap();
        drift.look_at_levels(&journal).await;
        let [found, _] = drift.found().try_into().unwrap();
        assert_eq!((found.compared, found.differing, found.fault), (1, 0, None));
        journal.hold();
        let _lost = journal.append(append(&mut stock, 9));
        drift.look_at_levels(&journal).await;
        let [found, _] = drift.found().try_into().unwrap();
        assert_eq!((found.compared, found.differing), (2, 1));
        let fault = found.fault.unwrap();
        assert!(fault.contains("quantity 9") && fault.contains("quantity 10"), "{fault}");
    }

    #[tokio::test]
    async fn totals_that_are_not_what_the_levels_come_to_are_found() {
        let journal = MemoryJournal::new(60_000);
        let (drift, mut stock) = (Drift::default(), Stock::default());
        journal.append(append(&mut stock, 10)).await.unwrap();
        let mut totals = Totals::default();
        for (seq, event) in journal.events(0, 10).await.unwrap() {
            totals.take(seq, &event).unwrap();
        }
        drift.look_at_totals(&journal, &totals).await;
        let [_, found] = drift.found().try_into().unwrap();
        assert_eq!((found.compared, found.differing, found.fault), (1, 0, None));
        totals.stores.values_mut().for_each(|store| store.sums.quantity += 1);
        drift.look_at_totals(&journal, &totals).await;
        let [_, found] = drift.found().try_into().unwrap();
        assert_eq!((found.compared, found.differing), (2, 1));
        assert!(found.fault.unwrap().contains("quantity: 11"));
        // What was recorded since is not in them: they cannot be compared.
        journal.append(append(&mut stock, 12)).await.unwrap();
        drift.look_at_totals(&journal, &totals).await;
        assert_eq!(drift.found()[1].compared, 2);
    }

    #[test]
    fn a_difference_says_what_is_shown_and_what_the_log_has() {
        let (sku, store) = (Sku::parse("A").unwrap(), StoreId::parse("s").unwrap());
        assert_eq!(difference(&sku, &store, [5, 1, 7], Some([5, 1, 7])), None);
        let told = difference(&sku, &store, [5, 1, 7], Some([4, 1, 6])).unwrap();
        assert!(
            told.contains("quantity 5") && told.contains("quantity 4, reserved 1, version 6"),
            "{told}"
        );
        let told = difference(&sku, &store, [5, 1, 7], None).unwrap();
        assert!(told.ends_with("no event of it"), "{told}");
    }

    #[test]
    fn differences_are_counted_and_the_last_is_told() {
        let mut found = Found::default();
        [None, Some("first".to_owned()), Some("second".to_owned()), None]
            .into_iter()
            .for_each(|difference| found.note(difference));
        assert_eq!((found.compared, found.differing), (4, 2));
        assert_eq!((found.fault.as_deref(), found.at.is_some()), (Some("second"), true));
    }
}
