//! Random commands against a plain model that keeps its books in the simplest way there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::command::{Counted, Reserve, Set};
use super::product::ProductAction;
use super::*;

const STORES: [&str; 3] = ["london", "paris", "PARIS"];
const CALLERS: [&str; 2] = ["till", "web"];

#[derive(Clone, Debug)]
enum Step {
    Create {
        quantity: u64,
        name: Option<u8>,
    },
    Set {
        quantity: u64,
        /// Of a count of the past: what has moved since.
        moved: Option<i64>,
        name: Option<u8>,
    },
    Transfer {
        to: usize,
        quantity: u64,
    },
    Adjust {
        delta: i64,
    },
    Receive {
        quantity: u64,
    },
    Reserve {
        id: u8,
        quantity: u64,
        ttl_seconds: Option<u64>,
    },
    ReleaseReservation {
        id: u8,
    },
    ReleaseQuantity {
        quantity: u64,
    },
    CreateProduct {
        name: u8,
    },
    ReplaceProduct {
        name: u8,
    },
    DeleteProduct,
    RemoveLevel,
}

impl Step {
    fn is_of_product(&self) -> bool {
        matches!(
            self,
            Self::CreateProduct { .. } | Self::ReplaceProduct { .. } | Self::DeleteProduct
        )
    }
}

#[derive(Clone, Debug)]
struct Call {
    store: usize,
    caller: usize,
    step: Step,
    /// What is added to, or taken from, the right version to expect.
    off_by: Option<i8>,
    /// The version is that of the item.
    of_item: bool,
    seconds_later: u64,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let near_limit = prop_oneof![Just(MAX_QUANTITY), Just(MAX_QUANTITY - 5)];
    let quantity = prop_oneof![20 => 0..30_u64, 1 => near_limit];
    let step = prop_oneof![
        1 => (quantity.clone(), proptest::option::of(0..3_u8)).prop_map(|(quantity, name)| Step::Create { quantity, name }),
        3 => (quantity.clone(), proptest::option::of(-20..20_i64), proptest::option::of(0..3_u8))
            .prop_map(|(quantity, moved, name)| Step::Set { quantity, moved, name }),
        2 => (0..STORES.len(), 1..20_u64).prop_map(|(to, quantity)| Step::Transfer { to, quantity }),
        4 => (-20..20_i64).prop_filter("0 is no change", |delta| *delta != 0).prop_map(|delta| Step::Adjust { delta }),
        2 => prop_oneof![Just(0), 1..20_u64, Just(MAX_QUANTITY)].prop_map(|quantity| Step::Receive { quantity }),
        4 => (0..12_u8, 1..8_u64, proptest::option::of(1..6_u64))
            .prop_map(|(id, quantity, ttl_seconds)| Step::Reserve { id, quantity, ttl_seconds }),
        3 => (0..12_u8).prop_map(|id| Step::ReleaseReservation { id }),
        2 => (1..10_u64).prop_map(|quantity| Step::ReleaseQuantity { quantity }),
        1 => Just(Step::Set { quantity: 0, moved: None, name: None }),
        1 => (0..3_u8).prop_map(|name| Step::CreateProduct { name }),
        2 => (0..3_u8).prop_map(|name| Step::ReplaceProduct { name }),
        2 => Just(Step::DeleteProduct),
        2 => Just(Step::RemoveLevel),
    ];
    let off_by = prop_oneof![4 => Just(None), 2 => Just(Some(0)), 1 => (-1..2_i8).prop_map(Some)];
    let call = (0..STORES.len(), 0..CALLERS.len(), step, off_by, any::<bool>(), 0..3_u64).prop_map(
        |(store, caller, step, off_by, of_item, seconds_later)| Call {
            store,
            caller,
            step,
            off_by,
            of_item,
            seconds_later,
        },
    );
    let call = call.prop_filter(
        "a transfer goes to another store",
        |call| !matches!(call.step, Step::Transfer { to, .. } if to == call.store),
    );
    proptest::collection::vec(call, 1..80)
}

/// The books: no indexes, no totals, no cleverness.
#[derive(Default)]
struct Model {
    item_version: u64,
    product_version: u64,
    is_there: bool,
    name: Option<u8>,
    levels: BTreeMap<usize, ModelLevel>,
    /// The last version of every level that is or was there.
    versions: BTreeMap<usize, u64>,
    /// In order of age.
    holds: Vec<ModelHold>,
}

#[derive(Clone, Copy, Default)]
struct ModelLevel {
    quantity: u64,
    version: u64,
}

#[derive(Clone)]
struct ModelHold {
    id: u8,
    store: usize,
    caller: usize,
    held: u64,
    over_at: Option<i64>,
}

impl Model {
    fn reserved(&self, store: usize) -> u64 {
        self.holds
            .iter()
            .filter(|hold| hold.store == store)
            .map(|hold| hold.held)
            .sum()
    }

    fn expire(&mut self, now: i64) {
        let is_over = |hold: &ModelHold| hold.over_at.is_some_and(|at| at <= now);
        let mut stores: Vec<usize> = self
            .holds
            .iter()
            .filter(|hold| is_over(hold))
            .map(|hold| hold.store)
            .collect();
        stores.sort();
        stores.dedup();
        self.holds.retain(|hold| !is_over(hold));
        if !stores.is_empty() {
            self.step(&stores);
        }
    }

    fn step(&mut self, stores: &[usize]) {
        self.item_version += 1;
        for store in stores {
            let version = self.versions.entry(*store).or_default();
            *version += 1;
            self.levels.entry(*store).or_default().version = *version;
        }
    }

    /// Whether the product is as it is now by what the step has said of it.
    fn describe(&mut self, name: Option<u8>) {
        if !self.is_there {
            (self.is_there, self.name) = (true, name);
            self.product_version += 1;
        } else if name.is_some() && name != self.name {
            self.name = name;
            self.product_version += 1;
        }
    }

    fn remove(&mut self, stores: &[usize]) -> bool {
        let is_used = |store: &usize| self.levels[store].quantity > 0 || self.reserved(*store) > 0;
        if stores.iter().any(is_used) {
            return false;
        }
        self.step(stores);
        self.levels.retain(|store, _| !stores.contains(store));
        true
    }

    fn apply_to_product(&mut self, step: &Step) -> bool {
        match step {
            Step::CreateProduct { name } if !self.is_there => {
                self.step(&[]);
                self.describe(Some(*name));
            }
            Step::ReplaceProduct { name } if self.is_there => {
                self.step(&[]);
                self.name = Some(*name);
                self.product_version += 1;
            }
            Step::DeleteProduct if self.is_there => {
                let stores: Vec<usize> = self.levels.keys().copied().collect();
                if !self.remove(&stores) {
                    return false;
                }
                (self.is_there, self.name) = (false, None);
                self.product_version += 1;
            }
            _ => return false,
        }
        true
    }

    /// Whether the call takes effect; then the books are those after it.
    fn apply(&mut self, call: &Call, expected: Option<u64>, now: i64) -> bool {
        let exists = self.levels.contains_key(&call.store);
        let level = self.levels.get(&call.store).copied().unwrap_or_default();
        let available = level.quantity - self.reserved(call.store);
        let total: u64 = self.levels.values().map(|level| level.quantity).sum();
        let fits = |quantity: u64| quantity <= MAX_QUANTITY && total - level.quantity + quantity <= MAX_QUANTITY;
        if expected.is_some_and(|expected| expected != self.version_of(call)) {
            return false;
        }
        if call.step.is_of_product() {
            return self.apply_to_product(&call.step);
        }
        let has_item = self.is_there;
        let is_there = match call.step {
            Step::Create { .. } => !has_item,
            Step::Set { .. } | Step::Receive { .. } => has_item || !call.of_item,
            _ => exists,
        };
        if !is_there {
            return false;
        }
        let quantity = match call.step {
            Step::RemoveLevel => return self.remove(&[call.store]),
            Step::Create { quantity, name } if fits(quantity) => {
                self.describe(name);
                quantity
            }
            Step::Set { quantity, moved, name } => {
                let Some(quantity) = quantity.checked_add_signed(moved.unwrap_or(0)) else {
                    return false;
                };
                if quantity < self.reserved(call.store) || !fits(quantity) {
                    return false;
                }
                self.describe(name);
                quantity
            }
            Step::Transfer { to, quantity } if available >= quantity => {
                self.levels.entry(to).or_default().quantity += quantity;
                self.levels.entry(call.store).or_default().quantity -= quantity;
                self.step(&[call.store, to]);
                return true;
            }
            Step::Adjust { delta } if delta > 0 && fits(level.quantity + delta.unsigned_abs()) => {
                level.quantity + delta.unsigned_abs()
            }
            Step::Adjust { delta } if delta < 0 && available >= delta.unsigned_abs() => {
                level.quantity - delta.unsigned_abs()
            }
            Step::Receive { quantity } if fits(level.quantity + quantity) => {
                self.describe(None);
                level.quantity + quantity
            }
            Step::Reserve {
                id,
                quantity,
                ttl_seconds,
            } if available >= quantity && !self.is_known(id) => {
                let over_at = ttl_seconds.map(|seconds| now + 1000 * seconds as i64);
                self.holds.push(ModelHold {
                    id,
                    store: call.store,
                    caller: call.caller,
                    held: quantity,
                    over_at,
                });
                level.quantity
            }
            Step::ReleaseReservation { id } if self.holds.iter().any(|h| h.id == id && h.store == call.store) => {
                self.holds.retain(|hold| hold.id != id);
                level.quantity
            }
            Step::ReleaseQuantity { quantity } if self.release(call, quantity) => level.quantity,
            _ => return false,
        };
        self.levels.entry(call.store).or_default().quantity = quantity;
        self.step(&[call.store]);
        true
    }

    /// The version that the call speaks of.
    fn version_of(&self, call: &Call) -> u64 {
        match () {
            () if call.step.is_of_product() => self.product_version * u64::from(self.is_there),
            () if call.of_item => self.item_version * u64::from(self.is_there),
            () => self.levels.get(&call.store).map_or(0, |level| level.version),
        }
    }

    fn is_known(&self, id: u8) -> bool {
        self.holds.iter().any(|hold| hold.id == id)
    }

    fn release(&mut self, call: &Call, quantity: u64) -> bool {
        let is_own = |hold: &ModelHold| hold.store == call.store && hold.caller == call.caller;
        let own: u64 = self
            .holds
            .iter()
            .filter(|hold| is_own(hold))
            .map(|hold| hold.held)
            .sum();
        if own < quantity {
            return false;
        }
        let mut left = quantity;
        for hold in self.holds.iter_mut().filter(|hold| is_own(hold)) {
            let taken = left.min(hold.held);
            hold.held -= taken;
            left -= taken;
        }
        self.holds.retain(|hold| hold.held > 0);
        true
    }
}

fn sku() -> Sku {
    Sku::parse("85123a").unwrap()
}

fn store(index: usize) -> StoreId {
    StoreId::parse(STORES[index]).unwrap()
}

fn id(id: u8) -> ReservationId {
    ReservationId::parse(&format!("r{id}")).unwrap()
}

fn request(call: &Call, version: Option<u64>, is_taken: bool) -> Request {
    let action = match call.step.clone() {
        Step::Create { quantity, name } => Action::Create {
            details: Box::new(named(name)),
            quantity,
        },
        Step::Set { quantity, moved, name } => Action::Set(Box::new(Set {
            quantity,
            counted: moved.map(|moved| Counted {
                at: Timestamp::default(),
                moved,
            }),
            details: named(name),
            ..Set::default()
        })),
        Step::Transfer { to, quantity } => Action::Transfer {
            to: store(to),
            quantity,
            note: None,
        },
        Step::Adjust { delta } => {
            let movement = if delta > 0 { Movement::StockIn } else { Movement::Sale };
            Action::Adjust {
                delta,
                movement,
                note: None,
            }
        }
        Step::Receive { quantity } => Action::Receive { quantity },
        Step::Reserve {
            id: reservation,
            quantity,
            ttl_seconds,
        } => {
            let reservation_id = id(reservation);
            Action::Reserve(Reserve {
                quantity,
                reservation_id,
                is_taken,
                over_quota: None,
                ttl_seconds,
                reference: None,
            })
        }
        Step::ReleaseReservation { id: reservation } => Action::ReleaseReservation {
            reservation_id: id(reservation),
            is_hidden: false,
        },
        Step::ReleaseQuantity { quantity } => Action::ReleaseQuantity { quantity },
        Step::CreateProduct { name } => Action::Product(ProductAction::Create(Box::new(named(Some(name))))),
        Step::ReplaceProduct { name } => Action::Product(ProductAction::Replace(Box::new(named(Some(name))))),
        Step::DeleteProduct => Action::Product(ProductAction::Delete),
        Step::RemoveLevel => Action::RemoveLevel,
    };
    Request {
        sku: sku(),
        store_id: store(call.store),
        action,
        resource: match () {
            () if call.step.is_of_product() => Resource::Product,
            () if call.of_item => Resource::Item,
            () => Resource::Level,
        },
        expected: Expected {
            version,
            ..Expected::default()
        },
        origin: origin(call.caller),
    }
}

fn origin(caller: usize) -> Arc<Origin> {
    Arc::new(Origin {
        by: Principal::parse(CALLERS[caller]).unwrap(),
        request_id: RequestId::parse("r").unwrap(),
        scope: Scope::default(),
    })
}

fn named(name: Option<u8>) -> Details {
    Details {
        name: name.map(|name| format!("name {name}").into()),
        ..Details::default()
    }
}

/// Records an event as an actor would, and checks what must hold of any event.
fn record(stock: &mut Stock, log: &mut Vec<Event>, event: Event) {
    assert_eq!(stock.contradiction(&sku(), &event), None);
    for change in &event.changes {
        let is_new = stock.level(&change.store_id).is_none();
        assert_eq!(
            change.fate == Fate::Made,
            is_new,
            "a level that is made is told as such"
        );
    }
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(
        serde_json::from_str::<Event>(&json).unwrap(),
        event,
        "an event reads back as it was written"
    );
    stock.evolve(&sku(), &event);
    log.push(event);
}

fn assert_equal(stock: &Stock, model: &Model) {
    assert_eq!(stock.fault(), None);
    assert_eq!(stock.version(), model.item_version);
    assert_eq!(stock.exists(), model.is_there);
    let product = stock.product().map(|product| product.version);
    assert_eq!(product, model.is_there.then_some(model.product_version));
    assert_eq!(stock.details().cloned().unwrap_or_default(), named(model.name));
    let item = stock.item();
    let total: u64 = model.levels.values().map(|level| level.quantity).sum();
    assert_eq!(item.totals().0, total);
    assert_eq!(stock.quantity(), total);
    assert_eq!(stock.levels().count(), model.levels.len());
    for (index, expected) in &model.levels {
        let level = stock.level(&store(*index)).unwrap();
        assert_eq!((level.quantity, level.version), (expected.quantity, expected.version));
        assert_eq!(level.reserved, model.reserved(*index));
        assert!(level.reserved <= level.quantity);
    }
    let next = model.holds.iter().filter_map(|hold| hold.over_at).min();
    assert_eq!(stock.next_deadline(), next.map(Timestamp::from_millis));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stock_does_what_the_plain_books_do(calls in calls()) {
        let (mut stock, mut model, mut log) = (Stock::default(), Model::default(), Vec::new());
        let mut now = 1_000_000;
        for call in &calls {
            now += 1000 * call.seconds_later as i64;
            let at = Timestamp::from_millis(now);
            for event in expire(&sku(), &stock, at, &origin(0)) {
                record(&mut stock, &mut log, event);
            }
            model.expire(now);
            assert_equal(&stock, &model);
            let expected = call.off_by.and_then(|off_by| model.version_of(call).checked_add_signed(off_by.into()));
            let is_taken = matches!(call.step, Step::Reserve { id, .. } if model.is_known(id));
            let decided = decide(&stock, &request(call, expected, is_taken), &AllOpen, at);
            prop_assert_eq!(decided.is_ok(), model.apply(call, expected, now), "{:?}: {:?}", call, decided);
            if let Ok(event) = decided {
                record(&mut stock, &mut log, event);
            }
            assert_equal(&stock, &model);
        }
        let mut replayed = Stock::default();
        log.iter().for_each(|event| replayed.evolve(&sku(), event));
        prop_assert_eq!(&replayed, &stock, "the state is a function of the log");
        prop_assert_eq!(Stock::from(StockImage::from(&stock)), stock, "a snapshot is the state");
    }
}
