//! What is counted of every request: by route and status how many and how long, and refusals by code.
//!
//! A route is known by the place of its label (`routes.rs`): routing leaves it in a cell, so that no path is looked at again.
//! A request costs two looks at the clock and a few additions in cells of its own thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;

use super::problem::Code;
use super::routes::{self, Label, UNROUTED};
use crate::metrics::{Counter, Distribution, Histogram, PerThread};

/// Where routing leaves the place of the route's label, while a thread's requests pass one after another.
pub type Met = Rc<Cell<usize>>;

pub struct Traffic {
    labels: Vec<Label>,
    /// Nothing where nothing is to be counted.
    cells: Option<PerThread<Cells>>,
}

struct Cells {
    /// Made when a route is first asked: most are seldom.
    routes: Box<[OnceLock<Box<RouteCells>>]>,
    refusals: [Counter; CODES],
    /// The same of stock writes alone, in batches each operation by itself.
    stock_refusals: [Counter; CODES],
    abandoned: Counter,
}

struct RouteCells {
    statuses: [Counter; STATUSES.len()],
    micros: Histogram,
}

const CODES: usize = Code::ALL.len();

/// What is answered, the most frequent first; the last stands for all others.
const STATUSES: [u16; 25] = [
    200, 201, 204, 304, 409, 404, 400, 401, 403, 412, 422, 429, 503, 202, 206, 405, 408, 413, 415, 416, 421, 500, 410,
    502, 0,
];

/// When a request came, and which route it has met.
#[derive(Clone, Copy)]
pub struct Begun {
    at: Instant,
    route: usize,
}

impl Begun {
    pub fn routed(self, route: usize) -> Self {
        Self { route, ..self }
    }
}

/// A request on its way: it is counted when it is answered, or given up.
pub struct Counting<'a> {
    traffic: &'a Traffic,
    begun: Option<Begun>,
    status: Option<StatusCode>,
}

impl Traffic {
    pub fn counted_if(is_recording: bool) -> Self {
        let labels = routes::labels();
        let count = labels.len();
        Self {
            labels,
            cells: is_recording.then(|| PerThread::of(|| Cells::of(count))),
        }
    }

    pub fn is_recording(&self) -> bool {
        self.cells.is_some()
    }

    pub fn begin(&self) -> Option<Begun> {
        self.cells.as_ref().map(|_| Begun {
            at: Instant::now(),
            route: UNROUTED,
        })
    }

    pub fn counting(&self, begun: Option<Begun>) -> Counting<'_> {
        Counting {
            traffic: self,
            begun,
            status: None,
        }
    }

    /// An operation of a batch was refused by itself.
    pub fn refuse_operation(&self, code: Code) {
        if let Some(cells) = &self.cells {
            note(&cells.own().stock_refusals, code);
        }
    }

    fn answered(&self, begun: Begun, status: StatusCode) {
        let Some(cells) = &self.cells else { return };
        if let Some(route) = cells.own().routes.get(begun.route) {
            let route = route.get_or_init(Box::default);
            route.micros.record(micros(begun.at.elapsed()));
            if let Some(counter) = route.statuses.get(place_of(status)) {
                counter.one();
            }
        }
    }

    fn refused(&self, begun: Begun, code: Code) {
        let Some(cells) = &self.cells else { return };
        note(&cells.own().refusals, code);
        if self.labels.get(begun.route).is_some_and(|label| label.moves_stock) {
            note(&cells.own().stock_refusals, code);
        }
    }

    /// What was counted so far.
    pub fn read(&self) -> Counted {
        let all = || self.cells.iter().flat_map(PerThread::all);
        let routes = self.labels.iter().enumerate().map(|(place, label)| {
            let mut route = RouteCounted::of(label.clone());
            all()
                .filter_map(|cells| cells.routes.get(place)?.get())
                .for_each(|cells| route.add(cells));
            route
        });
        let sum = |counters: fn(&Cells) -> &[Counter; CODES]| {
            let count = |place: usize| all().map(|cells| counters(cells)[place].get()).sum();
            std::array::from_fn(count)
        };
        Counted {
            routes: routes.collect(),
            refusals: sum(|cells| &cells.refusals),
            stock_refusals: sum(|cells| &cells.stock_refusals),
            abandoned: all().map(|cells| cells.abandoned.get()).sum(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000 + u64::from(duration.subsec_micros())
}

fn note(counters: &[Counter; CODES], code: Code) {
    let place = Code::ALL.iter().position(|other| *other == code);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.one();
    }
}

fn place_of(status: StatusCode) -> usize {
    let place = STATUSES.iter().position(|other| *other == status.as_u16());
    place.unwrap_or(STATUSES.len() - 1)
}

impl Cells {
    fn of(routes: usize) -> Self {
        Self {
            routes: std::iter::repeat_with(OnceLock::new).take(routes).collect(),
            refusals: std::array::from_fn(|_| Counter::default()),
            stock_refusals: std::array::from_fn(|_| Counter::default()),
            abandoned: Counter::default(),
        }
    }
}

impl Default for RouteCells {
    fn default() -> Self {
        Self {
            statuses: std::array::from_fn(|_| Counter::default()),
            micros: Histogram::default(),
        }
    }
}

impl Counting<'_> {
    pub fn refused(&mut self, code: Code) {
        if let Some(begun) = self.begun {
            self.traffic.refused(begun, code);
        }
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        match (self.begun, self.status, &self.traffic.cells) {
            (Some(begun), Some(status), _) => self.traffic.answered(begun, status),
            // Its client has gone away.
            (Some(_), None, Some(cells)) => cells.own().abandoned.one(),
            _ => {}
        }
    }
}

/// What only rises.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// In the order of the labels, also those that nobody has asked.
    pub routes: Vec<RouteCounted>,
    refusals: [u64; CODES],
    stock_refusals: [u64; CODES],
    /// Whose clients did not wait for the answer.
    pub abandoned: u64,
}

#[derive(Clone, Debug, Default)]
pub struct RouteCounted {
    pub label: Label,
    statuses: [u64; STATUSES.len()],
    pub micros: Distribution,
}

impl RouteCounted {
    fn of(label: Label) -> Self {
        Self {
            label,
            ..Self::default()
        }
    }

    fn add(&mut self, cells: &RouteCells) {
        for (own, more) in self.statuses.iter_mut().zip(&cells.statuses) {
            *own += more.get();
        }
        self.micros.add(&cells.micros.read());
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            label: self.label.clone(),
            statuses: std::array::from_fn(|place| self.statuses[place].saturating_sub(before.statuses[place])),
            micros: self.micros.since(&before.micros),
        }
    }

    pub fn count(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// How often each status was answered that was, in order; what has no place of its own as 0.
    pub fn statuses(&self) -> Vec<(u16, u64)> {
        let counts = STATUSES.into_iter().zip(self.statuses);
        let mut answered: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        answered.sort_unstable();
        answered
    }
}

impl Counted {
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &[u64; CODES], before: &[u64; CODES]| {
            std::array::from_fn(|place| now[place].saturating_sub(before[place]))
        };
        let nothing = RouteCounted::default();
        let routes = self.routes.iter().enumerate();
        Self {
            routes: routes
                .map(|(place, route)| route.since(before.routes.get(place).unwrap_or(&nothing)))
                .collect(),
            refusals: less(&self.refusals, &before.refusals),
            stock_refusals: less(&self.stock_refusals, &before.stock_refusals),
            abandoned: self.abandoned.saturating_sub(before.abandoned),
        }
    }

    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.routes.iter().map(RouteCounted::count).sum()
    }

    pub fn answered_with(&self, fits: impl Fn(u16) -> bool) -> u64 {
        let statuses = self.routes.iter().flat_map(RouteCounted::statuses);
        statuses
            .filter(|(status, _)| fits(*status))
            .map(|(_, count)| count)
            .sum()
    }

    pub fn micros(&self) -> Distribution {
        Distribution::all(self.routes.iter().map(|route| &route.micros))
    }

    /// Each code with how many refusals of whatever request had it.
    pub fn refusals(&self) -> impl Iterator<Item = (Code, u64)> {
        Code::ALL.into_iter().zip(self.refusals)
    }

    /// The same of stock writes.
    pub fn stock_refusals(&self) -> impl Iterator<Item = (Code, u64)> {
        Code::ALL.into_iter().zip(self.stock_refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, method: &str) -> usize {
        let labels = routes::labels();
        let found = labels
            .iter()
            .position(|label| label.path == path && label.method == method);
        found.unwrap()
    }

    fn ask(traffic: &Traffic, route: usize, status: u16, refusal: Option<Code>) {
        let begun = traffic.begin().map(|begun| begun.routed(route));
        let mut counting = traffic.counting(begun);
        refusal.into_iter().for_each(|code| counting.refused(code));
        counting.answered(StatusCode::from_u16(status).unwrap());
    }

    #[test]
    fn requests_are_counted_by_route_status_and_code() {
        let traffic = Traffic::counted_if(true);
        let (transfer, read) = (place("/api/transfers", "POST"), place("/api/stores", "GET"));
        ask(&traffic, transfer, 200, None);
        ask(&traffic, transfer, 409, Some(Code::InsufficientStock));
        ask(&traffic, read, 404, Some(Code::NotFound));
        ask(&traffic, read, 418, None);
        let counted = traffic.read();
        assert_eq!(counted.routes[transfer].statuses(), [(200, 1), (409, 1)]);
        assert_eq!(counted.routes[read].statuses(), [(0, 1), (404, 1)]);
        assert_eq!((counted.requests(), counted.micros().count()), (4, 4));
        let given =
            |refusals: Vec<(Code, u64)>| refusals.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        let all = [(Code::NotFound, 1), (Code::InsufficientStock, 1)];
        assert_eq!(given(counted.refusals().collect()), all);
        assert_eq!(given(counted.stock_refusals().collect()), all[1..]);
        ask(&traffic, read, 200, None);
        let since = traffic.read().since(&counted);
        assert_eq!((since.requests(), since.routes[read].statuses()), (1, vec![(200, 1)]));
    }

    #[test]
    fn whose_client_has_gone_is_counted_as_given_up() {
        let traffic = Traffic::counted_if(true);
        drop(traffic.counting(traffic.begin()));
        assert_eq!((traffic.read().abandoned, traffic.read().requests()), (1, 0));
    }

    #[test]
    fn where_nothing_is_recorded_nobody_looks_at_the_clock() {
        let traffic = Traffic::counted_if(false);
        assert!(traffic.begin().is_none());
        ask(&traffic, UNROUTED, 200, Some(Code::NotFound));
        traffic.refuse_operation(Code::NotFound);
        assert_eq!((traffic.read().requests(), traffic.read().abandoned), (0, 0));
    }

    #[test]
    fn every_status_of_a_code_has_a_place_of_its_own() {
        for code in Code::ALL {
            assert!(STATUSES.contains(&code.status().as_u16()), "{code:?}");
        }
        let mut sorted = STATUSES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), STATUSES.len());
    }
}
