//! What somebody who sees some stores only is told of reservations that they do not see: what they would be told if there
//! were none.

use super::*;
use crate::actors::batch::Operation as InBatch;
use crate::actors::joint::Ask;
use crate::domain::command::{Preconditions, VersionSet};
use crate::domain::joint::{Cart, CartLine, JointRefusal};

fn store(name: &str) -> StoreId {
    StoreId::parse(name).unwrap()
}

fn id(name: &str) -> ReservationId {
    ReservationId::parse(name).unwrap()
}

/// By somebody who sees store `s` only.
fn narrow(request: Request) -> Request {
    let origin = Arc::new(Origin {
        scope: Scope::of(&[store("s")]),
        ..(*request.origin).clone()
    });
    Request { origin, ..request }
}

fn in_store(name: &str, request: Request) -> Request {
    let store_id = store(name);
    Request { store_id, ..request }
}

fn release(name: &str) -> Request {
    narrow(request(Action::ReleaseReservation {
        reservation_id: id(name),
        is_hidden: false,
    }))
}

fn reserve_as(name: &str) -> Request {
    narrow(request(Action::Reserve(Reserve {
        quantity: 1,
        reservation_id: id(name),
        is_taken: false,
        over_quota: None,
        ttl_seconds: None,
        reference: None,
    })))
}

/// With reservations `wide`, of stores s and t, `far`, of t only, and `near`, of s only.
fn run(test: impl AsyncFnOnce(Arc<Inventory>)) {
    super::run(|_, inventory| async move {
        let stocked = inventory.execute(in_store("t", count(10)), Options::default()).await;
        stocked.unwrap();
        for (name, stores) in [("wide", &["s", "t"][..]), ("far", &["t"]), ("near", &["s"])] {
            let lines = stores.iter().map(|name| CartLine {
                sku: Sku::parse("A").unwrap(),
                store_id: store(name),
                quantity: 1,
            });
            let ask = Ask::Reserve {
                cart: Cart {
                    reservation_id: id(name),
                    is_taken: false,
                    over_quota: None,
                    lines: lines.collect(),
                    ttl_seconds: None,
                    reference: None,
                    replaces: None,
                    allow_partial: false,
                },
                is_chosen: true,
                replaces: None,
            };
            let made = inventory.execute_joint(ask, count(0).origin, None, false).await;
            made.unwrap();
        }
        test(inventory).await;
    });
}

fn reason(error: ExecuteError) -> Reason {
    match error {
        ExecuteError::Refused(refusal) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

fn unknown(name: &str) -> Reason {
    let reservation_id = id(name);
    Reason::NoReservation { reservation_id }
}

#[test]
fn a_reservation_that_is_not_seen_is_released_as_little_as_one_that_is_not_there() {
    run(async |inventory| {
        for name in ["wide", "far", "nowhere"] {
            for expected in [Expected::default(), expecting_another_version()] {
                let request = Request {
                    expected,
                    ..release(name)
                };
                let refused = inventory.execute(request, Options::default()).await.unwrap_err();
                assert_eq!(reason(refused), unknown(name));
            }
            let elsewhere = Request {
                sku: Sku::parse("nothing").unwrap(),
                ..release(name)
            };
            let refused = inventory.execute(elsewhere, Options::default()).await.unwrap_err();
            assert_eq!(reason(refused), Reason::NoLevel);
        }
        assert_eq!(level(&inventory).await.reserved, 2, "nothing was released");
        let released = inventory.execute(release("near"), Options::default()).await;
        assert!(released.is_ok(), "{released:?}");
    });
}

fn expecting_another_version() -> Expected {
    Expected {
        preconditions: Some(Box::new(Preconditions {
            if_match: Some(VersionSet::These(vec![999])),
            if_none_match: None,
        })),
        ..Expected::default()
    }
}

fn operations(requests: Vec<(Request, bool)>) -> Vec<InBatch> {
    let operations = (0..)
        .zip(requests)
        .map(|(index, (request, chose_reservation))| InBatch {
            index,
            request,
            chose_reservation,
        });
    operations.collect()
}

#[test]
fn in_a_batch_it_is_the_same_and_one_that_the_batch_makes_is_seen() {
    run(async |inventory| {
        let asked = vec![
            (release("wide"), false),
            (release("far"), false),
            (release("nowhere"), false),
            (reserve_as("new"), true),
            (release("new"), false),
            (reserve_as("far"), true),
            (release("far"), false),
        ];
        let outcomes = inventory.execute_each(operations(asked), None, false).await.unwrap();
        let told: Vec<Option<Reason>> = outcomes.into_iter().map(|(_, told)| told.err().map(reason)).collect();
        let taken = Reason::ReservationExists {
            reservation_id: id("far"),
        };
        let expected = [
            Some(unknown("wide")),
            Some(unknown("far")),
            Some(unknown("nowhere")),
            None,
            None,
            Some(taken),
            Some(unknown("far")),
        ];
        assert_eq!(told, expected);
        assert_eq!(level(&inventory).await.reserved, 2);
    });
}

#[test]
fn an_atomic_batch_tells_of_it_as_little() {
    run(async |inventory| {
        for name in ["wide", "far", "nowhere"] {
            let asked = operations(vec![(narrow(sell(1)), false), (release(name), false)]);
            let origin = release(name).origin;
            let refused = inventory.execute_joint(Ask::Batch(asked), origin, None, false).await;
            match refused.unwrap_err() {
                ExecuteError::RefusedJoint(refusal) => match *refusal {
                    JointRefusal::Operations(refused) => {
                        let told: Vec<_> = refused
                            .into_iter()
                            .map(|(index, refusal)| (index, refusal.reason))
                            .collect();
                        assert_eq!(told, [(1, unknown(name))]);
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        let asked = operations(vec![
            (release("near"), false),
            (reserve_as("new"), true),
            (release("new"), false),
        ]);
        let done = inventory
            .execute_joint(Ask::Batch(asked), release("near").origin, None, false)
            .await;
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(
            (level(&inventory).await.quantity, level(&inventory).await.reserved),
            (10, 1)
        );
    });
}

#[test]
fn what_an_item_write_is_answered_shows_the_levels_that_are_seen() {
    run(async |inventory| {
        let request = Request {
            resource: Resource::Item,
            ..narrow(sell(2))
        };
        let outcome = inventory.execute(request, key("sale")).await.unwrap();
        let scope = Scope::of(&[store("s")]);
        let Told::Item(item) = outcome.clone().within(&scope).unwrap().told else {
            panic!("an item was asked for");
        };
        assert_eq!((item.levels.len(), item.totals()), (1, (8, 2)));
        assert!(outcome.within(&Scope::of(&[store("t")])).is_none());
        let key = Digest::of(&[b"sale"]);
        let found = inventory.operation(key).await.unwrap();
        assert!(matches!(found.clone().within(&scope), Operation::Completed(_)));
        let elsewhere = found.within(&Scope::of(&[store("t")]));
        assert!(matches!(elsewhere, Operation::NotFound));
    });
}
