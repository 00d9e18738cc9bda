//! Query parameters, read strictly: those that a route does not know are refused by name.

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode;

use super::format::Format;
use super::problem::Problem;
use crate::domain::{EventKind, InvalidId, Movement, ReservationStatus, Timestamp};

/// A query parameter that a route knows.
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
}

/// What a parameter's value looks like.
#[derive(Clone, Copy)]
pub enum Kind {
    /// With an example.
    Text(&'static str),
    Cursor,
    /// The size of a page.
    Limit,
    /// A whole number from 0 to this.
    Count(u64),
    /// `true` or `false`, which is the same as leaving it out.
    Flag,
    /// `true` or `false`; left out, it is either.
    Choice,
    /// A moment as RFC 3339 writes it.
    Time,
    Movement,
    /// The type of an event.
    Event,
    ReservationStatus,
    /// One of these forms.
    Format(&'static [Format]),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One that must be given.
    Required(&'static Kind),
}

/// The parameters of a request, each of which the route knows and which stands there once.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn of(request: &'a HttpRequest, known: &[Parameter]) -> Result<Self, Problem> {
        let mut found: Vec<(Cow<str>, Cow<str>)> = Vec::new();
        for pair in request.query_string().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                return Err(Problem::invalid(&name, "this route does not know this query parameter"));
            };
            if let Kind::Format(offered) = parameter.kind {
                check_format(offered, &name, &value)?;
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Problem::invalid(
                    &name,
                    "this query parameter stands there more than once",
                ));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// Refuses every parameter.
    pub fn none(request: &HttpRequest) -> Result<(), Problem> {
        if request.query_string().is_empty() {
            Ok(())
        } else {
            Query::of(request, &[]).map(drop)
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| &**value)
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn id<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, InvalidId>) -> Result<Option<T>, Problem> {
        let parsed = self.get(name).map(parse).transpose();
        parsed.map_err(|error| Problem::invalid(name, error))
    }

    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "it must be true or false")),
        }
    }

    pub fn choice(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.get(name).map(|_| self.flag(name)).transpose()
    }

    /// A whole number from 0 to `max`.
    pub fn count(&self, name: &str, max: u64) -> Result<Option<u64>, Problem> {
        let parse = |text| digits(text).filter(|count| *count <= max);
        let invalid = || Problem::invalid(name, format!("it must be a whole number from 0 to {max}"));
        self.get(name).map(|text| parse(text).ok_or_else(invalid)).transpose()
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        // Of an offset such as +01:00 that was not percent-encoded, a form's decoding has made a space.
        let parse = |text: &str| Timestamp::parse(&text.replace(' ', "+"));
        let parsed = self.get(name).map(parse).transpose();
        parsed.map_err(|error| Problem::invalid(name, error))
    }

    pub fn movement(&self, name: &str) -> Result<Option<Movement>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = Movement::ALL.into_iter().find(|movement| movement.as_str() == text);
        let names = Movement::ALL.map(Movement::as_str).join(", ");
        found
            .map(Some)
            .ok_or_else(|| Problem::invalid(name, format!("it must be one of {names}")))
    }

    pub fn event_kind(&self, name: &str) -> Result<Option<EventKind>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = EventKind::SHOWN.into_iter().find(|kind| kind.to_string() == text);
        let names = EventKind::SHOWN.map(|kind| kind.to_string()).join(", ");
        found
            .map(Some)
            .ok_or_else(|| Problem::invalid(name, format!("it must be one of {names}")))
    }

    pub fn reservation_status(&self, name: &str) -> Result<Option<ReservationStatus>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = ReservationStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text);
        let names = ReservationStatus::ALL.map(ReservationStatus::as_str).join(", ");
        found
            .map(Some)
            .ok_or_else(|| Problem::invalid(name, format!("it must be one of {names}")))
    }

    /// One of some words, by its place among them.
    pub fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<usize>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let place = words.iter().position(|word| *word == text);
        let invalid = || Problem::invalid(name, format!("it must be one of {}", words.join(", ")));
        place.map(Some).ok_or_else(invalid)
    }

    /// The size of a page: 1 to 1000, 100 where it is not given.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(100) };
        let limit = digits(text).filter(|limit| (1..=1000).contains(limit));
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        limit.ok_or_else(|| Problem::invalid("limit", "it must be a whole number from 1 to 1000"))
    }
}

/// A form is heeded last of all, when the answer is written: one that the route does not have is refused here, before
/// anything is looked at.
fn check_format(offered: &[Format], name: &str, value: &str) -> Result<(), Problem> {
    if offered.iter().any(|format| format.as_str() == value) {
        return Ok(());
    }
    let names: Vec<&str> = offered.iter().map(|format| format.as_str()).collect();
    Err(Problem::invalid(
        name,
        format!("it must be one of {}", names.join(", ")),
    ))
}

/// Nothing but digits: no sign, no space.
pub fn digits(text: &str) -> Option<u64> {
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok())
}

/// As forms encode it: a plus is a space.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    decoded
        .map(|text| Cow::Owned(text.into_owned()))
        .map_err(|_| Problem::invalid("query", "it is not UTF-8"))
}
