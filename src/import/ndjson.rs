//! Lines of NDJSON: a JSON object each.

use std::fmt;
use std::io::{self, BufRead};
use std::ops::ControlFlow::{self, Break};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::row::{Cells, Column, Fault, Line, Parser, Row, Use};
use super::{MAX_LINE, Unreadable};

pub fn read(
    input: &mut dyn BufRead,
    parser: &mut Parser,
    take: &mut dyn FnMut(Line) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut text = Vec::new();
    for number in 1.. {
        let end = read_line(input, &mut text).map_err(|error| Unreadable::behind(number - 1, &error))?;
        let read = match end {
            End::OfInput => break,
            End::TooLong => Err(Fault::of_line(format!("has more than {MAX_LINE} bytes"))),
            End::OfLine if text.trim_ascii().is_empty() => continue,
            End::OfLine => row(&text, parser),
        };
        if let Break(()) = take(Line { number, read }) {
            break;
        }
    }
    Ok(())
}

enum End {
    OfLine,
    /// The line was read to its end, but not kept.
    TooLong,
    OfInput,
}

fn read_line(input: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<End> {
    text.clear();
    let mut length = 0;
    loop {
        let chunk = input.fill_buf()?;
        let found = memchr::memchr(b'\n', chunk);
        let (part, taken) = match found {
            Some(end) => (&chunk[..end], end + 1),
            None => (chunk, chunk.len()),
        };
        length += part.len();
        if length <= MAX_LINE {
            text.extend_from_slice(part);
        }
        input.consume(taken);
        if found.is_none() && taken > 0 {
            continue;
        }
        return Ok(match length {
            0 if found.is_none() => End::OfInput,
            length if length > MAX_LINE => End::TooLong,
            _ => End::OfLine,
        });
    }
}

fn row(text: &[u8], parser: &mut Parser) -> Result<Row, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::of_line("is not UTF-8"))?;
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(Fault::of_line("is not a JSON object"));
    }
    match serde_json::from_str(text) {
        Ok(Members(members)) => parser.row(&cells(&members)?),
        Err(error) => Err(Fault::of_line(describe(&error, text))),
    }
}

/// In words of our own. The line of the error is left out, as it counts from the line of the file.
fn describe(error: &serde_json::Error, text: &str) -> String {
    let column = error.column();
    match error.is_eof() {
        true => format!("is not whole: it breaks off behind character {column}"),
        // Half of a pair of surrogates, or a number beyond all bounds.
        false if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            format!("has a character or a number at character {column} that cannot be read")
        }
        false => format!("is not JSON at character {column}"),
    }
}

/// The members of an object as they stand there: a map would keep only the last of two of the same name.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

fn cells(members: &[(String, Value)]) -> Result<Cells<'_>, Fault> {
    let mut cells = Cells::default();
    for (name, value) in members {
        match Use::of(name) {
            None => return Err(Fault::at(name, "such a member is not known here")),
            Some(Use::PassOver) => {}
            Some(Use::Take(column)) if cells.get(column).is_some() => return Err(Fault::at(name, "is given twice")),
            Some(Use::Take(column)) => put(&mut cells, column, name, value)?,
        }
    }
    Ok(cells)
}

/// Puts the value of a member into its cell; a price may be an object with its currency.
pub fn put(cells: &mut Cells<'_>, column: Column, name: &str, value: &Value) -> Result<(), Fault> {
    match value {
        Value::Null => {}
        Value::String(text) => cells.put(column, text.clone()),
        Value::Number(number) => cells.put(column, number.to_string()),
        Value::Object(price) if column == Column::Price => {
            for (name, value) in price {
                if name == "currency" && cells.get(Column::Currency).is_some() {
                    return Err(Fault::at(name, "is given twice"));
                }
                let column = match name.as_str() {
                    "amount" => Column::Price,
                    "currency" => Column::Currency,
                    _ => {
                        return Err(Fault::at(
                            "price",
                            format!("has a member {name:?}, which is not known here"),
                        ));
                    }
                };
                if value.is_object() {
                    return Err(Fault::at("price", "is not {\"amount\": 250, \"currency\": \"EUR\"}"));
                }
                put(cells, column, name, value)?;
            }
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Fault::at(name, "is neither text nor a number"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::ops::ControlFlow::Continue;

    use super::*;
    use crate::domain::StoreId;

    fn lines(text: &[u8], piece: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut parser = Parser::new(StoreId::default_store());
        let mut input = BufReader::with_capacity(piece, text);
        let mut take = |Line { number, read }: Line| {
            lines.push(match read {
                Ok(row) => format!("{number}: {} {} {:?}", row.sku, row.quantity, row.details.price),
                Err(fault) => format!("{number}{fault}"),
            });
            Continue(())
        };
        read(&mut input, &mut parser, &mut take).unwrap();
        lines
    }

    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        for piece in [1, 3, 1 << 16] {
            assert_eq!(lines(text.as_ref(), piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_price_is_an_object_or_stands_beside_its_currency() {
        let price = "Some(Price { amount: 250, currency: EUR })";
        check(
            concat!(
                "{\"sku\":\"A\",\"quantity\":1,\"price\":{\"amount\":250,\"currency\":\"EUR\"}}\r\n\n",
                "{\"sku\":\"B\",\"quantity\":2,\"price\":250,\"currency\":\"EUR\",\"updatedAt\":\"now\",\"name\":null}\n",
                "{\"sku\":\"C\",\"quantity\":3}",
            ),
            &[&format!("1: A 1 {price}"), &format!("3: B 2 {price}"), "4: C 3 None"],
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_leaves_the_others_in() {
        check(
            b"{\"sku\":\"A\",\"quantity\":1,\"colour\":1}\n{\"sku\":\n[1]\n{\"sku\":\"\xa3\"}\n{\"sku\":true,\"quantity\":1}\n\
              {\"sku\":\"A\",\"quantity\":1.5}\n{\"sku\":\"A\",\"quantity\":1,\"Quantity\":2}\n\
              {\"sku\":\"A\",\"quantity\":1,\"price\":{\"amount\":2,\"vat\":1}}\n{\"sku\":\"B\",\"quantity\":2}\n",
            &[
                "1, column colour: such a member is not known here",
                "2: is not whole: it breaks off behind character 7",
                "3: is not a JSON object",
                "4: is not UTF-8",
                "5, column sku: is neither text nor a number",
                "6, column quantity: \"1.5\" is not a whole number",
                "7, column Quantity: is given twice",
                "8, column price: has a member \"vat\", which is not known here",
                "9: B 2 None",
            ],
        );
    }

    #[test]
    fn a_line_is_not_taken_in_beyond_its_limit() {
        let line = |length: usize| {
            format!(
                "{{\"sku\":\"A\",\"quantity\":1,\"name\":\"{}\"}}\n",
                "x".repeat(length - 34)
            )
        };
        for (length, says) in [
            (MAX_LINE, "1, column name: must have 1 to 255 characters"),
            (MAX_LINE + 1, "1: has more than 1048576 bytes"),
            (5 * MAX_LINE, "1: has more than 1048576 bytes"),
        ] {
            let text = line(length) + "{\"sku\":\"B\",\"quantity\":2}\n";
            assert_eq!(text.lines().next().unwrap().len(), length);
            assert_eq!(lines(text.as_bytes(), 1 << 16), [says, "2: B 2 None"]);
        }
    }
}
