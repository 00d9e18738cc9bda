//! What an engine says of reservations, held to what the events that it was given say of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Rig, origin, scope, sell, sku, store};
use crate::domain::command::{Reserve, Resource, Set};
use crate::domain::joint::{Cart, CartLine, JointAction, JointRequest, Stocks, decide_joint};
use crate::domain::{
    Action, AllOpen, Event, HoldStep, Movement, Request, Reservation, ReservationId, ReservationStatus, Sku, Stock,
    Timestamp, decide, expire,
};
use crate::journal::{Append, Journal, Record, ReservationFilter, ReservationPlace};

const SKUS: [&str; 3] = ["A", "B", "a/1"];
const STORES: [&str; 2] = ["s", "t"];

fn reservation_id(name: &str) -> ReservationId {
    ReservationId::parse(name).unwrap()
}

fn line(of: &str, in_store: &str, quantity: u64) -> CartLine {
    CartLine {
        sku: sku(of),
        store_id: store(in_store),
        quantity,
    }
}

fn cart(id: &str, lines: Vec<CartLine>) -> Cart {
    Cart {
        reservation_id: reservation_id(id),
        is_taken: false,
        over_quota: None,
        lines,
        ttl_seconds: None,
        reference: None,
        replaces: None,
        allow_partial: false,
    }
}

fn reserve(id: &str, quantity: u64, ttl_seconds: Option<u64>, reference: Option<&str>) -> Action {
    Action::Reserve(Reserve {
        quantity,
        reservation_id: reservation_id(id),
        is_taken: false,
        over_quota: None,
        ttl_seconds,
        reference: reference.map(str::to_owned),
    })
}

fn request(of: &str, in_store: &str, action: Action) -> Request {
    Request {
        sku: sku(of),
        store_id: store(in_store),
        action,
        resource: Resource::Level,
        expected: Default::default(),
        origin: origin(),
    }
}

/// Several SKUs as their actors and joint steps would drive them, and the events that came of it.
pub struct Shop {
    stocks: BTreeMap<Sku, Stock>,
    log: Vec<Event>,
    now: Timestamp,
}

impl Shop {
    /// With 1000 of every SKU in every store.
    pub async fn open(rig: &dyn Rig) -> Self {
        let mut shop = Self {
            stocks: BTreeMap::new(),
            log: Vec::new(),
            now: Timestamp::from_millis(1_000_000),
        };
        for (of, in_store) in SKUS.iter().flat_map(|of| STORES.map(|in_store| (of, in_store))) {
            let count = Action::Set(Box::new(Set {
                quantity: 1000,
                ..Set::default()
            }));
            shop.single(rig, request(of, in_store, count)).await;
        }
        shop
    }

    fn stock(&self, sku: &Sku) -> Stock {
        self.stocks.get(sku).cloned().unwrap_or_default()
    }

    fn take(&mut self, event: Event) -> Record {
        for sku in event.skus() {
            self.stocks.entry(sku.clone()).or_default().evolve(sku, &event);
        }
        self.log.push(event.clone());
        Record {
            event: Arc::new(event),
            receipt: None,
        }
    }

    fn grounds(&self, skus: &[Sku]) -> Vec<(Sku, u64)> {
        skus.iter()
            .map(|sku| (sku.clone(), self.stock(sku).version()))
            .collect()
    }

    fn expire(&mut self, skus: &[Sku]) -> Vec<Record> {
        let mut records = Vec::new();
        for sku in skus {
            let events = expire(sku, &self.stock(sku), self.now, &origin());
            records.extend(events.into_iter().map(|event| self.take(event)));
        }
        records
    }

    async fn append(&self, rig: &dyn Rig, grounds: Vec<(Sku, u64)>, records: Vec<Record>) {
        if !records.is_empty() {
            let first_seq = (self.log.len() - records.len()) as u64 + 1;
            let appended = rig.journal().append(Append::of_stock(grounds, records)).await.unwrap();
            assert_eq!(appended.first_seq, first_seq);
        }
    }

    async fn single(&mut self, rig: &dyn Rig, request: Request) {
        let skus = [request.sku.clone()];
        let grounds = self.grounds(&skus);
        let mut records = self.expire(&skus);
        if let Ok(event) = decide(&self.stock(&request.sku), &request, &AllOpen, self.now) {
            records.push(self.take(event));
        }
        self.append(rig, grounds, records).await;
    }

    /// Whether it was done; what is over is recorded in either case.
    async fn joint(&mut self, rig: &dyn Rig, action: JointAction) -> bool {
        let mut request = JointRequest {
            action,
            origin: origin(),
        };
        let skus = request.skus();
        let grounds = self.grounds(&skus);
        let mut records = self.expire(&skus);
        if let Some(reservation) = request.reservation_mut() {
            *reservation = self.told(reservation.reservation_id.as_str()).unwrap();
        }
        let stocks = Stocks::of(skus.iter().map(|sku| (sku.clone(), self.stock(sku))));
        let decided = decide_joint(&stocks, &request, &AllOpen, self.now);
        let is_done = decided.is_ok();
        records.extend(decided.ok().map(|joint| self.take(joint.event)));
        self.append(rig, grounds, records).await;
        is_done
    }

    async fn commit(&mut self, rig: &dyn Rig, id: &str, part: Option<Vec<CartLine>>) {
        let reservation = self.told(id).unwrap();
        let action = JointAction::Commit {
            reservation,
            part,
            note: None,
        };
        assert!(self.joint(rig, action).await);
    }

    async fn release(&mut self, rig: &dyn Rig, id: &str, part: Option<Vec<CartLine>>) {
        let reservation = self.told(id).unwrap();
        let action = JointAction::Release {
            reservation,
            part,
            note: None,
        };
        assert!(self.joint(rig, action).await);
    }

    fn told(&self, id: &str) -> Option<Reservation> {
        Reservation::of_events(&reservation_id(id), &self.log)
    }

    /// Every reservation that was ever made, newest first.
    fn made(&self) -> Vec<(ReservationPlace, Reservation)> {
        let mut made = Vec::new();
        for (seq, event) in (1..).zip(&self.log) {
            let placed = event.holds.iter().filter(|hold| hold.step == HoldStep::Placed);
            let mut ids: Vec<&ReservationId> = placed.map(|hold| &hold.reservation_id).collect();
            ids.sort();
            ids.dedup();
            for id in ids {
                let place = ReservationPlace::new(seq, id.clone());
                made.push((place, Reservation::of_events(id, &self.log).unwrap()));
            }
        }
        made.reverse();
        made
    }

    /// Sells one by one, until what went before lies some segments and a checkpoint back.
    async fn pass_the_day(&mut self, rig: &dyn Rig) {
        for _ in 0..200 {
            self.single(rig, request("A", "s", sell(1))).await;
        }
        let back = Action::Adjust {
            delta: 200,
            movement: Movement::Return,
            note: None,
        };
        self.single(rig, request("A", "s", back)).await;
    }

    async fn check(&self, rig: &dyn Rig) {
        for (sku, stock) in &self.stocks {
            assert_eq!(rig.journal().load(sku).await.unwrap(), *stock);
        }
        let mut deadlines = rig.journal().deadlines().await.unwrap();
        deadlines.sort();
        let of = |(sku, stock): (&Sku, &Stock)| Some((stock.next_deadline()?, sku.clone()));
        let mut expected: Vec<_> = self.stocks.iter().filter_map(of).collect();
        expected.sort();
        assert_eq!(deadlines, expected);
        for (place, reservation) in self.made() {
            let found = rig.journal().reservation(&place.id).await.unwrap();
            assert_eq!(found.as_deref(), Some(&reservation));
        }
        assert_eq!(rig.journal().reservation(&reservation_id("none")).await.unwrap(), None);
        let held = self.made().into_iter().map(|(_, reservation)| {
            let lines = reservation.lines.iter().filter(|line| line.held > 0);
            lines.count() as u64
        });
        let open_lines = rig.journal().open_lines(&origin().by).await.unwrap();
        assert_eq!(open_lines, held.sum::<u64>());
    }

    /// Holds the list to what fits of all that were made, in one page and by small ones.
    async fn check_list(&self, rig: &dyn Rig, filter: &ReservationFilter) -> usize {
        let mut expected = self.made();
        expected.retain(|(_, reservation)| fits(reservation, filter));
        for limit in [10_000, 4] {
            let (mut found, mut before) = (Vec::new(), None);
            for _ in 0..1000 {
                let page = rig.journal().reservations(filter.clone(), before, limit).await.unwrap();
                assert!(page.reservations.len() <= limit);
                found.extend(
                    page.reservations
                        .iter()
                        .map(|(place, r)| (place.clone(), (**r).clone())),
                );
                before = page.resume;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(before, None, "the list of {filter:?} has no end");
            assert_eq!(found, expected, "{filter:?}, {limit} at a time");
        }
        expected.len()
    }
}

/// What is over at the moment of the question is over, whether or not it has been recorded.
fn fits(reservation: &Reservation, filter: &ReservationFilter) -> bool {
    let is_over = reservation.expires_at.is_some_and(|at| at <= filter.now);
    let is_held = reservation.lines.iter().any(|line| line.held > 0);
    let is_sold = reservation.lines.iter().any(|line| line.committed > 0);
    let status = match (is_held, is_over) {
        (true, false) => ReservationStatus::Active,
        _ if is_sold => ReservationStatus::Committed,
        (true, true) => ReservationStatus::Expired,
        (false, _) => reservation.status,
    };
    let of = |sku: &Sku| filter.sku.as_ref().is_none_or(|asked| asked == sku);
    let mut lines = reservation.lines.iter().filter(|line| of(&line.sku));
    let is_there = lines.any(|line| filter.store.as_ref().is_none_or(|asked| *asked == line.store_id));
    let is_asked = filter.status.is_none_or(|asked| asked == status);
    let stores = reservation.lines.iter().map(|line| &line.store_id);
    let is_seen = filter
        .scope
        .stores()
        .is_none_or(|seen| stores.clone().all(|store| seen.contains(store)));
    is_there && is_seen && is_asked && (filter.reference.is_none() || filter.reference == reservation.reference)
}

/// Numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn of<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize].clone()
    }

    fn often(&mut self, in_ten: u64) -> bool {
        self.below(10) < in_ten
    }

    fn ttl_seconds(&mut self) -> Option<u64> {
        let seconds = 1 + self.below(30);
        self.often(6).then_some(seconds)
    }

    fn reference(&mut self) -> Option<String> {
        let number = self.below(3);
        self.often(7).then(|| format!("order {number}"))
    }

    fn lines(&mut self) -> Vec<CartLine> {
        let count = 1 + self.below(4);
        let lines = (0..count).map(|_| line(self.of(&SKUS), self.of(&STORES), 1 + self.below(6)));
        lines.collect()
    }
}

impl Shop {
    async fn wander(&mut self, rig: &dyn Rig, steps: u64, chance: &mut Chance) {
        for _ in 0..steps {
            self.now = Timestamp::from_millis(self.now.as_millis() + chance.below(1500) as i64);
            let id = format!("{} {}", chance.below(3), self.log.len());
            let open: Vec<Reservation> = self.made().into_iter().map(|(_, made)| made).collect();
            let open: Vec<Reservation> = open.into_iter().filter(Reservation::is_active).collect();
            match chance.below(12) {
                0..=3 => {
                    let replaces = (!open.is_empty() && chance.often(3)).then(|| chance.of(&open));
                    let cart = Cart {
                        ttl_seconds: chance.ttl_seconds(),
                        reference: chance.reference(),
                        replaces,
                        allow_partial: chance.often(3),
                        ..cart(&id, chance.lines())
                    };
                    self.joint(rig, JointAction::Reserve(cart)).await;
                }
                4..=7 if !open.is_empty() => {
                    let reservation = chance.of(&open);
                    let held: Vec<_> = reservation.lines.iter().filter(|line| line.held > 0).collect();
                    let held = chance.of(&held);
                    let part = chance.often(5).then(|| {
                        let quantity = 1 + chance.below(held.held);
                        vec![line(held.sku.as_str(), held.store_id.as_str(), quantity)]
                    });
                    let action = match chance.below(3) {
                        0 => JointAction::Commit {
                            reservation,
                            part,
                            note: None,
                        },
                        1 => JointAction::Release {
                            reservation,
                            part,
                            note: None,
                        },
                        _ => JointAction::Extend {
                            reservation,
                            ttl_seconds: 1 + chance.below(20),
                        },
                    };
                    self.joint(rig, action).await;
                }
                8 => {
                    let requests = (0..3).map(|i| {
                        let id = format!("{i} of {}", self.log.len());
                        let reference = chance.reference();
                        let action = reserve(&id, 1 + chance.below(3), chance.ttl_seconds(), reference.as_deref());
                        request(chance.of(&SKUS), chance.of(&STORES), action)
                    });
                    let requests = requests.collect();
                    self.joint(rig, JointAction::Batch(requests)).await;
                }
                9 => {
                    let quantity = 1 + chance.below(9);
                    let action = Action::ReleaseQuantity { quantity };
                    self.single(rig, request(chance.of(&SKUS), chance.of(&STORES), action))
                        .await;
                }
                10 => {
                    let reference = chance.reference();
                    let action = reserve(&id, 1 + chance.below(5), chance.ttl_seconds(), reference.as_deref());
                    self.single(rig, request(chance.of(&SKUS), chance.of(&STORES), action))
                        .await;
                }
                _ => {
                    let skus = [sku(chance.of(&SKUS))];
                    let grounds = self.grounds(&skus);
                    let records = self.expire(&skus);
                    self.append(rig, grounds, records).await;
                }
            }
        }
    }

    fn filters(&self) -> Vec<ReservationFilter> {
        let all = ReservationFilter {
            now: self.now,
            ..ReservationFilter::default()
        };
        let statuses = ReservationStatus::ALL.map(Some);
        let mut filters: Vec<_> = statuses
            .map(|status| ReservationFilter { status, ..all.clone() })
            .into();
        filters.push(all);
        let seen = |filter: &ReservationFilter, names: &[&str]| ReservationFilter {
            scope: scope(names),
            ..filter.clone()
        };
        let in_store = |filter: &ReservationFilter| ReservationFilter {
            store: Some(store("t")),
            ..filter.clone()
        };
        let of_sku = |filter: &ReservationFilter| ReservationFilter {
            sku: Some(sku("B")),
            ..filter.clone()
        };
        let referred = |filter: &ReservationFilter| ReservationFilter {
            reference: Some("order 1".to_owned()),
            ..filter.clone()
        };
        for filter in filters.clone() {
            filters.extend([in_store(&filter), referred(&filter)]);
            filters.extend([seen(&filter, &["t"]), seen(&filter, &["nowhere", "s"])]);
            filters.extend([seen(&referred(&filter), &["s"]), seen(&in_store(&filter), &["t", "u"])]);
            filters.push(seen(&filter, &STORES));
            // Those that still hold something, though perhaps no more of the SKU, are looked at by themselves.
            if filter.status != Some(ReservationStatus::Active) {
                filters.extend([of_sku(&filter), in_store(&of_sku(&referred(&filter)))]);
            }
        }
        filters
    }
}

pub async fn whatever_became_of_reservations_is_told_as_the_log_has_it(mut rig: Box<dyn Rig>) {
    let (mut shop, mut chance) = (Shop::open(&*rig).await, Chance(7));
    for _ in 0..4 {
        shop.wander(&*rig, 80, &mut chance).await;
        shop.check(&*rig).await;
        rig = rig.crash();
        shop.check(&*rig).await;
    }
    let statuses: Vec<_> = shop.made().iter().map(|(_, made)| made.status).collect();
    let is_there = |status| statuses.iter().filter(|found| **found == status).count() >= 5;
    assert!(ReservationStatus::ALL.into_iter().all(is_there), "{statuses:?}");
}

pub async fn reservations_are_listed_newest_first_by_all_that_a_filter_names(mut rig: Box<dyn Rig>) {
    let (mut shop, mut chance) = (Shop::open(&*rig).await, Chance(11));
    for _ in 0..2 {
        shop.wander(&*rig, 90, &mut chance).await;
        // Some are over, and nobody has recorded it.
        shop.now = shop.now.plus_seconds(5);
        for filter in shop.filters() {
            shop.check_list(&*rig, &filter).await;
        }
        shop.pass_the_day(&*rig).await;
        rig = rig.crash();
    }
    let mut found = 0;
    for filter in shop.filters() {
        found += usize::from(shop.check_list(&*rig, &filter).await > 0);
    }
    assert!(found >= 20, "only {found} filters find anything");
}

pub async fn a_reservation_is_found_however_long_ago_it_was_over(mut rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    let both = || vec![line("A", "s", 2), line("B", "t", 3)];
    for id in ["sold", "given back", "sold in part", "over", "open", "replaced"] {
        let cart = Cart {
            ttl_seconds: (id == "over").then_some(5),
            reference: Some(format!("order {id}")),
            ..cart(id, both())
        };
        assert!(shop.joint(&*rig, JointAction::Reserve(cart)).await);
    }
    shop.pass_the_day(&*rig).await;
    rig = rig.crash();
    shop.commit(&*rig, "sold", None).await;
    shop.release(&*rig, "given back", None).await;
    shop.commit(&*rig, "sold in part", Some(vec![line("B", "t", 1)])).await;
    let swap = Cart {
        replaces: shop.told("replaced"),
        ..cart("replacing", vec![line("B", "t", 1)])
    };
    assert!(shop.joint(&*rig, JointAction::Reserve(swap)).await);
    shop.now = shop.now.plus_seconds(60);
    shop.pass_the_day(&*rig).await;
    shop.check(&*rig).await;
    let over = shop.told("over").unwrap();
    let held: Vec<u64> = over.lines.iter().map(|line| line.held).collect();
    assert_eq!(held, [0, 3], "only one of its SKUs has been woken");
    shop.release(&*rig, "sold in part", None).await;
    for _ in 0..3 {
        shop.pass_the_day(&*rig).await;
        rig = rig.crash();
        shop.check(&*rig).await;
    }
    let status = |id: &str| shop.told(id).unwrap().status;
    use ReservationStatus::{Active, Committed, Expired, Released};
    let expected = [Committed, Released, Committed, Released, Expired, Active, Active];
    let ids = [
        "sold",
        "given back",
        "sold in part",
        "replaced",
        "over",
        "open",
        "replacing",
    ];
    assert_eq!(ids.map(status), expected);
}

pub async fn a_reservation_ends_sku_by_sku_where_its_expiry_is_recorded_so(mut rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    let cart = Cart {
        ttl_seconds: Some(10),
        ..cart("r", SKUS.iter().map(|of| line(of, "s", 2)).collect())
    };
    assert!(shop.joint(&*rig, JointAction::Reserve(cart)).await);
    shop.now = shop.now.plus_seconds(10);
    for (i, of) in (1..).zip(SKUS) {
        let skus = [sku(of)];
        let grounds = shop.grounds(&skus);
        let records = shop.expire(&skus);
        assert_eq!(records.len(), 1);
        shop.append(&*rig, grounds, records).await;
        for _ in 0..2 {
            let found = rig.journal().reservation(&reservation_id("r")).await.unwrap().unwrap();
            assert_eq!(found.lines.iter().filter(|line| line.expired == 2).count(), i);
            let is_last = i == SKUS.len();
            let status = if is_last {
                ReservationStatus::Expired
            } else {
                ReservationStatus::Active
            };
            assert_eq!(found.status, status);
            assert_eq!(found.status_at(shop.now), ReservationStatus::Expired);
            shop.check(&*rig).await;
            rig = rig.crash();
        }
    }
}

pub async fn an_event_with_several_runs_of_a_reservation_is_taken_whole(mut rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    let both = |quantity| vec![line("A", "s", quantity), line("B", "s", quantity)];
    let first = Cart {
        reference: Some("first".to_owned()),
        ..cart("R1", both(2))
    };
    assert!(shop.joint(&*rig, JointAction::Reserve(first)).await);
    for (old, new, quantity) in [("R1", "R2", 5), ("R2", "R0", 3)] {
        let cart = Cart {
            replaces: shop.told(old),
            ..cart(new, both(quantity))
        };
        assert!(shop.joint(&*rig, JointAction::Reserve(cart)).await);
        let runs: Vec<_> = shop
            .log
            .last()
            .unwrap()
            .holds
            .chunk_by(|a, b| a.reservation_id == b.reservation_id)
            .map(|run| run[0].reservation_id.to_string())
            .collect();
        assert_eq!(runs, [old, new, old, new]);
        shop.check(&*rig).await;
        shop.pass_the_day(&*rig).await;
        rig = rig.crash();
        shop.check(&*rig).await;
    }
    shop.commit(&*rig, "R0", Some(both(1))).await;
    rig = rig.crash();
    shop.check(&*rig).await;
    let all = ReservationFilter {
        now: shop.now,
        ..ReservationFilter::default()
    };
    assert_eq!(shop.check_list(&*rig, &all).await, 3);
    let active = ReservationFilter {
        status: Some(ReservationStatus::Active),
        ..all
    };
    assert_eq!(shop.check_list(&*rig, &active).await, 1);
}

/// Reads of one SKU, the reservation and another SKU, one after the other, never go back behind each other.
pub async fn an_append_is_shown_in_its_skus_and_its_reservation_at_once(rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    let both = |quantity| vec![line("A", "s", quantity), line("B", "t", quantity)];
    assert!(shop.joint(&*rig, JointAction::Reserve(cart("r", both(300)))).await);
    let journal = rig.journal();
    let reader = tokio::spawn(async move {
        loop {
            let first = sold(&*journal, "A", "s").await;
            let reservation = journal.reservation(&reservation_id("r")).await.unwrap().unwrap();
            let last = sold(&*journal, "B", "t").await;
            let committed: Vec<u64> = reservation.lines.iter().map(|line| line.committed).collect();
            assert_eq!(committed[0], committed[1], "the reservation shows half of an append");
            assert_eq!(reservation.is_active(), committed[0] < 300);
            assert!(
                first <= committed[0] && committed[0] <= last,
                "{first} sold, then {} by the reservation, then {last}",
                committed[0]
            );
            if last == 300 {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..300 {
        shop.commit(&*rig, "r", Some(both(1))).await;
    }
    reader.await.unwrap();
    shop.check(&*rig).await;
}

async fn sold(journal: &dyn Journal, of: &str, in_store: &str) -> u64 {
    let view = journal.level(&sku(of), &store(in_store)).await.unwrap();
    1000 - view.unwrap().level.quantity
}

pub async fn an_open_reservation_is_listed_under_a_sku_that_it_holds_no_more(rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    let both = cart("r", vec![line("A", "s", 2), line("B", "s", 2)]);
    assert!(shop.joint(&*rig, JointAction::Reserve(both)).await);
    shop.commit(&*rig, "r", Some(vec![line("A", "s", 2)])).await;
    let filter = ReservationFilter {
        status: Some(ReservationStatus::Active),
        sku: Some(sku("A")),
        now: shop.now,
        ..ReservationFilter::default()
    };
    assert_eq!(shop.check_list(&*rig, &filter).await, 1);
}

pub async fn a_reservation_is_listed_under_a_sku_of_which_there_was_nothing_left(rig: Box<dyn Rig>) {
    let mut shop = Shop::open(&*rig).await;
    assert!(
        shop.joint(&*rig, JointAction::Reserve(cart("all", vec![line("B", "s", 1000)])))
            .await
    );
    let both = Cart {
        allow_partial: true,
        ..cart("r", vec![line("A", "s", 2), line("B", "s", 2)])
    };
    assert!(shop.joint(&*rig, JointAction::Reserve(both)).await);
    for status in [None, Some(ReservationStatus::Active)] {
        let filter = ReservationFilter {
            status,
            sku: Some(sku("B")),
            now: shop.now,
            ..ReservationFilter::default()
        };
        assert_eq!(shop.check_list(&*rig, &filter).await, 2);
    }
}
