//! In which form an answer is wanted: `format` in the query says it, else `Accept` does, else it is JSON.

use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT, HeaderMap};

use super::query::{Kind, Parameter, Query};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
    /// CloudEvents 1.0, in structured mode.
    CloudEvents,
}

/// What every list can be answered in.
pub const OF_LISTS: &[Format] = &[Format::Json, Format::Csv];
pub const OF_EVENTS: &[Format] = &[Format::Json, Format::Csv, Format::CloudEvents];
pub const OF_STREAMS: &[Format] = &[Format::Json, Format::CloudEvents];

pub const FORMAT: Parameter = Parameter {
    name: "format",
    about: "The form of the answer, whatever `Accept` says: `json`, or `csv` (as `Accept: text/csv`).",
    kind: Kind::Format(OF_LISTS),
};

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// Of those that are offered, the one that is wanted, or the first where none is. That `format` names one of them was
    /// seen when the query was read.
    pub fn of(request: &HttpRequest, query: &Query, offered: &[Self]) -> Self {
        let named = query.get(FORMAT.name);
        let named = named.and_then(|name| offered.iter().find(|format| format.as_str() == name));
        named.copied().unwrap_or_else(|| accepted(request.headers(), offered))
    }

    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::Csv => &["text/csv"],
            Self::CloudEvents => &["application/cloudevents-batch+json", "application/cloudevents+json"],
        }
    }
}

/// Nothing is refused for want of a form that the client has named: a list was JSON before it could be anything else.
fn accepted(headers: &HeaderMap, offered: &[Format]) -> Format {
    let values = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range> = values.flat_map(|value| value.split(',')).map(Range::of).collect();
    let mut best = (Fit::default(), Format::Json);
    for format in offered {
        let fit = fit(*format, &ranges);
        if fit > best.0 {
            best = (fit, *format);
        }
    }
    best.1
}

/// How well a form fits: by how much it is wanted, and then by whether it was named or only not ruled out.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    thousandths: u16,
    precision: u8,
}

/// As the most precise range that it is in has it; one that is not wanted at all (`q=0`) fits like one that is in none.
fn fit(format: Format, ranges: &[Range]) -> Fit {
    let of_type = |media_type: &&str| {
        let fitting = ranges.iter().filter_map(|range| range.takes(media_type));
        fitting.max_by_key(|fit| fit.precision)
    };
    let fits = format.media_types().iter().filter_map(of_type);
    fits.filter(|fit| fit.thousandths > 0).max().unwrap_or_default()
}

/// A part of `Accept`: `text/csv;q=0.8`.
struct Range<'a> {
    media_type: &'a str,
    thousandths: u16,
}

impl<'a> Range<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality: Option<f32> = quality.and_then(|quality| quality.parse().ok());
        let thousandths = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16;
        Self {
            media_type,
            thousandths,
        }
    }

    fn takes(&self, media_type: &str) -> Option<Fit> {
        let of_group = |group: &str| {
            media_type
                .split_once('/')
                .is_some_and(|(own, _)| own.eq_ignore_ascii_case(group))
        };
        let precision = match self.media_type.strip_suffix("/*") {
            Some("*") => 1,
            Some(group) if of_group(group) => 2,
            None if self.media_type.eq_ignore_ascii_case(media_type) => 3,
            _ => return None,
        };
        let thousandths = self.thousandths;
        Some(Fit { thousandths, precision })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[track_caller]
    fn check(accept: &[&str], offered: &[Format], expected: Format) {
        let mut request = TestRequest::get();
        for value in accept {
            request = request.append_header((ACCEPT, *value));
        }
        let request = request.to_http_request();
        assert_eq!(accepted(request.headers(), offered), expected, "{accept:?}");
    }

    #[test]
    fn the_form_that_is_wanted_most_is_taken_and_json_where_nothing_is_said() {
        use Format::{CloudEvents, Csv, Json};
        for (accept, expected) in [
            ("text/csv", Csv),
            ("TEXT/CSV; header=present", Csv),
            ("text/*", Csv),
            ("*/*", Json),
            ("", Json),
            ("image/png", Json),
            ("text/csv, */*", Csv),
            ("*/*, text/csv", Csv),
            ("application/json, text/csv", Json),
            ("application/json;q=0.5, text/csv;q=0.6", Csv),
            ("application/json;q=0.6, text/csv;q=0.5", Json),
            ("text/csv;q=0, */*", Json),
            ("text/csv;q=0", Json),
            ("text/*;q=0.9, text/csv;q=0.1, application/json;q=0.5", Json),
            ("text/csv;q=nonsense", Csv),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Json),
            ("application/cloudevents-batch+json", Json),
        ] {
            check(&[accept], OF_LISTS, expected);
        }
        check(&[], OF_LISTS, Json);
        check(&["image/png", "text/csv"], OF_LISTS, Csv);
        check(&["application/cloudevents-batch+json"], OF_EVENTS, CloudEvents);
        check(
            &["text/event-stream, application/cloudevents+json"],
            OF_STREAMS,
            CloudEvents,
        );
        check(&["text/event-stream"], OF_STREAMS, Json);
    }
}
