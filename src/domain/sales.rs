//! What was sold, and what came back, by the hour: a sum of the log, which takes in event after event.
//!
//! It is a function of the log: whoever reads the same events has the same sums, and what is kept of them can be thrown
//! away. Old hours are rolled up to days and old days to weeks, by the time of the events, so that it grows with the
//! levels that sell and hardly with the years.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::{Bound, ControlFlow, Range};

use serde::{Deserialize, Serialize};

use super::{Event, LastEvent, Move, Movement, Scope, Sku, StoreId, Timestamp};

/// Of so many days the hours are kept, the day of the last event not counted.
pub const DAYS_OF_HOURS: i64 = 35;
/// Of so many days, at least, the days.
pub const DAYS_OF_DAYS: i64 = 400;
/// What sells lately is what was sold in so many days.
pub const LATELY_DAYS: i64 = 28;

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// Of what was observed for less than this, nobody can say how it sells.
const LEAST_OBSERVED_MS: i64 = HOUR_MS;
/// 1970 began on a Thursday: so many hours before it was a Monday.
const FIRST_MONDAY_HOURS: i64 = 3 * DAY_HOURS;

/// An hour in UTC, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(i64);

/// How long a bucket is. Days are those of UTC, weeks begin on Monday (ISO 8601).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Hour,
    Day,
    Week,
}

impl Span {
    fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => DAY_HOURS,
            Self::Week => 7 * DAY_HOURS,
        }
    }
}

impl Hour {
    /// The first hour of the first week, and the last one of the last week, whose ends RFC 3339 can write. Nothing was sold
    /// outside of them.
    pub const FIRST: Self = Self(4 * DAY_HOURS);
    pub const LAST: Self = Self(70_389_407);

    /// The hour that a moment is in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(HOUR_MS))
    }

    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(HOUR_MS))
    }

    /// Where the bucket begins that it is in.
    pub fn floor(self, span: Span) -> Self {
        let hours = span.hours();
        Self((self.0 + FIRST_MONDAY_HOURS).div_euclid(hours) * hours - FIRST_MONDAY_HOURS)
    }

    /// Where the bucket behind that begins.
    pub fn ceil(self, span: Span) -> Self {
        Self(self.floor(span).0 + span.hours())
    }

    pub fn minus_days(self, days: i64) -> Self {
        Self(self.0 - days * DAY_HOURS)
    }
}

/// Units that went out of the door by sales, and that came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    pub sold: u64,
    pub returned: u64,
}

impl Units {
    fn of(one: &Move) -> Option<Self> {
        let units = one.delta.unsigned_abs();
        let none = Self::default();
        match one.movement {
            Movement::Sale => Some(Self { sold: units, ..none }),
            Movement::Return => Some(Self {
                returned: units,
                ..none
            }),
            _ => None,
        }
    }

    fn add(&mut self, other: Self) {
        self.sold = self.sold.saturating_add(other.sold);
        self.returned = self.returned.saturating_add(other.returned);
    }

    /// What was sold for good.
    pub fn net(self) -> i64 {
        let net = i128::from(self.sold) - i128::from(self.returned);
        i64::try_from(net).unwrap_or(if net < 0 { i64::MIN } else { i64::MAX })
    }
}

/// The units of the time from an hour on, up to where the next kept span begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket(Hour, u64, u64);

impl Bucket {
    fn units(&self) -> Units {
        let Self(_, sold, returned) = *self;
        Units { sold, returned }
    }

    fn add(&mut self, units: Units) {
        let mut sum = self.units();
        sum.add(units);
        *self = Self(self.0, sum.sold, sum.returned);
    }
}

/// What was sold of a SKU in a store: only spans in which something was, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Series {
    store_id: StoreId,
    buckets: Vec<Bucket>,
}

/// All that was sold, up to a place in the log. Deleted SKUs and stores stay in it, as they do in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sales {
    seq: u64,
    last: Option<LastEvent>,
    /// The hour of the first event.
    began: Option<Hour>,
    /// What was before this is kept by the day.
    hours_since: Hour,
    /// And before this by the week.
    days_since: Hour,
    /// The stores of each SKU in order of their ids.
    series: BTreeMap<Sku, Vec<Series>>,
}

/// What the rows of an answer are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One SKU in one store each.
    Level,
    /// A SKU over all stores.
    Sku,
    /// A store over all SKUs.
    Store,
    /// Everything together.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By SKU, then by store, then by time.
    Place,
    /// What was sold most comes first.
    Sold,
}

/// What is asked of the sums.
#[derive(Clone, Debug)]
pub struct Question {
    pub sku: Option<Sku>,
    /// The stores that count.
    pub scope: Scope,
    pub group: Group,
    /// None: the whole range is one bucket.
    pub by: Option<Span>,
    pub order: Order,
    pub range: Range<Hour>,
}

/// What a row is about: those that its group names, and where its bucket begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub sku: Option<Sku>,
    pub store: Option<StoreId>,
    pub from: Hour,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub units: Units,
}

/// So far back is it not known so finely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFine {
    /// From here on it is.
    pub since: Hour,
}

impl Sales {
    /// The last event that is in it.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Adds the next event; one that is in it already changes nothing.
    pub fn take_in(&mut self, seq: u64, event: &Event) {
        if seq <= self.seq {
            return;
        }
        let hour = Hour::of(event.at);
        self.advance(hour);
        for change in &event.changes {
            let units = change.moves().filter_map(|one| Units::of(&one));
            units.for_each(|units| self.add(&change.sku, &change.store_id, hour, units));
        }
        self.seq = seq;
        self.last = Some(LastEvent::of(event));
    }

    /// Whether it was made of a log in which this is the event at its place.
    pub fn ends_with(&self, event: &Event) -> bool {
        self.last == Some(LastEvent::of(event))
    }

    /// Rolls up what has become old by this hour.
    fn advance(&mut self, hour: Hour) {
        let began = self.began.map_or(hour, |began| began.min(hour));
        self.began = Some(began);
        let hours_since = hour.floor(Span::Day).minus_days(DAYS_OF_HOURS);
        if hours_since <= self.hours_since {
            return;
        }
        self.hours_since = hours_since;
        self.days_since = hour.minus_days(DAYS_OF_DAYS).floor(Span::Week);
        if hours_since > began {
            let mut all = std::mem::take(&mut self.series);
            all.values_mut()
                .flatten()
                .for_each(|series| self.roll_up(&mut series.buckets));
            self.series = all;
        }
    }

    fn roll_up(&self, buckets: &mut Vec<Bucket>) {
        let old = buckets.iter_mut().take_while(|bucket| bucket.0 < self.hours_since);
        old.for_each(|bucket| bucket.0 = bucket.0.floor(self.kept_by(bucket.0)));
        buckets.dedup_by(|later, first| {
            let is_same = later.0 == first.0;
            if is_same {
                first.add(later.units());
            }
            is_same
        });
    }

    /// How finely the time about an hour is kept.
    fn kept_by(&self, hour: Hour) -> Span {
        if hour < self.days_since {
            Span::Week
        } else if hour < self.hours_since {
            Span::Day
        } else {
            Span::Hour
        }
    }

    fn add(&mut self, sku: &Sku, store: &StoreId, hour: Hour, units: Units) {
        let start = hour.floor(self.kept_by(hour));
        let stores = match self.series.get_mut(sku) {
            Some(stores) => stores,
            None => self.series.entry(sku.clone()).or_default(),
        };
        let i = stores
            .binary_search_by(|series| series.store_id.cmp(store))
            .unwrap_or_else(|i| {
                let store_id = store.clone();
                let buckets = Vec::new();
                stores.insert(i, Series { store_id, buckets });
                i
            });
        let buckets = &mut stores[i].buckets;
        match buckets.binary_search_by_key(&start, |bucket| bucket.0) {
            Ok(i) => buckets[i].add(units),
            Err(i) => buckets.insert(i, Bucket(start, units.sold, units.returned)),
        }
    }

    /// The whole buckets in which these two hours are and all that are between them; of a range that is one bucket, as
    /// finely as its ends are kept.
    pub fn widen(&self, by: Option<Span>, first: Hour, last: Hour) -> Result<Range<Hour>, TooFine> {
        let since = match by {
            Some(Span::Hour) => self.hours_since,
            Some(Span::Day) => self.days_since,
            Some(Span::Week) | None => first,
        };
        // What is before the first event is known as finely as one likes.
        if first < since && self.began.is_some_and(|began| began < since) {
            return Err(TooFine { since });
        }
        let span = |hour| by.unwrap_or_else(|| self.kept_by(hour));
        Ok(first.floor(span(first))..last.ceil(span(last)))
    }

    /// Rows behind `after`, of a range that was widened.
    pub fn rows(&self, question: &Question, after: Option<&Row>, limit: usize) -> Vec<Row> {
        match question.order {
            Order::Place => self.rows_in_order(question, after.map(|row| &row.place), limit),
            Order::Sold => self.best_rows(question, after.cloned().map(rank), limit),
        }
    }

    /// All that the rows add up to.
    pub fn total(&self, question: &Question) -> Units {
        let whole = Question {
            group: Group::None,
            by: None,
            ..question.clone()
        };
        let mut total = Units::default();
        self.each_row(&whole, None, |row| {
            total = row.units;
            ControlFlow::Break(())
        });
        total
    }

    fn rows_in_order(&self, question: &Question, after: Option<&Place>, limit: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        self.each_row(question, after.and_then(|place| place.sku.as_ref()), |row| {
            if after.is_none_or(|after| row.place > *after) {
                rows.push(row);
            }
            if rows.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        rows
    }

    fn best_rows(&self, question: &Question, after: Option<Rank>, limit: usize) -> Vec<Row> {
        // The worst of them is on top.
        let mut best: BinaryHeap<(Rank, u64)> = BinaryHeap::new();
        self.each_row(question, None, |row| {
            let returned = row.units.returned;
            let rank = rank(row);
            if after.as_ref().is_none_or(|after| rank > *after) {
                best.push((rank, returned));
            }
            if best.len() > limit {
                best.pop();
            }
            ControlFlow::Continue(())
        });
        let row = |((Reverse(sold), place), returned)| {
            let units = Units { sold, returned };
            Row { place, units }
        };
        best.into_sorted_vec().into_iter().map(row).collect()
    }

    /// Every row in order of its place, from those of a SKU on.
    fn each_row(&self, question: &Question, from: Option<&Sku>, mut on_row: impl FnMut(Row) -> ControlFlow<()>) {
        let mut sums = Sums::default();
        for (sku, stores) in self.skus(question, from) {
            question.sum_up(stores, &mut sums);
            if matches!(question.group, Group::Level | Group::Sku)
                && pour_out(&mut sums, Some(sku), &mut on_row).is_break()
            {
                return;
            }
        }
        // Whoever breaks off has all that was asked for.
        let _ = pour_out(&mut sums, None, &mut on_row);
    }

    fn skus(&self, question: &Question, from: Option<&Sku>) -> impl Iterator<Item = (&Sku, &Vec<Series>)> {
        let bounds = match &question.sku {
            Some(sku) => (Bound::Included(sku), Bound::Included(sku)),
            None => (from.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded),
        };
        self.series.range::<Sku, _>(bounds)
    }

    /// How a SKU has sold of late: in the 28 times 24 hours up to this one, or since the hour of its first sale was over, where
    /// that is not so long ago. That hour itself does not count, as nobody knows how much of it was observed, and as a span
    /// that a sale begins, and counts, would have everything sell too fast.
    pub fn pace(&self, sku: &Sku, scope: &Scope, now: Timestamp) -> Pace {
        let stores = self.series.get(sku).into_iter().flatten();
        let asked = stores.filter(|series| scope.has(&series.store_id));
        let all: Vec<&[Bucket]> = asked.map(|series| &*series.buckets).collect();
        let Some(first) = all
            .iter()
            .filter_map(|buckets| buckets.first())
            .map(|bucket| bucket.0)
            .min()
        else {
            return Pace::default();
        };
        let begin = Hour(first.0 + 1).max(Hour(Hour::of(now).0 + 1).minus_days(LATELY_DAYS));
        let lately = all
            .iter()
            .flat_map(|buckets| &buckets[buckets.partition_point(|bucket| bucket.0 < begin)..]);
        Pace {
            net: lately.fold(0, |net, bucket| bucket.units().net().saturating_add(net)),
            observed_ms: (now.as_millis() - begin.start().as_millis()).max(0),
        }
    }
}

/// What was sold for good in the time that was really observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    net: i64,
    observed_ms: i64,
}

impl Pace {
    pub fn observed_seconds(self) -> i64 {
        self.observed_ms / 1000
    }

    /// None where it is too early to tell.
    pub fn net_per_day(self) -> Option<f64> {
        let per_day = || self.net as f64 * (DAY_HOURS * HOUR_MS) as f64 / self.observed_ms as f64;
        (self.observed_ms >= LEAST_OBSERVED_MS).then(per_day)
    }

    /// For so many days this much lasts, if it goes on selling so; None also where it does not sell.
    pub fn days_of(self, available: u64) -> Option<f64> {
        let selling = self.net_per_day().filter(|net| *net > 0.0);
        selling.map(|net| available as f64 / net)
    }
}

/// What was summed up for rows of one SKU, or of none: by store, where the rows name it, and by the start of the bucket.
type Sums<'a> = BTreeMap<(Option<&'a StoreId>, Hour), Units>;

fn pour_out(sums: &mut Sums, sku: Option<&Sku>, on_row: &mut impl FnMut(Row) -> ControlFlow<()>) -> ControlFlow<()> {
    std::mem::take(sums).into_iter().try_for_each(|((store, from), units)| {
        let (sku, store) = (sku.cloned(), store.cloned());
        let place = Place { sku, store, from };
        on_row(Row { place, units })
    })
}

/// The best is the least; of two that sold as much, the one whose place comes first.
type Rank = (Reverse<u64>, Place);

fn rank(row: Row) -> Rank {
    (Reverse(row.units.sold), row.place)
}

impl Question {
    fn sum_up<'a>(&self, stores: &'a [Series], sums: &mut Sums<'a>) {
        let names_store = matches!(self.group, Group::Level | Group::Store);
        for series in stores.iter().filter(|series| self.scope.has(&series.store_id)) {
            let store = names_store.then_some(&series.store_id);
            let buckets = &series.buckets;
            let first = buckets.partition_point(|bucket| bucket.0 < self.range.start);
            let in_range = buckets[first..].iter().take_while(|bucket| bucket.0 < self.range.end);
            for bucket in in_range {
                let from = self.by.map_or(self.range.start, |span| bucket.0.floor(span));
                sums.entry((store, from)).or_default().add(bucket.units());
            }
        }
    }
}

#[cfg(test)]
mod tests;
