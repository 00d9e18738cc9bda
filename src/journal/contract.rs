//! The one suite that every engine passes, and the bugs that it must notice.
//!
//! A check takes a rig: an engine on storage that can be held, made to fail, and crashed. Each check
//! runs on every rig; each planted bug must fail the check that is named beside it.

mod reservations;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use self::reservations::*;
use super::file::{FaultyFolder, Options};
use super::memory::MemoryJournal;
use super::{
    Append, Appended, Document, EntryKind, Fingerprint, HistoryFilter, ItemFilter, Journal, JournalError, Kept, Logged,
    ProductFilter, Receipt, Record, Stocked,
};
use crate::domain::catalogue::{AllOpen, Store};
use crate::domain::command::{ReorderPoint, Reserve, Resource, Set};
use crate::domain::product::ProductAction;
use crate::domain::{
    Action, Details, Entry, EntryChange, EntryKey, Event, EventKind, Movement, Origin, Principal, Request, RequestId,
    ReservationId, ReservationStatus, Scope, Sku, Stock, StoreId, Timestamp, decide, expire,
};

/// Wrong orders of steps that an engine can be told to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    AcknowledgeBeforeSync,
    SkipReceipt,
    PublishBeforeDurable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no room for what is to be written.
    Full,
    /// The sync behind the next write fails.
    Sync,
}

const RETENTION_MS: i64 = 60_000;

trait Rig {
    fn journal(&self) -> Arc<dyn Journal>;
    /// Appends wait from here on, as for a disk that does not answer.
    fn hold(&self);
    fn release(&self);
    fn fail(&self, fault: Option<Fault>);
    /// The power goes, with all that was not synced; a new process opens what is left.
    fn crash(self: Box<Self>) -> Box<dyn Rig>;
}

struct MemoryRig(Arc<MemoryJournal>);

impl Rig for MemoryRig {
    fn journal(&self) -> Arc<dyn Journal> {
        self.0.clone()
    }
    fn hold(&self) {
        self.0.hold();
    }
    fn release(&self) {
        self.0.release();
    }
    fn fail(&self, fault: Option<Fault>) {
        self.0.fail(fault);
    }
    fn crash(self: Box<Self>) -> Box<dyn Rig> {
        Box::new(Self(Arc::new(self.0.crash(RETENTION_MS))))
    }
}

struct FileRig(FaultyFolder);

impl Rig for FileRig {
    fn journal(&self) -> Arc<dyn Journal> {
        self.0.journal()
    }
    fn hold(&self) {
        self.0.hold();
    }
    fn release(&self) {
        self.0.release();
    }
    fn fail(&self, fault: Option<Fault>) {
        self.0.fail(fault);
    }
    fn crash(self: Box<Self>) -> Box<dyn Rig> {
        Box::new(Self(self.0.crash()))
    }
}

fn file_rig(bug: Option<Bug>) -> Box<dyn Rig> {
    let options = |folder| Options {
        folder,
        segment_bytes: 20_000,
        checkpoint_bytes: 50_000,
        retention_ms: RETENTION_MS,
    };
    Box::new(FileRig(FaultyFolder::new(options, bug)))
}

fn memory_rig(bug: Option<Bug>) -> Box<dyn Rig> {
    let journal = match bug {
        Some(bug) => MemoryJournal::with_bug(RETENTION_MS, bug),
        None => MemoryJournal::new(RETENTION_MS),
    };
    Box::new(MemoryRig(Arc::new(journal)))
}

/// Runs every check on an engine, and every bug against the check that must notice it.
macro_rules! suite {
    ($engine:ident, $rig:path, [$($check:ident),* $(,)?]) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$check($rig(None)).await;
                }
            )*

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[should_panic = "before it was durable"]
            async fn acknowledging_before_the_sync_is_noticed() {
                super::nothing_leaves_before_it_is_durable($rig(Some(super::Bug::AcknowledgeBeforeSync))).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[should_panic = "shown before it was durable"]
            async fn publishing_before_it_is_durable_is_noticed() {
                super::nothing_leaves_before_it_is_durable($rig(Some(super::Bug::PublishBeforeDurable))).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[should_panic = "the receipt is gone"]
            async fn a_skipped_receipt_is_noticed() {
                super::a_receipt_is_found_as_long_as_it_is_kept($rig(Some(super::Bug::SkipReceipt))).await;
            }
        }
    };
}

macro_rules! suites {
    ($($engine:ident: $rig:path),*) => {
        $(suite!($engine, $rig, [
            what_was_answered_is_there_after_a_crash,
            nothing_leaves_before_it_is_durable,
            what_was_not_durable_at_a_crash_is_wholly_gone,
            a_receipt_is_found_as_long_as_it_is_kept,
            an_append_on_an_old_version_is_a_conflict_and_changes_nothing,
            an_append_is_shown_in_all_its_skus_at_once,
            without_room_appends_are_refused_for_certain_until_there_is_room,
            after_a_failed_sync_nothing_is_written_until_a_restart,
            events_are_read_in_order_without_gaps,
            history_is_found_newest_first_by_all_that_a_filter_names,
            a_record_is_read_with_its_receipt,
            levels_of_a_store_are_listed_in_order_behind_a_sku,
            items_are_listed_by_the_stores_that_are_seen,
            deadlines_and_reservations_follow_the_holds,
            whatever_became_of_reservations_is_told_as_the_log_has_it,
            reservations_are_listed_newest_first_by_all_that_a_filter_names,
            a_reservation_is_found_however_long_ago_it_was_over,
            a_reservation_ends_sku_by_sku_where_its_expiry_is_recorded_so,
            an_event_with_several_runs_of_a_reservation_is_taken_whole,
            an_append_is_shown_in_its_skus_and_its_reservation_at_once,
            an_open_reservation_is_listed_under_a_sku_that_it_holds_no_more,
            a_reservation_is_listed_under_a_sku_of_which_there_was_nothing_left,
            entries_are_kept_on_the_version_that_they_were_decided_on,
            products_are_made_changed_deleted_and_made_again,
            the_first_level_in_a_store_makes_its_entry,
            nothing_comes_to_a_store_that_is_about_to_be_deleted,
            a_document_is_kept_until_the_next_one_is_there,
            skus_with_a_level_are_counted_as_of_the_last_event,
            a_push_is_the_last_of_its_store_until_the_next,
            figures_tell_what_was_recorded_and_what_there_is,
        ]);)*
    };
}

suites!(file: super::file_rig, memory: super::memory_rig);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_log_has_no_more_bytes_than_memory_has_for_many_of_them() {
    const SALES: u64 = 20_000;
    let rig = file_rig(None);
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(SALES)).await.unwrap();
    let grounds = vec![(owner.sku.clone(), owner.stock.version())];
    let sale = |_| Record {
        event: owner.decide(sell(1)),
        receipt: None,
    };
    let append = Append::of_stock(grounds, (0..SALES).map(sale).collect());
    rig.journal().append(append).await.unwrap();
    let (mut after, mut pages) = (0, 0);
    while after <= SALES {
        let page = rig.journal().events(after, usize::MAX).await.unwrap();
        after = page.last().expect("the log goes on").0;
        pages += 1;
    }
    assert_eq!(after, SALES + 1);
    assert!(pages > 1, "all of it in one page");
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn store(name: &str) -> StoreId {
    StoreId::parse(name).unwrap()
}

fn scope(names: &[&str]) -> Scope {
    let stores: Vec<StoreId> = names.iter().map(|name| store(name)).collect();
    Scope::of(&stores)
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        by: Principal::anonymous(),
        request_id: RequestId::parse("r-1").unwrap(),
        scope: Scope::default(),
    })
}

/// A SKU as its actor would drive it: decides on its own state and appends.
struct Owner {
    sku: Sku,
    store: StoreId,
    stock: Stock,
    now: Timestamp,
}

impl Owner {
    fn new(name: &str) -> Self {
        Self {
            sku: sku(name),
            store: store("s"),
            stock: Stock::default(),
            now: Timestamp::from_millis(1_000_000),
        }
    }

    fn decide(&mut self, action: Action) -> Arc<Event> {
        let request = Request {
            sku: self.sku.clone(),
            store_id: self.store.clone(),
            action,
            resource: Resource::Level,
            expected: Default::default(),
            origin: origin(),
        };
        let event = Arc::new(decide(&self.stock, &request, &AllOpen, self.now).unwrap());
        self.stock.evolve(&self.sku, &event);
        event
    }

    fn append(&mut self, action: Action, receipt: Option<Receipt>) -> Append {
        let grounds = vec![(self.sku.clone(), self.stock.version())];
        let record = Record {
            event: self.decide(action),
            receipt: receipt.map(Box::new),
        };
        Append::of_stock(grounds, vec![record])
    }

    async fn put(&mut self, rig: &dyn Rig, action: Action) -> Result<Appended, JournalError> {
        let append = self.append(action, None);
        rig.journal().append(append).await
    }
}

fn count(quantity: u64) -> Action {
    Action::Set(Box::new(Set {
        quantity,
        ..Set::default()
    }))
}

fn sell(quantity: i64) -> Action {
    Action::Adjust {
        delta: -quantity,
        movement: Movement::Sale,
        note: Some("x".repeat(100)),
    }
}

async fn quantity(rig: &dyn Rig, sku: &Sku, in_store: &str) -> Option<u64> {
    rig.journal()
        .level(sku, &store(in_store))
        .await
        .unwrap()
        .map(|view| view.level.quantity)
}

async fn is_pending(answer: &mut super::Answer<Appended>) -> bool {
    tokio::time::timeout(Duration::from_millis(100), answer).await.is_err()
}

async fn what_was_answered_is_there_after_a_crash(mut rig: Box<dyn Rig>) {
    let mut owners: Vec<Owner> = (0..5).map(|i| Owner::new(&format!("SKU {i}"))).collect();
    for round in 0..4 {
        for owner in &mut owners {
            if round == 0 {
                owner.put(&*rig, count(1000)).await.unwrap();
            }
            for _ in 0..20 {
                owner.put(&*rig, sell(1)).await.unwrap();
            }
        }
        rig = rig.crash();
        for owner in &owners {
            assert_eq!(rig.journal().load(&owner.sku).await.unwrap(), owner.stock);
        }
    }
}

async fn nothing_leaves_before_it_is_durable(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(10)).await.unwrap();
    rig.hold();
    let append = owner.append(sell(1), None);
    let mut answer = rig.journal().append(append);
    assert!(is_pending(&mut answer).await, "answered before it was durable");
    assert_eq!(
        quantity(&*rig, &owner.sku, "s").await,
        Some(10),
        "shown before it was durable"
    );
    assert_eq!(
        rig.journal().events(1, 10).await.unwrap().len(),
        0,
        "shown before it was durable"
    );
    rig.release();
    assert_eq!(answer.await.unwrap().first_seq, 2);
    assert_eq!(quantity(&*rig, &owner.sku, "s").await, Some(9));
}

async fn a_document_is_kept_until_the_next_one_is_there(mut rig: Box<dyn Rig>) {
    assert!(rig.journal().kept(Document::Totals).await.unwrap().is_none());
    for seq in 1..=2 {
        let body = RawValue::from_string(format!("{{\"stores\":{seq}}}")).unwrap();
        let kept = Kept { seq, body };
        rig.journal().keep(Document::Totals, kept.clone()).await.unwrap();
        rig = rig.crash();
        let found = rig.journal().kept(Document::Totals).await.unwrap().unwrap();
        assert_eq!((found.seq, found.body.get()), (seq, kept.body.get()));
    }
    assert!(rig.journal().kept(Document::Sales).await.unwrap().is_none());
}

async fn skus_with_a_level_are_counted_as_of_the_last_event(mut rig: Box<dyn Rig>) {
    assert_eq!(rig.journal().stocked().await.unwrap(), Stocked::default());
    let mut owners = ["A", "B", "C"].map(Owner::new);
    let steps: [(usize, &str, Action, u64); 9] = [
        (0, "s", count(0), 1),
        (0, "t", count(5), 1),
        // A product without stock has no level.
        (1, "s", Action::Product(ProductAction::Create(Box::default())), 1),
        (1, "s", count(1), 2),
        (2, "s", count(1), 3),
        // The other level of A is still there.
        (0, "s", Action::RemoveLevel, 3),
        (2, "s", count(0), 3),
        (2, "s", Action::RemoveLevel, 2),
        (2, "t", count(1), 3),
    ];
    for (seq, (who, in_store, action, skus)) in (1..).zip(steps) {
        owners[who].store = store(in_store);
        owners[who].put(&*rig, action).await.unwrap();
        assert_eq!(rig.journal().stocked().await.unwrap(), Stocked { seq, skus });
        if seq % 4 == 0 {
            rig = rig.crash();
            assert_eq!(rig.journal().stocked().await.unwrap(), Stocked { seq, skus });
        }
    }
    rig.hold();
    let append = owners[1].append(sell(1), None);
    let waiting = rig.journal().append(append);
    assert_eq!(
        rig.journal().stocked().await.unwrap().seq,
        9,
        "counted before it was durable"
    );
    drop(waiting);
}

async fn a_push_is_the_last_of_its_store_until_the_next(mut rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    let key = EntryKey::LastPush(store("s"));
    for version in 1..=3 {
        owner.put(&*rig, count(version)).await.unwrap();
        owner.now = owner.now.plus_seconds(1);
        let mut append = owner.append(count(version), None);
        Arc::make_mut(&mut append.records[0].event).kind = EventKind::SyncPushed;
        rig.journal().append(append).await.unwrap();
        let pushed = owner.now;
        owner.now = owner.now.plus_seconds(1);
        owner.put(&*rig, sell(1)).await.unwrap();
        for _ in 0..2 {
            let found = rig.journal().entry(&key).await.unwrap().unwrap();
            assert_eq!((found.version, found.entry), (version, Entry::LastPush(pushed)));
            rig = rig.crash();
        }
    }
    let pushed = rig.journal().entries(EntryKind::LastPush, None, 10).await.unwrap();
    assert_eq!(pushed.len(), 1);
}

async fn figures_tell_what_was_recorded_and_what_there_is(rig: Box<dyn Rig>) {
    let (mut a, mut b) = (Owner::new("A"), Owner::new("B"));
    a.put(&*rig, count(10)).await.unwrap();
    b.put(&*rig, count(10)).await.unwrap();
    a.put(&*rig, sell(1)).await.unwrap();
    let told = rig.journal().figures().await.unwrap();
    let of = |kind| *told.counted.events.of(kind);
    assert_eq!((of(EventKind::LevelCreated), of(EventKind::LevelAdjusted)), (2, 1));
    assert_eq!((told.standing.visible, told.counted.events.asked()), (3, 3));
    assert_eq!((told.stock.items, told.stock.levels, told.stock.stores), (2, 2, 1));
    // A new process counts anew; what there is, there is.
    let rig = rig.crash();
    let anew = rig.journal().figures().await.unwrap();
    assert_eq!((anew.counted.events.asked(), anew.stock), (0, told.stock));
}

async fn what_was_not_durable_at_a_crash_is_wholly_gone(rig: Box<dyn Rig>) {
    let (mut a, mut b) = (Owner::new("A"), Owner::new("B"));
    a.put(&*rig, count(10)).await.unwrap();
    b.put(&*rig, count(10)).await.unwrap();
    rig.hold();
    let lost = [a.append(sell(1), None), b.append(sell(1), None)].map(|append| rig.journal().append(append));
    let rig = rig.crash();
    drop(lost);
    for name in ["A", "B"] {
        assert_eq!(quantity(&*rig, &sku(name), "s").await, Some(10));
    }
    let mut a = Owner {
        stock: rig.journal().load(&a.sku).await.unwrap(),
        ..a
    };
    assert_eq!(a.put(&*rig, sell(3)).await.unwrap().first_seq, 3);
}

async fn a_receipt_is_found_as_long_as_it_is_kept(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    let key = Fingerprint::of(&[b"key"]);
    let receipt = Receipt::new(key, Fingerprint::of(&[b"body"]), 201);
    let append = owner.append(count(10), Some(receipt.clone()));
    let Appended { first_seq } = rig.journal().append(append).await.unwrap();
    let rig = rig.crash();
    let kept = Timestamp::from_millis(owner.now.as_millis() + RETENTION_MS - 1);
    let found = rig
        .journal()
        .receipt(key, kept)
        .await
        .unwrap()
        .expect("the receipt is gone");
    assert_eq!(
        (found.fingerprint, found.status, found.seq),
        (receipt.fingerprint, 201, first_seq)
    );
    let over = Timestamp::from_millis(owner.now.as_millis() + RETENTION_MS);
    assert_eq!(rig.journal().receipt(key, over).await.unwrap(), None);
}

async fn an_append_on_an_old_version_is_a_conflict_and_changes_nothing(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(10)).await.unwrap();
    let mut stale = Owner {
        stock: owner.stock.clone(),
        ..Owner::new("A")
    };
    owner.put(&*rig, sell(1)).await.unwrap();
    assert_eq!(stale.put(&*rig, sell(5)).await, Err(JournalError::Conflict));
    assert_eq!(quantity(&*rig, &owner.sku, "s").await, Some(9));
    assert_eq!(owner.put(&*rig, sell(1)).await.unwrap().first_seq, 3);
}

async fn an_append_is_shown_in_all_its_skus_at_once(rig: Box<dyn Rig>) {
    let (mut a, mut b) = (Owner::new("A"), Owner::new("B"));
    a.put(&*rig, count(1000)).await.unwrap();
    b.put(&*rig, count(1000)).await.unwrap();
    let (journal, first, second) = (rig.journal(), a.sku.clone(), b.sku.clone());
    let reader = tokio::spawn(async move {
        let in_store = store("s");
        loop {
            let early = journal.level(&first, &in_store).await.unwrap().unwrap().level.quantity;
            let late = journal.level(&second, &in_store).await.unwrap().unwrap().level.quantity;
            assert!(
                late <= early,
                "the second SKU shows {late}, which is older than the first one's {early}"
            );
            if late == 500 {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..500 {
        let grounds = vec![(a.sku.clone(), a.stock.version()), (b.sku.clone(), b.stock.version())];
        let (mut joint, other) = ((*a.decide(sell(1))).clone(), b.decide(sell(1)));
        joint.changes.extend(other.changes.iter().cloned());
        let record = Record {
            event: Arc::new(joint),
            receipt: None,
        };
        rig.journal()
            .append(Append::of_stock(grounds, vec![record]))
            .await
            .unwrap();
    }
    reader.await.unwrap();
}

async fn without_room_appends_are_refused_for_certain_until_there_is_room(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(10)).await.unwrap();
    rig.fail(Some(Fault::Full));
    let before = owner.stock.clone();
    let mut refused = 0;
    // The engine may still have some room; then what it answers must hold as ever.
    while refused < 3 {
        let stock = owner.stock.clone();
        match owner
            .put(
                &*rig,
                Action::Adjust {
                    delta: 1,
                    movement: Movement::StockIn,
                    note: None,
                },
            )
            .await
        {
            Ok(_) => {}
            Err(JournalError::Unavailable(_)) => {
                refused += 1;
                owner.stock = stock;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(rig.journal().refusing().is_some());
    assert_eq!(quantity(&*rig, &owner.sku, "s").await, Some(owner.stock.quantity()));
    assert!(owner.stock.version() >= before.version());
    rig.fail(None);
    for _ in 0..100 {
        if rig.journal().refusing().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        rig.journal().refusing(),
        None,
        "room is found again without a write that asks for it"
    );
    owner.put(&*rig, sell(1)).await.unwrap();
    let rig = rig.crash();
    assert_eq!(rig.journal().load(&owner.sku).await.unwrap(), owner.stock);
}

async fn after_a_failed_sync_nothing_is_written_until_a_restart(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(10)).await.unwrap();
    let stock = owner.stock.clone();
    rig.fail(Some(Fault::Sync));
    assert!(matches!(owner.put(&*rig, sell(1)).await, Err(JournalError::Unknown(_))));
    rig.fail(None);
    owner.stock = stock;
    assert!(matches!(
        owner.put(&*rig, sell(1)).await,
        Err(JournalError::Unavailable(_))
    ));
    assert!(rig.journal().refusing().is_some());
    assert_eq!(
        quantity(&*rig, &owner.sku, "s").await,
        Some(10),
        "reads go on, and show what is durable"
    );
    let rig = rig.crash();
    owner.stock = rig.journal().load(&owner.sku).await.unwrap();
    owner.put(&*rig, sell(1)).await.unwrap();
}

async fn events_are_read_in_order_without_gaps(mut rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(10_000)).await.unwrap();
    for i in 0..500 {
        owner.put(&*rig, sell(1)).await.unwrap();
        if i % 200 == 0 {
            rig = rig.crash();
        }
    }
    let mut after = 0;
    loop {
        let page = rig.journal().events(after, 77).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.iter().map(|(seq, _)| *seq).eq(after + 1..=*last));
        assert!(page.iter().all(|(seq, event)| event.changes[0].version == *seq));
        after = *last;
    }
    assert_eq!(after, 501);
    // Where they were kept in memory since they were written, they are the same as when they are read back.
    let newest = rig.journal().events(450, 100).await.unwrap();
    assert_eq!(newest.len(), 51);
    assert_eq!(rig.crash().journal().events(450, 100).await.unwrap(), newest);
}

/// Owners with ten events each in turn, their times far apart, and now and then one event of two of them.
async fn write_history(rig: &dyn Rig, owners: &mut [Owner]) {
    for (i, owner) in owners.iter_mut().enumerate() {
        owner.now = owner.now.plus_seconds(1000 * (1 + i as u64 % 3));
        if owner.stock.version() == 0 {
            owner.put(rig, count(1000)).await.unwrap();
        }
        for _ in 0..8 {
            owner.put(rig, sell(1)).await.unwrap();
        }
        let found = Action::Adjust {
            delta: 3,
            movement: Movement::Return,
            note: None,
        };
        owner.put(rig, found).await.unwrap();
        let named = Set {
            quantity: owner.stock.quantity(),
            details: Details {
                name: Some(format!("the {i}. at {}", owner.now).into()),
                ..Details::default()
            },
            ..Set::default()
        };
        owner.put(rig, Action::Set(Box::new(named))).await.unwrap();
        let held = Reserve {
            quantity: 1,
            reservation_id: ReservationId::parse(&format!("{i} {}", owner.stock.version())).unwrap(),
            is_taken: false,
            over_quota: None,
            ttl_seconds: Some(1),
            reference: None,
        };
        owner.put(rig, Action::Reserve(held)).await.unwrap();
        owner.now = owner.now.plus_seconds(1);
        let grounds = vec![(owner.sku.clone(), owner.stock.version())];
        let event = Arc::new(expire(&owner.sku, &owner.stock, owner.now, &origin()).remove(0));
        owner.stock.evolve(&owner.sku, &event);
        let records = vec![Record { event, receipt: None }];
        rig.journal().append(Append::of_stock(grounds, records)).await.unwrap();
    }
    let [a, b, ..] = owners else { return };
    let grounds = vec![(a.sku.clone(), a.stock.version()), (b.sku.clone(), b.stock.version())];
    let (mut joint, other) = ((*a.decide(sell(1))).clone(), b.decide(count(500)));
    joint.changes.extend(other.changes.iter().cloned());
    let record = Record {
        event: Arc::new(joint),
        receipt: None,
    };
    let append = Append::of_stock(grounds, vec![record]);
    rig.journal().append(append).await.unwrap();
}

fn store_entry(name: &str) -> Entry {
    let at = Timestamp::from_millis(1_000_000);
    Entry::Store(Arc::new(Store {
        store_id: store(name),
        name: name.to_owned(),
        location: None,
        time_zone: None,
        sync_interval_seconds: None,
        created_at: at,
        updated_at: at,
    }))
}

fn entry_append(name: &str, before: u64, entry: Option<Entry>) -> Append {
    let key = EntryKey::Store(store(name));
    let origin = origin();
    let event = Event {
        kind: EventKind::StoreUpdated,
        at: Timestamp::from_millis(1_000_000),
        by: origin.by.clone(),
        request_id: origin.request_id.clone(),
        reservation_id: None,
        reference: None,
        note: None,
        changes: Vec::new(),
        holds: Vec::new(),
        items: Vec::new(),
        entries: vec![EntryChange {
            key: key.clone(),
            version: before + 1,
            entry,
        }],
    };
    Append {
        entry_grounds: vec![(key, before)],
        records: vec![Record {
            event: Arc::new(event),
            receipt: None,
        }],
        ..Append::default()
    }
}

async fn entries_are_kept_on_the_version_that_they_were_decided_on(rig: Box<dyn Rig>) {
    let put = async |rig: &dyn Rig, append: Append| rig.journal().append(append).await.map(drop);
    for name in ["c", "a", "b"] {
        put(&*rig, entry_append(name, 0, Some(store_entry(name))))
            .await
            .unwrap();
    }
    let stale = entry_append("a", 0, Some(store_entry("a")));
    assert_eq!(put(&*rig, stale).await, Err(JournalError::Conflict));
    rig.hold();
    let journal = rig.journal();
    let first = journal.append(entry_append("b", 1, None));
    let second = journal.append(entry_append("b", 1, Some(store_entry("b"))));
    rig.release();
    assert_eq!(first.await.map(drop), Ok(()));
    assert_eq!(second.await, Err(JournalError::Conflict));
    drop(journal);
    let mut rig = rig;
    for _ in 0..2 {
        let journal = rig.journal();
        let found = journal.entries(EntryKind::Store, None, 10).await.unwrap();
        let names: Vec<EntryKey> = found.into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, ["a", "c"].map(|name| EntryKey::Store(store(name))));
        let behind = journal.entries(EntryKind::Store, Some(&names[0]), 1).await.unwrap();
        assert_eq!((behind.len(), &behind[0].0), (1, &names[1]));
        assert!(journal.entries(EntryKind::User, None, 10).await.unwrap().is_empty());
        let b = EntryKey::Store(store("b"));
        assert_eq!(journal.entry(&b).await.unwrap(), None);
        assert_eq!(journal.entry_version(&b).await.unwrap(), 2);
        let a = journal.entry(&names[0]).await.unwrap().unwrap();
        assert_eq!((a.version, a.entry), (1, store_entry("a")));
        drop(journal);
        rig = rig.crash();
    }
    put(&*rig, entry_append("b", 2, Some(store_entry("b")))).await.unwrap();
}

fn named(name: &str) -> Box<Details> {
    Box::new(Details {
        name: Some(name.into()),
        archived: name == "old",
        ..Details::default()
    })
}

impl Owner {
    async fn put_product(&mut self, rig: &dyn Rig, action: ProductAction) {
        self.put(rig, Action::Product(action)).await.unwrap();
    }
}

async fn products_are_made_changed_deleted_and_made_again(mut rig: Box<dyn Rig>) {
    let (mut a, mut b) = (Owner::new("A"), Owner::new("b"));
    a.put_product(&*rig, ProductAction::Create(named("new"))).await;
    a.put_product(&*rig, ProductAction::Replace(named("old"))).await;
    b.put(&*rig, count(0)).await.unwrap();
    let listed = async |rig: &dyn Rig, archived| {
        let filter = ProductFilter { q: None, archived };
        let found = rig.journal().products(&filter, None, 10).await.unwrap();
        found
            .into_iter()
            .map(|(sku, product)| (sku.to_string(), product.version))
            .collect::<Vec<_>>()
    };
    let row = |sku: &str, version| (sku.to_owned(), version);
    for _ in 0..2 {
        assert_eq!(listed(&*rig, None).await, [row("A", 2), row("b", 1)]);
        assert_eq!(listed(&*rig, Some(true)).await, [row("A", 2)]);
        assert_eq!(rig.journal().item(&a.sku).await.unwrap().unwrap().item.levels, []);
        rig = rig.crash();
    }
    a.put_product(&*rig, ProductAction::Delete).await;
    b.put_product(&*rig, ProductAction::Delete).await;
    for _ in 0..2 {
        assert_eq!(listed(&*rig, None).await, []);
        assert_eq!(rig.journal().product(&a.sku).await.unwrap(), None);
        assert_eq!(rig.journal().item(&a.sku).await.unwrap(), None);
        assert_eq!(quantity(&*rig, &b.sku, "s").await, None);
        assert_eq!(rig.journal().levels_in(&store("s"), None, 10).await.unwrap(), []);
        assert_eq!(rig.journal().load(&a.sku).await.unwrap(), a.stock);
        rig = rig.crash();
    }
    b.put(&*rig, count(7)).await.unwrap();
    let level = rig.journal().level(&b.sku, &b.store).await.unwrap().unwrap().level;
    assert_eq!((level.quantity, level.version), (7, 3));
    assert_eq!(listed(&*rig, None).await, [row("b", 3)]);
    let ended = HistoryFilter {
        sku: Some(b.sku.clone()),
        ended: true,
        ..HistoryFilter::default()
    };
    assert_eq!(rig.journal().history(ended, u64::MAX, 10).await.unwrap().len(), 1);
}

async fn the_first_level_in_a_store_makes_its_entry(rig: Box<dyn Rig>) {
    let (mut a, mut b) = (Owner::new("A"), Owner::new("B"));
    rig.hold();
    let journal = rig.journal();
    let first = journal.append(a.append(count(1), None));
    let second = journal.append(b.append(count(1), None));
    // It was decided when there was no such store, and stands behind the append that makes it.
    let stale = journal.append(entry_append("s", 0, Some(store_entry("s"))));
    rig.release();
    assert_eq!((first.await.is_ok(), second.await.is_ok()), (true, true));
    assert_eq!(stale.await, Err(JournalError::Conflict));
    let renamed = entry_append("s", 1, Some(store_entry("s")));
    journal.append(renamed).await.unwrap();
    drop(journal);
    let key = EntryKey::Store(store("s"));
    let rig = rig.crash();
    assert_eq!(rig.journal().entry_version(&key).await.unwrap(), 2);
    assert_eq!(rig.journal().store_version(&store("s")), Some(2));
    assert_eq!(rig.journal().store_version(&store("elsewhere")), None);
}

fn closing_append(before: u64, entry: Option<Entry>) -> Append {
    let mut append = entry_append("s", before, entry);
    let key = EntryKey::Closing(store("s"));
    append.entry_grounds[0].0 = key.clone();
    let mut event = (*append.records[0].event).clone();
    event.entries[0].key = key;
    append.records[0].event = Arc::new(event);
    append
}

async fn nothing_comes_to_a_store_that_is_about_to_be_deleted(rig: Box<dyn Rig>) {
    let (mut a, mut new) = (Owner::new("A"), Owner::new("NEW"));
    a.put(&*rig, count(5)).await.unwrap();
    rig.hold();
    let journal = rig.journal();
    let before = journal.append(a.append(sell(1), None));
    let closing = journal.append(closing_append(0, Some(Entry::Closing)));
    let (level, stock) = (new.append(count(0), None), a.stock.clone());
    let refused = [journal.append(level), journal.append(a.append(count(9), None))];
    a.stock = stock;
    let sold = journal.append(a.append(sell(1), None));
    rig.release();
    assert_eq!(
        (before.await.is_ok(), closing.await.is_ok(), sold.await.is_ok()),
        (true, true, true)
    );
    for refused in refused {
        assert_eq!(refused.await, Err(JournalError::Conflict));
    }
    drop(journal);
    let rig = rig.crash();
    assert_eq!(rig.journal().closing(), [store("s")]);
    assert!(rig.journal().is_closing(&store("s")) && !rig.journal().is_closing(&store("t")));
    let stock = a.stock.clone();
    assert_eq!(a.put(&*rig, count(9)).await, Err(JournalError::Conflict));
    a.stock = stock;
    rig.journal().append(closing_append(1, None)).await.unwrap();
    a.put(&*rig, count(9)).await.unwrap();
    assert_eq!(quantity(&*rig, &a.sku, "s").await, Some(9));
    assert_eq!(rig.journal().closing(), []);
}

/// What histories are asked for, with how much each is to find at least.
fn history_filters(events: &[Logged]) -> Vec<(HistoryFilter, usize)> {
    let all = HistoryFilter::default;
    let (early, late) = (Timestamp::from_millis(3_000_000), Timestamp::from_millis(5_000_000));
    let middle = events.len() as u64 / 2;
    let of_sku = |name| HistoryFilter {
        sku: Some(sku(name)),
        ..all()
    };
    let moved_by = |movement| HistoryFilter {
        movement: Some(movement),
        ..all()
    };
    let in_store = |name| HistoryFilter {
        store: Some(store(name)),
        ..all()
    };
    let within = |from, to| HistoryFilter { from, to, ..all() };
    let seen = |names: &[&str]| HistoryFilter {
        scope: scope(names),
        ..all()
    };
    vec![
        (seen(&["s"]), 50),
        (seen(&["elsewhere"]), 10),
        (seen(&["elsewhere", "nowhere"]), 10),
        (seen(&["elsewhere", "s"]), 60),
        (seen(&["nowhere"]), 0),
        (seen(&[]), 0),
        (
            HistoryFilter {
                movement: Some(Movement::Return),
                ..seen(&["elsewhere"])
            },
            1,
        ),
        (
            HistoryFilter {
                store: Some(store("s")),
                ..seen(&["elsewhere"])
            },
            0,
        ),
        (
            HistoryFilter {
                sku: Some(sku("SKU 5")),
                ..seen(&["s"])
            },
            0,
        ),
        (all(), 50),
        (of_sku("SKU 3"), 10),
        (of_sku("sku 3"), 0),
        (
            HistoryFilter {
                described: true,
                ..of_sku("SKU 3")
            },
            1,
        ),
        (
            HistoryFilter {
                expired: true,
                ..of_sku("SKU 3")
            },
            1,
        ),
        (in_store("s"), 50),
        (in_store("elsewhere"), 10),
        (in_store("SKU 3"), 0),
        (moved_by(Movement::Return), 6),
        (moved_by(Movement::Count), 6),
        (moved_by(Movement::TransferIn), 0),
        (within(Some(early), None), 10),
        (within(None, Some(early)), 10),
        (within(Some(early), Some(late)), 10),
        (within(Some(Timestamp::from_millis(i64::MAX)), None), 0),
        (
            HistoryFilter {
                after: middle,
                ..of_sku("SKU 1")
            },
            1,
        ),
        (HistoryFilter { after: middle, ..all() }, 30),
        (
            HistoryFilter {
                after: u64::MAX,
                ..of_sku("SKU 1")
            },
            0,
        ),
        (
            HistoryFilter {
                moved: true,
                to: Some(early),
                ..of_sku("SKU 0")
            },
            1,
        ),
        (
            HistoryFilter {
                store: Some(store("s")),
                movement: Some(Movement::Return),
                ..of_sku("SKU 4")
            },
            1,
        ),
        // SKU 0 was sold and SKU 1 was counted in one event: no change of it fits both.
        (
            HistoryFilter {
                after: events.len() as u64 - 1,
                movement: Some(Movement::Count),
                ..of_sku("SKU 0")
            },
            0,
        ),
    ]
}

async fn assert_history(rig: &dyn Rig) {
    let events = rig.journal().events(0, 10_000).await.unwrap();
    for (filter, at_least) in history_filters(&events) {
        let fitting = events.iter().rev().filter(|(seq, _)| *seq > filter.after);
        let expected: Vec<_> = fitting.filter(|(_, event)| filter.takes(event)).cloned().collect();
        assert!(expected.len() >= at_least, "{filter:?} finds too little to tell");
        for (before, limit) in [
            (u64::MAX, 10_000),
            (u64::MAX, 1),
            (97, 10_000),
            (98, 3),
            (1, 5),
            (0, 5),
            (50, 0),
        ] {
            let below = expected.iter().filter(|(seq, _)| *seq < before);
            let expected: Vec<_> = below.take(limit).cloned().collect();
            let found = rig.journal().history(filter.clone(), before, limit).await.unwrap();
            assert_eq!(found, expected, "{filter:?} below {before}, {limit} at most");
        }
        let (mut before, mut paged) = (u64::MAX, Vec::new());
        while let page = rig.journal().history(filter.clone(), before, 7).await.unwrap()
            && let Some((last, _)) = page.last()
        {
            before = *last;
            paged.extend(page);
        }
        assert_eq!(paged, expected, "{filter:?} by pages");
    }
}

async fn history_is_found_newest_first_by_all_that_a_filter_names(mut rig: Box<dyn Rig>) {
    let mut owners: Vec<Owner> = (0..6).map(|i| Owner::new(&format!("SKU {i}"))).collect();
    owners[5].store = store("elsewhere");
    for _ in 0..3 {
        write_history(&*rig, &mut owners).await;
        assert_history(&*rig).await;
        rig = rig.crash();
        assert_history(&*rig).await;
    }
}

async fn a_record_is_read_with_its_receipt(mut rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    owner.put(&*rig, count(1000)).await.unwrap();
    let grounds = vec![(owner.sku.clone(), owner.stock.version())];
    let records: Vec<Record> = (0..300u32)
        .map(|n| Record {
            event: owner.decide(sell(1)),
            receipt: (n % 2 == 0).then(|| {
                let key = Fingerprint::of(&[&n.to_le_bytes()]);
                Box::new(Receipt::new(key, Fingerprint::of(&[b"body"]), 200))
            }),
        })
        .collect();
    let append = Append::of_stock(grounds, records.clone());
    let Appended { first_seq } = rig.journal().append(append).await.unwrap();
    for _ in 0..2 {
        for (record, seq) in records.iter().zip(first_seq..) {
            let found = rig.journal().record(seq).await.unwrap().unwrap();
            assert_eq!(
                (found.event, found.receipt),
                (record.event.clone(), record.receipt.clone())
            );
        }
        for seq in [0, first_seq + 300, u64::MAX] {
            assert!(rig.journal().record(seq).await.unwrap().is_none(), "record {seq}");
        }
        rig = rig.crash();
    }
}

async fn levels_of_a_store_are_listed_in_order_behind_a_sku(rig: Box<dyn Rig>) {
    for name in ["b", "a", "B", "c d", "a/1"] {
        Owner::new(name).put(&*rig, count(1)).await.unwrap();
    }
    Owner {
        store: store("elsewhere"),
        ..Owner::new("z")
    }
    .put(&*rig, count(1))
    .await
    .unwrap();
    let rig = rig.crash();
    let all = rig.journal().levels_in(&store("s"), None, 10).await.unwrap();
    assert_eq!(
        all.iter().map(|(sku, _)| sku.as_str()).collect::<Vec<_>>(),
        ["a", "a/1", "B", "b", "c d"]
    );
    let some = rig.journal().levels_in(&store("s"), Some(&sku("a")), 2).await.unwrap();
    assert_eq!(
        some.iter().map(|(sku, _)| sku.as_str()).collect::<Vec<_>>(),
        ["a/1", "B"]
    );
}

async fn items_are_listed_by_the_stores_that_are_seen(rig: Box<dyn Rig>) {
    for (name, in_store, reorder_point) in [
        ("a", "s", 1),
        ("b", "t", 0),
        ("c", "u", 1),
        ("a", "u", 0),
        ("d", "t", 1),
    ] {
        let mut owner = Owner {
            store: store(in_store),
            stock: rig.journal().load(&sku(name)).await.unwrap(),
            ..Owner::new(name)
        };
        let counted = Set {
            quantity: 1,
            reorder_point: ReorderPoint::At(reorder_point),
            details: Details {
                name: Some(format!("heart {name}").into()),
                ..Details::default()
            },
            ..Set::default()
        };
        owner.put(&*rig, Action::Set(Box::new(counted))).await.unwrap();
    }
    let rig = rig.crash();
    let found = async |filter: &ItemFilter, limit: usize| {
        let (mut found, mut after): (String, Option<Sku>) = (String::new(), None);
        loop {
            let page = rig.journal().items(filter, after.as_ref(), limit).await.unwrap();
            page.iter().for_each(|(sku, _)| found.push_str(sku.as_str()));
            match page.last() {
                Some((last, _)) => after = Some(last.clone()),
                None => return found,
            }
        }
    };
    for q in [None, Some("heart".to_owned())] {
        let seen = |names: &[&str]| ItemFilter {
            q: q.clone(),
            scope: scope(names),
            ..ItemFilter::default()
        };
        let low = |names| ItemFilter {
            low_stock: true,
            ..seen(names)
        };
        let in_store = |name, names| ItemFilter {
            store: Some(store(name)),
            ..seen(names)
        };
        for limit in [1, 10] {
            assert_eq!(found(&seen(&["t"]), limit).await, "bd");
            assert_eq!(found(&seen(&["s", "t"]), limit).await, "abd");
            assert_eq!(found(&seen(&["nowhere"]), limit).await, "");
            assert_eq!(found(&seen(&[]), limit).await, "");
            // In store u, a is not low.
            assert_eq!(found(&low(&["u"]), limit).await, "c");
            assert_eq!(found(&low(&["t", "u"]), limit).await, "cd");
            assert_eq!(found(&in_store("u", &["s", "u"]), limit).await, "ac");
            assert_eq!(found(&in_store("u", &["s", "t"]), limit).await, "");
        }
    }
}

async fn status_of(rig: &dyn Rig, id: &ReservationId) -> Option<ReservationStatus> {
    let reservation = rig.journal().reservation(id).await.unwrap();
    reservation.map(|reservation| reservation.status)
}

async fn deadlines_and_reservations_follow_the_holds(rig: Box<dyn Rig>) {
    let mut owner = Owner::new("A");
    let id = ReservationId::parse("cart-1").unwrap();
    let reserve = |ttl_seconds| {
        let reservation_id = id.clone();
        Action::Reserve(Reserve {
            quantity: 2,
            reservation_id,
            is_taken: false,
            over_quota: None,
            ttl_seconds,
            reference: None,
        })
    };
    owner.put(&*rig, count(10)).await.unwrap();
    owner.put(&*rig, reserve(Some(5))).await.unwrap();
    let rig = rig.crash();
    let deadline = owner.now.plus_seconds(5);
    assert_eq!(
        rig.journal().deadlines().await.unwrap(),
        [(deadline, owner.sku.clone())]
    );
    let view = rig.journal().level(&owner.sku, &owner.store).await.unwrap().unwrap();
    assert_eq!((view.level.reserved, view.next_deadline), (2, Some(deadline)));
    assert_eq!(status_of(&*rig, &id).await, Some(ReservationStatus::Active));
    owner
        .put(
            &*rig,
            Action::ReleaseReservation {
                reservation_id: id.clone(),
                is_hidden: false,
            },
        )
        .await
        .unwrap();
    let rig = rig.crash();
    assert_eq!(rig.journal().deadlines().await.unwrap(), []);
    assert_eq!(status_of(&*rig, &id).await, Some(ReservationStatus::Released));
    assert_eq!(rig.journal().last_time(), owner.now);
}
