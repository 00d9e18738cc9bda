//! The actors on a journal that waits and fails on demand.

mod entries;
mod quota;
mod scope;
mod steps;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;

use super::*;
use crate::domain::command::{Reserve, Resource, Set};
use crate::domain::{Expected, Movement, Origin, Principal, RequestId, Scope};
use crate::journal::contract::Fault;
use crate::journal::memory::MemoryJournal;

const DAY_MS: i64 = 86_400_000;

fn settings() -> Settings {
    Settings {
        queue_limit: 8,
        idle_after: Duration::from_millis(50),
        snapshot_interval: Duration::from_millis(20),
        snapshots_per_second: 1000,
        open_holds: 0,
        strict_catalogue: false,
        sync: SyncSchedule::of_setting(0),
        is_recording: true,
    }
}

/// Runs a test within an actix system, on an inventory with 10 of SKU A on hand.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<MemoryJournal>, Arc<Inventory>) -> F) {
    actix_web::rt::System::new().block_on(async {
        let journal = Arc::new(MemoryJournal::new(DAY_MS));
        let inventory = Inventory::start(journal.clone(), settings());
        inventory.execute(count(10), Options::default()).await.unwrap();
        test(journal, inventory).await;
    });
}

fn request(action: Action) -> Request {
    Request {
        sku: Sku::parse("A").unwrap(),
        store_id: StoreId::parse("s").unwrap(),
        action,
        resource: Resource::Level,
        expected: Expected::default(),
        origin: Arc::new(Origin {
            by: Principal::anonymous(),
            request_id: RequestId::parse("r").unwrap(),
            scope: Scope::default(),
        }),
    }
}

fn count(quantity: u64) -> Request {
    request(Action::Set(Box::new(Set {
        quantity,
        ..Set::default()
    })))
}

fn sell(quantity: i64) -> Request {
    request(Action::Adjust {
        delta: -quantity,
        movement: Movement::Sale,
        note: None,
    })
}

fn reserve(ttl_seconds: u64) -> Request {
    let reservation_id = new_id().into();
    let ttl_seconds = Some(ttl_seconds);
    request(Action::Reserve(Reserve {
        quantity: 1,
        reservation_id,
        is_taken: false,
        over_quota: None,
        ttl_seconds,
        reference: None,
    }))
}

fn key(name: &str) -> Options {
    let digest = Digest::of(&[name.as_bytes()]);
    Options {
        keyed: Some(Keyed {
            key: digest,
            fingerprint: digest,
            status: |_| 200,
        }),
        ..Options::default()
    }
}

async fn level(inventory: &Arc<Inventory>) -> Level {
    inventory
        .level(&Sku::parse("A").unwrap(), &StoreId::parse("s").unwrap())
        .await
        .unwrap()
        .unwrap()
}

fn spawn(inventory: &Arc<Inventory>, request: Request, options: Options) -> JoinHandle<Result<Outcome, ExecuteError>> {
    let inventory = inventory.clone();
    actix_web::rt::spawn(async move { inventory.execute(request, options).await })
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[test]
fn a_refusal_decided_on_what_is_in_flight_waits_for_it() {
    run(|journal, inventory| async move {
        journal.hold();
        let first = spawn(&inventory, sell(1), Options::default());
        settle().await;
        let second = spawn(&inventory, sell(9), Options::default());
        let third = spawn(&inventory, sell(1), Options::default());
        settle().await;
        assert!(!first.is_finished() && !second.is_finished() && !third.is_finished());
        assert_eq!(level(&inventory).await.quantity, 10);
        journal.release();
        assert!(first.await.unwrap().is_ok());
        assert!(second.await.unwrap().is_ok());
        assert!(matches!(third.await.unwrap(), Err(ExecuteError::Refused(_))));
        assert_eq!(level(&inventory).await.quantity, 0);
    });
}

#[test]
fn a_failed_append_answers_everyone_and_the_actor_goes_on_from_what_is_durable() {
    run(|journal, inventory| async move {
        journal.fail(Some(Fault::Full));
        journal.hold();
        let refused = [
            spawn(&inventory, sell(4), Options::default()),
            spawn(&inventory, sell(7), Options::default()),
        ];
        settle().await;
        journal.release();
        for refused in refused {
            let error = refused.await.unwrap().unwrap_err();
            assert!(
                matches!(error, ExecuteError::Journal(JournalError::Unavailable(_))),
                "{error:?}"
            );
        }
        assert_eq!(level(&inventory).await.quantity, 10);
        journal.fail(None);
        assert_eq!(
            inventory
                .execute(sell(10), Options::default())
                .await
                .unwrap()
                .event
                .changes[0]
                .quantity,
            0
        );
    });
}

#[test]
fn a_write_under_way_when_a_sync_fails_is_unknown_and_its_key_stays_so() {
    run(|journal, inventory| async move {
        journal.fail(Some(Fault::Sync));
        let error = inventory.execute(sell(1), key("k")).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Journal(JournalError::Unknown(_))),
            "{error:?}"
        );
        assert!(matches!(
            inventory.operation(Digest::of(&[b"k"])).await,
            Ok(Operation::Unknown)
        ));
        let again = inventory.execute(sell(1), key("k")).await.unwrap_err();
        assert!(
            matches!(again, ExecuteError::Journal(JournalError::Unknown(_))),
            "{again:?}"
        );
        let other = inventory.execute(sell(1), key("other")).await.unwrap_err();
        assert!(
            matches!(other, ExecuteError::Journal(JournalError::Unavailable(_))),
            "{other:?}"
        );
        assert_eq!(level(&inventory).await.quantity, 10);
    });
}

#[test]
fn a_key_is_pending_while_its_write_runs_also_when_its_client_is_gone() {
    run(|journal, inventory| async move {
        journal.hold();
        spawn(&inventory, sell(1), key("k")).abort();
        let running = spawn(&inventory, sell(1), key("k2"));
        settle().await;
        running.abort();
        assert!(matches!(
            inventory.operation(Digest::of(&[b"k2"])).await,
            Ok(Operation::Pending)
        ));
        assert_eq!(
            inventory.execute(sell(1), key("k2")).await.unwrap_err(),
            ExecuteError::KeyInFlight
        );
        journal.release();
        settle().await;
        assert!(matches!(
            inventory.operation(Digest::of(&[b"k2"])).await,
            Ok(Operation::Completed { .. })
        ));
        assert!(inventory.execute(sell(1), key("k2")).await.unwrap().replayed.is_some());
        assert_eq!(level(&inventory).await.quantity, 9);
    });
}

#[test]
fn past_the_limit_of_its_queue_a_sku_refuses_and_recovers() {
    run(|journal, inventory| async move {
        journal.hold();
        let waiting: Vec<_> = (0..8).map(|_| spawn(&inventory, sell(1), Options::default())).collect();
        settle().await;
        let refused = inventory.execute(sell(1), Options::default()).await.unwrap_err();
        assert!(matches!(refused, ExecuteError::Overloaded { .. }), "{refused:?}");
        journal.release();
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_ok());
        }
        assert!(inventory.execute(sell(1), Options::default()).await.is_ok());
        assert_eq!(level(&inventory).await.quantity, 1);
    });
}

#[test]
fn an_idle_actor_is_stopped_and_its_sku_goes_on_with_its_holds() {
    run(|_, inventory| async move {
        inventory.execute(reserve(3600), Options::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(inventory.registry.running(), 0);
        let error = inventory.execute(sell(10), Options::default()).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Refused(_)),
            "the hold still stands: {error:?}"
        );
        inventory.execute(sell(9), Options::default()).await.unwrap();
        assert_eq!(inventory.registry.running(), 1);
    });
}

#[test]
fn a_hold_is_over_for_reads_at_its_moment_and_recorded_unasked() {
    run(|journal, inventory| async move {
        let placed = inventory.execute(reserve(1), Options::default()).await.unwrap();
        let over_at = placed.event.holds[0].expires_at.unwrap();
        assert_eq!(level(&inventory).await.reserved, 1);
        while chrono::Utc::now().timestamp_millis() < over_at.as_millis() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(level(&inventory).await.reserved, 0);
        inventory.execute(reserve(1), Options::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1900)).await;
        let last = journal.events(4, 10).await.unwrap();
        assert_eq!(last.len(), 1, "nobody read, and the expiry is recorded all the same");
        assert_eq!(last[0].1.kind, crate::domain::EventKind::ReservationExpired);
    });
}

#[test]
fn an_expiry_that_cannot_be_recorded_is_tried_again_and_not_without_pause() {
    run(|journal, inventory| async move {
        inventory.execute(reserve(1), Options::default()).await.unwrap();
        journal.fail(Some(Fault::Full));
        tokio::time::sleep(Duration::from_millis(2200)).await;
        let tries = journal.refused();
        assert!((1..=12).contains(&tries), "{tries} tries in about a second");
        journal.fail(None);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(journal.events(2, 10).await.unwrap().len(), 1);
    });
}

fn batch(requests: impl IntoIterator<Item = Request>) -> Vec<batch::Operation> {
    let operations = (0..).zip(requests).map(|(index, request)| batch::Operation {
        index,
        request,
        chose_reservation: false,
    });
    operations.collect()
}

fn spawn_batch(
    inventory: &Arc<Inventory>,
    requests: impl IntoIterator<Item = Request>,
    name: &str,
) -> JoinHandle<Result<batch::Outcomes, ExecuteError>> {
    let (inventory, operations, keyed) = (inventory.clone(), batch(requests), key(name).keyed);
    actix_web::rt::spawn(async move { inventory.execute_each(operations, keyed, false).await })
}

#[test]
fn a_batch_that_is_repeated_is_pending_until_all_of_it_is_done() {
    run(|journal, inventory| async move {
        let requests = || [sell(4), sell(9)];
        let first = spawn_batch(&inventory, requests(), "batch").await.unwrap().unwrap();
        assert!(first[0].1.is_ok() && first[1].1.is_err());
        inventory.execute(count(9), Options::default()).await.unwrap();
        journal.hold();
        let again = spawn_batch(&inventory, requests(), "batch");
        settle().await;
        let digest = Digest::of(&[b"batch"]);
        assert!(matches!(inventory.operation(digest).await.unwrap(), Operation::Pending));
        journal.release();
        let again = again.await.unwrap().unwrap();
        assert!(again.iter().all(|(_, outcome)| outcome.is_ok()));
        assert_eq!(level(&inventory).await.quantity, 0, "the first of them was done before");
        match inventory.operation(digest).await.unwrap() {
            Operation::CompletedBatch(outcomes) => assert_eq!(outcomes.len(), 2),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_failed_append_answers_every_batch_and_single_write_that_was_decided_on_it() {
    run(|journal, inventory| async move {
        journal.hold();
        // The second is decided on the state that the first leaves, the third waits for both.
        let first = spawn_batch(&inventory, [sell(1), sell(2)], "first");
        settle().await;
        let second = spawn_batch(&inventory, [sell(7)], "second");
        settle().await;
        let third = spawn(&inventory, sell(8), Options::default());
        settle().await;
        journal.fail(Some(Fault::Full));
        journal.release();
        for batch in [first, second] {
            for (_, outcome) in batch.await.unwrap().unwrap() {
                let error = outcome.unwrap_err();
                assert!(matches!(error, ExecuteError::Journal(_)), "{error:?}");
            }
        }
        assert!(third.await.unwrap().is_err());
        assert_eq!(level(&inventory).await.quantity, 10);
        journal.fail(None);
        let again = spawn_batch(&inventory, [sell(1), sell(2)], "first")
            .await
            .unwrap()
            .unwrap();
        assert!(again.iter().all(|(_, outcome)| outcome.is_ok()), "{again:?}");
        assert_eq!(level(&inventory).await.quantity, 7);
    });
}

#[test]
fn a_failed_sync_leaves_the_key_of_a_batch_unknown() {
    run(|journal, inventory| async move {
        journal.fail(Some(Fault::Sync));
        let outcomes = spawn_batch(&inventory, [sell(1)], "batch").await.unwrap().unwrap();
        let unknown = ExecuteError::Journal(JournalError::Unknown("sync failed".into()));
        assert_eq!(outcomes[0].1.as_ref().err(), Some(&unknown));
        let operation = inventory.operation(Digest::of(&[b"batch"])).await.unwrap();
        assert!(matches!(operation, Operation::Unknown));
    });
}
