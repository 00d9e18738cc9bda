//! Query parameters, read strictly: those that a route does not know are refused by name.

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode;

use super::problem::Problem;

/// The parameters of a request, each of which the route knows and which stands there once.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn of(request: &'a HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(Cow<str>, Cow<str>)> = Vec::new();
        for pair in request.query_string().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&&*name) {
                return Err(Problem::invalid(&name, "this route does not know this query parameter"));
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

    /// The size of a page: 1 to 1000, 100 where it is not given.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(100) };
        let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let limit = digits
            .and_then(|text| text.parse().ok())
            .filter(|limit| (1..=1000).contains(limit));
        limit.ok_or_else(|| Problem::invalid("limit", "it must be a whole number from 1 to 1000"))
    }
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
