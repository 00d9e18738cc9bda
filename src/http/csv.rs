//! Lists as CSV (RFC 4180): a header, then a line per row, or per entry of a member that has several.
//!
//! A cell holds what the JSON holds, as it is. A text that begins with `=` or `+` is not altered, though a spreadsheet may
//! take it for a formula: the file is data for programs first, and what is altered here could not be told from the truth
//! there. Who opens it in a spreadsheet imports the columns as text; a browser is told to save it and not to show it.

use std::borrow::Cow;

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;

use super::problem::Problem;
use super::write::Answer;

pub const CSV: &str = "text/csv; charset=utf-8; header=present";

/// A row of a list, and what becomes of it in CSV.
pub trait Listed: Serialize {
    /// What the file is called, without its extension.
    const NAME: &'static str;
    /// The member whose entries have a line each.
    const PER: Option<&'static str> = None;
    /// Members, in the order of the columns: `sku`, or `price.amount as price` of what is nested.
    const COLUMNS: &'static [&'static str];
}

/// Answers rows as a file.
pub fn answer<T: Listed>(mut response: HttpResponseBuilder, rows: impl Iterator<Item = T>) -> Answer {
    let rows: Result<Vec<Value>, _> = rows.map(serde_json::to_value).collect();
    let rows = rows.map_err(|error| Problem::internal(&error))?;
    let file = format!("attachment; filename=\"{}.csv\"", T::NAME);
    let response = response
        .insert_header((CONTENT_TYPE, CSV))
        .insert_header((CONTENT_DISPOSITION, file));
    Ok(response.body(table::<T>(&rows)))
}

/// Rows as they are in JSON.
pub fn table<T: Listed>(rows: &[Value]) -> String {
    let columns: Vec<Column> = T::COLUMNS.iter().map(|column| Column::of(column)).collect();
    let mut text = String::new();
    write_line(&mut text, columns.iter().map(|column| Cow::Borrowed(column.name)));
    for row in rows {
        for entry in entries(row, T::PER) {
            write_line(&mut text, columns.iter().map(|column| column.cell(row, T::PER, entry)));
        }
    }
    text
}

/// Of a row that has none, one that is null: it has a line all the same.
fn entries<'a>(row: &'a Value, per: Option<&str>) -> impl Iterator<Item = &'a Value> {
    let entries = per
        .and_then(|per| row[per].as_array())
        .filter(|entries| !entries.is_empty());
    let only = entries.is_none().then_some(&Value::Null);
    entries.into_iter().flatten().chain(only)
}

struct Column {
    name: &'static str,
    /// The names that lead to its cells, parted by dots.
    path: &'static str,
}

impl Column {
    fn of(text: &'static str) -> Self {
        let (path, name) = text.split_once(" as ").unwrap_or_else(|| {
            let name = text.rsplit_once('.').map_or(text, |(_, last)| last);
            (text, name)
        });
        Self { name, path }
    }

    fn cell<'a>(&self, row: &'a Value, per: Option<&str>, entry: &'a Value) -> Cow<'a, str> {
        let (from, path) = match self.path.split_once('.') {
            Some((first, rest)) if Some(first) == per => (entry, rest),
            _ => (row, self.path),
        };
        match path.split('.').fold(from, |value, name| &value[name]) {
            Value::Null => Cow::Borrowed(""),
            Value::String(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_string()),
        }
    }
}

fn write_line<'a>(text: &mut String, cells: impl Iterator<Item = Cow<'a, str>>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            text.push(',');
        }
        if cell.contains(['"', ',', '\r', '\n']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&cell);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Plain;

    impl Listed for Plain {
        const NAME: &'static str = "plain";
        const COLUMNS: &'static [&'static str] = &["a", "price.amount as price", "price.currency", "tags"];
    }

    #[derive(Serialize)]
    struct Nested;

    impl Listed for Nested {
        const NAME: &'static str = "nested";
        const PER: Option<&'static str> = Some("lines");
        const COLUMNS: &'static [&'static str] = &["id", "lines.id as line"];
    }

    #[test]
    fn what_a_separator_or_a_quote_is_stands_in_quotes_and_nothing_is_altered() {
        let rows = [
            json!({"a": "x, \"y\"\r\nz", "price": {"amount": 5, "currency": "EUR"}, "tags": ["p", "q"]}),
            json!({"a": "=1+1", "price": null}),
            json!({"a": " -2 ; 3\t"}),
            json!({"a": true}),
        ];
        let expected = "a,price,currency,tags\r\n\"x, \"\"y\"\"\r\nz\",5,EUR,\"[\"\"p\"\",\"\"q\"\"]\"\r\n=1+1,,,\r\n\
                        \x20-2 ; 3\t,,,\r\ntrue,,,\r\n";
        assert_eq!(table::<Plain>(&rows), expected);
    }

    #[test]
    fn a_row_has_a_line_per_entry_and_one_where_it_has_none() {
        let rows = [
            json!({"id": 1, "lines": [{"id": "a"}, {"id": "b"}]}),
            json!({"id": 2, "lines": []}),
            json!({"id": 3}),
        ];
        assert_eq!(table::<Nested>(&rows), "id,line\r\n1,a\r\n1,b\r\n2,\r\n3,\r\n");
    }
}
