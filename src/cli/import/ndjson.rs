//! Lines of NDJSON: a JSON object each.

use std::io::{self, BufRead};
use std::ops::ControlFlow::{self, Break};

use anyhow::Context;
use serde_json::{Map, Value};

use super::MAX_LINE;
use super::row::{Cells, Column, Fault, Line, Parser, Row, Use};

pub fn read(
    input: &mut dyn BufRead,
    parser: &mut Parser,
    take: &mut dyn FnMut(Line) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for number in 1.. {
        let end = read_line(input, &mut text).with_context(|| format!("cannot be read behind line {}", number - 1))?;
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
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => parser.row(&cells(&members)?),
        Ok(_) => Err(Fault::of_line("is not a JSON object")),
        Err(error) => Err(Fault::of_line(describe(&error))),
    }
}

/// Without the line of the error, which counts from the line of the file.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("is not JSON: {what} (character {})", error.column())
}

fn cells(members: &Map<String, Value>) -> Result<Cells<'_>, Fault> {
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
