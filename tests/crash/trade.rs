//! What customers of a small shop ask of the service, at random: carts of many lines over few SKUs and stores, what
//! becomes of them, and the work of the shop beside it. Each write goes out under a key that is its request id too, so
//! that the log tells which event is whose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Answer, Client};

const SKUS: u64 = 6;
const STORES: u64 = 10;
/// Carts have 2 to 50 lines.
const MOST_LINES: u64 = 50;
pub const STOCK: u64 = 400;
/// A customer with so many open carts sees to the oldest of them first.
const OPEN_CARTS: usize = 3;

/// A level: SKU and store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub sku: u64,
    pub store: u64,
}

pub type Lines = BTreeMap<Place, u64>;

/// A write that is sent under a key of its own.
#[derive(Clone, Debug)]
pub enum Plan {
    Reserve(Cart),
    Settle {
        id: String,
        how: Settle,
        /// All that is held, where it is left out.
        part: Option<Lines>,
    },
    Extend {
        id: String,
        ttl: u64,
    },
    /// All or nothing.
    Batch(Vec<Step>),
    /// Each for itself.
    Each(BTreeMap<Place, i64>),
    Adjust(Place, i64),
    Count(Place, Count),
}

#[derive(Clone, Debug)]
pub struct Cart {
    /// Without it the service chooses.
    pub id: Option<String>,
    pub lines: Lines,
    pub ttl: Option<u64>,
    pub replaces: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    Commit,
    Release,
}

/// An operation of a batch.
#[derive(Clone, Debug)]
pub enum Step {
    Adjust(Place, i64),
    /// To a store that has the SKU too.
    Transfer(Place, u64, u64),
    Hold(String, Place, u64),
    Count(Place, Count),
}

#[derive(Clone, Copy, Debug)]
pub struct Count {
    pub quantity: u64,
    /// In milliseconds since 1970, where it is of the past.
    pub at: Option<i64>,
}

/// How an answered write ended.
#[derive(Clone, Debug)]
pub enum Told {
    /// With the place in the log; a batch of which each stands for itself names none.
    Done(Option<u64>),
    Refused(String),
}

impl Place {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SKUS).flat_map(|sku| (0..STORES).map(move |store| Self { sku, store }))
    }

    pub fn of(sku: &str, store: &str) -> Self {
        let number = |id: &str, prefix| id.strip_prefix(prefix).and_then(|number| number.parse().ok());
        let place = number(sku, "SKU-").zip(number(store, "store-"));
        let (sku, store) = place.unwrap_or_else(|| panic!("nobody has asked for {sku} in {store}"));
        Self { sku, store }
    }

    pub fn store_id(store: u64) -> String {
        format!("store-{store}")
    }

    pub fn level(self) -> String {
        let Self { sku, store } = self;
        format!("/api/inventory/stores/store-{store}/inventory/SKU-{sku}")
    }

    fn json(self) -> Value {
        json!({"sku": format!("SKU-{}", self.sku), "storeId": Self::store_id(self.store)})
    }

    fn with(self, members: Value) -> Value {
        let mut line = self.json();
        line.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        line
    }
}

fn shown(lines: &Lines) -> Vec<Value> {
    let line = |(place, quantity): (&Place, &u64)| place.with(json!({ "quantity": quantity }));
    lines.iter().map(line).collect()
}

impl Count {
    fn json(self) -> Value {
        let mut body = json!({"quantity": self.quantity});
        if let Some(at) = self.at {
            let at = chrono::DateTime::from_timestamp_millis(at).unwrap();
            body["countedAt"] = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
        }
        body
    }
}

impl Step {
    fn json(&self) -> Value {
        match self {
            Self::Adjust(place, delta) => place.with(json!({"op": "adjust", "delta": delta})),
            Self::Transfer(place, to, quantity) => json!({"op": "transfer", "sku": place.json()["sku"],
                "fromStoreId": Place::store_id(place.store), "toStoreId": Place::store_id(*to), "quantity": quantity}),
            Self::Hold(id, place, quantity) => {
                place.with(json!({"op": "reserve", "reservationId": id, "quantity": quantity}))
            }
            Self::Count(place, count) => {
                let mut operation = place.with(count.json());
                operation["op"] = "set".into();
                operation
            }
        }
    }
}

impl Plan {
    /// Method, path and body.
    pub fn request(&self) -> (&'static str, String, Value) {
        let batch = "/api/inventory/batch".to_owned();
        match self {
            Self::Reserve(cart) => {
                let mut body = json!({"lines": shown(&cart.lines)});
                for (name, value) in [("reservationId", &cart.id), ("replaces", &cart.replaces)] {
                    if let Some(value) = value {
                        body[name] = value.clone().into();
                    }
                }
                if let Some(ttl) = cart.ttl {
                    body["ttlSeconds"] = ttl.into();
                }
                ("POST", "/api/reservations".into(), body)
            }
            Self::Settle { id, how, part } => {
                let verb = match how {
                    Settle::Commit => "commit",
                    Settle::Release => "release",
                };
                let body = part.as_ref().map_or(json!({}), |part| json!({"lines": shown(part)}));
                ("POST", format!("/api/reservations/{id}/{verb}"), body)
            }
            Self::Extend { id, ttl } => (
                "POST",
                format!("/api/reservations/{id}/extend"),
                json!({ "ttlSeconds": ttl }),
            ),
            Self::Batch(steps) => {
                let operations: Vec<_> = steps.iter().map(Step::json).collect();
                ("POST", batch, json!({"operations": operations, "atomic": true}))
            }
            Self::Each(deltas) => {
                let steps = deltas.iter().map(|(place, delta)| Step::Adjust(*place, *delta).json());
                ("POST", batch, json!({"operations": steps.collect::<Vec<_>>()}))
            }
            Self::Adjust(place, delta) => ("POST", format!("{}/adjust", place.level()), json!({"delta": delta})),
            Self::Count(place, count) => ("PUT", place.level(), count.json()),
        }
    }

    /// Sends it; `None` where no answer came.
    pub fn send(&self, client: &Client, key: &str) -> Option<Answer> {
        let (method, path, body) = self.request();
        client.send(method, &path, &body, key)
    }

    /// What the answer says of it.
    pub fn told(&self, key: &str, answer: &Answer) -> Told {
        match (answer.status, answer.error()) {
            (200 | 201, _) => {
                if let Self::Each(_) = self {
                    let results = answer.body["results"].as_array().unwrap();
                    assert!(
                        results.iter().all(|result| result["status"] == 200),
                        "{key}: {answer:?}"
                    );
                }
                Told::Done(answer.body["seq"].as_u64())
            }
            (404, "not_found") | (409, "insufficient_stock" | "reservation_not_active" | "below_reserved") => {
                Told::Refused(answer.error().to_owned())
            }
            _ => panic!("{key}: {self:?}: {answer:?}"),
        }
    }
}

/// All that is known of a trade: what was asked under which key, and what was answered.
#[derive(Default)]
pub struct Trade {
    pub plans: Mutex<HashMap<String, Plan>>,
    pub told: Mutex<Vec<(String, Told)>>,
    /// Not answered yet.
    pub open: Mutex<Vec<String>>,
    /// Known reservations, for anybody to ask for.
    pub carts: Mutex<Vec<(String, Lines)>>,
}

impl Trade {
    /// With every level in place.
    pub fn open(client: &Client) -> Self {
        let trade = Self::default();
        for place in Place::all() {
            let (quantity, at) = (STOCK, None);
            let plan = Plan::Count(place, Count { quantity, at });
            assert!(
                trade
                    .ask(client, &format!("stock-{place:?}").replace(' ', ""), plan)
                    .is_some()
            );
        }
        trade
    }

    /// Enters what is about to be asked.
    pub fn enter(&self, key: &str, plan: &Plan) {
        self.plans.lock().unwrap().insert(key.to_owned(), plan.clone());
        if let Plan::Reserve(Cart {
            id: Some(id), lines, ..
        }) = plan
        {
            // Before it is there, so that others ask for it meanwhile.
            self.carts.lock().unwrap().push((id.clone(), lines.clone()));
        }
    }

    /// Asks and enters the answer, or that there is none.
    pub fn ask(&self, client: &Client, key: &str, plan: Plan) -> Option<Told> {
        self.enter(key, &plan);
        let Some(answer) = plan.send(client, key) else {
            self.open.lock().unwrap().push(key.to_owned());
            return None;
        };
        Some(self.answered(key, &plan, &answer))
    }

    pub fn answered(&self, key: &str, plan: &Plan, answer: &Answer) -> Told {
        let told = plan.told(key, answer);
        if let (Plan::Reserve(Cart { id: None, lines, .. }), Some(id)) = (plan, answer.body["reservationId"].as_str()) {
            self.carts.lock().unwrap().push((id.to_owned(), lines.clone()));
        }
        self.told.lock().unwrap().push((key.to_owned(), told.clone()));
        told
    }

    pub fn plan(&self, key: &str) -> Option<Plan> {
        self.plans.lock().unwrap().get(key).cloned()
    }
}

/// What a client does all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Carts and what becomes of them, and atomic batches.
    Customer,
    /// One level at a time.
    Single,
    /// Many levels at a time, in one step or each for itself.
    Batch,
    /// Counts of some moments ago, alone and in batches.
    Counter,
    /// Reads only.
    Reader,
}

/// One client, with a name of its own.
pub struct Person {
    name: String,
    role: Role,
    chance: Chance,
    asked: usize,
    /// Its own carts that may be open.
    own: Vec<(String, Lines)>,
    /// It was told that there is not enough.
    saw_shortage: bool,
}

impl Person {
    pub fn new(name: String, role: Role) -> Self {
        Self {
            name,
            role,
            chance: Chance::new(),
            asked: 0,
            own: Vec::new(),
            saw_shortage: false,
        }
    }

    pub fn next(&mut self, trade: &Trade) -> (String, Plan) {
        self.asked += 1;
        let key = format!("{}-{}", self.name, self.asked);
        let plan = match self.role {
            Role::Customer => self.shop(trade, &key),
            Role::Single => Plan::Adjust(self.place(), self.delta()),
            Role::Batch if self.chance.below(2) == 0 => {
                let places = self.lines(2, 20, 1);
                Plan::Each(places.into_keys().map(|place| (place, self.up())).collect())
            }
            Role::Batch => Plan::Batch(self.steps(&key)),
            Role::Counter if self.chance.below(4) == 0 => {
                let places = self.lines(2, 4, 1).into_keys();
                Plan::Batch(places.map(|place| Step::Count(place, self.count())).collect())
            }
            Role::Counter => Plan::Count(self.place(), self.count()),
            Role::Reader => unreachable!("a reader writes nothing"),
        };
        (key, plan)
    }

    pub fn learn(&mut self, plan: &Plan, told: &Told) {
        if let (
            Plan::Reserve(Cart {
                id: Some(id), lines, ..
            }),
            Told::Done(_),
        ) = (plan, told)
        {
            self.own.push((id.clone(), lines.clone()));
        }
        self.saw_shortage |= matches!(told, Told::Refused(error) if error == "insufficient_stock");
    }

    /// Asks one thing after another until there is no answer or it is time to go, and returns how many were answered
    /// and how long it had to wait at most.
    pub fn ask_until(&mut self, trade: &Trade, port: u16, end: Instant) -> (usize, Duration) {
        let client = Client::new(port);
        let (mut answered, mut longest) = (0, Duration::ZERO);
        while Instant::now() < end {
            let (key, plan) = self.next(trade);
            let asked = Instant::now();
            let Some(told) = trade.ask(&client, &key, plan.clone()) else {
                break;
            };
            longest = longest.max(asked.elapsed());
            answered += 1;
            self.learn(&plan, &told);
        }
        (answered, longest)
    }

    fn shop(&mut self, trade: &Trade, key: &str) -> Plan {
        if std::mem::take(&mut self.saw_shortage) {
            return Plan::Batch(
                self.lines(30, 60, 9)
                    .into_iter()
                    .map(|(place, n)| Step::Adjust(place, n as i64))
                    .collect(),
            );
        }
        if self.own.len() > OPEN_CARTS {
            let (id, _) = self.own.remove(0);
            let how = self.settle();
            return Plan::Settle { id, how, part: None };
        }
        let choice = self.chance.below(100);
        if choice < 50 {
            return Plan::Reserve(self.cart(key));
        }
        if choice < 65 {
            return Plan::Batch(self.steps(key));
        }
        let Some((id, lines)) = self.known(trade) else {
            return Plan::Reserve(self.cart(key));
        };
        let how = self.settle();
        match choice {
            65..75 => Plan::Settle { id, how, part: None },
            75..90 => {
                let part = Some(self.part(&lines));
                Plan::Settle { id, how, part }
            }
            _ => {
                let ttl = self.seconds();
                Plan::Extend { id, ttl }
            }
        }
    }

    fn cart(&mut self, key: &str) -> Cart {
        let is_mine = self.chance.below(4) > 0;
        let replaces = if self.own.is_empty() || self.chance.below(5) > 0 {
            None
        } else {
            Some(self.own.remove(0).0)
        };
        Cart {
            id: is_mine.then(|| format!("cart-{key}")),
            lines: self.lines(2, MOST_LINES, 3),
            // One of an id that nobody may learn has to end by itself.
            ttl: (!is_mine || self.chance.below(2) == 0).then(|| self.seconds()),
            replaces,
        }
    }

    /// In one store goods come in, from one to another they go over; and some are put aside.
    fn steps(&mut self, key: &str) -> Vec<Step> {
        let places = self.lines(2, 12, 8);
        let step = |(i, (place, quantity)): (usize, (Place, u64))| match self.chance.below(5) {
            0 | 1 => {
                let to = (place.store + 1 + self.chance.below(STORES - 1)) % STORES;
                Step::Transfer(place, to, quantity)
            }
            2 if i == 0 => Step::Hold(format!("put-aside-{key}"), place, quantity),
            _ => Step::Adjust(place, quantity as i64),
        };
        places.into_iter().enumerate().map(step).collect()
    }

    /// Its own mostly, or one of the latest that others have made.
    fn known(&mut self, trade: &Trade) -> Option<(String, Lines)> {
        if !self.own.is_empty() && self.chance.below(3) > 0 {
            let index = self.chance.below(self.own.len() as u64) as usize;
            return Some(self.own[index].clone());
        }
        let carts = trade.carts.lock().unwrap();
        let latest = self.chance.below(16) as usize;
        carts.iter().rev().nth(latest).cloned()
    }

    fn part(&mut self, lines: &Lines) -> Lines {
        let mut part: Lines = lines
            .iter()
            .filter(|_| self.chance.below(3) == 0)
            .map(|(place, quantity)| (*place, 1 + *quantity / 2))
            .collect();
        let (place, _) = lines.first_key_value().unwrap();
        part.entry(*place).or_insert(1);
        part
    }

    pub fn lines(&mut self, least: u64, most: u64, quantity: u64) -> Lines {
        let count = least + self.chance.below(most - least + 1);
        let mut lines = Lines::new();
        while lines.len() < count as usize {
            lines.insert(self.place(), 1 + self.chance.below(quantity));
        }
        lines
    }

    fn place(&mut self) -> Place {
        Place {
            sku: self.chance.below(SKUS),
            store: self.chance.below(STORES),
        }
    }

    fn settle(&mut self) -> Settle {
        match self.chance.below(2) {
            0 => Settle::Commit,
            _ => Settle::Release,
        }
    }

    fn seconds(&mut self) -> u64 {
        1 + self.chance.below(3)
    }

    fn delta(&mut self) -> i64 {
        [-2, -1, 1, 2, 3][self.chance.below(5) as usize]
    }

    fn up(&mut self) -> i64 {
        1 + self.chance.below(3) as i64
    }

    fn count(&mut self) -> Count {
        let ago = self.chance.below(3000) as i64;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        Count {
            quantity: STOCK + self.chance.below(STOCK),
            at: Some(now - ago),
        }
    }
}

/// SplitMix64, seeded by the clock: every run is another.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static BORN: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        Self(now ^ BORN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
