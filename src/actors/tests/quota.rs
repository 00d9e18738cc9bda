//! Quotas on a journal that waits on demand.

use super::*;
use crate::actors::batch::Operation;

/// Runs a test on an inventory with ten of A, where everybody may hold three lines.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<MemoryJournal>, Arc<Inventory>) -> F) {
    actix_web::rt::System::new().block_on(async {
        let journal = Arc::new(MemoryJournal::new(DAY_MS));
        let settings = Settings {
            open_holds: 3,
            ..settings()
        };
        let inventory = Inventory::start(journal.clone(), settings);
        inventory.execute(count(10), Options::default()).await.unwrap();
        let in_time = tokio::time::timeout(Duration::from_secs(20), test(journal, inventory));
        in_time.await.expect("somebody waits for ever");
    });
}

fn by_ann(request: Request) -> Request {
    let origin = Arc::new(Origin {
        by: Principal::parse("ann").unwrap(),
        ..(*request.origin).clone()
    });
    Request { origin, ..request }
}

fn hold(quantity: u64) -> Request {
    by_ann(request(Action::Reserve(Reserve {
        quantity,
        reservation_id: new_id().into(),
        is_taken: false,
        over_quota: None,
        ttl_seconds: None,
        reference: None,
    })))
}

fn is_full(answer: &Result<Outcome, ExecuteError>) -> bool {
    let Err(ExecuteError::Refused(refusal)) = answer else {
        return false;
    };
    refusal.reason == Reason::QuotaExceeded { limit: 3 }
}

async fn batch(inventory: &Arc<Inventory>, requests: Vec<Request>) -> Vec<Result<Outcome, ExecuteError>> {
    let operations = (0..).zip(requests).map(|(index, request)| Operation {
        index,
        request,
        chose_reservation: false,
    });
    let outcomes = inventory.execute_each(operations.collect(), None, false).await.unwrap();
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn whoever_would_pass_the_limit_by_what_is_under_way_waits_for_it() {
    run(|journal, inventory| async move {
        journal.hold();
        let holds: Vec<_> = (0..5).map(|_| spawn(&inventory, hold(1), Options::default())).collect();
        settle().await;
        assert!(
            holds.iter().all(|hold| !hold.is_finished()),
            "a refusal rests on what is not durable"
        );
        let other = spawn(&inventory, reserve(60), Options::default());
        journal.release();
        let mut answers = Vec::new();
        for hold in holds {
            answers.push(hold.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        assert_eq!(answers.iter().filter(|answer| is_full(answer)).count(), 2);
        assert!(other.await.unwrap().is_ok(), "what others hold is not counted");
    });
}

#[test]
fn what_comes_to_nothing_leaves_its_place_to_the_next() {
    run(|journal, inventory| async move {
        journal.hold();
        let first = spawn(&inventory, sell(1), Options::default());
        settle().await;
        let too_many: Vec<_> = (0..3)
            .map(|_| spawn(&inventory, hold(99), Options::default()))
            .collect();
        settle().await;
        let next = spawn(&inventory, hold(1), Options::default());
        settle().await;
        journal.release();
        assert!(first.await.unwrap().is_ok());
        for refused in too_many {
            assert!(
                refused
                    .await
                    .unwrap()
                    .is_err_and(|error| matches!(error, ExecuteError::Refused(_)))
            );
        }
        assert!(next.await.unwrap().is_ok());
    });
}

#[test]
fn a_batch_gives_its_lines_to_those_of_its_operations_that_can_be_had() {
    run(|_, inventory| async move {
        let requests = vec![hold(99), hold(1), sell(1), hold(1), hold(99), hold(1), hold(1), sell(1)];
        let answers = batch(&inventory, requests).await;
        let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [false, true, true, true, false, true, false, true]);
        assert!(is_full(&answers[6]) && !is_full(&answers[0]));
        let refused = batch(&inventory, vec![hold(1), hold(1)]).await;
        assert!(refused.iter().all(is_full), "{refused:?}");
        let events: Vec<_> = inventory
            .journal()
            .events(0, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, event)| event)
            .collect();
        assert_eq!(events.len(), 6, "{events:?}");
    });
}
