//! The sums against a plain list of everything that was sold, with chrono's calendar and not our own.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use proptest::prelude::*;

use super::*;
use crate::domain::{Change, EventKind, Fate, Principal, RequestId};

const SKUS: [&str; 4] = ["85123A", "85123a", "22423", "BANK CHARGES"];
const STORES: [&str; 3] = ["london", "leeds", "paris"];
/// A Wednesday.
const BEGIN: &str = "2024-02-28T21:30:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn hour(text: &str) -> Hour {
    Hour::of(at(text))
}

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

fn store(text: &str) -> StoreId {
    StoreId::parse(text).unwrap()
}

/// SKU, store, and what moves there.
type Moved<'a> = (&'a str, &'a str, &'a [(Movement, i64)]);

/// An event in which these levels have these movements each; more than one come together as those of an atomic batch.
fn event(at: Timestamp, changes: &[Moved]) -> Event {
    let change = |(sku_id, store_id, moves): &Moved| Change {
        sku: sku(sku_id),
        store_id: store(store_id),
        movement: moves.first().map(|(movement, _)| *movement),
        delta: moves.iter().map(|(_, delta)| delta).sum(),
        quantity: 0,
        reserved: 0,
        version: 1,
        item_version: 1,
        reorder_point: None,
        low_stock: false,
        fate: Fate::Kept,
        moves: match moves {
            [_] => Box::default(),
            moves => moves.iter().map(one).collect(),
        },
    };
    Event {
        kind: EventKind::BatchApplied,
        at,
        by: Principal::anonymous(),
        request_id: RequestId::parse("r").unwrap(),
        reservation_id: None,
        reference: None,
        note: None,
        changes: changes.iter().map(change).collect(),
        holds: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
    }
}

fn one((movement, delta): &(Movement, i64)) -> Move {
    Move {
        movement: *movement,
        delta: *delta,
        quantity: 0,
        note: None,
    }
}

fn sale(at: Timestamp, sku: &str, store: &str, units: i64) -> Event {
    event(at, &[(sku, store, &[(Movement::Sale, -units)])])
}

fn sums_of(events: &[Event]) -> Sales {
    let mut sales = Sales::default();
    let numbered = events.iter().zip(1..);
    numbered.for_each(|(event, seq)| sales.take_in(seq, event));
    sales
}

fn question(by: Option<Span>, group: Group, range: Range<Hour>) -> Question {
    Question {
        sku: None,
        scope: Scope::default(),
        group,
        by,
        order: Order::Place,
        range,
    }
}

/// Rows as texts: where the bucket begins, SKU, store, sold, returned.
fn told(rows: &[Row]) -> Vec<String> {
    let text = |row: &Row| {
        let Place { sku, store, from } = &row.place;
        let sku = sku.as_ref().map_or("-", Sku::as_str);
        let store = store.as_ref().map_or("-", StoreId::as_str);
        let Units { sold, returned } = row.units;
        format!("{} {sku} {store} {sold} {returned}", &from.start().to_string()[..13])
    };
    rows.iter().map(text).collect()
}

#[test]
fn sales_and_returns_count_and_nothing_else_does() {
    let every: Vec<(Movement, i64)> = Movement::ALL.into_iter().zip([64, 32, -16, -8, 4, -2, 1]).collect();
    let sales = sums_of(&[event(
        at(BEGIN),
        &[
            ("22423", "london", &[(Movement::Sale, -3)]),
            ("85123A", "leeds", &every),
            (
                "85123A",
                "london",
                &[(Movement::Sale, -5), (Movement::Return, 2), (Movement::Sale, -1)],
            ),
        ],
    )]);
    let range = hour(BEGIN)..hour(BEGIN).ceil(Span::Hour);
    let rows = sales.rows(&question(Some(Span::Hour), Group::Level, range.clone()), None, 10);
    let expected = [
        "2024-02-28T21 22423 london 3 0",
        "2024-02-28T21 85123A leeds 16 32",
        "2024-02-28T21 85123A london 6 2",
    ];
    assert_eq!(told(&rows), expected);
    assert_eq!(rows[1].units.net(), -16);
    let total = sales.total(&question(None, Group::None, range));
    let (sold, returned) = (25, 34);
    assert_eq!(total, Units { sold, returned });
}

#[test]
fn days_are_those_of_utc_and_weeks_begin_on_monday() {
    let moments = [
        "2024-02-25T23:59:59.999Z",
        "2024-02-26T00:00:00Z",
        "2024-03-03T23:59:59.999Z",
        "2024-03-04T01:00:00+01:00",
    ];
    let events = moments.map(|moment| sale(at(moment), "22423", "london", 1));
    let sales = sums_of(&events);
    let rows = |by| {
        let range = sales.widen(Some(by), hour(moments[0]), hour(moments[3])).unwrap();
        told(&sales.rows(&question(Some(by), Group::None, range), None, 10))
    };
    assert_eq!(
        rows(Span::Week),
        [
            "2024-02-19T00 - - 1 0",
            "2024-02-26T00 - - 2 0",
            "2024-03-04T00 - - 1 0"
        ]
    );
    assert_eq!(
        rows(Span::Day),
        [
            "2024-02-25T00 - - 1 0",
            "2024-02-26T00 - - 1 0",
            "2024-03-03T00 - - 1 0",
            "2024-03-04T00 - - 1 0"
        ]
    );
    assert_eq!(
        rows(Span::Hour)[2..],
        ["2024-03-03T23 - - 1 0", "2024-03-04T00 - - 1 0"]
    );
}

#[test]
fn the_first_and_the_last_week_can_be_written() {
    let monday = Hour::FIRST.floor(Span::Week).start().to_string();
    assert_eq!(
        (Hour::FIRST.start().to_string(), monday.as_str()),
        (monday.clone(), "1970-01-05T00:00:00.000Z")
    );
    assert_eq!(Hour::LAST.start().to_string(), "9999-12-26T23:00:00.000Z");
    assert_eq!(
        Hour::LAST.ceil(Span::Week).start().to_string(),
        "9999-12-27T00:00:00.000Z"
    );
}

#[test]
fn an_event_that_is_in_it_already_changes_nothing() {
    let events = [
        sale(at(BEGIN), "22423", "london", 2),
        sale(at(BEGIN), "22423", "london", 3),
    ];
    let mut sales = sums_of(&events);
    let before = sales.clone();
    sales.take_in(1, &events[0]);
    sales.take_in(2, &events[1]);
    assert_eq!(sales, before);
    assert_eq!(sales.seq(), 2);
}

#[test]
fn a_log_is_known_by_the_event_at_its_place() {
    let (first, mut other) = (
        sale(at(BEGIN), "22423", "london", 2),
        sale(at(BEGIN), "22423", "london", 2),
    );
    let sales = sums_of(std::slice::from_ref(&first));
    assert!(sales.ends_with(&first) && !Sales::default().ends_with(&first));
    other.request_id = RequestId::parse("other").unwrap();
    assert!(!sales.ends_with(&other));
    let later = Timestamp::from_millis(first.at.as_millis() + 1);
    assert!(!sales.ends_with(&Event { at: later, ..first }));
}

/// Noon: the moments of these tests are told from here.
const NOON: &str = "2024-06-30T12:00:00Z";

fn ago(hours: i64, minutes: i64) -> Timestamp {
    Timestamp::from_millis(at(NOON).as_millis() - hours * HOUR_MS - minutes * 60_000)
}

fn pace_of(events: &[Event]) -> Pace {
    sums_of(events).pace(&sku("22423"), &Scope::default(), at(NOON))
}

#[test]
fn two_hours_of_sales_are_told_as_two_hours_and_not_as_a_day() {
    // Ten units every ten minutes, from 9:49 on.
    let sales: Vec<Event> = (0..14)
        .rev()
        .map(|i| sale(ago(0, 10 * i + 1), "22423", "london", 10))
        .collect();
    let pace = pace_of(&sales);
    assert_eq!(
        pace.observed_seconds(),
        2 * 3600,
        "from ten o'clock on, the first whole hour"
    );
    assert_eq!(pace.net_per_day(), Some(60.0 * 24.0));
    assert_eq!(pace.days_of(240), Some(4.0 / 24.0), "so they last four hours");
    assert_eq!(pace.days_of(0), Some(0.0));
}

#[test]
fn before_an_hour_was_observed_it_is_too_early_to_tell() {
    let told = |hours, minutes| {
        let events = [
            sale(ago(hours, minutes), "22423", "london", 500),
            sale(ago(0, 1), "22423", "london", 2),
        ];
        let pace = pace_of(&events);
        (pace.observed_seconds(), pace.net_per_day(), pace.days_of(9))
    };
    assert_eq!(pace_of(&[]).net_per_day(), None);
    assert_eq!(
        told(0, 2),
        (0, None, None),
        "the hour of the first sale begins to count when it is over"
    );
    assert_eq!(told(1, 0), (0, None, None));
    assert_eq!(
        told(1, 1),
        (3600, Some(48.0), Some(9.0 / 48.0)),
        "of it, 500 do not count"
    );
    let (sums, london) = (
        sums_of(&[sale(ago(3, 0), "22423", "leeds", 1)]),
        Scope::of(&[store("london")]),
    );
    assert_eq!(
        sums.pace(&sku("22423"), &london, at(NOON)),
        Pace::default(),
        "nothing was sold there"
    );
}

#[test]
fn what_does_not_sell_lasts_nobody_knows_how_long() {
    let still = pace_of(&[sale(ago(5, 30), "22423", "london", 7)]);
    assert_eq!((still.observed_seconds(), still.net_per_day()), (5 * 3600, Some(0.0)));
    assert_eq!(still.days_of(3), None);
    let returned = event(ago(2, 0), &[("22423", "london", &[(Movement::Return, 4)])]);
    let back = pace_of(&[sale(ago(5, 30), "22423", "london", 7), returned]);
    assert_eq!((back.net_per_day(), back.days_of(3)), (Some(-4.0 * 24.0 / 5.0), None));
}

#[test]
fn what_sells_lately_is_counted_over_28_days_at_most() {
    let days = |days: i64| ago(24 * days, 0);
    let first = sale(days(60), "22423", "london", 500);
    let pace = pace_of(&[
        first.clone(),
        sale(days(29), "22423", "london", 9),
        sale(days(27), "22423", "london", 56),
    ]);
    // The hour that has just begun is the last of them.
    assert_eq!(pace.observed_seconds(), (LATELY_DAYS * 24 - 1) * 3600);
    assert_eq!(pace.net_per_day(), Some(56.0 * 24.0 / 671.0));
    let sums = sums_of(&[
        first,
        sale(days(2), "22423", "leeds", 1),
        sale(days(1), "22423", "leeds", 94),
    ]);
    let leeds = Scope::of(&[store("leeds")]);
    let its_own = sums.pace(&sku("22423"), &leeds, at(NOON));
    assert_eq!(
        its_own.net_per_day(),
        Some(48.0),
        "its own first sale there, 47 hours ago"
    );
    let everywhere = sums.pace(&sku("22423"), &Scope::default(), at(NOON));
    assert_eq!(
        everywhere.net_per_day(),
        Some(95.0 * 24.0 / 671.0),
        "somewhere it was sold long ago"
    );
}

#[test]
fn a_level_that_sells_every_hour_for_years_stays_small() {
    let begin = at(BEGIN).as_millis();
    let hours = 3 * 365 * 24;
    let events: Vec<Event> = (0..hours)
        .map(|i| sale(Timestamp::from_millis(begin + i * HOUR_MS), "22423", "london", 1))
        .collect();
    let sales = sums_of(&events);
    let buckets = sales.series[&sku("22423")][0].buckets.len() as i64;
    let most = (DAYS_OF_HOURS + 1) * 24 + (DAYS_OF_DAYS - DAYS_OF_HOURS + 7) + (3 * 365 - DAYS_OF_DAYS) / 7 + 2;
    assert!(buckets <= most && buckets > most / 2, "{buckets} of {most}");
    let all = hour(BEGIN).floor(Span::Week)..Hour(i64::from(i32::MAX));
    assert_eq!(sales.total(&question(None, Group::None, all)).sold, hours as u64);
}

#[test]
fn what_is_kept_less_finely_is_not_told_more_finely() {
    let (last, first) = ("2025-06-30T12:00:00Z", "2024-02-28T21:30:00Z");
    let sales = sums_of(&[
        sale(at(first), "22423", "london", 1),
        sale(at(last), "22423", "london", 1),
    ]);
    let since = |by, from: &str| {
        sales
            .widen(Some(by), hour(from), hour(last))
            .map_err(|fault| fault.since.start())
    };
    assert_eq!(
        since(Span::Hour, "2025-05-25T23:59:00Z"),
        Err(at("2025-05-26T00:00:00Z"))
    );
    assert!(since(Span::Hour, "2025-05-26T00:00:00Z").is_ok());
    // 400 days before it is 2024-05-26, whose week begins on the 20th.
    assert_eq!(
        since(Span::Day, "2024-05-19T23:59:00Z"),
        Err(at("2024-05-20T00:00:00Z"))
    );
    assert!(since(Span::Day, "2024-05-20T00:00:00Z").is_ok());
    assert!(since(Span::Week, "1960-01-01T00:00:00Z").is_ok());
    let whole = sales.widen(None, hour(first), hour(last)).unwrap();
    assert_eq!(whole, hour("2024-02-26T00:00:00Z")..hour("2025-06-30T13:00:00Z"));
    let young = sums_of(&[sale(at(last), "22423", "london", 1)]);
    assert!(
        young.widen(Some(Span::Hour), hour(first), hour(last)).is_ok(),
        "there was nothing before"
    );
}

/// Something that was sold, or that came back.
#[derive(Clone, Debug)]
struct Entry {
    at: Timestamp,
    sku: &'static str,
    store: &'static str,
    units: Units,
}

#[derive(Clone, Debug)]
struct Step {
    minutes_later: i64,
    sku: usize,
    store: usize,
    moves: Vec<(bool, i64)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![10 => 0..90_i64, 5 => 0..3000_i64, 1 => 0..600_000_i64];
    let moves = prop::collection::vec((any::<bool>(), 1..9_i64), 1..4);
    let step = (later, 0..SKUS.len(), 0..STORES.len(), moves).prop_map(|(minutes_later, sku, store, moves)| Step {
        minutes_later,
        sku,
        store,
        moves,
    });
    prop::collection::vec(step, 1..120)
}

/// The events of some steps, and all that was sold in them.
fn played(steps: &[Step]) -> (Vec<Event>, Vec<Entry>) {
    let mut moment = at(BEGIN).as_millis();
    let (mut events, mut entries) = (Vec::new(), Vec::new());
    for step in steps {
        moment += step.minutes_later * 60_000;
        let (at, sku, store) = (Timestamp::from_millis(moment), SKUS[step.sku], STORES[step.store]);
        let moves: Vec<(Movement, i64)> = step
            .moves
            .iter()
            .map(|(is_sale, units)| match is_sale {
                true => (Movement::Sale, -units),
                false => (Movement::Return, *units),
            })
            .collect();
        events.push(event(at, &[(sku, store, &moves)]));
        entries.extend(moves.iter().map(|pair| Entry {
            at,
            sku,
            store,
            units: Units::of(&one(pair)).unwrap(),
        }));
    }
    (events, entries)
}

/// The start of the bucket of a moment, by the calendar.
fn bucket(at: Timestamp, by: Span) -> Timestamp {
    let time = DateTime::from_timestamp_millis(at.as_millis()).unwrap().naive_utc();
    let date = match by {
        Span::Week => time.date() - Days::new(time.weekday().num_days_from_monday().into()),
        Span::Hour | Span::Day => time.date(),
    };
    let hour = if by == Span::Hour { time.hour() } else { 0 };
    date.and_hms_opt(hour, 0, 0).unwrap().and_utc().into()
}

#[derive(Clone, Debug)]
struct Asked {
    by: Option<Span>,
    group: Group,
    sku: Option<usize>,
    scope: Option<Vec<usize>>,
    /// Where the range begins and ends, as parts of the time that there was.
    ends: (f64, f64),
    limit: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let by = prop::sample::select(vec![Some(Span::Hour), Some(Span::Day), Some(Span::Week), None]);
    let group = prop::sample::select(vec![Group::Level, Group::Sku, Group::Store, Group::None]);
    let scope = prop::option::of(prop::collection::vec(0..STORES.len(), 0..3));
    let ends = (-0.1..1.1_f64, -0.1..1.1_f64);
    (by, group, prop::option::of(0..SKUS.len()), scope, ends, 1..40_usize).prop_map(
        |(by, group, sku, scope, (a, b), limit)| Asked {
            by,
            group,
            sku,
            scope,
            ends: (a.min(b), a.max(b)),
            limit,
        },
    )
}

/// Every page of an answer, one after the other.
fn pages(sales: &Sales, question: &Question, limit: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let page = sales.rows(question, rows.last(), limit);
        let is_last = page.len() < limit;
        rows.extend(page);
        if is_last {
            return rows;
        }
    }
}

proptest! {
    #[test]
    fn the_sums_are_those_of_a_plain_list(steps in steps(), asked in prop::collection::vec(asked(), 8)) {
        let (events, entries) = played(&steps);
        let sales = sums_of(&events);
        let json = serde_json::to_string(&sales).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Sales>(&json).unwrap(), &sales);
        for asked in asked {
            check(&sales, &entries, &asked)?;
        }
    }
}

fn check(sales: &Sales, entries: &[Entry], asked: &Asked) -> Result<(), TestCaseError> {
    let (first, last) = (entries[0].at, entries[entries.len() - 1].at);
    let length = (last.as_millis() - first.as_millis()) as f64;
    let moment = |part: f64| Timestamp::from_millis(first.as_millis() + (length * part) as i64);
    let (from, to) = (moment(asked.ends.0), moment(asked.ends.1));
    let range = match sales.widen(asked.by, Hour::of(from), Hour::of(to)) {
        Ok(range) => range,
        Err(TooFine { since }) => {
            let days = if asked.by == Some(Span::Hour) {
                DAYS_OF_HOURS
            } else {
                DAYS_OF_DAYS
            };
            let kept_ms = days * DAY_HOURS * HOUR_MS;
            prop_assert!(asked.by != Some(Span::Week) && asked.by.is_some());
            prop_assert!(from < since.start() && first < since.start());
            prop_assert!(since.start().as_millis() <= last.as_millis() - kept_ms, "{asked:?}");
            return Ok(());
        }
    };
    prop_assert!(range.start.start() <= from && to < range.end.start());
    if let Some(by) = asked.by {
        prop_assert_eq!(range.start.start(), bucket(from, by));
        prop_assert_eq!(
            bucket(Timestamp::from_millis(range.end.start().as_millis() - 1), by),
            bucket(to, by)
        );
    }
    let scope = asked.scope.as_ref().map(|stores| {
        let stores: Vec<StoreId> = stores.iter().map(|i| store(STORES[*i])).collect();
        Scope::of(&stores)
    });
    let question = Question {
        sku: asked.sku.map(|i| sku(SKUS[i])),
        scope: scope.unwrap_or_default(),
        ..question(asked.by, asked.group, range.clone())
    };
    let mut expected: BTreeMap<Place, Units> = BTreeMap::new();
    let mut total = Units::default();
    for entry in entries {
        let (entry_sku, entry_store) = (sku(entry.sku), store(entry.store));
        let is_asked =
            question.sku.as_ref().is_none_or(|asked| *asked == entry_sku) && question.scope.has(&entry_store);
        if !is_asked || entry.at < range.start.start() || entry.at >= range.end.start() {
            continue;
        }
        let from = asked.by.map_or(range.start, |by| Hour::of(bucket(entry.at, by)));
        let sku = Some(entry_sku).filter(|_| matches!(asked.group, Group::Level | Group::Sku));
        let store = Some(entry_store).filter(|_| matches!(asked.group, Group::Level | Group::Store));
        expected.entry(Place { sku, store, from }).or_default().add(entry.units);
        total.add(entry.units);
    }
    let expected: Vec<Row> = expected
        .into_iter()
        .map(|(place, units)| Row { place, units })
        .collect();
    prop_assert_eq!(sales.total(&question), total);
    prop_assert_eq!(&pages(sales, &question, asked.limit), &expected);
    let mut best = expected;
    best.sort_by_key(|row| (std::cmp::Reverse(row.units.sold), row.place.clone()));
    let by_sold = Question {
        order: Order::Sold,
        ..question
    };
    prop_assert_eq!(pages(sales, &by_sold, asked.limit), best);
    Ok(())
}

/// The invoices of a real month, in order of time: what was sold or came back, and the day on which, as the file has it.
fn december() -> Vec<(NaiveDate, Event, Units)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online-retail-2010-12.csv.gz");
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    file.read_to_string(&mut text).unwrap();
    let mut found = Vec::new();
    for line in csv::Reader::from_reader(text.as_bytes()).records() {
        let line = line.unwrap();
        let units: i64 = line[3].parse().unwrap();
        let movement = match (units, line[0].starts_with('C')) {
            (0, _) | (..0, false) => continue,
            (1.., _) => Movement::Sale,
            (..0, true) => Movement::Return,
        };
        let time = NaiveDateTime::parse_from_str(&line[4], "%Y-%m-%d %H:%M:%S").unwrap();
        let event = event(time.and_utc().into(), &[(&line[1], &line[7], &[(movement, -units)])]);
        found.push((time.date(), event, Units::of(&one(&(movement, -units))).unwrap()));
    }
    found.sort_by_key(|(_, event, _)| event.at);
    found
}

#[test]
fn every_day_of_a_real_month_adds_up_to_its_ledger() {
    let month = december();
    let mut ledger: BTreeMap<NaiveDate, Units> = BTreeMap::new();
    month
        .iter()
        .for_each(|(date, _, units)| ledger.entry(*date).or_default().add(*units));
    let events: Vec<Event> = month.into_iter().map(|(_, event, _)| event).collect();
    let sales = sums_of(&events);
    let range = sales
        .widen(
            Some(Span::Day),
            hour("2010-12-01T00:00:00Z"),
            hour("2010-12-31T23:00:00Z"),
        )
        .unwrap();
    let rows = sales.rows(&question(Some(Span::Day), Group::None, range), None, 100);
    let days: BTreeMap<NaiveDate, Units> = rows
        .iter()
        .map(|row| {
            let start = DateTime::from_timestamp_millis(row.place.from.start().as_millis()).unwrap();
            assert_eq!(start.time(), NaiveTime::MIN);
            (start.date_naive(), row.units)
        })
        .collect();
    assert!(days.len() > 15, "{}", days.len());
    assert_eq!(days, ledger);
}
