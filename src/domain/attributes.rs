//! What else there is to say of a product: a flat map of short texts, numbers and booleans.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

use super::MAX_QUANTITY;

pub const MAX_ATTRIBUTES: usize = 50;
/// The longest name of an attribute, in Unicode scalar values.
pub const MAX_ATTRIBUTE_NAME_CHARS: usize = 64;
/// The longest text of an attribute, in Unicode scalar values.
pub const MAX_ATTRIBUTE_TEXT_CHARS: usize = 255;

/// By name. Shared, as every read of an item carries them along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Option<Arc<BTreeMap<Arc<str>, Attribute>>>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Attribute {
    Flag(bool),
    Number(Number),
    Text(Arc<str>),
}

impl Attributes {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().flat_map(|attributes| attributes.iter()))
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings, numbers and booleans")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Attributes, A::Error> {
                let mut attributes = BTreeMap::new();
                while let Some((name, value)) = members.next_entry::<Arc<str>, Attribute>()? {
                    check_name(&name).map_err(A::Error::custom)?;
                    if attributes.insert(name, value).is_some() {
                        return Err(A::Error::custom("an attribute stands there twice"));
                    }
                    if attributes.len() > MAX_ATTRIBUTES {
                        let fault = format!("there must be at most {MAX_ATTRIBUTES} attributes");
                        return Err(A::Error::custom(fault));
                    }
                }
                Ok(Attributes((!attributes.is_empty()).then(|| Arc::new(attributes))))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=MAX_ATTRIBUTE_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let fault = || {
        format!(
            "the name of an attribute must have 1 to {MAX_ATTRIBUTE_NAME_CHARS} characters, none of them a control character"
        )
    };
    fits.then_some(()).ok_or_else(fault)
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = Attribute;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Attribute, E> {
                Ok(Attribute::Flag(flag))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Attribute, E> {
                integer(number, number.into())
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Attribute, E> {
                integer(number.unsigned_abs(), number.into())
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Attribute, E> {
                let fits = number.abs() <= MAX_QUANTITY as f64;
                let number = Number::from_f64(number).filter(|_| fits);
                number.map(Attribute::Number).ok_or_else(too_large)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Attribute, E> {
                let fits = text.chars().count() <= MAX_ATTRIBUTE_TEXT_CHARS && !text.chars().any(char::is_control);
                let fault = || {
                    E::custom(format!(
                        "a text must have at most {MAX_ATTRIBUTE_TEXT_CHARS} characters, none of them a control character"
                    ))
                };
                fits.then(|| Attribute::Text(text.into())).ok_or_else(fault)
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

/// Every JSON reader is to get the integer that was given.
fn integer<E: Error>(magnitude: u64, number: Number) -> Result<Attribute, E> {
    match magnitude <= MAX_QUANTITY {
        true => Ok(Attribute::Number(number)),
        false => Err(too_large()),
    }
}

fn too_large<E: Error>() -> E {
    E::custom(format!("a number must be from -{MAX_QUANTITY} to {MAX_QUANTITY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Attributes, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_numbers_and_booleans_read_back_as_they_were_written() {
        let json = r#"{"Größe":"38","fragile":true,"grams":12.25,"layers":-3,"ratio":0.1}"#;
        let attributes = read(json).unwrap();
        assert_eq!(serde_json::to_string(&attributes).unwrap(), json);
        assert_eq!(read("{}").unwrap(), Attributes::default());
        assert_eq!(serde_json::to_string(&Attributes::default()).unwrap(), "{}");
        let awkward = read(r#"{"a":0.30000000000000004,"b":1e-300,"c":123456.7890123456}"#).unwrap();
        assert_eq!(read(&serde_json::to_string(&awkward).unwrap()).unwrap(), awkward);
    }

    #[test]
    fn what_is_nested_too_long_too_many_or_twice_is_refused() {
        let many: Vec<String> = (0..=MAX_ATTRIBUTES).map(|i| format!("\"a{i}\":1")).collect();
        for json in [
            r#"{"a":null}"#.to_owned(),
            r#"{"a":[1]}"#.to_owned(),
            r#"{"a":{"b":1}}"#.to_owned(),
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"":1}"#.to_owned(),
            r#"{"a\n":1}"#.to_owned(),
            r#"{"a":"b\u0000"}"#.to_owned(),
            r#"{"a":9007199254740992}"#.to_owned(),
            r#"{"a":-9007199254740992}"#.to_owned(),
            r#"{"a":1e16}"#.to_owned(),
            r#"{"a":1e999}"#.to_owned(),
            "[]".to_owned(),
            format!("{{\"{}\":1}}", "x".repeat(65)),
            format!("{{\"a\":\"{}\"}}", "x".repeat(256)),
            format!("{{{}}}", many.join(",")),
        ] {
            assert!(read(&json).is_err(), "{json}");
        }
    }
}
