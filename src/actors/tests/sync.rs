//! The sync on a journal that waits, fails and crashes on demand.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::*;
use crate::actors::batch::Operation as Step;
use crate::actors::entries::EntryWrite;
use crate::actors::joint::Ask;
use crate::domain::product::ProductAction;
use crate::domain::totals::Sums;
use crate::domain::{EntryKey, SyncSchedule, SyncStatus, Totals};
use crate::journal::{Document, Kept};

async fn status(inventory: &Arc<Inventory>) -> SyncStatus {
    inventory.sync_status(&Scope::default()).await.unwrap()
}

async fn synced(inventory: &Arc<Inventory>) -> Arc<Totals> {
    inventory.sync().await.unwrap();
    inventory.totals().unwrap()
}

/// Has the sync run so often by itself.
async fn schedule(inventory: &Arc<Inventory>, interval_ms: u64) -> Result<Outcome, ExecuteError> {
    let write = EntryWrite {
        key: EntryKey::SyncSchedule,
        origin: sell(1).origin,
        keyed: None,
    };
    let wanted = move |_| SyncSchedule {
        running: true,
        interval_ms,
    };
    inventory.schedule_sync(write, wanted).await
}

/// Waits until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("it does not come true");
}

/// What each store and all of them have, level by level.
async fn recount(journal: &dyn Journal) -> (BTreeMap<StoreId, Sums>, Sums) {
    let (mut stores, mut all) = (BTreeMap::<StoreId, Sums>::new(), Sums::default());
    for (_, view) in journal.items(&ItemFilter::default(), None, usize::MAX).await.unwrap() {
        all.skus += u64::from(!view.item.levels.is_empty());
        for image in view.item.levels {
            let sums = stores.entry(image.store_id).or_default();
            sums.skus += 1;
            for sums in [sums, &mut all] {
                sums.quantity += u128::from(image.level.quantity);
                sums.reserved += u128::from(image.level.reserved);
            }
        }
    }
    (stores, all)
}

#[track_caller]
fn equal(totals: &Totals, (stores, all): (BTreeMap<StoreId, Sums>, Sums)) {
    let told: BTreeMap<StoreId, Sums> = totals
        .stores
        .iter()
        .map(|(id, store)| (id.clone(), store.sums))
        .collect();
    assert_eq!((told, totals.central(&Scope::default())), (stores, all));
}

/// A number below `end`, as by chance.
fn chance(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

/// So many kinds of writes fit into a batch.
const IN_BATCHES: u64 = 9;
const ALL: u64 = 12;

/// Something that may change stock, one of so many kinds of writes, as by chance.
fn something(state: &mut u64, kinds: u64) -> Request {
    let mut pick = |end| chance(state, end);
    let amount = pick(30);
    let action = match pick(kinds) {
        0 | 1 => count(amount).action,
        2 => sell(pick(9) as i64 + 1).action,
        3 | 4 => Action::Reserve(Reserve {
            quantity: amount % 5 + 1,
            reservation_id: new_id().into(),
            is_taken: false,
            over_quota: None,
            ttl_seconds: None,
            reference: None,
        }),
        5 => Action::ReleaseQuantity {
            quantity: amount % 3 + 1,
        },
        6 => count(0).action,
        7 | 8 => Action::Transfer {
            to: StoreId::parse(&format!("t{}", pick(2))).unwrap(),
            quantity: amount % 4 + 1,
            note: None,
        },
        9 => Action::RemoveLevel,
        10 => Action::Product(ProductAction::Create(Box::default())),
        _ => Action::Product(ProductAction::Delete),
    };
    let sku = Sku::parse(&format!("S{}", pick(6))).unwrap();
    let store_id = StoreId::parse(&format!("s{}", pick(4))).unwrap();
    let resource = match action {
        Action::Product(_) => Resource::Product,
        _ => Resource::Level,
    };
    Request {
        sku,
        store_id,
        resource,
        ..request(action)
    }
}

#[test]
fn totals_equal_a_recount_after_any_load_and_crash() {
    actix_web::rt::System::new().block_on(async {
        let mut journal = Arc::new(MemoryJournal::new(DAY_MS));
        let (mut state, mut done) = (3, 0);
        for round in 0..20 {
            let inventory = Inventory::start(journal.clone(), settings());
            for step in 0..60 {
                done += usize::from(
                    inventory
                        .execute(something(&mut state, ALL), Options::default())
                        .await
                        .is_ok(),
                );
                if step % 10 == 9 {
                    let steps = (0..4).map(|index| Step {
                        index,
                        request: something(&mut state, IN_BATCHES),
                        chose_reservation: false,
                    });
                    let ask = Ask::Batch(steps.collect());
                    let batch = inventory.execute_joint(ask, sell(1).origin, None, false).await;
                    done += usize::from(batch.is_ok());
                }
                if chance(&mut state, 20) == 0 {
                    equal(&*synced(&inventory).await, recount(&*journal).await);
                }
            }
            if round % 2 == 0 {
                equal(&*synced(&inventory).await, recount(&*journal).await);
            }
            drop(inventory);
            journal = Arc::new(journal.crash(DAY_MS));
        }
        let inventory = Inventory::start(journal.clone(), settings());
        let went_on = synced(&inventory).await;
        equal(&went_on, recount(&*journal).await);
        // Read from the beginning, the log comes to the same.
        let anew = Arc::new(journal.crash(DAY_MS));
        let nothing = Kept::of_totals(&Totals::default()).unwrap();
        anew.keep(Document::Totals, nothing).await.unwrap();
        let inventory = Inventory::start(anew, settings());
        let at = went_on.at;
        assert_eq!(
            Totals {
                at,
                ..(*synced(&inventory).await).clone()
            },
            *went_on
        );
        assert!(done > 300, "only {done} writes took effect");
    });
}

#[test]
fn two_runs_never_go_on_at_once_and_those_who_wait_share_the_next() {
    run(|_, inventory| async move {
        let asked = (0..20).map(|_| inventory.sync());
        for answer in join_all(asked).await {
            answer.unwrap();
        }
        let runs = status(&inventory).await.runs;
        assert!((1..=3).contains(&runs), "{runs} runs for 20 who asked at once");
    });
}

#[test]
fn a_run_that_cannot_keep_its_totals_shows_none_of_them_and_the_next_makes_good() {
    run(|journal, inventory| async move {
        let before = synced(&inventory).await;
        inventory.execute(sell(3), Options::default()).await.unwrap();
        journal.fail(Some(Fault::Full));
        inventory.sync().await.unwrap();
        let failed = status(&inventory).await;
        assert_eq!(
            (failed.runs, failed.failures, failed.seq, failed.lag_events),
            (2, 1, before.seq, 1)
        );
        assert_eq!(failed.last_error.as_deref(), Some("full"));
        assert_eq!(
            inventory.totals().unwrap(),
            before,
            "nobody is to see what a crash takes back"
        );
        journal.fail(None);
        let after = synced(&inventory).await;
        equal(&after, recount(&*journal).await);
        let healed = status(&inventory).await;
        assert_eq!(
            (healed.failures, healed.last_error, healed.lag_events, healed.lag_ms),
            (1, None, 0, 0)
        );
    });
}

#[test]
fn a_sync_that_fails_by_itself_waits_longer_each_time_and_recovers_by_itself() {
    run(|journal, inventory| async move {
        schedule(&inventory, 100).await.unwrap();
        until(async || status(&inventory).await.lag_events == 0).await;
        inventory.execute(sell(3), Options::default()).await.unwrap();
        journal.fail(Some(Fault::Full));
        tokio::time::sleep(Duration::from_millis(1600)).await;
        let failures = status(&inventory).await.failures;
        // After 100, 200, 400, 800 ms and so on; without waiting longer it would be 15.
        assert!((2..=5).contains(&failures), "{failures}");
        journal.fail(None);
        until(async || status(&inventory).await.lag_events == 0).await;
        assert_eq!(status(&inventory).await.last_error, None);
    });
}

#[test]
fn who_schedules_the_sync_anew_does_not_wait_for_what_has_failed() {
    run(|journal, inventory| async move {
        schedule(&inventory, 100).await.unwrap();
        journal.fail(Some(Fault::Full));
        inventory.execute(sell(3), Options::default()).await.unwrap_err();
        journal.fail(None);
        inventory.execute(sell(3), Options::default()).await.unwrap();
        until(async || status(&inventory).await.lag_events == 0).await;
        // The schedule itself is an event that the totals have not seen.
        schedule(&inventory, 86_400_000).await.unwrap();
        assert_eq!(status(&inventory).await.schedule.interval_ms, 86_400_000);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            status(&inventory).await.lag_events,
            1,
            "the last run was shorter ago than a day"
        );
    });
}

#[test]
fn nothing_is_kept_again_where_nothing_is_new() {
    run(|journal, inventory| async move {
        let first = synced(&inventory).await;
        journal.fail(Some(Fault::Full));
        let again = synced(&inventory).await;
        assert_eq!((status(&inventory).await.failures, again.seq), (0, first.seq));
        assert!(again.at >= first.at);
    });
}

#[test]
fn totals_that_the_next_event_contradicts_are_made_again() {
    run(|journal, inventory| async move {
        let totals = synced(&inventory).await;
        let mut wrong = (*totals).clone();
        wrong.stores.clear();
        journal
            .keep(Document::Totals, Kept::of_totals(&wrong).unwrap())
            .await
            .unwrap();
        inventory.execute(sell(3), Options::default()).await.unwrap();
        let crashed = Arc::new(journal.crash(DAY_MS));
        let inventory = Inventory::start(crashed.clone(), settings());
        equal(&*synced(&inventory).await, recount(&*crashed).await);
        assert_eq!(status(&inventory).await.failures, 0);
    });
}

#[test]
fn a_document_that_says_nothing_of_totals_is_not_believed() {
    run(|journal, inventory| async move {
        for (seq, body) in [(1, "{}"), (7, "{\"seq\":7}"), (1, "[1,2]")] {
            let body = RawValue::from_string(body.to_owned()).unwrap();
            journal.keep(Document::Totals, Kept { seq, body }).await.unwrap();
            let crashed = Arc::new(journal.crash(DAY_MS));
            let inventory = Inventory::start(crashed.clone(), settings());
            equal(&*synced(&inventory).await, recount(&*crashed).await);
        }
        drop(inventory);
    });
}

#[test]
fn totals_are_exact_beyond_what_64_bits_can_count() {
    let mut totals = Totals::default();
    let sums = Sums {
        skus: u64::MAX,
        quantity: u128::from(u64::MAX) * 1_000_000,
        reserved: 5,
    };
    let updated_at = Timestamp::from_millis(1);
    let store = crate::domain::totals::StoreTotals { sums, updated_at };
    totals.stores.insert(StoreId::parse("s").unwrap(), store);
    let read = Kept::of_totals(&totals).unwrap().totals().unwrap();
    assert_eq!(read, totals);
}
