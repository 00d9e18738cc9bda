//! What sells: units sold and returned by SKU, store and time, and how long the stock will last.

use std::ops::Range;
use std::sync::Arc;

use actix_web::http::header::{LINK, VARY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::caller::Sight;
use super::csv::{self, Listed};
use super::format::{self, FORMAT, Format};
use super::lists::{AFTER, LIMIT, Page, link};
use super::problem::{Code, Problem};
use super::query::{Kind, Parameter, Query};
use super::write::Answer;
use super::{State, cursor};
use crate::actors::sales::SalesError;
use crate::actors::{ExecuteError, Inventory};
use crate::domain::sales::{Group, Hour, Order, Pace, Place, Question, Row, Sales, Span, TooFine, Units};
use crate::domain::{Scope, Sku, StoreId, Timestamp};

/// Left out, so many days are looked at: that of `to` and those before it.
const DAYS: i64 = 30;

const BY: [(&str, Option<Span>); 4] = [
    ("hour", Some(Span::Hour)),
    ("day", Some(Span::Day)),
    ("week", Some(Span::Week)),
    ("range", None),
];

const GROUP: [(&str, Group); 4] = [
    ("level", Group::Level),
    ("sku", Group::Sku),
    ("store", Group::Store),
    ("none", Group::None),
];

const SORT: [(&str, Order); 2] = [("place", Order::Place), ("sold", Order::Sold)];

pub const SALES: &[Parameter] = &[
    Parameter {
        name: "sku",
        about: "Only sales of this SKU.",
        kind: Kind::Text("85123A"),
    },
    Parameter {
        name: "storeId",
        about: "Only sales in this store.",
        kind: Kind::Text("london"),
    },
    Parameter {
        name: "by",
        about: "How long a bucket is: an `hour`, a `day` of UTC, a `week` from Monday on, or the whole `range`. Left out: \
                `day`, or `range` with `sort=sold`.",
        kind: Kind::OneOf(&[BY[0].0, BY[1].0, BY[2].0, BY[3].0]),
    },
    Parameter {
        name: "from",
        about: "The first bucket is that of this moment (RFC 3339); it counts as a whole. Left out: 29 days before the day of \
                `to`.",
        kind: Kind::Time,
    },
    Parameter {
        name: "to",
        about: "The last bucket is that of this moment (RFC 3339); it counts as a whole. Left out: now.",
        kind: Kind::Time,
    },
    Parameter {
        name: "group",
        about: "What a row is about: a `level` (one SKU in one store), a `sku` over all stores, a `store` over all SKUs, or \
                all together (`none`). Left out: `level`.",
        kind: Kind::OneOf(&[GROUP[0].0, GROUP[1].0, GROUP[2].0, GROUP[3].0]),
    },
    Parameter {
        name: "sort",
        about: "`place`: by SKU, then by store, then by time. `sold`: what sold most comes first. Left out: `place`.",
        kind: Kind::OneOf(&[SORT[0].0, SORT[1].0]),
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// Sales by SKU, store and time.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Sales")]
pub struct SalesForm {
    /// How long a bucket is.
    #[schemars(extend("enum" = BY.map(|(name, _)| name)))]
    by: &'static str,
    /// What a row is about.
    #[schemars(extend("enum" = GROUP.map(|(name, _)| name)))]
    group: &'static str,
    /// The first moment that is counted, at which the bucket of the `from` that was asked begins.
    from: Timestamp,
    /// The last moment that is counted, at which the bucket of the `to` that was asked ends.
    to: Timestamp,
    /// The last event that is counted.
    seq: u64,
    /// What all rows of all pages add up to; on the first page only.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<SoldForm>,
    items: Vec<SalesRowForm>,
    /// Where the next page begins; null on the last one.
    next: Option<String>,
}

/// Units, whatever the price.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnitsSold")]
struct SoldForm {
    /// By movements of type `SALE`, commits of reservations among them.
    sold: u64,
    /// By movements of type `RETURN`.
    returned: u64,
    /// `sold` less `returned`.
    net: i64,
}

/// What was sold in a bucket. One in which nothing was sold or came back has no row.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SalesRow")]
pub struct SalesRowForm {
    /// Where the bucket begins.
    from: Timestamp,
    /// Where rows are about one SKU each.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<Sku>,
    /// Where rows are about one store each.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_id: Option<StoreId>,
    sold: u64,
    returned: u64,
    /// `sold` less `returned`.
    net: i64,
    /// The bucket is not over yet.
    partial: bool,
    /// What of the SKU is available at present, in the store of the row or in all those that were asked for; null where it
    /// has no level there, or the row is about all SKUs.
    available: Option<u64>,
    /// Net sales a day, at the rate of the time that was observed (`observedSeconds`), whatever the range; null where that
    /// is less than an hour, or the row is about all SKUs.
    net_per_day: Option<f64>,
    /// For so many days `available` lasts if it goes on selling so; null where nothing was sold in the time that was
    /// observed, or where it is too early to tell.
    days_of_cover: Option<f64>,
    /// For so long it was observed lately how the SKU sells there: the last 28 times 24 hours, or since the hour in which it
    /// was first sold was over, if that is not so long ago; null where the row is about all SKUs.
    observed_seconds: Option<i64>,
}

impl Listed for SalesRowForm {
    const NAME: &'static str = "sales";
    const COLUMNS: &'static [&'static str] = &[
        "from",
        "sku",
        "storeId",
        "sold",
        "returned",
        "net",
        "partial",
        "available",
        "netPerDay",
        "daysOfCover",
        "observedSeconds",
    ];
}

/// `GET /api/analytics/sales`
pub async fn sales(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, SALES)?;
    let asked = Asked::of(&query)?;
    sight.check(asked.store.as_ref())?;
    let inventory = state.inventory()?;
    let (now, scope, question) = (inventory.now(), asked.scope(&sight), asked.clone());
    let look = move |sales: &Sales| question.look(sales, scope, now);
    let found = inventory.sales().ask(look).await??;
    let rows = with_cover(inventory, &found, now).await?.into_iter().zip(&found.rows);
    let list = asked.name();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let page = Page::of(rows.collect(), asked.limit, &list, |(_, found_row)| {
        Cursor::of(&found.range, &found_row.row).text()
    });
    let form = SalesForm {
        by: asked.by.0,
        group: asked.group.0,
        from: found.range.start.start(),
        to: Timestamp::from_millis(found.range.end.start().as_millis() - 1),
        seq: found.seq,
        total: found.total.map(units),
        items: page.rows.into_iter().map(|(row, _)| row).collect(),
        next: page.next,
    };
    answer(&request, &query, form)
}

fn answer(request: &HttpRequest, query: &Query, form: SalesForm) -> Answer {
    let mut response = HttpResponse::Ok();
    response.insert_header((VARY, "Accept"));
    if let Some(next) = &form.next {
        response.insert_header((LINK, link(request, query, next)));
    }
    if Format::of(request, query, format::OF_LISTS) == Format::Csv {
        return csv::answer(response, form.items.into_iter());
    }
    Ok(response.json(form))
}

fn choice<T: Copy, const N: usize>(
    query: &Query,
    name: &str,
    choices: &[(&'static str, T); N],
) -> Result<Option<(&'static str, T)>, Problem> {
    let place = query.one_of(name, &choices.map(|(word, _)| word))?;
    Ok(place.map(|place| choices[place]))
}

/// What the parameters ask for.
#[derive(Clone)]
struct Asked {
    sku: Option<Sku>,
    store: Option<StoreId>,
    by: (&'static str, Option<Span>),
    group: (&'static str, Group),
    order: (&'static str, Order),
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: usize,
    after: Option<Cursor>,
}

impl Asked {
    fn of(query: &Query) -> Result<Self, Problem> {
        let order = choice(query, "sort", &SORT)?.unwrap_or(SORT[0]);
        let usual = match order.1 {
            Order::Place => BY[1],
            Order::Sold => BY[3],
        };
        let mut asked = Self {
            sku: query.id("sku", Sku::parse)?,
            store: query.id("storeId", StoreId::parse)?,
            by: choice(query, "by", &BY)?.unwrap_or(usual),
            group: choice(query, "group", &GROUP)?.unwrap_or(GROUP[0]),
            order,
            from: query.time("from")?,
            to: query.time("to")?,
            limit: query.limit()?,
            after: None,
        };
        if asked.from.zip(asked.to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::invalid("from", "it must not be after `to`"));
        }
        if let Some(after) = query.get(AFTER.name) {
            let list = asked.name();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            asked.after = Some(Cursor::parse(&cursor::decode(&list, after)?)?);
        }
        Ok(asked)
    }

    /// The stores whose sales count; that the one which is named is seen has been checked.
    fn scope(&self, sight: &Sight) -> Scope {
        match &self.store {
            Some(store) => Scope::of(std::slice::from_ref(store)),
            None => sight.scope().clone(),
        }
    }

    /// The list with its filters, for its cursors.
    fn name(&self) -> [String; 8] {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        [
            "sales".to_owned(),
            self.sku.as_ref().map(Sku::to_string).unwrap_or_default(),
            self.store.as_ref().map(StoreId::to_string).unwrap_or_default(),
            self.by.0.to_owned(),
            self.group.0.to_owned(),
            self.order.0.to_owned(),
            time(self.from),
            time(self.to),
        ]
    }

    /// The range that is asked for; further pages are of the same one as the first.
    fn ends(&self, now: Timestamp) -> (Hour, Hour) {
        let ends = self.after.as_ref().map(Cursor::ends).unwrap_or_else(|| {
            let to = Hour::of(self.to.unwrap_or(now));
            let usual = to.floor(Span::Day).minus_days(DAYS - 1);
            [self.from.map_or(usual, Hour::of), to]
        });
        ends.map(|hour| hour.clamp(Hour::FIRST, Hour::LAST)).into()
    }

    fn look(self, sales: &Sales, scope: Scope, now: Timestamp) -> Result<Found, Problem> {
        let (first, last) = self.ends(now);
        let range = sales.widen(self.by.1, first, last).map_err(too_fine)?;
        let question = Question {
            sku: self.sku,
            scope,
            group: self.group.1,
            by: self.by.1,
            order: self.order.1,
            range,
        };
        let after = self.after.map(|after| after.row());
        let total = after.is_none().then(|| sales.total(&question));
        let rows = sales.rows(&question, after.as_ref(), self.limit + 1).into_iter();
        let rows = rows.map(|row| Lasting::of(row, sales, &question.scope, now));
        Ok(Found {
            rows: rows.collect(),
            by: question.by,
            range: question.range,
            seq: sales.seq(),
            total,
        })
    }
}

fn too_fine(TooFine { since }: TooFine) -> Problem {
    let message = format!(
        "so far back it is kept less finely; ask from {} on, or by longer buckets",
        since.start()
    );
    Problem::invalid("from", message)
}

/// What the sums told, at one moment.
struct Found {
    rows: Vec<Lasting>,
    by: Option<Span>,
    range: Range<Hour>,
    seq: u64,
    total: Option<Units>,
}

/// A row, with what says how long the stock lasts.
struct Lasting {
    row: Row,
    /// The stores whose stock it is.
    scope: Scope,
    /// How it sells, where it is about one SKU.
    pace: Option<Pace>,
}

impl Lasting {
    fn of(row: Row, sales: &Sales, scope: &Scope, now: Timestamp) -> Self {
        let scope = match &row.place.store {
            Some(store) => Scope::of(std::slice::from_ref(store)),
            None => scope.clone(),
        };
        let sku = row.place.sku.as_ref();
        let pace = sku.map(|sku| sales.pace(sku, &scope, now));
        Self { row, scope, pace }
    }
}

async fn with_cover(
    inventory: &Arc<Inventory>,
    found: &Found,
    now: Timestamp,
) -> Result<Vec<SalesRowForm>, ExecuteError> {
    let mut rows: Vec<SalesRowForm> = Vec::with_capacity(found.rows.len());
    for lasting in &found.rows {
        let Place { sku, store, from } = &lasting.row.place;
        // Rows of one level stand together.
        let known = rows.last().filter(|last| last.sku == *sku && last.store_id == *store);
        let available = match (known, sku) {
            (Some(known), _) => known.available,
            (None, Some(sku)) => inventory.available(sku, &lasting.scope).await?,
            (None, None) => None,
        };
        let SoldForm { sold, returned, net } = units(lasting.row.units);
        let end = found.by.map_or(found.range.end, |span| from.ceil(span));
        rows.push(SalesRowForm {
            from: from.start(),
            sku: sku.clone(),
            store_id: store.clone(),
            sold,
            returned,
            net,
            partial: now < end.start(),
            available,
            net_per_day: lasting.pace.and_then(Pace::net_per_day).map(rounded),
            days_of_cover: available
                .zip(lasting.pace)
                .and_then(|(available, pace)| pace.days_of(available))
                .map(rounded),
            observed_seconds: lasting.pace.map(Pace::observed_seconds),
        });
    }
    Ok(rows)
}

/// To thousandths.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn units(units: Units) -> SoldForm {
    SoldForm {
        sold: units.sold,
        returned: units.returned,
        net: units.net(),
    }
}

/// Where a page ended: the ends of its range in milliseconds, how much the last row had sold, and its place.
#[derive(Clone, Deserialize, Serialize)]
struct Cursor(i64, i64, u64, i64, Option<Sku>, Option<StoreId>);

impl Cursor {
    fn of(range: &Range<Hour>, row: &Row) -> Self {
        let Place { sku, store, from } = row.place.clone();
        let millis = |hour: Hour| hour.start().as_millis();
        Self(
            millis(range.start),
            millis(range.end) - 1,
            row.units.sold,
            millis(from),
            sku,
            store,
        )
    }

    fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let parsed = serde_json::from_str(text);
        parsed.map_err(|_| Problem::invalid(AFTER.name, "it is not a cursor of this list"))
    }

    fn ends(&self) -> [Hour; 2] {
        [self.0, self.1].map(|millis| Hour::of(Timestamp::from_millis(millis)))
    }

    fn row(self) -> Row {
        let Self(_, _, sold, from, sku, store) = self;
        let from = Hour::of(Timestamp::from_millis(from));
        Row {
            place: Place { sku, store, from },
            units: Units { sold, returned: 0 },
        }
    }
}

impl From<SalesError> for Problem {
    fn from(error: SalesError) -> Self {
        match error {
            SalesError::Behind { events } => {
                let detail =
                    format!("Sales are still being summed up: {events} events are to be read; try again shortly.");
                Self::new(Code::StorageUnavailable, detail)
            }
            SalesError::Journal(error) => error.into(),
        }
    }
}
