//! The trace that a caller has begun, as W3C Trace Context has it. What does not fit is as if it were not there: the
//! request then begins a trace of its own.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::telemetry::context::{Caller, Hex, Place, bytes};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longer ones need not be carried along.
const MAX_STATE: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;
const SAMPLED: u8 = 1;

pub fn caller(headers: &HeaderMap) -> Option<Caller> {
    let mut given = headers.get_all(&TRACEPARENT);
    let parent = given.next()?.to_str().ok()?;
    if given.next().is_some() {
        return None;
    }
    let (place, is_sampled) = parse(parent)?;
    Some(Caller {
        place,
        is_sampled,
        state: state(headers),
    })
}

/// `VERSION-TRACE-SPAN-FLAGS`; of versions to come, more may follow.
fn parse(text: &str) -> Option<(Place, bool)> {
    let mut parts = text.splitn(5, '-');
    let [version] = bytes(parts.next()?)?;
    let trace_id = Hex::parse(parts.next()?)?;
    let span_id = Hex::parse(parts.next()?)?;
    let [flags] = bytes(parts.next()?)?;
    let is_known = match version {
        0 => parts.next().is_none(),
        version => version != 0xff,
    };
    is_known.then_some((Place { trace_id, span_id }, flags & SAMPLED != 0))
}

/// Several headers are one list.
fn state(headers: &HeaderMap) -> Option<String> {
    let given: Option<Vec<&str>> = headers.get_all(&TRACESTATE).map(|value| value.to_str().ok()).collect();
    let members = given?.join(",");
    let members: Vec<&str> = members
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
        .collect();
    let state = members.join(",");
    let is_good =
        members.len() <= MAX_STATE_MEMBERS && state.len() <= MAX_STATE && members.iter().all(|one| is_member(one));
    (is_good && !state.is_empty()).then_some(state)
}

fn is_member(member: &str) -> bool {
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let is_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    member.split_once('=').is_some_and(|(key, value)| {
        let fits =
            |text: &str, is_part: &dyn Fn(u8) -> bool| (1..=256).contains(&text.len()) && text.bytes().all(is_part);
        fits(key, &is_key) && fits(value, &is_value)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(headers: &[(&str, &str)]) -> Option<Caller> {
        let request = headers
            .iter()
            .fold(TestRequest::get(), |request, header| request.append_header(*header));
        caller(request.to_http_request().headers())
    }

    fn of_parent(parent: &str) -> Option<Caller> {
        of(&[("traceparent", parent)])
    }

    #[test]
    fn the_examples_of_the_standard_are_understood() {
        let sampled = of_parent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(sampled.place.trace_id.to_string(), TRACE);
        assert_eq!(sampled.place.span_id.to_string(), SPAN);
        assert!(sampled.is_sampled);
        assert!(!of_parent(&format!("00-{TRACE}-{SPAN}-00")).unwrap().is_sampled);
        // Other flags than the first say nothing to us.
        assert!(of_parent(&format!("00-{TRACE}-{SPAN}-ff")).unwrap().is_sampled);
        assert!(!of_parent(&format!("00-{TRACE}-{SPAN}-fe")).unwrap().is_sampled);
    }

    #[test]
    fn a_version_to_come_may_say_more() {
        assert!(of_parent(&format!("01-{TRACE}-{SPAN}-01")).is_some());
        assert!(of_parent(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like")).is_some());
        assert!(of_parent(&format!("cc-{TRACE}-{SPAN}-01.what")).is_none());
    }

    #[test]
    fn what_does_not_fit_is_passed_over() {
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}{SPAN}-01"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{}é-{SPAN}-01", &TRACE[2..]),
        ] {
            // A header's value has no space at its end: the server has taken it away.
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[("traceparent", &good), ("traceparent", &good)]), None);
        assert_eq!(of(&[("tracestate", "a=1")]), None);
    }

    #[test]
    fn a_state_is_carried_along_if_it_is_one() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let state = |values: &[&str]| {
            let states = values.iter().map(|value| ("tracestate", *value));
            let headers: Vec<(&str, &str)> = [("traceparent", &*parent)].into_iter().chain(states).collect();
            of(&headers).unwrap().state
        };
        assert_eq!(
            state(&["rojo=00f067aa0ba902b7"]).as_deref(),
            Some("rojo=00f067aa0ba902b7")
        );
        assert_eq!(state(&["a=1 , b@c=x y", "d=2"]).as_deref(), Some("a=1,b@c=x y,d=2"));
        assert_eq!(state(&[]), None);
        let (many, long) = (["a=1"; 33].join(","), format!("a={}", "x".repeat(257)));
        for wrong in ["", " , ", "a", "=1", "a=", "A=1", "a=1=2", "a=1\t2", &many, &long] {
            assert_eq!(state(&[wrong]), None, "{wrong}");
        }
    }
}
