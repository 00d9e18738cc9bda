//! Idempotency keys: `Idempotency-Key` in the header or `idempotencyKey` in the body, or both alike
//! (draft-ietf-httpapi-idempotency-key-header-07).

use actix_web::HttpRequest;

use super::problem::Problem;
use crate::actors::Keyed;
use crate::domain::{Event, Principal};
use crate::journal::record::Digest;

const HEADER: &str = "idempotency-key";

/// What a key looks like, for those who read a schema; `check` is what decides.
pub const KEY_PATTERN: &str = "^[!-~]+$";

/// The key of a write, bound to its method, path, query and body as bytes.
pub fn keyed(
    request: &HttpRequest,
    body: &[u8],
    in_body: Option<&str>,
    by: &Principal,
    status: fn(&Event) -> u16,
) -> Result<Option<Keyed>, Problem> {
    let Some(key) = given(request, in_body)? else {
        return Ok(None);
    };
    let (path, query) = (request.uri().path(), request.query_string());
    let fingerprint = Digest::of(&[
        request.method().as_str().as_bytes(),
        path.as_bytes(),
        query.as_bytes(),
        body,
    ]);
    Ok(Some(Keyed {
        key: Digest::of_key(by, key),
        fingerprint,
        status,
    }))
}

/// The key that a request gives, if it gives one. A write that leaves nothing in the log looks no further: no receipt is
/// kept of it, and its repeat is carried out again.
pub fn given<'a>(request: &'a HttpRequest, in_body: Option<&'a str>) -> Result<Option<&'a str>, Problem> {
    let mut headers = request.headers().get_all(HEADER);
    let in_header = match headers.next() {
        Some(value) => Some(value.to_str().map_err(|_| invalid("Idempotency-Key"))?),
        None => None,
    };
    if headers.next().is_some() {
        return Err(Problem::invalid("Idempotency-Key", "it stands there more than once"));
    }
    if let (Some(header), Some(member)) = (in_header, in_body)
        && header != member
    {
        return Err(Problem::invalid(
            "idempotencyKey",
            "it is not the key that the Idempotency-Key header gives",
        ));
    }
    let name = if in_header.is_some() {
        "Idempotency-Key"
    } else {
        "idempotencyKey"
    };
    let key = in_header.or(in_body);
    key.map_or(Ok(()), |key| check(key, name))?;
    Ok(key)
}

pub fn check(key: &str, name: &str) -> Result<(), Problem> {
    let fits = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { Err(invalid(name)) }
}

fn invalid(name: &str) -> Problem {
    Problem::invalid(name, "it must have 1 to 255 visible ASCII characters")
}
