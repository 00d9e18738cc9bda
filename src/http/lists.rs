//! Paged lists: `{items, next}`, a cursor, a `Link` to the next page (RFC 8288); or the same rows as CSV.

use actix_web::http::header::{LINK, VARY};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::Serialize;

use super::csv::{self, Listed};
use super::cursor;
use super::format::{self, Format};
use super::path::SEGMENT;
use super::problem::Problem;
use super::query::{Kind, Parameter, Query};
use super::write::Answer;
use crate::domain::Sku;

pub const LIMIT: Parameter = Parameter {
    name: "limit",
    about: "How many rows a page has at most: 1 to 1000, 100 where it is left out.",
    kind: Kind::Limit,
};

pub const AFTER: Parameter = Parameter {
    name: "after",
    about: "Where the page begins: `next` of the page before, as it is.",
    kind: Kind::Cursor,
};

/// A page as it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct PageForm<T> {
    pub items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub next: Option<String>,
}

/// Rows, and where the next page begins if there is one.
pub struct Page<R> {
    pub rows: Vec<R>,
    pub next: Option<String>,
}

impl<R> Page<R> {
    /// Of up to `limit` + 1 rows, the last of which only tells that there are more. `list` names the list
    /// with its filters, and `place` a row in it.
    pub fn of(mut rows: Vec<R>, limit: usize, list: &[&str], place: impl Fn(&R) -> String) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|row| cursor::encode(list, &place(row)));
        Self { rows, next }
    }

    pub fn answer<'a, T: Listed>(&'a self, request: &HttpRequest, query: &Query, form: impl Fn(&'a R) -> T) -> Answer {
        let mut response = HttpResponse::Ok();
        response.insert_header((VARY, "Accept"));
        if let Some(next) = &self.next {
            response.insert_header((LINK, link(request, query, next)));
        }
        let rows = self.rows.iter().map(form);
        if Format::of(request, query, format::OF_LISTS) == Format::Csv {
            return csv::answer(response, rows);
        }
        Ok(response.json(PageForm {
            items: rows.collect(),
            next: self.next.clone(),
        }))
    }
}

/// The same list, from `next` on.
pub fn link(request: &HttpRequest, query: &Query, next: &str) -> String {
    let others = query.all().filter(|(name, _)| *name != AFTER.name);
    let others = others.map(|(name, value)| format!("{name}={}&", utf8_percent_encode(value, SEGMENT)));
    let others: String = others.collect();
    format!("<{}?{others}after={next}>; rel=\"next\"", request.uri().path())
}

/// The SKU behind which the page begins.
pub fn after_sku(query: &Query, list: &[&str]) -> Result<Option<Sku>, Problem> {
    let after = query
        .get(AFTER.name)
        .map(|after| cursor::decode(list, after))
        .transpose()?;
    let parse = |sku: String| Sku::parse(&sku).map_err(|error| Problem::invalid(AFTER.name, error));
    after.map(parse).transpose()
}

/// What is searched for with `q`, if anything.
pub fn search(query: &Query) -> Option<String> {
    let q = query.get("q").map(str::trim_start);
    q.filter(|q| !q.is_empty()).map(str::to_owned)
}
