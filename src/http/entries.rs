//! What writes of users, service tokens and webhooks have in common: each is decided on the entry as it stands, and answered
//! from its event.

use actix_web::HttpRequest;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use validator::Validate;

use super::bodies::present;
use super::caller::Caller;
use super::idempotency::{self, KEY_PATTERN};
use super::problem::{Code, Problem};
use super::{body, forms, precondition};
use crate::actors::entries::EntryWrite;
use crate::credentials::Secret;
use crate::domain::{EntryKey, Expected, MAX_QUANTITY, Resource};
use crate::journal::EntryView;

/// A text of the body that no answer may show again, not even where it is of the wrong type.
pub struct Hidden(Secret);

impl Hidden {
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub fn secret(&self) -> Secret {
        self.0.clone()
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(Secret::new(text))),
            _ => Err(serde::de::Error::custom("it must be a string")),
        }
    }
}

/// The members that have such texts.
const HIDDEN: [&str; 2] = ["password", "setupToken"];
/// What stands in their place where a request is told from another: that there was one counts.
const GIVEN: &str = "given";

/// What a deletion may say; mostly it says nothing.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteBody {
    /// The version that is to be deleted.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

impl DeleteBody {
    pub fn parse(request: &HttpRequest, bytes: &[u8]) -> Result<Self, Problem> {
        body::parse_optional(request, bytes)
    }

    pub fn expected(&self, request: &HttpRequest) -> Result<Expected, Problem> {
        precondition::expected(request, self.expected_version)
    }
}

/// A write of an entry under the key that the request gives, if it gives one.
pub fn write(
    request: &HttpRequest,
    bytes: &[u8],
    idempotency_key: Option<&str>,
    caller: Caller,
    key: EntryKey,
) -> Result<EntryWrite, Problem> {
    let status = forms::status(Resource::Level);
    // The fingerprint is kept: it must not be a fast hash over a password.
    let bytes = without_secrets(bytes);
    let keyed = idempotency::keyed(request, &bytes, idempotency_key, &caller.origin.by, status)?;
    Ok(EntryWrite {
        key,
        origin: caller.origin,
        keyed,
    })
}

/// A body that has been read already, without what nobody may see.
fn without_secrets(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut members) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
        return Vec::new();
    };
    for name in HIDDEN {
        if let Some(secret) = members.get_mut(name) {
            *secret = GIVEN.into();
        }
    }
    Value::Object(members).to_string().into_bytes()
}

/// The entry that is to be changed, if it is there and at the version that the caller expects; `what` names it.
pub fn found<'a>(
    found: Option<&'a EntryView>,
    expected: &Expected,
    what: &dyn Fn() -> String,
) -> Result<&'a EntryView, Problem> {
    let found = found.ok_or_else(|| not_found(&what()))?;
    check(expected, found.version, what)?;
    Ok(found)
}

pub fn not_found(what: &str) -> Problem {
    Problem::new(Code::NotFound, format!("There is no {what}."))
}

pub fn check(expected: &Expected, current: u64, what: &dyn Fn() -> String) -> Result<(), Problem> {
    let checked = expected.check(current);
    checked.map_err(|reason| Problem::of_version(reason, &what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fingerprinted_has_no_secrets_but_that_there_were_some_and_all_else() {
        let body = br#"{"username": "anna", "password": "correct horse", "setupToken": "x", "role": "admin"}"#;
        let told = br#"{"password":"given","role":"admin","setupToken":"given","username":"anna"}"#;
        assert_eq!(without_secrets(body), told);
        assert_eq!(without_secrets(b""), b"");
    }

    #[test]
    fn a_hidden_text_is_not_shown_where_it_is_of_another_type() {
        for body in [
            "123456789",
            "[\"correct horse\"]",
            "{\"correct horse\": 1}",
            "true",
            "null",
        ] {
            let error = serde_json::from_str::<Hidden>(body).err().unwrap().to_string();
            assert!(!error.contains("1234") && !error.contains("horse"), "{error}");
        }
    }
}
