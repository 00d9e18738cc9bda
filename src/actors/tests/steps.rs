//! Joint steps on a journal that waits and fails on demand.

use super::*;
use crate::actors::joint::Ask;
use crate::domain::command::Counted;
use crate::domain::joint::{Cart, CartLine, JointRefusal, LineFault};
use crate::domain::{AllOpen, Event, EventKind, Reservation, ReservationStatus, Stock, decide};
use crate::journal::{Append, Record};

type Answered = Result<Outcome, ExecuteError>;

/// Runs a test on an inventory with ten of A and ten of B.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<MemoryJournal>, Arc<Inventory>) -> F) {
    super::run(|journal, inventory| async move {
        let counted = inventory.execute(of("B", count(10)), Options::default()).await;
        counted.unwrap();
        let in_time = tokio::time::timeout(Duration::from_secs(20), test(journal, inventory));
        in_time.await.expect("somebody waits for ever");
    });
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn store() -> StoreId {
    StoreId::parse("s").unwrap()
}

fn id(name: &str) -> ReservationId {
    ReservationId::parse(name).unwrap()
}

fn of(name: &str, request: Request) -> Request {
    Request {
        sku: sku(name),
        ..request
    }
}

fn lines(lines: &[(&str, u64)]) -> Vec<CartLine> {
    let lines = lines.iter().map(|(name, quantity)| CartLine {
        sku: sku(name),
        store_id: store(),
        quantity: *quantity,
    });
    lines.collect()
}

fn cart(name: &str, of: &[(&str, u64)]) -> Ask {
    cart_for(name, of, None)
}

fn cart_for(name: &str, of: &[(&str, u64)], ttl_seconds: Option<u64>) -> Ask {
    Ask::Reserve {
        cart: Cart {
            reservation_id: id(name),
            is_taken: false,
            over_quota: None,
            lines: lines(of),
            ttl_seconds,
            reference: None,
            replaces: None,
            allow_partial: false,
        },
        is_chosen: true,
        replaces: None,
    }
}

fn commit(name: &str) -> Ask {
    Ask::Commit {
        id: id(name),
        part: None,
        note: None,
    }
}

fn release(name: &str) -> Ask {
    Ask::Release {
        id: id(name),
        part: None,
        note: None,
    }
}

fn extend(name: &str, ttl_seconds: u64) -> Ask {
    Ask::Extend {
        id: id(name),
        ttl_seconds,
    }
}

fn atomic(requests: impl IntoIterator<Item = Request>) -> Ask {
    Ask::Batch(batch(requests))
}

fn count_of(quantity: u64, at: Timestamp) -> Request {
    let counted = Some(Counted { at, moved: 0 });
    request(Action::Set(Box::new(Set {
        quantity,
        counted,
        ..Set::default()
    })))
}

async fn step(inventory: &Arc<Inventory>, ask: Ask) -> Answered {
    keyed_step(inventory, ask, None).await
}

async fn keyed_step(inventory: &Arc<Inventory>, ask: Ask, name: Option<&str>) -> Answered {
    let keyed = name.and_then(|name| key(name).keyed);
    inventory.execute_joint(ask, count(0).origin, keyed, false).await
}

fn spawn_step(inventory: &Arc<Inventory>, ask: Ask, name: Option<&'static str>) -> JoinHandle<Answered> {
    let inventory = inventory.clone();
    actix_web::rt::spawn(async move { keyed_step(&inventory, ask, name).await })
}

async fn level_of(inventory: &Arc<Inventory>, name: &str) -> (u64, u64) {
    let level = inventory.level(&sku(name), &store()).await.unwrap().unwrap();
    (level.quantity, level.reserved)
}

async fn status(inventory: &Arc<Inventory>, name: &str) -> Option<ReservationStatus> {
    let reservation = inventory.reservation(&id(name)).await.unwrap();
    reservation.map(|reservation| reservation.status)
}

async fn kinds(journal: &MemoryJournal, after: u64) -> Vec<EventKind> {
    let events = journal.events(after, 100).await.unwrap();
    events.iter().map(|(_, event)| event.kind).collect()
}

/// A write past the actors, as another process would make it.
async fn write_elsewhere(journal: &MemoryJournal, request: Request) {
    let stock: Stock = journal.load(&request.sku).await.unwrap();
    let event: Event = decide(
        &stock,
        &request,
        &AllOpen,
        Timestamp::from_millis(chrono::Utc::now().timestamp_millis()),
    )
    .unwrap();
    let record = Record {
        event: Arc::new(event),
        receipt: None,
    };
    let append = Append::of_stock(vec![(request.sku, stock.version())], vec![record]);
    journal.append(append).await.unwrap();
}

/// Keeps the states of A and B lent for as long as the journal is held: what has moved since a count is not known before.
async fn lend(journal: &MemoryJournal, inventory: &Arc<Inventory>) -> JoinHandle<Answered> {
    let at = inventory.now();
    // Something in flight, so that there is something to wait for.
    journal.hold();
    let lending = spawn_step(inventory, atomic([count_of(20, at), of("B", count_of(30, at))]), None);
    settle().await;
    lending
}

#[test]
fn a_refused_step_waits_for_what_it_was_refused_on() {
    run(|journal, inventory| async move {
        journal.hold();
        let sale = spawn(&inventory, sell(8), Options::default());
        settle().await;
        let refused = spawn_step(&inventory, cart("r", &[("A", 5), ("B", 1)]), None);
        settle().await;
        assert!(!sale.is_finished() && !refused.is_finished());
        journal.release();
        assert!(sale.await.unwrap().is_ok());
        let Err(ExecuteError::RefusedJoint(refusal)) = refused.await.unwrap() else {
            panic!("it was not refused");
        };
        let JointRefusal::Lines(failed) = *refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(failed.len(), 1);
        let expected = LineFault::Short {
            available: 2,
            reserved: 0,
            next_expiry: None,
        };
        assert_eq!((failed[0].sku.as_str(), &failed[0].fault), ("A", &expected));
        assert_eq!(level_of(&inventory, "B").await, (10, 0));
        assert_eq!(status(&inventory, "r").await, None);
    });
}

#[test]
fn steps_come_into_the_log_behind_what_they_were_decided_on() {
    run(|journal, inventory| async move {
        journal.hold();
        let sale = spawn(&inventory, sell(4), Options::default());
        settle().await;
        let first = spawn_step(&inventory, cart("first", &[("A", 4), ("B", 4)]), None);
        settle().await;
        let second = spawn_step(&inventory, cart("second", &[("B", 6), ("A", 2)]), None);
        settle().await;
        let last = spawn(&inventory, of("B", sell(1)), Options::default());
        settle().await;
        assert!(!first.is_finished() && !second.is_finished() && !last.is_finished());
        assert_eq!(level_of(&inventory, "A").await, (10, 0));
        journal.release();
        let seqs = [
            sale.await.unwrap().unwrap().seq,
            first.await.unwrap().unwrap().seq,
            second.await.unwrap().unwrap().seq,
        ];
        assert_eq!(seqs, [Some(3), Some(4), Some(5)]);
        assert!(matches!(last.await.unwrap(), Err(ExecuteError::Refused(_))));
        assert_eq!(level_of(&inventory, "A").await, (6, 6));
        assert_eq!(level_of(&inventory, "B").await, (10, 10));
    });
}

#[test]
fn a_step_on_a_state_that_is_no_more_is_decided_again() {
    run(|journal, inventory| async move {
        // Both actors have their states by now.
        step(&inventory, cart("before", &[("A", 1), ("B", 1)])).await.unwrap();
        write_elsewhere(&journal, of("B", sell(4))).await;
        let outcome = step(&inventory, cart("r", &[("A", 2), ("B", 5)])).await.unwrap();
        assert_eq!(
            (outcome.event.changes[1].quantity, outcome.event.changes[1].reserved),
            (6, 6)
        );
        write_elsewhere(&journal, sell(2)).await;
        write_elsewhere(&journal, count(9)).await;
        // What was decided on top of it is decided again as well.
        journal.hold();
        let late = spawn_step(&inventory, cart("late", &[("A", 3)]), Some("late"));
        let sale = spawn(&inventory, sell(2), Options::default());
        settle().await;
        journal.release();
        late.await.unwrap().unwrap();
        sale.await.unwrap().unwrap();
        assert_eq!(level_of(&inventory, "A").await, (7, 6));
        write_elsewhere(&journal, sell(1)).await;
        let refused = step(&inventory, cart("more", &[("A", 1)])).await;
        assert!(matches!(refused, Err(ExecuteError::RefusedJoint(_))), "{refused:?}");
    });
}

#[test]
fn without_room_a_step_is_refused_whole_with_all_that_was_decided_on_it() {
    run(|journal, inventory| async move {
        journal.hold();
        let first = spawn_step(&inventory, cart("first", &[("A", 4), ("B", 4)]), Some("first"));
        settle().await;
        let second = spawn_step(&inventory, commit("first"), None);
        let third = spawn(&inventory, sell(7), Options::default());
        settle().await;
        journal.fail(Some(Fault::Full));
        journal.release();
        let error = first.await.unwrap().unwrap_err();
        assert!(
            matches!(error, ExecuteError::Journal(JournalError::Unavailable(_))),
            "{error:?}"
        );
        assert!(second.await.unwrap().is_err());
        assert!(third.await.unwrap().is_err());
        assert_eq!(level_of(&inventory, "A").await, (10, 0));
        assert_eq!(level_of(&inventory, "B").await, (10, 0));
        assert_eq!(status(&inventory, "first").await, None);
        journal.fail(None);
        let again = cart("first", &[("A", 10), ("B", 10)]);
        let outcome = keyed_step(&inventory, again, Some("first")).await.unwrap();
        assert_eq!((outcome.seq, outcome.replayed), (Some(3), None));
    });
}

#[test]
fn a_step_under_way_when_a_sync_fails_is_unknown_and_its_key_stays_so() {
    run(|journal, inventory| async move {
        journal.fail(Some(Fault::Sync));
        let ask = || cart("r", &[("A", 1), ("B", 1)]);
        let error = keyed_step(&inventory, ask(), Some("k")).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Journal(JournalError::Unknown(_))),
            "{error:?}"
        );
        let operation = inventory.operation(Digest::of(&[b"k"])).await.unwrap();
        assert!(matches!(operation, Operation::Unknown));
        let again = keyed_step(&inventory, ask(), Some("k")).await.unwrap_err();
        assert!(
            matches!(again, ExecuteError::Journal(JournalError::Unknown(_))),
            "{again:?}"
        );
        let other = keyed_step(&inventory, ask(), Some("other")).await.unwrap_err();
        assert!(
            matches!(other, ExecuteError::Journal(JournalError::Unavailable(_))),
            "{other:?}"
        );
        assert_eq!(level_of(&inventory, "A").await, (10, 0));
        assert_eq!(status(&inventory, "r").await, None);
    });
}

/// What was certainly not done is not called unknown, though something that it rests on may have been.
#[test]
fn a_refused_step_is_not_unknown_when_the_sync_before_it_fails() {
    run(|journal, inventory| async move {
        journal.hold();
        let sale = spawn(&inventory, sell(8), Options::default());
        settle().await;
        let refused = spawn_step(&inventory, cart("r", &[("A", 5)]), Some("k"));
        settle().await;
        journal.fail(Some(Fault::Sync));
        journal.release();
        assert!(matches!(
            sale.await.unwrap(),
            Err(ExecuteError::Journal(JournalError::Unknown(_)))
        ));
        let error = refused.await.unwrap().unwrap_err();
        assert!(
            matches!(error, ExecuteError::Journal(JournalError::Unavailable(_))),
            "{error:?}"
        );
        let operation = inventory.operation(Digest::of(&[b"k"])).await.unwrap();
        assert!(matches!(operation, Operation::NotFound));
    });
}

#[test]
fn steps_over_the_same_skus_in_any_order_never_wait_for_each_other() {
    run(|_, inventory| async move {
        for round in 0..10 {
            let names: Vec<String> = (0..6).map(|i| format!("{round} {i}")).collect();
            let carts = names.iter().enumerate().map(|(i, name)| {
                let of = [[("A", 1), ("B", 1)], [("B", 1), ("A", 1)]][i % 2];
                spawn_step(&inventory, cart(name, &of), None)
            });
            let carts: Vec<_> = carts.collect();
            for cart in carts {
                cart.await.unwrap().unwrap();
            }
            let given_back: Vec<_> = names
                .iter()
                .map(|name| spawn_step(&inventory, release(name), None))
                .collect();
            for release in given_back {
                release.await.unwrap().unwrap();
            }
        }
        assert_eq!(level_of(&inventory, "A").await, (10, 0));
        assert_eq!(level_of(&inventory, "B").await, (10, 0));
    });
}

#[test]
fn a_step_goes_on_when_its_caller_goes_away() {
    run(|journal, inventory| async move {
        journal.hold();
        let running = spawn_step(&inventory, cart("r", &[("A", 2), ("B", 3)]), Some("k"));
        settle().await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let digest = Digest::of(&[b"k"]);
        assert!(matches!(inventory.operation(digest).await.unwrap(), Operation::Pending));
        journal.release();
        settle().await;
        assert_eq!(status(&inventory, "r").await, Some(ReservationStatus::Active));
        assert!(matches!(
            inventory.operation(digest).await.unwrap(),
            Operation::Completed(_)
        ));
        step(&inventory, commit("r")).await.unwrap();
        assert_eq!(level_of(&inventory, "B").await, (7, 0));
    });
}

#[test]
fn writes_on_a_state_that_is_lent_wait_and_go_on() {
    run(|journal, inventory| async move {
        let lending = lend(&journal, &inventory).await;
        let sale = spawn(&inventory, sell(15), Options::default());
        let batch = spawn_batch(&inventory, [of("B", sell(25)), sell(1)], "batch");
        let cart = spawn_step(&inventory, cart("r", &[("A", 4), ("B", 5)]), None);
        settle().await;
        assert!(!lending.is_finished() && !sale.is_finished() && !batch.is_finished() && !cart.is_finished());
        journal.release();
        lending.await.unwrap().unwrap();
        sale.await.unwrap().expect("it is decided on what the step has left");
        let outcomes = batch.await.unwrap().unwrap();
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        cart.await.unwrap().unwrap();
        assert_eq!(level_of(&inventory, "A").await, (4, 4));
        assert_eq!(level_of(&inventory, "B").await, (5, 5));
    });
}

#[test]
fn an_actor_whose_state_is_lent_is_not_stopped() {
    run(|journal, inventory| async move {
        let lending = lend(&journal, &inventory).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(inventory.registry.running(), 2);
        assert!(!lending.is_finished());
        journal.release();
        lending.await.unwrap().unwrap();
        assert_eq!(level_of(&inventory, "A").await, (20, 0));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(inventory.registry.running(), 0, "and then it is");
    });
}

#[test]
fn batches_and_carts_on_the_same_skus_all_come_through() {
    run(|journal, inventory| async move {
        journal.hold();
        let first = spawn_batch(&inventory, [sell(1), of("B", sell(1))], "first");
        settle().await;
        let cart = spawn_step(&inventory, cart("r", &[("A", 3), ("B", 3)]), None);
        let second = spawn_batch(&inventory, [of("B", sell(1)), sell(1), sell(6)], "second");
        let whole = spawn_step(&inventory, atomic([sell(2), of("B", sell(3))]), None);
        settle().await;
        journal.release();
        cart.await.unwrap().unwrap();
        whole.await.unwrap().unwrap();
        let first = first.await.unwrap().unwrap();
        assert!(first.iter().all(|(_, outcome)| outcome.is_ok()), "{first:?}");
        let second: Vec<bool> = second
            .await
            .unwrap()
            .unwrap()
            .iter()
            .map(|(_, done)| done.is_ok())
            .collect();
        assert_eq!(second, [true, true, false]);
        assert_eq!(level_of(&inventory, "A").await, (6, 3));
        assert_eq!(level_of(&inventory, "B").await, (5, 3));
        assert_eq!(journal.visible(), 8);
    });
}

fn told(outcome: &Outcome) -> &Reservation {
    match &outcome.told {
        Told::Reservation(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_answers_with_the_reservation_as_it_was_then() {
    run(|_, inventory| async move {
        let ask = || cart("r", &[("A", 4), ("B", 2)]);
        let part = || Ask::Commit {
            id: id("r"),
            part: Some(lines(&[("A", 1)])),
            note: None,
        };
        let asks: [(&str, &dyn Fn() -> Ask); 4] = [
            ("cart", &ask),
            ("part", &part),
            ("later", &|| extend("r", 60)),
            ("rest", &|| release("r")),
        ];
        let mut first = Vec::new();
        for (name, ask) in &asks {
            first.push(keyed_step(&inventory, ask(), Some(*name)).await.unwrap());
        }
        for ((name, ask), first) in asks.iter().zip(&first) {
            let again = keyed_step(&inventory, ask(), Some(*name)).await.unwrap();
            assert_eq!((again.seq, again.replayed), (first.seq, Some(200)));
            assert_eq!(told(&again), told(first));
        }
        let held: Vec<u64> = first.iter().map(|outcome| told(outcome).lines[0].held).collect();
        assert_eq!(held, [4, 3, 3, 0]);
        assert_eq!(level_of(&inventory, "A").await, (9, 0));
        let reused = inventory
            .execute_joint(ask(), count(0).origin, other_request("cart"), false)
            .await;
        assert_eq!(reused.unwrap_err(), ExecuteError::KeyReused);
    });
}

/// A key that was used for something else.
fn other_request(name: &str) -> Option<Keyed> {
    let fingerprint = Digest::of(&[b"another body"]);
    key(name).keyed.map(|keyed| Keyed { fingerprint, ..keyed })
}

#[test]
fn a_key_answers_an_atomic_batch_once_also_when_it_is_sent_twice_at_a_time() {
    run(|journal, inventory| async move {
        journal.hold();
        let ask = || atomic([sell(1), of("B", sell(2)), sell(3)]);
        let first = spawn_step(&inventory, ask(), Some("k"));
        settle().await;
        assert_eq!(
            keyed_step(&inventory, ask(), Some("k")).await.unwrap_err(),
            ExecuteError::KeyInFlight
        );
        journal.release();
        let first = first.await.unwrap().unwrap();
        let again = keyed_step(&inventory, ask(), Some("k")).await.unwrap();
        assert_eq!((again.seq, again.replayed), (first.seq, Some(200)));
        let (Told::Operations(first), Told::Operations(again)) = (&first.told, &again.told) else {
            panic!("{again:?}");
        };
        assert_eq!(first, again);
        let changes: Vec<_> = first.iter().map(|touched| touched.changes.clone()).collect();
        assert_eq!(changes, [[0], [1], [0]]);
        assert_eq!(
            (level_of(&inventory, "A").await, level_of(&inventory, "B").await),
            ((6, 0), (8, 0))
        );
    });
}

async fn pass_a_moment(inventory: &Arc<Inventory>) -> Timestamp {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let now = inventory.now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    now
}

#[test]
fn a_count_of_the_past_in_an_atomic_batch_keeps_what_has_moved_since() {
    run(|journal, inventory| async move {
        let counted_at = pass_a_moment(&inventory).await;
        inventory.execute(sell(3), Options::default()).await.unwrap();
        journal.hold();
        // It is in flight when the batch begins.
        let sale = spawn(&inventory, sell(2), Options::default());
        settle().await;
        let batch = spawn_step(&inventory, atomic([of("B", sell(1)), count_of(20, counted_at)]), None);
        settle().await;
        journal.release();
        sale.await.unwrap().unwrap();
        batch.await.unwrap().unwrap();
        assert_eq!(level_of(&inventory, "A").await, (15, 0));
        assert_eq!(level_of(&inventory, "B").await, (9, 0));
        let too_old = Timestamp::from_millis(inventory.now().as_millis() - DAY_MS - 1000);
        let refused = step(&inventory, atomic([count_of(20, too_old)])).await.unwrap_err();
        let ExecuteError::InOperation { index: 0, error } = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(*error, ExecuteError::CountedAt { .. }), "{error:?}");
    });
}

async fn wait_until(moment: Timestamp) {
    while chrono::Utc::now().timestamp_millis() <= moment.as_millis() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn what_is_over_is_recorded_within_the_step_that_needs_it() {
    run(|journal, inventory| async move {
        let ask = cart_for("over", &[("A", 6), ("B", 6)], Some(1));
        let placed = step(&inventory, ask).await.unwrap();
        // Nobody can record it at its moment, and the next try is half a second away.
        journal.fail(Some(Fault::Full));
        wait_until(placed.event.holds[0].expires_at.unwrap()).await;
        settle().await;
        journal.fail(None);
        let error = step(&inventory, commit("over")).await.unwrap_err();
        let ExecuteError::RefusedJoint(refusal) = error else {
            panic!("{error:?}")
        };
        let JointRefusal::ReservationNotActive { reservation } = *refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(reservation.status, ReservationStatus::Expired);
        let expired = EventKind::ReservationExpired;
        assert_eq!(kinds(&journal, 3).await, [expired, expired], "a refusal rests on it");
        let outcome = step(&inventory, cart("next", &[("A", 10), ("B", 10)])).await.unwrap();
        assert_eq!(outcome.seq, Some(6));
        assert_eq!(status(&inventory, "over").await, Some(ReservationStatus::Expired));
    });
}

#[test]
fn a_step_that_frees_what_is_over_takes_it_in_the_same_append() {
    run(|journal, inventory| async move {
        let ask = cart_for("over", &[("A", 6), ("B", 6)], Some(1));
        let placed = step(&inventory, ask).await.unwrap();
        journal.fail(Some(Fault::Full));
        wait_until(placed.event.holds[0].expires_at.unwrap()).await;
        settle().await;
        journal.fail(None);
        let outcome = step(&inventory, cart("next", &[("A", 10), ("B", 10)])).await.unwrap();
        assert_eq!(outcome.seq, Some(6));
        let [expired, created] = [EventKind::ReservationExpired, EventKind::ReservationCreated];
        assert_eq!(kinds(&journal, 3).await, [expired, expired, created]);
        assert_eq!(level_of(&inventory, "A").await, (10, 10));
    });
}

#[test]
fn a_refused_step_is_not_unknown_when_the_sync_of_what_was_over_fails() {
    run(|journal, inventory| async move {
        let placed = step(&inventory, cart_for("over", &[("A", 6)], Some(1))).await.unwrap();
        journal.fail(Some(Fault::Full));
        wait_until(placed.event.holds[0].expires_at.unwrap()).await;
        settle().await;
        journal.fail(Some(Fault::Sync));
        let error = keyed_step(&inventory, cart("r", &[("A", 11)]), Some("k"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ExecuteError::Journal(JournalError::Unavailable(_))),
            "{error:?}"
        );
        let operation = inventory.operation(Digest::of(&[b"k"])).await.unwrap();
        assert!(matches!(operation, Operation::NotFound));
    });
}

#[test]
fn a_step_on_a_reservation_waits_for_what_is_becoming_of_it() {
    run(|journal, inventory| async move {
        step(&inventory, cart("r", &[("A", 4), ("B", 4)])).await.unwrap();
        journal.hold();
        let part = Ask::Commit {
            id: id("r"),
            part: Some(lines(&[("B", 3)])),
            note: None,
        };
        let sold = spawn_step(&inventory, part, None);
        settle().await;
        let rest = spawn_step(&inventory, release("r"), None);
        settle().await;
        let late = spawn_step(&inventory, commit("r"), None);
        settle().await;
        assert!(!sold.is_finished() && !rest.is_finished() && !late.is_finished());
        journal.release();
        sold.await.unwrap().unwrap();
        let rest = rest.await.unwrap().unwrap();
        let released: Vec<u64> = told(&rest).lines.iter().map(|line| line.released).collect();
        assert_eq!(released, [4, 1]);
        let Err(ExecuteError::RefusedJoint(refusal)) = late.await.unwrap() else {
            panic!("nothing was left");
        };
        assert!(
            matches!(*refusal, JointRefusal::ReservationNotActive { .. }),
            "{refusal:?}"
        );
        assert_eq!(status(&inventory, "r").await, Some(ReservationStatus::Committed));
        assert_eq!(level_of(&inventory, "A").await, (10, 0));
        assert_eq!(level_of(&inventory, "B").await, (7, 0));
    });
}

/// The same as [`run`], with actors that are not stopped meanwhile: one that is started anew tells its deadline anew.
fn run_awake<F: Future<Output = ()>>(test: impl FnOnce(Arc<MemoryJournal>, Arc<Inventory>) -> F) {
    actix_web::rt::System::new().block_on(async {
        let journal = Arc::new(MemoryJournal::new(DAY_MS));
        let awake = Settings {
            idle_after: Duration::from_secs(600),
            ..settings()
        };
        let inventory = Inventory::start(journal.clone(), awake);
        for name in ["A", "B"] {
            let counted = inventory.execute(of(name, count(10)), Options::default()).await;
            counted.unwrap();
        }
        test(journal, inventory).await;
    });
}

/// Waits, without asking for the SKU, until a second after a moment; then the log must tell of it.
async fn is_recorded_by(journal: &MemoryJournal, moment: Timestamp) -> bool {
    wait_until(Timestamp::from_millis(moment.as_millis() + 1000)).await;
    kinds(journal, 0).await.contains(&EventKind::ReservationExpired)
}

#[test]
fn a_count_of_the_past_behind_a_sale_of_the_same_atomic_batch_keeps_it() {
    run(|_, inventory| async move {
        let counted_at = pass_a_moment(&inventory).await;
        inventory.execute(sell(3), Options::default()).await.unwrap();
        let ask = atomic([sell(2), of("B", sell(1)), count_of(20, counted_at)]);
        step(&inventory, ask).await.unwrap();
        assert_eq!(level_of(&inventory, "A").await, (15, 0));
    });
}

#[test]
fn the_next_deadline_is_kept_after_an_earlier_hold_was_given_back() {
    run_awake(|journal, inventory| async move {
        step(&inventory, cart_for("first", &[("A", 1)], Some(1))).await.unwrap();
        let second = step(&inventory, cart_for("second", &[("A", 1)], Some(2)))
            .await
            .unwrap();
        step(&inventory, release("first")).await.unwrap();
        let moment = second.event.holds[0].expires_at.unwrap();
        assert!(is_recorded_by(&journal, moment).await, "nobody has woken the SKU");
    });
}

#[test]
fn the_deadline_of_an_extended_reservation_is_kept() {
    run_awake(|journal, inventory| async move {
        step(&inventory, cart_for("r", &[("A", 1), ("B", 1)], Some(1)))
            .await
            .unwrap();
        let extended = step(&inventory, extend("r", 2)).await.unwrap();
        let moment = extended.event.holds[0].expires_at.unwrap();
        assert!(is_recorded_by(&journal, moment).await, "nobody has woken the SKUs");
        assert_eq!(status(&inventory, "r").await, Some(ReservationStatus::Expired));
    });
}
