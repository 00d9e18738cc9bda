//! The log read anew, event by event: each is what was asked under its key, whole and once; and what the service shows
//! is what they come to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::Deserialize;

use super::client::Client;
use super::trade::{Cart, Count, Lines, Place, Plan, Settle, Step, Told, Trade};
use super::within;

/// Of the reservations that are over about so many are looked at each time, as the service reads them back from its log.
const MOST_OVER: usize = 200;

#[derive(Default)]
pub struct Audit {
    seq: u64,
    levels: BTreeMap<Place, Level>,
    pub carts: HashMap<String, Reservation>,
    /// Reservations that hold something, and those that changed since they were last compared.
    active: BTreeSet<String>,
    changed: BTreeSet<String>,
    /// Levels that changed since then.
    moved: BTreeSet<Place>,
    /// What has taken effect, and where in the log; of a batch of which each stands for itself, at its first.
    pub there: HashMap<String, u64>,
    /// Of such batches, what is yet to come.
    rest: HashMap<String, BTreeMap<Place, i64>>,
    /// How many answers were compared with the log.
    answers: usize,
    /// Of each hold that ended by itself, when it was over, and when that was recorded.
    pub ended: Vec<(i64, i64)>,
}

#[derive(Clone, Debug, Default)]
struct Level {
    quantity: u64,
    reserved: u64,
    version: u64,
    /// When it changed last.
    at: i64,
    /// Time and difference of each movement that is no count.
    moves: Vec<(i64, i64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Reservation {
    pub lines: BTreeMap<Place, Line>,
    expires_at: Option<i64>,
}

/// What became of what was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub quantity: u64,
    pub held: u64,
    pub committed: u64,
    pub released: u64,
    pub expired: u64,
}

impl Reservation {
    pub fn is_active(&self) -> bool {
        self.lines.values().any(|line| line.held > 0)
    }

    fn held(&self) -> Lines {
        let held = self.lines.iter().filter(|(_, line)| line.held > 0);
        held.map(|(place, line)| (*place, line.held)).collect()
    }

    fn status(&self) -> &'static str {
        let any = |member: fn(&Line) -> u64| self.lines.values().any(|line| member(line) > 0);
        match () {
            () if any(|line| line.held) => "active",
            () if any(|line| line.committed) => "committed",
            // Whichever came last: a part of it may have ended in another way.
            () if !any(|line| line.expired) => "released",
            () if !any(|line| line.released) => "expired",
            () => "",
        }
    }
}

/// A page of `GET /api/events`.
#[derive(Deserialize)]
struct Page {
    items: Vec<Event>,
    seq: u64,
    end: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    at: String,
    request_id: String,
    reservation_id: Option<String>,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    sku: String,
    store_id: String,
    movement: Option<String>,
    delta: i64,
    quantity: u64,
    reserved: u64,
    version: u64,
    #[serde(default)]
    moves: Vec<Move>,
}

impl Change {
    fn place(&self) -> Place {
        Place::of(&self.sku, &self.store_id)
    }
}

#[derive(Deserialize)]
struct Move {
    #[serde(rename = "type")]
    movement: String,
    delta: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaceForm {
    sku: String,
    store_id: String,
}

impl PlaceForm {
    fn place(&self) -> Place {
        Place::of(&self.sku, &self.store_id)
    }
}

#[derive(Deserialize)]
struct LevelForm {
    #[serde(flatten)]
    place: PlaceForm,
    quantity: u64,
    reserved: u64,
    available: u64,
    version: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReservationForm {
    reservation_id: String,
    status: String,
    lines: Vec<LineForm>,
}

impl ReservationForm {
    fn lines(&self) -> BTreeMap<Place, Line> {
        let line = |form: &LineForm| Line {
            quantity: form.quantity,
            held: form.held,
            committed: form.committed,
            released: form.released,
            expired: form.expired,
        };
        let lines = self.lines.iter().map(|form| (form.place.place(), line(form)));
        lines.collect()
    }
}

#[derive(Deserialize)]
struct LineForm {
    #[serde(flatten)]
    place: PlaceForm,
    quantity: u64,
    held: u64,
    committed: u64,
    released: u64,
    expired: u64,
}

pub fn millis(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).unwrap().timestamp_millis()
}

/// By level, what is added to the quantity and to what is reserved.
type Effect = BTreeMap<Place, (i64, i64)>;

impl Audit {
    /// Holds the service to the trade: what was answered is in the log as it was answered, what is in the log was asked
    /// for, once and wholly, and what is shown is what the log comes to. Returns whether all could be compared: what
    /// ended by itself meanwhile could not.
    pub fn check(&mut self, client: &Client, trade: &Trade) -> bool {
        self.read(client, trade);
        let over: Vec<&String> = self.changed.difference(&self.active).collect();
        let some = over.iter().step_by(over.len() / MOST_OVER + 1).copied();
        let looked_at: BTreeSet<String> = some.chain(&self.active).cloned().collect();
        let was_active = self.active.clone();
        (self.changed, self.moved) = Default::default();
        let levels = self.shown_levels(client);
        let reservations = shown_reservations(client, &looked_at);
        // What ended meanwhile is in the log before it is shown.
        self.read(client, trade);
        self.compare_levels(&levels);
        self.compare_reservations(&reservations, &was_active);
        self.compare_answers(trade);
        self.assert_holds_are_what_is_reserved();
        self.moved.is_empty()
    }

    /// The same, again until nothing ends by itself meanwhile.
    pub fn check_all(&mut self, client: &Client, trade: &Trade) {
        let is_quiet = || self.check(client, trade);
        assert!(within(Duration::from_secs(30), is_quiet), "holds go on ending");
    }

    fn compare_answers(&mut self, trade: &Trade) {
        let told = trade.told.lock().unwrap();
        for (key, told) in &told[self.answers..] {
            match (told, self.there.get(key)) {
                (Told::Done(Some(seq)), there) => {
                    assert_eq!(there, Some(seq), "{key} was acknowledged, and where the log has it");
                }
                (Told::Done(None), there) => {
                    assert!(there.is_some(), "{key} was acknowledged and is not in the log");
                    assert_eq!(self.rest.get(key), None, "{key} was acknowledged and is there in part");
                }
                (Told::Refused(error), there) => assert_eq!(there, None, "{key} was refused: {error}"),
            }
        }
        self.answers = told.len();
    }

    /// What is held at last, in all.
    pub fn held(&self) -> u64 {
        let held = self.active.iter().flat_map(|id| self.carts[id].lines.values());
        held.map(|line| line.held).sum()
    }

    fn read(&mut self, client: &Client, trade: &Trade) {
        loop {
            let page = client.text(&format!("/api/events?after={}&limit=500", self.seq));
            let page: Page = serde_json::from_str(&page).unwrap();
            for event in page.items {
                assert_eq!(event.seq, self.seq + 1, "the log has a gap");
                self.seq = event.seq;
                self.enter(&event, trade);
            }
            assert_eq!(page.seq, self.seq, "events without changes");
            if page.seq >= page.end {
                return;
            }
        }
    }

    fn enter(&mut self, event: &Event, trade: &Trade) {
        let at = millis(&event.at);
        let shown = self.shown_effect(event);
        let expected = if event.kind == "reservation.expired" {
            self.expire(event, at)
        } else {
            self.plan(event, at, trade)
        };
        let kind = &event.kind;
        assert_eq!(shown, expected, "event {}, {kind}, {}", event.seq, event.request_id);
        for change in &event.changes {
            self.moved.insert(change.place());
            let level = self.levels.entry(change.place()).or_default();
            (level.quantity, level.reserved, level.version) = (change.quantity, change.reserved, change.version);
            assert!(
                at >= level.at,
                "event {}: its time is before that of the one before",
                event.seq
            );
            level.at = at;
            if change.moves.is_empty() && change.movement.as_deref().is_some_and(|movement| movement != "COUNT") {
                level.moves.push((at, change.delta));
            }
            let moves = change.moves.iter().filter(|one| one.movement != "COUNT");
            level.moves.extend(moves.map(|one| (at, one.delta)));
        }
    }

    /// What the event has made of the levels, which follow upon what they were.
    fn shown_effect(&self, event: &Event) -> Effect {
        let (mut effect, nothing) = (Effect::new(), Level::default());
        for change in &event.changes {
            let place = change.place();
            let before = self.levels.get(&place).unwrap_or(&nothing);
            assert_eq!(change.version, before.version + 1, "event {}: {place:?}", event.seq);
            assert!(
                change.reserved <= change.quantity,
                "event {}: {place:?} is oversold",
                event.seq
            );
            let quantity = change.quantity as i64 - before.quantity as i64;
            assert_eq!(change.delta, quantity, "event {}: {place:?}", event.seq);
            let known = effect.insert(place, (quantity, change.reserved as i64 - before.reserved as i64));
            assert_eq!(known, None, "event {} has {place:?} twice", event.seq);
        }
        effect.retain(|_, effect| *effect != (0, 0));
        effect
    }

    /// All that is over in one SKU ends at once.
    fn expire(&mut self, event: &Event, at: i64) -> Effect {
        let sku = event.changes[0].place().sku;
        let (mut effect, mut ended) = (Effect::new(), BTreeSet::new());
        let is_over = |id: &&String| self.carts[*id].expires_at.is_some_and(|over| over <= at);
        let over: Vec<String> = self.active.iter().filter(is_over).cloned().collect();
        for id in over {
            let cart = self.carts.get_mut(&id).unwrap();
            for (place, line) in cart.lines.iter_mut().filter(|(place, _)| place.sku == sku) {
                effect.entry(*place).or_default().1 -= line.held as i64;
                if line.held > 0 {
                    ended.insert(id.clone());
                }
                line.expired += std::mem::take(&mut line.held);
            }
            self.touch(&id);
        }
        if let Some(only) = &event.reservation_id {
            assert_eq!(ended, BTreeSet::from([only.clone()]), "event {}", event.seq);
        }
        self.ended
            .extend(ended.iter().filter_map(|id| Some((self.carts[id].expires_at?, at))));
        effect.retain(|_, effect| *effect != (0, 0));
        effect
    }

    /// What was asked under the event's key, which has not taken effect before.
    fn plan(&mut self, event: &Event, at: i64, trade: &Trade) -> Effect {
        let (key, seq) = (&event.request_id, event.seq);
        let plan = trade
            .plan(key)
            .unwrap_or_else(|| panic!("event {seq}: nobody asked for {key}"));
        let known = self.there.insert(key.clone(), seq);
        if let Plan::Each(deltas) = plan {
            let rest = self.rest.entry(key.clone()).or_insert(deltas);
            let place = event.changes[0].place();
            let delta = rest.remove(&place);
            let delta = delta.unwrap_or_else(|| panic!("event {seq}: {key} has taken effect twice in {place:?}"));
            if rest.is_empty() {
                self.rest.remove(key);
            }
            self.there.insert(key.clone(), known.unwrap_or(seq));
            return Effect::from([(place, (delta, 0))]);
        }
        assert_eq!(known, None, "event {seq}: {key} has taken effect twice");
        let mut effect = Effect::new();
        match plan {
            Plan::Reserve(cart) => {
                let id = event.reservation_id.clone().unwrap();
                assert!(cart.id.is_none() || cart.id.as_ref() == Some(&id), "event {seq}: {id}");
                self.reserve(&id, &cart, at, &mut effect);
            }
            Plan::Settle { id, how, part } => {
                assert_eq!(event.reservation_id.as_ref(), Some(&id), "event {seq}");
                let part = part.unwrap_or_else(|| self.carts[&id].held());
                assert!(!part.is_empty(), "event {seq}: {id} held nothing");
                self.settle(&id, how, &part, &mut effect);
            }
            Plan::Extend { id, ttl } => {
                assert_eq!(event.reservation_id.as_ref(), Some(&id), "event {seq}");
                let cart = self.carts.get_mut(&id).unwrap();
                assert!(cart.is_active(), "event {seq}: {id} held nothing");
                cart.expires_at = Some(at + 1000 * ttl as i64);
                self.touch(&id);
            }
            Plan::Batch(steps) => steps.iter().for_each(|step| self.step(step, at, &mut effect)),
            Plan::Each(_) => unreachable!(),
            Plan::Adjust(place, delta) => self.step(&Step::Adjust(place, delta), at, &mut effect),
            Plan::Count(place, count) => self.step(&Step::Count(place, count), at, &mut effect),
        }
        effect.retain(|_, effect| *effect != (0, 0));
        effect
    }

    fn reserve(&mut self, id: &str, cart: &Cart, at: i64, effect: &mut Effect) {
        if let Some(replaced) = &cart.replaces {
            let held = self.carts[replaced].held();
            assert!(!held.is_empty(), "{replaced} was replaced though it held nothing");
            self.settle(replaced, Settle::Release, &held, effect);
        }
        self.hold(id, &cart.lines, cart.ttl.map(|ttl| at + 1000 * ttl as i64), effect);
    }

    fn hold(&mut self, id: &str, lines: &Lines, expires_at: Option<i64>, effect: &mut Effect) {
        let of = |quantity: u64| Line {
            quantity,
            held: quantity,
            ..Line::default()
        };
        let made = Reservation {
            lines: lines.iter().map(|(place, quantity)| (*place, of(*quantity))).collect(),
            expires_at,
        };
        let known = self.carts.insert(id.to_owned(), made);
        assert!(known.is_none(), "{id} was made twice");
        for (place, quantity) in lines {
            effect.entry(*place).or_default().1 += *quantity as i64;
        }
        self.touch(id);
    }

    fn settle(&mut self, id: &str, how: Settle, part: &Lines, effect: &mut Effect) {
        let cart = self.carts.get_mut(id).unwrap();
        for (place, quantity) in part {
            let line = cart.lines.get_mut(place).unwrap();
            assert!(
                line.held >= *quantity,
                "{id} held less of {place:?} than was taken from it"
            );
            line.held -= quantity;
            let effect = effect.entry(*place).or_default();
            effect.1 -= *quantity as i64;
            if how == Settle::Commit {
                effect.0 -= *quantity as i64;
                line.committed += quantity;
            } else {
                line.released += quantity;
            }
        }
        self.touch(id);
    }

    fn step(&mut self, step: &Step, at: i64, effect: &mut Effect) {
        let mut add = |place, delta| effect.entry(place).or_default().0 += delta;
        match step {
            Step::Adjust(place, delta) => add(*place, *delta),
            Step::Transfer(from, store, quantity) => {
                add(*from, -(*quantity as i64));
                let to = Place { store: *store, ..*from };
                add(to, *quantity as i64);
            }
            Step::Hold(id, place, quantity) => self.hold(id, &Lines::from([(*place, *quantity)]), None, effect),
            Step::Count(place, Count { quantity, at: counted }) => {
                let nothing = Level::default();
                let level = self.levels.get(place).unwrap_or(&nothing);
                let since = level.moves.iter().rev();
                let since = since.take_while(|(moved, _)| counted.is_some_and(|counted| *moved > counted));
                let moved: i64 = since.map(|(_, delta)| delta).sum();
                assert!(counted.is_none_or(|counted| counted < at));
                add(*place, *quantity as i64 + moved - level.quantity as i64);
            }
        }
    }

    fn touch(&mut self, id: &str) {
        self.changed.insert(id.to_owned());
        if self.carts[id].is_active() {
            self.active.insert(id.to_owned());
        } else {
            self.active.remove(id);
        }
    }

    fn shown_levels(&self, client: &Client) -> BTreeMap<Place, LevelForm> {
        let stores: BTreeSet<_> = self.levels.keys().map(|place| place.store).collect();
        let rows = stores
            .into_iter()
            .flat_map(|store| client.list(&Place::store_id(store)));
        let forms = rows.map(|row| LevelForm::deserialize(row).unwrap());
        forms.map(|form| (form.place.place(), form)).collect()
    }

    fn compare_levels(&self, shown: &BTreeMap<Place, LevelForm>) {
        assert!(shown.keys().eq(self.levels.keys()));
        for (place, shown) in shown.iter().filter(|(place, _)| !self.moved.contains(place)) {
            let level = &self.levels[place];
            let expected = (
                level.quantity,
                level.reserved,
                level.quantity - level.reserved,
                level.version,
            );
            let shown = (shown.quantity, shown.reserved, shown.available, shown.version);
            assert_eq!(shown, expected, "{place:?} as it is shown, and by the log");
        }
    }

    fn compare_reservations(&self, shown: &Shown, was_active: &BTreeSet<String>) {
        for (id, form) in &shown.each {
            if self.changed.contains(id) {
                continue;
            }
            let expected = &self.carts[id];
            assert_eq!(form.lines(), expected.lines, "{id} as it is shown, and by the log");
            let status = expected.status();
            assert!(
                status.is_empty() || form.status == status,
                "{id} is {}, and by the log {status}",
                form.status
            );
        }
        let unchanged = |ids: &BTreeSet<String>| ids.difference(&self.changed).cloned().collect::<BTreeSet<_>>();
        let (listed, expected) = (unchanged(&shown.active), unchanged(was_active));
        assert_eq!(listed, expected, "the active ones as they are listed, and by the log");
    }

    fn assert_holds_are_what_is_reserved(&self) {
        let mut held = Lines::new();
        for (place, quantity) in self.active.iter().flat_map(|id| self.carts[id].held()) {
            *held.entry(place).or_default() += quantity;
        }
        for (place, level) in &self.levels {
            let held = held.get(place).copied().unwrap_or(0);
            assert_eq!(
                level.reserved, held,
                "what is reserved of {place:?}, and the sum of its holds"
            );
        }
    }
}

/// Reservations as they are shown.
struct Shown {
    each: BTreeMap<String, ReservationForm>,
    active: BTreeSet<String>,
}

/// The list of the active ones and, of these, each as it is listed; the others one by one.
fn shown_reservations(client: &Client, ids: &BTreeSet<String>) -> Shown {
    let listed = client.all("/api/reservations?status=active&").into_iter();
    let listed = listed.map(|row| ReservationForm::deserialize(row).unwrap());
    let mut each: BTreeMap<_, _> = listed.map(|form| (form.reservation_id.clone(), form)).collect();
    let active = each.keys().cloned().collect();
    for id in ids {
        if !each.contains_key(id) {
            let form = ReservationForm::deserialize(client.get(&format!("/api/reservations/{id}")).body);
            each.insert(id.clone(), form.unwrap_or_else(|error| panic!("{id}: {error}")));
        }
    }
    Shown { each, active }
}
