//! Bodies as the Node services took them: what they do not know is passed over, a number may be a text, and an id a
//! number.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Payload};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::{InvalidId, MAX_QUANTITY};
use crate::http::body;
use crate::http::problem::Problem;

/// A body, with the bytes that it was read from. One that was not sent is one without members.
pub async fn read<T: DeserializeOwned + Default + JsonSchema>(
    request: &HttpRequest,
    payload: Payload,
) -> Result<(T, Bytes), Problem> {
    let bytes = body::read(request, &mut payload.into_inner()).await?;
    if bytes.is_empty() {
        return Ok((T::default(), bytes));
    }
    // Also here: a page of another origin may send a body of another type, or of none, without asking first.
    body::check_content_type(request)?;
    body::check_depth(&bytes)?;
    Ok((body::parse_object(&bytes)?, bytes))
}

/// How a number is written as a text: no more than this is taken, neither `""` nor `0x10`.
const NUMBER: &str = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$";

/// Rounded down, as those services did; none where it is no number, or one that is too large.
fn rounded_down(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => parse(text)?,
        _ => return None,
    };
    let whole = number.floor();
    // Up to here a double holds every whole number exactly.
    (whole.abs() <= MAX_QUANTITY as f64).then_some(whole as i64)
}

fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|_| is_decimal)
}

/// What is on hand, or comes in.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Quantity(Value);

impl Quantity {
    pub fn take(given: Option<&Self>, field: &str) -> Result<u64, Problem> {
        let taken = given.and_then(|Self(value)| u64::try_from(rounded_down(value)?).ok());
        let message = "it must be a number from 0 to 9007199254740991, rounded down where it is not whole";
        taken.ok_or_else(|| Problem::invalid(field, message))
    }
}

/// What is added to what is on hand, or taken from it.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Delta(Value);

impl Delta {
    pub fn take(given: Option<&Self>) -> Result<i64, Problem> {
        let taken = given.and_then(|Self(value)| rounded_down(value));
        let message = "it must be a number from -9007199254740991 to 9007199254740991 that is not 0 when it is rounded \
                       down";
        taken
            .filter(|delta| *delta != 0)
            .ok_or_else(|| Problem::invalid("delta", message))
    }
}

/// A version is never rounded: what is not exactly one is a mistake.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Version(Value);

impl Version {
    pub fn take(&self) -> Result<u64, Problem> {
        let whole = match &self.0 {
            Value::String(text) => digits(text),
            value => value
                .as_f64()
                .filter(|number| number.fract() == 0.0)
                .and(rounded_down(value)),
        };
        let version = whole.and_then(|whole| u64::try_from(whole).ok());
        let message = "it must be a whole number from 0 to 9007199254740991";
        version.ok_or_else(|| Problem::invalid("expectedVersion", message))
    }
}

fn digits(text: &str) -> Option<i64> {
    let text = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text?
        .parse()
        .ok()
        .filter(|number| *number <= MAX_QUANTITY.cast_signed())
}

/// A SKU or a store: some of those services counted them.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Id(Value);

impl Id {
    pub fn take<T>(&self, field: &str, parse: fn(&str) -> Result<T, InvalidId>) -> Result<T, Problem> {
        let text = match &self.0 {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return Err(Problem::invalid(field, "it must be a text or a whole number")),
        };
        parse(&text).map_err(|error| Problem::invalid(field, error))
    }

    /// Of two names for the same member, either may be given, or both alike. With the id comes its name.
    pub fn either<'a>(
        one: (Option<&'a Self>, &'a str),
        other: (Option<&'a Self>, &'a str),
    ) -> Result<Option<(&'a Self, &'a str)>, Problem> {
        match (one.0, other.0) {
            (Some(first), Some(second)) if first != second => {
                let fault = format!("it stands for {}, which says otherwise", one.1);
                Err(Problem::invalid(other.1, fault))
            }
            (Some(first), _) => Ok(Some((first, one.1))),
            (None, second) => Ok(second.map(|second| (second, other.1))),
        }
    }
}

macro_rules! schemas {
    ($($type:ty => $schema:expr),* $(,)?) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                concat!("Node", stringify!($type)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Schema::try_from($schema).unwrap_or_default()
            }
        })*
    };
}

schemas! {
    Quantity => json!({
        "description": "A number from 0 to 9007199254740991, or a text that says one. A fraction is rounded down.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": MAX_QUANTITY},
            {"type": "string", "pattern": NUMBER},
        ],
        "examples": [10],
    }),
    Delta => json!({
        "description": "A number from -9007199254740991 to 9007199254740991, or a text that says one. A fraction is \
                        rounded down, and what comes of it must not be 0.",
        "anyOf": [
            {"type": "number", "minimum": 1, "maximum": MAX_QUANTITY},
            {"type": "number", "minimum": -(MAX_QUANTITY.cast_signed()), "exclusiveMaximum": 0},
            {"type": "string", "pattern": NUMBER},
        ],
        "examples": [-2],
    }),
    Version => json!({
        "description": "A version, or a text that says one.",
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_QUANTITY},
            {"type": "string", "pattern": "^[0-9]+$"},
        ],
        "examples": [7],
    }),
    Id => json!({
        "description": "A SKU or a store, as a text of 1 to 64 characters or as a whole number.",
        "anyOf": [{"type": "string", "minLength": 1, "maxLength": 64}, {"type": "integer"}],
        "examples": ["85123A"],
    }),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(value: Value) -> Option<u64> {
        Quantity::take(Some(&Quantity(value)), "quantity").ok()
    }

    #[test]
    fn numbers_are_taken_as_the_node_services_took_them() {
        for (value, expected) in [
            (json!(0), 0),
            (json!(7), 7),
            (json!(7.9), 7),
            (json!(-0.0), 0),
            (json!("7"), 7),
            (json!(" 7.9 "), 7),
            (json!("+5."), 5),
            (json!("1e3"), 1000),
            (json!(1e3), 1000),
            (json!(MAX_QUANTITY), MAX_QUANTITY),
            (json!("9007199254740991"), MAX_QUANTITY),
        ] {
            assert_eq!(quantity(value.clone()), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for value in [
            json!(-1),
            json!(-0.5),
            json!("-1"),
            json!(""),
            json!(" "),
            json!("abc"),
            json!("0x10"),
            json!("1_000"),
            json!("inf"),
            json!("NaN"),
            json!("1e999"),
            json!("12 kg"),
            json!(null),
            json!(true),
            json!([5]),
            json!({"quantity": 5}),
            json!(9_007_199_254_740_992_u64),
            json!("9007199254740993"),
            json!(u64::MAX),
            json!(1e300),
        ] {
            assert_eq!(quantity(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn a_delta_that_comes_to_nothing_is_none() {
        let delta = |value: Value| Delta::take(Some(&Delta(value))).ok();
        assert_eq!(delta(json!(0)), None);
        assert_eq!(delta(json!(0.9)), None);
        assert_eq!(delta(json!("0")), None);
        assert_eq!(delta(json!(-0.1)), Some(-1));
        assert_eq!(delta(json!("-3")), Some(-3));
        assert_eq!(delta(json!(-9_007_199_254_740_992_i64)), None);
        assert_eq!(delta(json!(i64::MIN)), None);
    }

    #[test]
    fn a_version_is_not_rounded() {
        let version = |value: Value| Version(value).take().ok();
        assert_eq!(version(json!(3)), Some(3));
        assert_eq!(version(json!(3.0)), Some(3));
        assert_eq!(version(json!("3")), Some(3));
        for value in [
            json!(3.5),
            json!("3.5"),
            json!(-1),
            json!(""),
            json!(null),
            json!("v3"),
            json!(true),
        ] {
            assert_eq!(version(value.clone()), None, "{value}");
        }
    }
}
