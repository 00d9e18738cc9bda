//! JSON bodies, read strictly: what a client misspelt must not pass unseen.

mod fault;

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{FromRequest, dev::Payload};
use schemars::JsonSchema;
use serde::Deserialize;
use validator::{Validate, ValidationErrors, ValidationErrorsKind};

use super::problem::{Code, Problem, shorten};
use crate::config::Limits;

/// What bodies are held to.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The largest, in bytes.
    pub size: usize,
    /// A client has so long to send it.
    pub time: Duration,
    /// The largest that is imported, in bytes; 0: any.
    pub import_size: u64,
}

impl Bounds {
    pub fn of(limits: &Limits) -> Self {
        Self {
            size: limits.max_body_bytes as usize,
            time: Duration::from_secs(limits.body_seconds.into()),
            import_size: limits.max_import_bytes,
        }
    }
}

pub async fn read(request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Problem> {
    let Some(Bounds { size, time, .. }) = request.app_data::<Bounds>().copied() else {
        return Err(Problem::internal(&"nobody has said how large a body may be"));
    };
    refuse_encoding(request)?;
    let read = tokio::time::timeout(time, Bytes::from_request(request, payload)).await;
    let too_slow = || Problem::new(Code::RequestTimeout, format!("The body took longer than {time:?}."));
    read.map_err(|_| too_slow())?
        .map_err(|error| match error.as_error::<PayloadError>() {
            Some(PayloadError::Overflow) => {
                Problem::new(Code::PayloadTooLarge, format!("The body has more than {size} bytes."))
            }
            _ => Problem::invalid("body", BROKEN_OFF),
        })
}

/// Its end never came, or what came was not in the form in which bodies are sent.
pub const BROKEN_OFF: &str = "it must come whole, and it broke off";

/// A small body that unpacks to a large one must not be unpacked.
fn refuse_encoding(request: &HttpRequest) -> Result<(), Problem> {
    let encoding = request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    match encoding {
        None | Some(b"" | b"identity") => Ok(()),
        Some(encoding) => {
            let encoding = shorten(&String::from_utf8_lossy(encoding));
            let detail = format!("The body must come as it is, without a Content-Encoding, not as {encoding:?}.");
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

pub fn parse<'a, T: Deserialize<'a> + JsonSchema + Validate>(
    request: &HttpRequest,
    body: &'a [u8],
) -> Result<T, Problem> {
    check_content_type(request)?;
    let parsed = parse_object(body)?;
    validate(&parsed)?;
    Ok(parsed)
}

/// A body that may be left out: nothing said is the same as `{}`.
pub fn parse_optional<T: Default + for<'a> Deserialize<'a> + JsonSchema + Validate>(
    request: &HttpRequest,
    body: &[u8],
) -> Result<T, Problem> {
    match body.is_empty() {
        true => Ok(T::default()),
        false => parse(request, body),
    }
}

pub fn validate(parsed: &impl Validate) -> Result<(), Problem> {
    parsed
        .validate()
        .map_err(|errors| Problem::invalid_fields(fields(&errors)))
}

pub fn parse_object<'a, T: Deserialize<'a> + JsonSchema>(body: &'a [u8]) -> Result<T, Problem> {
    // A structure would also be read from an array of its members' values.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::invalid("body", "it must be a JSON object"));
    }
    parse_any(body)
}

/// Of whatever form.
pub fn parse_any<'a, T: Deserialize<'a> + JsonSchema>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|_| fault::explain::<T>(body))
}

/// The deepest that a body may be nested.
pub const MAX_DEPTH: usize = 32;

/// Of a body that is not read whole at once.
pub fn check_depth(body: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::invalid(
                "body",
                format!("it is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
    }
    Ok(())
}

pub fn check_content_type(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let mut parameters = content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='));
    let is_utf_8 = parameters.all(|(name, value)| {
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        !is_charset || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if essence.eq_ignore_ascii_case("application/json") && is_utf_8 {
        return Ok(());
    }
    let detail = format!(
        "The Content-Type must be application/json in UTF-8, not {:?}.",
        shorten(content_type)
    );
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

fn fields(errors: &ValidationErrors) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    collect(errors, "", &mut fields);
    fields.sort();
    fields
}

fn collect(errors: &ValidationErrors, path: &str, fields: &mut Vec<(String, String)>) {
    for (field, kind) in errors.errors() {
        let name = format!("{path}{}", camel_case(field));
        match kind {
            ValidationErrorsKind::Field(errors) => fields.extend(errors.iter().map(|error| {
                let message = error.message.as_deref().unwrap_or(&error.code);
                (name.clone(), message.to_owned())
            })),
            ValidationErrorsKind::Struct(errors) => collect(errors, &format!("{name}."), fields),
            ValidationErrorsKind::List(entries) => entries
                .iter()
                .for_each(|(i, errors)| collect(errors, &format!("{name}[{i}]."), fields)),
        }
    }
}

/// A member's name as the client knows it.
fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_as_the_client_knows_them() {
        assert_eq!(camel_case("quantity"), "quantity");
        assert_eq!(camel_case("ttl_seconds"), "ttlSeconds");
    }
}
