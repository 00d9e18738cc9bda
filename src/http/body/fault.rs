//! Where a body does not fit, and what it must be there, in words of our own: the parser's are about Rust and about itself.
//! What a member must be is what the API's document says of it: both are read from the same schema.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::check_depth;
use crate::domain::MAX_QUANTITY;
use crate::http::problem::Problem;

/// Reads a body that does not fit once more, to learn where it does not.
pub fn explain<'a, T: Deserialize<'a> + JsonSchema>(body: &'a [u8]) -> Problem {
    if let Err(problem) = check_depth(body) {
        return problem;
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => return not_json(json.end().err().as_ref()),
        Err(error) => error,
    };
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let (path, fault) = (error.path(), error.inner());
    match fault.classify() {
        Category::Data => of_data::<T>(path, &without_place(fault)),
        _ if is_json => of_syntax::<T>(path, fault),
        _ => not_json(Some(fault)),
    }
}

/// What the parser says, without where it was.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((text, _)) if error.line() > 0 => text.to_owned(),
        _ => text,
    }
}

fn not_json(error: Option<&serde_json::Error>) -> Problem {
    let place = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let message = match error {
        None => "it must be JSON".to_owned(),
        Some(error) if error.is_eof() => format!("it must be whole JSON, and breaks off at {}", place(error)),
        Some(error) if is_not_unicode(error) => format!("it must be in UTF-8, and is not at {}", place(error)),
        Some(error) if without_place(error) == "trailing characters" => {
            format!("it must be one JSON value, and more follows it at {}", place(error))
        }
        Some(error) => format!("it must be JSON, and is not at {}", place(error)),
    };
    Problem::invalid("body", message)
}

fn is_not_unicode(error: &serde_json::Error) -> bool {
    let text = without_place(error);
    text.contains("unicode") || text.contains("surrogate") || text.contains("hex escape")
}

/// What is JSON, but nothing that the parser can hand on: a number that no computer holds, half a character, or something
/// other than a word.
fn of_syntax<T: JsonSchema>(path: &Path, error: &serde_json::Error) -> Problem {
    let message = match is_not_unicode(error) {
        true => "it must be Unicode text in UTF-8, every character of it whole".to_owned(),
        false => must_be(described::<T>(path).as_deref().unwrap_or("something else"), None),
    };
    Problem::invalid(&shown(path), message)
}

/// `text` is what serde says of a value that is JSON, and does not fit.
fn of_data<T: JsonSchema>(path: &Path, text: &str) -> Problem {
    let member = |name: &str| match shown(path).as_str() {
        "body" => name.to_owned(),
        parent => format!("{parent}.{name}"),
    };
    if let Some(name) = quoted_behind(text, "missing field ") {
        return Problem::invalid(&member(name), "it is missing");
    }
    if let Some(name) = quoted_behind(text, "duplicate field ") {
        return Problem::invalid(&member(name), "it must be given once, and is given twice");
    }
    let message = if text.starts_with("unknown field ") {
        unknown(text)
    } else if let Some((given, expected)) = mismatch(text) {
        let described = described::<T>(path).filter(|_| !is_in_own_words(expected));
        must_be(described.as_deref().unwrap_or(in_plain_words(expected)), Some(&given))
    } else {
        text.to_owned()
    };
    Problem::invalid(&shown(path), message)
}

fn must_be(what: &str, given: Option<&str>) -> String {
    match given {
        Some(given) => format!("it must be {what}, not {given}"),
        None => format!("it must be {what}"),
    }
}

/// Where it is, as a client would write it; the body itself has no name of its own.
fn shown(path: &Path) -> String {
    match path.to_string() {
        path if path == "." => "body".to_owned(),
        path => path,
    }
}

fn quoted_behind<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    text.strip_prefix(words)?.strip_prefix('`')?.split('`').next()
}

/// Of a member that nobody knows: those that are known. A client chose its name, and may have quoted in it.
fn unknown(text: &str) -> String {
    let known = text.rsplit_once(", expected ").map_or("", |(_, known)| known);
    let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    match names.is_empty() {
        true => "no member is known here".to_owned(),
        false => format!("no such member is known here, only {}", names.join(", ")),
    }
}

/// What was given, and what was expected in its place.
fn mismatch(text: &str) -> Option<(String, &str)> {
    // What was given may say anything; what was expected are words of the program.
    let (given, expected) = text.rsplit_once(", expected ")?;
    if let Some(word) = quoted_behind(given, "unknown variant ") {
        return Some((format!("{word:?}"), expected));
    }
    let given = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|kind| given.strip_prefix(kind))?;
    let bare = ["integer ", "floating point ", "boolean ", "string "]
        .iter()
        .find_map(|kind| given.strip_prefix(kind))
        .unwrap_or(given);
    Some((in_plain_words(bare.trim_matches('`')).to_owned(), expected))
}

/// Those of serde, which names types of Rust.
fn in_plain_words(words: &str) -> &str {
    match words {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 to 9007199254740991",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number from -9007199254740991 to 9007199254740991",
        "a boolean" => "true or false",
        "sequence" | "a sequence" => "an array",
        "map" | "a map" => "an object",
        words if words.starts_with("struct ") => "an object",
        words if words.starts_with("one of ") || words.starts_with('`') => "one of the words that are known here",
        words => words,
    }
}

/// Whether the one who expected says it as a client would.
fn is_in_own_words(expected: &str) -> bool {
    in_plain_words(expected) == expected && expected != "a string"
}

/// What the schema says of a member.
fn described<T: JsonSchema>(path: &Path) -> Option<String> {
    let schema = schema::<T>();
    let mut place = &*schema;
    for segment in path {
        place = match segment {
            Segment::Map { key } => place.get("properties")?.get(key)?,
            Segment::Seq { .. } => place.get("items")?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
        place = of_something(place);
    }
    let words = in_words(place)?;
    match place.get("x-nullable") {
        Some(Value::Bool(true)) => Some(format!("null or {words}")),
        _ => Some(words),
    }
}

/// Of what is this or null: this.
fn of_something(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    choices.and_then(|choices| choices.first()).unwrap_or(schema)
}

fn in_words(schema: &Value) -> Option<String> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Some(format!("one of {}", words.join(", ")));
    }
    let kind = match schema.get("type")? {
        Value::Array(kinds) => kinds.first()?.as_str()?,
        kind => kind.as_str()?,
    };
    let bound = |name: &str, else_: i64| schema.get(name).and_then(Value::as_i64).unwrap_or(else_);
    let most = MAX_QUANTITY.cast_signed();
    match kind {
        "integer" => Some(format!(
            "a whole number from {} to {}",
            bound("minimum", -most),
            bound("maximum", most)
        )),
        "string" => Some("a string".to_owned()),
        "boolean" => Some("true or false".to_owned()),
        "array" => Some("an array".to_owned()),
        "object" => Some("an object".to_owned()),
        _ => None,
    }
}

thread_local! {
    /// The schemas of the bodies that did not fit so far, by the name of their type: a batch may have 10,000 such bodies,
    /// and a schema is not made as fast as one of them is read.
    static SCHEMAS: RefCell<HashMap<&'static str, Rc<Value>>> = RefCell::default();
}

fn schema<T: JsonSchema>() -> Rc<Value> {
    let make = || {
        let settings = SchemaSettings::draft2020_12().for_deserialize();
        let generator = settings
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        Rc::new(generator.into_root_schema_for::<T>().to_value())
    };
    SCHEMAS.with_borrow_mut(|schemas| schemas.entry(std::any::type_name::<T>()).or_insert_with(make).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::batch::OperationBody;
    use crate::http::bodies::{AdjustBody, CreateBody, Object, ReserveBody, SetBody};
    use crate::http::body::{parse_any, parse_object};
    use crate::http::sync::CountBody;
    use crate::http::tokens::TokenBody;

    const WHOLE: &str = "it must be a whole number from 0 to 9007199254740991";

    #[track_caller]
    fn refused<'a, T: Deserialize<'a> + JsonSchema>(body: &'a (impl AsRef<[u8]> + ?Sized)) -> String {
        match parse_object::<T>(body.as_ref()) {
            Err(problem) => problem.into_parts().1,
            Ok(_) => panic!("it was taken"),
        }
    }

    #[test]
    fn what_a_quantity_must_be_is_said_whatever_stands_in_its_place() {
        for (value, shown) in [
            ("-1", "-1"),
            ("1.5", "1.5"),
            ("1e3", "1000.0"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("\"5\"", "\"5\""),
            ("\"a, expected b at line 1\"", "\"a, expected b at line 1\""),
            ("null", "null"),
            ("true", "true"),
            ("[5]", "an array"),
            ("{\"value\":5}", "an object"),
        ] {
            let body = format!("{{\"quantity\":{value}}}");
            let told = refused::<SetBody>(&body);
            assert_eq!(told, format!("quantity: {WHOLE}, not {shown}"), "{value}");
        }
        assert_eq!(refused::<SetBody>("{\"quantity\":1e400}"), format!("quantity: {WHOLE}"));
    }

    #[test]
    fn each_member_has_the_range_that_the_document_gives_it() {
        let of = |text: &str| format!("{{\"quantity\":1,{text}}}");
        for (body, told) in [
            (
                "\"ttlSeconds\":-1",
                "ttlSeconds: it must be a whole number from 1 to 2592000, not -1",
            ),
            ("\"dryRun\":1", "dryRun: it must be true or false, not 1"),
            ("\"reference\":5", "reference: it must be a string, not 5"),
            ("\"storeId\":5", "storeId: it must be an id as a string, not 5"),
            ("\"storeId\":\"\"", "storeId: it must have 1 to 64"),
        ] {
            let refused = refused::<ReserveBody>(&of(body));
            assert!(refused.starts_with(told), "{body}: {refused}");
        }
        let delta = "delta: it must be a whole number from -9007199254740991 to 9007199254740991, not 0.5";
        assert_eq!(refused::<AdjustBody>("{\"delta\":0.5}"), delta);
        let amount = refused::<CreateBody>("{\"sku\":\"A\",\"price\":{\"amount\":-1,\"currency\":\"EUR\"}}");
        assert_eq!(amount, format!("price.amount: {WHOLE}, not -1"));
        let operation = refused::<OperationBody>("{\"op\":\"set\",\"sku\":\"A\",\"quantity\":-1}");
        assert_eq!(operation, format!("quantity: {WHOLE}, not -1"));
        let Err(counts) = parse_any::<Vec<Object<CountBody>>>(b"[{\"sku\":\"A\",\"storeId\":\"x\",\"quantity\":-1}]")
        else {
            panic!("it was taken");
        };
        assert_eq!(counts.into_parts().1, format!("[0].quantity: {WHOLE}, not -1"));
        let Err(counts) = parse_any::<Vec<Object<CountBody>>>(b"[5]") else {
            panic!("it was taken");
        };
        assert_eq!(counts.into_parts().1, "[0]: it must be an object, not 5");
    }

    #[test]
    fn a_word_is_one_of_those_that_there_are() {
        let roles = "role: it must be one of viewer, clerk, operator, admin";
        for (value, shown) in [("\"king\"", ", not \"king\""), ("5", ""), ("null", ""), ("[]", "")] {
            let body = format!("{{\"name\":\"till\",\"role\":{value}}}");
            assert_eq!(refused::<TokenBody>(&body), format!("{roles}{shown}"), "{value}");
        }
        let told = refused::<AdjustBody>("{\"delta\":1,\"type\":\"GIFT\"}");
        assert_eq!(told, "type: it must be STOCK_IN, RETURN, SALE or MANUAL_REMOVE");
    }

    #[test]
    fn members_that_are_missing_unknown_or_there_twice_are_named() {
        assert_eq!(refused::<SetBody>("{}"), "quantity: it is missing");
        let price = refused::<CreateBody>("{\"sku\":\"A\",\"price\":{\"amount\":1}}");
        assert_eq!(price, "price.currency: it is missing");
        let twice = refused::<SetBody>("{\"quantity\":1,\"quantity\":2}");
        assert_eq!(twice, "quantity: it must be given once, and is given twice");
        let unknown = refused::<SetBody>("{\"quantity\":1,\"quanity`, expected `x\":2}");
        let known = "quantity, storeId, countedAt, reorderPoint, note, expectedVersion, idempotencyKey, dryRun";
        assert_eq!(
            unknown,
            format!("quanity`, expected `x: no such member is known here, only {known}")
        );
    }

    #[test]
    fn a_time_is_asked_for_in_the_form_that_is_read() {
        let form = "countedAt: it must be a time with its zone, as RFC 3339 writes it: 2026-01-31T08:30:00Z";
        for value in ["", "now", "2026-01-31", "2026-01-31T08:30", "2026-02-30T00:00:00Z"] {
            let body = format!("{{\"quantity\":1,\"countedAt\":\"{value}\"}}");
            assert_eq!(refused::<SetBody>(&body), form, "{value}");
        }
        let number = refused::<SetBody>("{\"quantity\":1,\"countedAt\":5}");
        assert_eq!(number, "countedAt: it must be a time as a string, not 5");
    }

    #[test]
    fn what_is_no_json_is_said_with_its_place() {
        for (body, told) in [
            ("", "body: it must be a JSON object"),
            ("[1]", "body: it must be a JSON object"),
            (
                "{\"quantity\":1",
                "body: it must be whole JSON, and breaks off at line 1, column 13",
            ),
            (
                "{\"quantity\":",
                "body: it must be whole JSON, and breaks off at line 1, column 12",
            ),
            (
                "{\"quantity\":1}\n x",
                "body: it must be one JSON value, and more follows it at line 2, column 2",
            ),
            (
                "{\"quantity\":1,}",
                "body: it must be JSON, and is not at line 1, column 15",
            ),
            (
                "{\"quantity\":01}",
                "body: it must be JSON, and is not at line 1, column 14",
            ),
            (
                "{'quantity':1}",
                "body: it must be JSON, and is not at line 1, column 2",
            ),
            (
                "{\"quantity\":1,\"note\":\"\\ud800\"}",
                "note: it must be Unicode text in UTF-8, every character of it whole",
            ),
        ] {
            assert_eq!(refused::<SetBody>(body), told, "{body}");
        }
        let deep = format!("{{\"quantity\":{}", "[".repeat(40));
        assert_eq!(refused::<SetBody>(&deep), "body: it is nested deeper than 32 levels");
        let bytes = b"{\"quantity\":1,\"note\":\"\xff\"}";
        assert_eq!(
            refused::<SetBody>(bytes),
            "note: it must be Unicode text in UTF-8, every character of it whole"
        );
    }

    #[test]
    fn no_refusal_has_words_of_the_parser() {
        let values = [
            "-1",
            "1.5",
            "1e99",
            "\"x\"",
            "\"\"",
            "null",
            "true",
            "[]",
            "{}",
            "[[1]]",
            "{\"a\":1}",
            "\"\\ud800\"",
        ];
        for member in [
            "quantity",
            "storeId",
            "countedAt",
            "reorderPoint",
            "note",
            "expectedVersion",
            "dryRun",
            "x",
        ] {
            for value in values {
                let body = format!("{{\"{member}\":{value}}}");
                let told = refused::<SetBody>(&body);
                let words = [
                    "invalid",
                    "expected ",
                    "u64",
                    "EOF",
                    "premature",
                    "field",
                    "trailing",
                    "sequence",
                    "line 1",
                ];
                assert!(!words.iter().any(|word| told.contains(word)), "{body}: {told}");
            }
        }
    }
}
