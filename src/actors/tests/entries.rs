//! Changes of stores on a journal that waits and fails on demand, whose callers go away meanwhile.

use std::cell::Cell;

use futures_util::FutureExt;

use super::*;
use crate::actors::entries::EntryWrite;
use crate::actors::stores::StoreDeletion;
use crate::domain::{Entry, EntryKey, EventKind, Store};
use crate::journal::{Append, Record};

type Answer = Result<Outcome, ExecuteError>;

fn store_id() -> StoreId {
    StoreId::parse("t").unwrap()
}

fn keyed(name: &str) -> Option<Keyed> {
    key(name).keyed
}

fn write(keyed: Option<Keyed>) -> EntryWrite {
    EntryWrite {
        key: EntryKey::Store(store_id()),
        origin: sell(1).origin,
        keyed,
    }
}

fn store(at: Timestamp) -> Entry {
    Entry::Store(Arc::new(Store {
        store_id: store_id(),
        name: "T".to_owned(),
        location: None,
        time_zone: None,
        sync_interval_seconds: None,
        created_at: at,
        updated_at: at,
    }))
}

async fn create(inventory: &Arc<Inventory>, keyed: Option<Keyed>) -> Answer {
    let decide = |_: Option<&_>, now| Ok((EventKind::StoreCreated, Some(store(now))));
    inventory.change_entry(write(keyed), decide).await
}

/// Asks for a store, and goes away before it is answered.
async fn create_and_leave(inventory: &Arc<Inventory>) {
    let asking = inventory.clone();
    let asked = actix_web::rt::spawn(async move { create(&asking, keyed("k")).await });
    settle().await;
    asked.abort();
    assert!(asked.await.is_err(), "it was answered");
}

#[test]
fn the_key_of_a_change_is_taken_until_it_is_done_though_its_caller_has_gone() {
    run(|journal, inventory| async move {
        journal.hold();
        create_and_leave(&inventory).await;
        let refused = create(&inventory, keyed("k")).await;
        assert!(matches!(refused, Err(ExecuteError::KeyInFlight)), "{refused:?}");
        journal.release();
        settle().await;
        let again = create(&inventory, keyed("k")).await.unwrap();
        assert_eq!(again.replayed, Some(200));
    });
}

#[test]
fn the_key_of_a_change_that_nobody_knows_the_outcome_of_is_not_free_though_its_caller_has_gone() {
    run(|journal, inventory| async move {
        journal.hold();
        create_and_leave(&inventory).await;
        journal.fail(Some(Fault::Sync));
        journal.release();
        settle().await;
        let refused = create(&inventory, keyed("k")).await.unwrap_err();
        assert!(
            matches!(refused, ExecuteError::Journal(JournalError::Unknown(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn a_deletion_whose_key_was_used_meanwhile_ends() {
    run(|journal, inventory| async move {
        create(&inventory, None).await.unwrap();
        let (now, is_used) = (inventory.now(), Cell::new(false));
        let other = EntryKey::Store(StoreId::parse("u").unwrap());
        let used = EntryWrite {
            key: other.clone(),
            ..write(keyed("k"))
        };
        let event = Arc::new(used.event(EventKind::StoreCreated, Some(store(now)), 1, now));
        let receipt = used.keyed.map(|keyed| Receipt::new(keyed.key, keyed.fingerprint, 201));
        let appending = journal.clone();
        let check = move |_: Option<&_>| {
            if !is_used.replace(true) {
                let append = Append {
                    entry_grounds: vec![(other.clone(), 0)],
                    records: vec![Record {
                        event: event.clone(),
                        receipt: receipt.clone().map(Box::new),
                    }],
                    ..Append::default()
                };
                appending.append(append).now_or_never().unwrap().unwrap();
            }
            Ok::<_, ExecuteError>(())
        };
        let deletion = StoreDeletion {
            store_id: store_id(),
            origin: sell(1).origin,
            keyed: keyed("k"),
            check,
        };
        let deleted = tokio::time::timeout(Duration::from_secs(5), inventory.delete_store(deletion)).await;
        let answer = deleted.expect("it goes on for ever").unwrap();
        assert_eq!(answer.replayed, Some(201));
        let kept = journal.entry(&EntryKey::Store(store_id())).await.unwrap();
        assert!(kept.is_some(), "the store is gone");
    });
}
