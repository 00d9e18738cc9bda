//! Files whose checksums are right and which do not say what happened: `verify` tells.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{FileJournal, Options, line, verify};
use crate::domain::command::{Reserve, Resource, Set};
use crate::domain::joint::{Cart, CartLine, JointAction, JointRequest, Stocks, decide_joint};
use crate::domain::{
    Action, AllOpen, Event, Expected, Origin, Principal, Request, RequestId, Reservation, ReservationId, Scope, Sku,
    Stock, StoreId, Timestamp, decide,
};
use crate::journal::{Answer, Append, Journal, JournalError, Record};

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        by: Principal::anonymous(),
        request_id: RequestId::parse("r").unwrap(),
        scope: Scope::default(),
    })
}

fn id(name: &str) -> ReservationId {
    ReservationId::parse(name).unwrap()
}

fn skus() -> [Sku; 2] {
    ["A", "B"].map(|name| Sku::parse(name).unwrap())
}

fn store() -> StoreId {
    StoreId::parse("s").unwrap()
}

fn count(quantity: u64) -> Action {
    Action::Set(Box::new(Set {
        quantity,
        ..Set::default()
    }))
}

fn record(event: Event) -> Record {
    Record {
        event: Arc::new(event),
        receipt: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

fn wait_for<T>(answer: Answer<T>) -> Result<T, JournalError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(answer)
}

/// A folder that is being written, with ten of two SKUs.
struct Shop {
    journal: FileJournal,
    stocks: Vec<(Sku, Stock)>,
}

impl Shop {
    fn open(folder: &Path) -> Self {
        Self::with_segments_of(1 << 20, folder)
    }

    fn with_segments_of(segment_bytes: u64, folder: &Path) -> Self {
        let options = Options {
            folder: folder.to_owned(),
            segment_bytes,
            checkpoint_bytes: 1 << 30,
            retention_ms: 0,
        };
        let (journal, _) = FileJournal::open(&options).unwrap();
        let stocks = skus().map(|sku| (sku, Stock::default())).into();
        let mut shop = Self { journal, stocks };
        for index in 0..2 {
            shop.single(index, count(10));
        }
        shop
    }

    fn put(&mut self, event: Event) {
        let append = self.append_of(event);
        wait_for(self.journal.append(append)).unwrap();
    }

    fn append_of(&mut self, event: Event) -> Append {
        let grounds = event.skus().map(|sku| {
            let found = self.stocks.iter().find(|(known, _)| known == sku);
            (sku.clone(), found.unwrap().1.version())
        });
        let grounds = grounds.collect();
        for (sku, stock) in &mut self.stocks {
            if event.skus().any(|touched| touched == sku) {
                stock.evolve(sku, &event);
            }
        }
        Append::of_stock(grounds, vec![record(event)])
    }

    fn single(&mut self, index: usize, action: Action) {
        let event = self.decide(index, action);
        self.put(event);
    }

    fn decide(&self, index: usize, action: Action) -> Event {
        let (sku, stock) = &self.stocks[index];
        let request = Request {
            sku: sku.clone(),
            store_id: store(),
            action,
            resource: Resource::Level,
            expected: Expected::default(),
            origin: origin(),
        };
        decide(stock, &request, &AllOpen, now()).unwrap()
    }

    fn told(&self, name: &str) -> Reservation {
        let told = self.journal.reservation(&id(name));
        Reservation::clone(&wait_for(told).unwrap().unwrap())
    }

    /// Two of both SKUs; that there is a reservation of this id is not looked at.
    fn reserve(&mut self, name: &str) {
        let lines = skus().map(|sku| CartLine {
            sku,
            store_id: store(),
            quantity: 2,
        });
        let cart = Cart {
            reservation_id: id(name),
            is_taken: false,
            over_quota: None,
            lines: lines.into(),
            ttl_seconds: None,
            reference: Some("order".to_owned()),
            replaces: None,
            allow_partial: false,
        };
        let request = JointRequest {
            action: JointAction::Reserve(cart),
            origin: origin(),
        };
        let joint = decide_joint(&Stocks::of(self.stocks.clone()), &request, &AllOpen, now()).unwrap();
        self.put(joint.event);
    }
}

/// A folder that was closed in order, with two open reservations over both SKUs.
fn closed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(folder.path());
    shop.reserve("first");
    shop.reserve("second");
    shop.journal.close().unwrap();
    drop(shop);
    assert_eq!(faults(folder.path()), Vec::<String>::new());
    folder
}

fn faults(folder: &Path) -> Vec<String> {
    verify(folder, |_, _| {}).unwrap().faults
}

/// Writes the checkpoint's lines anew, with checksums that are right.
fn change_checkpoint(folder: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    let path = folder.join("checkpoint.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let read = |text: &str| {
        let mut value: Value = line::read(text.as_bytes()).unwrap();
        let object = value.as_object_mut().unwrap();
        object.remove("crc");
        object.remove("v");
        value
    };
    let mut lines: Vec<Value> = text.lines().map(read).collect();
    change(&mut lines);
    let mut out = Vec::new();
    for changed in &lines {
        line::push_object(&mut out, changed).unwrap();
    }
    std::fs::write(path, out).unwrap();
}

fn reservation_line<'a>(lines: &'a mut [Value], name: &str) -> &'a mut Value {
    let mut lines = lines.iter_mut();
    lines.find(|line| line["reservation"]["reservationId"] == name).unwrap()
}

#[test]
fn what_is_refused_among_others_of_its_group_is_in_no_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::with_segments_of(8000, folder.path());
    // The log takes the first, and while it syncs that, the others gather: in some rounds at least.
    for _ in 0..100 {
        let stale = shop.decide(1, count(3));
        let good = [(0, 5), (1, 6), (0, 7), (1, 8)].map(|(index, quantity)| {
            let event = shop.decide(index, count(quantity));
            shop.append_of(event)
        });
        let [first, second, third, fourth] = good;
        let stale = Append::of_stock(second.grounds.clone(), vec![record(stale)]);
        let appends = [first, second, stale, third, fourth].map(|append| shop.journal.append(append));
        let ended = appends.map(|append| wait_for(append).map(drop));
        let conflict = Err(JournalError::Conflict);
        assert_eq!(ended, [Ok(()), Ok(()), conflict, Ok(()), Ok(())]);
    }
    shop.journal.close().unwrap();
    drop(shop);
    let report = verify(folder.path(), |_, _| {}).unwrap();
    assert!(report.segments > 2, "an index is written of segments that are closed");
    assert_eq!((report.faults, report.remade), (Vec::new(), Vec::new()));
}

#[test]
fn a_checkpoint_that_is_written_again_with_nothing_changed_is_no_lie() {
    let folder = closed();
    change_checkpoint(folder.path(), |lines| assert_eq!(lines.len(), 7));
    assert_eq!(faults(folder.path()), Vec::<String>::new());
}

#[test]
fn a_checkpoint_that_lies_about_a_reservation_is_noticed() {
    type Lie = fn(&mut Value);
    let lies: [(&str, Lie); 7] = [
        ("held", |line| line["reservation"]["lines"][1]["held"] = json!(1)),
        ("sold", |line| line["reservation"]["lines"][0]["committed"] = json!(1)),
        ("line", |line| {
            drop(line["reservation"]["lines"].as_array_mut().unwrap().pop())
        }),
        ("reference", |line| line["reservation"]["reference"] = json!("another")),
        ("deadline", |line| {
            line["reservation"]["expiresAt"] = json!("2010-12-01T08:26:00.000Z")
        }),
        ("status", |line| line["reservation"]["status"] = json!("released")),
        ("name", |line| line["reservation"]["reservationId"] = json!("third")),
    ];
    for (of, lie) in lies {
        let folder = closed();
        change_checkpoint(folder.path(), |lines| lie(reservation_line(lines, "second")));
        let found = faults(folder.path());
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("checkpoint.json") && fault.contains("reservation")),
            "{of}: {found:?}"
        );
    }
}

#[test]
fn a_checkpoint_that_has_lost_a_reservation_is_not_whole() {
    let folder = closed();
    change_checkpoint(folder.path(), |lines| {
        lines.retain(|line| line["reservation"]["reservationId"] != "second");
    });
    let report = verify(folder.path(), |_, _| {}).unwrap();
    let is_told = report.remade.iter().any(|file| file.contains("it is not whole"));
    assert!(is_told && report.faults.is_empty(), "{report:?}");
}

#[test]
fn a_hold_that_no_reservation_knows_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(folder.path());
    // The second hides the first: its level has two holds, and they know of one.
    shop.reserve("one name");
    let again = Reserve {
        quantity: 3,
        reservation_id: id("one name"),
        is_taken: false,
        over_quota: None,
        ttl_seconds: None,
        reference: None,
    };
    shop.single(0, Action::Reserve(again));
    drop(shop);
    let found = faults(folder.path());
    assert_eq!(found, ["levels know 3 holds, reservations 2"]);
}

#[test]
fn a_reservation_that_holds_other_than_its_level_knows_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(folder.path());
    shop.reserve("cart");
    let request = JointRequest {
        action: JointAction::Extend {
            reservation: shop.told("cart"),
            ttl_seconds: 60,
        },
        origin: origin(),
    };
    let mut event = decide_joint(&Stocks::of(shop.stocks.clone()), &request, &AllOpen, now())
        .unwrap()
        .event;
    event.holds[1].held = 1;
    shop.put(event);
    drop(shop);
    let found = faults(folder.path());
    let expected = "SKU \"B\" in store \"s\": reservation \"cart\" holds 1, but the level says Some(2)";
    assert_eq!(found, [expected]);
}

#[test]
fn a_checkpoint_that_leaves_out_what_the_log_has_is_noticed() {
    for (counted, left_out) in [("reservations", "second"), ("skus", "A")] {
        let folder = closed();
        change_checkpoint(folder.path(), |lines| {
            lines.retain(|line| line["reservation"]["reservationId"] != left_out && line["sku"] != left_out);
            let closing = lines.last_mut().unwrap();
            closing[counted] = json!(1);
        });
        assert_ne!(faults(folder.path()), Vec::<String>::new(), "{counted}");
    }
}
