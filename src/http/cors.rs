//! Which web pages may use the API from a browser (the Fetch standard's CORS protocol). Nobody is known by a cookie, so
//! that a page has only what it is given a token for, and credentials are never allowed.

use std::str::FromStr;

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use actix_web::http::{Method, Uri};

use super::problem::{Code, Problem};

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
/// By which a browser says whose page sends a request (Fetch Metadata).
const SEC_FETCH_SITE: &str = "sec-fetch-site";
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

    /// A write that a page of another origin has its browser send. For most of them a browser asks first, but not for one
    /// without a body: where nobody must log in, any page could send that.
    pub fn refuses(&self, method: &Method, headers: &HeaderMap) -> bool {
        let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        let is_crossing = headers
            .get_all(SEC_FETCH_SITE)
            .any(|site| site.as_bytes() == b"cross-site");
        let is_foreign = || headers.get_all(ORIGIN).any(|origin| !is_own(origin, headers.get(HOST)));
        !is_read && self.allowed.is_none() && (is_crossing || is_foreign())
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

/// Whether it is that of the host which is asked, under whatever scheme: a proxy may have taken TLS off.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = host.and_then(|host| host.to_str().ok());
    authority
        .zip(host)
        .is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
}

pub fn foreign() -> Problem {
    Problem::new(
        Code::Forbidden,
        "Nobody must log in here, so this service takes no writes from the pages of other origins than those it was told of.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_a_page_is_refused_unless_it_is_of_the_same_host_or_an_origin_that_is_allowed() {
        let origins = [Origin::Of("https://shop.example".to_owned())];
        let refuses = |method: Method, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (
                    actix_web::http::header::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            let headers: HeaderMap = headers.collect();
            Ruling::of(&headers, &origins).refuses(&method, &headers)
        };
        let host = ("host", "localhost:3000");
        let crossing = ("sec-fetch-site", "cross-site");
        assert!(!refuses(Method::POST, &[host]));
        for own in [
            "http://localhost:3000",
            "https://LocalHost:3000",
            "https://shop.example",
        ] {
            assert!(!refuses(Method::POST, &[host, ("origin", own)]), "{own}");
        }
        assert!(!refuses(
            Method::POST,
            &[host, ("origin", "https://shop.example"), crossing]
        ));
        for foreign in [
            "http://localhost:3001",
            "http://localhost",
            "https://evil.example",
            "null",
            "",
        ] {
            let page = ("origin", foreign);
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert!(refuses(method, &[host, page]), "{foreign}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(!refuses(method, &[host, page, crossing]), "{foreign}");
            }
        }
        assert!(refuses(Method::POST, &[host, crossing]));
        assert!(refuses(Method::POST, &[("origin", "http://localhost:3000")]));
    }

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
