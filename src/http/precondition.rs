//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110): strong tags, `"7"` for version 7.

use actix_web::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::problem::Problem;
use crate::domain::Expected;
use crate::domain::command::{Preconditions, VersionSet};

pub fn etag(version: u64) -> HeaderValue {
    // Quotes and digits are a header value in any case.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// What the headers and `expectedVersion` say of the level that is to be changed.
pub fn expected(request: &HttpRequest, version: Option<u64>) -> Result<Expected, Problem> {
    let headers = request.headers();
    let preconditions = Preconditions {
        // Strong comparison: a weak tag matches nothing.
        if_match: versions(headers, IF_MATCH, false)?,
        if_none_match: versions(headers, IF_NONE_MATCH, true)?,
    };
    let are_there = preconditions != Preconditions::default();
    Ok(Expected {
        version,
        preconditions: are_there.then(|| Box::new(preconditions)),
    })
}

/// Shows a resource with its tag, or tells the client that it has this version already.
pub fn show(request: &HttpRequest, version: u64, form: impl Serialize) -> Result<HttpResponse, Problem> {
    let versions = versions(request.headers(), IF_NONE_MATCH, true)?;
    let etag = (ETAG, etag(version));
    if versions.is_some_and(|versions| versions.contains(version)) {
        return Ok(HttpResponse::NotModified().insert_header(etag).finish());
    }
    Ok(HttpResponse::Ok().insert_header(etag).json(form))
}

/// The versions that a header names, over all its lines; tags that are no version match none.
fn versions(headers: &HeaderMap, name: HeaderName, takes_weak: bool) -> Result<Option<VersionSet>, Problem> {
    if !headers.contains_key(&name) {
        return Ok(None);
    }
    let malformed = || Problem::invalid(name.as_str(), "it must be * or a list of entity tags such as \"7\"");
    let mut found = Vec::new();
    for value in headers.get_all(&name) {
        let text = value.to_str().map_err(|_| malformed())?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Ok(Some(VersionSet::Any));
            }
            let (is_weak, opaque) = tag.strip_prefix("W/").map_or((false, tag), |strong| (true, strong));
            let inner = opaque
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .ok_or_else(malformed)?;
            // Tags are compared as they stand: `"03"` is not the tag of version 3.
            let version = inner.parse().ok().filter(|version: &u64| version.to_string() == inner);
            if let Some(version) = version.filter(|_| takes_weak || !is_weak) {
                found.push(version);
            }
        }
    }
    Ok(Some(VersionSet::These(found)))
}
