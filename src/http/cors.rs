//! Which web pages may use the API from a browser (the Fetch standard's CORS protocol). Nobody is known by a cookie, so
//! that a page has only what it is given a token for, and credentials are never allowed.

use std::str::FromStr;

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use actix_web::http::{Method, Uri};

/// Where a page comes from, as a browser says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Any,
    Of(String),
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const ASKED: HeaderValue = HeaderValue::from_static(
    "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, \
     X-Request-Id, X-Store-Id",
);
const TOLD: HeaderValue = HeaderValue::from_static(
    "Allow, ETag, Idempotency-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, \
     WWW-Authenticate, X-Request-Id",
);
/// Browsers ask again after ten minutes.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let uri = text.parse::<Uri>().ok();
        let authority = uri
            .as_ref()
            .and_then(Uri::authority)
            .map(|authority| authority.as_str());
        let scheme = uri
            .as_ref()
            .and_then(Uri::scheme_str)
            .filter(|scheme| ["http", "https"].contains(scheme));
        match scheme.zip(authority) {
            Some((scheme, authority))
                if text.eq_ignore_ascii_case(&format!("{scheme}://{authority}")) && !authority.contains('@') =>
            {
                Ok(Self::Of(text.to_ascii_lowercase()))
            }
            _ => Err(format!(
                "{text:?} is no origin: it must be like https://shop.example, without a path"
            )),
        }
    }
}

/// What a reply says to a page of another origin.
#[derive(Debug)]
pub struct Ruling {
    allowed: Option<HeaderValue>,
    /// The reply would be another one for another origin.
    varies: bool,
}

impl Ruling {
    pub fn of(headers: &HeaderMap, origins: &[Origin]) -> Self {
        if origins.contains(&Origin::Any) {
            let allowed = headers.contains_key(ORIGIN).then(|| HeaderValue::from_static("*"));
            return Self { allowed, varies: false };
        }
        let is_allowed = |origin: &&HeaderValue| {
            origins
                .iter()
                .any(|allowed| matches!(allowed, Origin::Of(allowed) if allowed.as_bytes() == origin.as_bytes()))
        };
        Self {
            allowed: headers.get(ORIGIN).filter(is_allowed).cloned(),
            varies: !origins.is_empty(),
        }
    }

    /// The answer to a browser that asks whether a page may send a request.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HttpResponse> {
        let is_asked = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        (is_asked && self.allowed.is_some()).then(|| {
            HttpResponse::NoContent()
                .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
                .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, ASKED))
                .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS))
                .finish()
        })
    }

    pub fn tell(&self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = &self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, TOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host_and_no_more() {
        for (text, origin) in [
            ("https://shop.example", "https://shop.example"),
            (" http://localhost:5173 ", "http://localhost:5173"),
            ("HTTPS://Shop.Example", "https://shop.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse(), Ok(Origin::Of(origin.to_owned())));
        }
        assert_eq!("*".parse(), Ok(Origin::Any));
        for wrong in [
            "",
            "null",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/a",
            "ftp://shop.example",
            "https://",
            "https://*.example/",
            "https://me@shop.example",
            "https://a b",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
