//! The JSON files of the Node services that this one replaces (`inventory_<store>.json`): an array of items, a
//! map from SKU to an item or to a bare quantity, or either as the member `items` of an object.
//!
//! Read item by item, so that a file need not fit into memory. Members that are not known are ignored, as
//! those services kept what else they liked beside the stock.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::import::MAX_LINE;
use crate::import::ndjson::put;
use crate::import::row::{Cells, Column, Fault, Line, Parser, Row};

/// A map may begin with other things than stock, such as the time of its last sync, before its `items` come:
/// so many members are held back until it is known.
const HELD_BACK: usize = 1000;

/// Other names that an item's members have in those files, the first that is there being taken.
const NAMES: [(Column, &[&str]); 8] = [
    (Column::Sku, &["sku", "SKU", "productId", "product_id"]),
    (Column::StoreId, &["storeId", "store_id", "store"]),
    (Column::Quantity, &["quantity", "qty", "stock"]),
    (Column::Name, &["name"]),
    (Column::Description, &["description"]),
    (Column::Price, &["price"]),
    (Column::Currency, &["currency"]),
    (Column::ReorderPoint, &["reorderPoint", "reorder_point"]),
];

pub fn read(
    input: &mut dyn BufRead,
    parser: &mut Parser,
    take: &mut dyn FnMut(Line) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let place = Rc::new(Place::default());
    let mut stopped = false;
    let mut items = Items {
        parser,
        take,
        place: &place,
        stopped: &mut stopped,
    };
    let counted = Counted {
        input,
        place: place.clone(),
    };
    let mut json = serde_json::Deserializer::from_reader(counted);
    let read = Document(&mut items).deserialize(&mut json).and_then(|()| json.end());
    match read {
        Err(error) if !stopped && error.is_io() => Err(anyhow::Error::from(io::Error::from(error))
            .context(format!("cannot be read behind line {}", place.line.get()))),
        Err(error) if !stopped => {
            let fault = Fault::of_line(format!("{error}; what follows was not read"));
            let _ = take(Line {
                number: error.line().max(1) as u64,
                read: Err(fault),
            });
            Ok(())
        }
        _ => Ok(()),
    }
}

/// How far the text has been read.
struct Place {
    line: Cell<u64>,
    /// Bytes since the item that is being read began.
    length: Cell<usize>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            line: Cell::new(1),
            length: Cell::new(0),
        }
    }
}

/// Counts what the JSON reader takes, which it does byte by byte, and ends an item that has no end.
struct Counted<'a> {
    input: &'a mut dyn BufRead,
    place: Rc<Place>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.input.read(buffer)?;
        let lines = memchr::memchr_iter(b'\n', &buffer[..taken]).count() as u64;
        self.place.line.update(|line| line + lines);
        self.place.length.update(|length| length + taken);
        if self.place.length.get() > MAX_LINE {
            return Err(io::Error::other(format!("an item has more than {MAX_LINE} bytes")));
        }
        Ok(taken)
    }
}

struct Items<'a> {
    parser: &'a mut Parser,
    take: &'a mut dyn FnMut(Line) -> ControlFlow<()>,
    place: &'a Place,
    stopped: &'a mut bool,
}

/// A member of a map or an element of an array, before it is known to be an item.
struct Entry {
    line: u64,
    sku: Option<String>,
    value: Value,
}

impl Items<'_> {
    fn give<E: Error>(&mut self, Entry { line, sku, value }: Entry) -> Result<(), E> {
        let row = self.row(sku.as_deref(), &value);
        let taken = (self.take)(Line {
            number: line,
            read: row,
        });
        *self.stopped = taken.is_break();
        if *self.stopped {
            Err(E::custom("stopped"))
        } else {
            Ok(())
        }
    }

    fn row(&mut self, key: Option<&str>, value: &Value) -> Result<Row, Fault> {
        let mut cells = Cells::default();
        if let Some(sku) = key {
            cells.put(Column::Sku, sku.to_owned());
        }
        match value {
            Value::Object(members) => put_members(&mut cells, members)?,
            quantity if key.is_some() => put(&mut cells, Column::Quantity, "quantity", quantity)?,
            _ => return Err(Fault::of_line("is not an item")),
        }
        self.parser.row(&cells)
    }
}

fn put_members(cells: &mut Cells<'_>, members: &Map<String, Value>) -> Result<(), Fault> {
    for (column, names) in NAMES {
        let found = names.iter().find_map(|name| Some((*name, members.get(*name)?)));
        if let Some((name, value)) = found {
            put(cells, column, name, value)?;
        }
    }
    Ok(())
}

/// The document, or its member `items`.
struct Document<'a, 'b>(&'a mut Items<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or a map of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some((line, value)) = elements.next_element_seed(Placed(self.0.place))? {
            self.0.give(Entry { line, sku: None, value })?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut held_back = Vec::new();
        let mut has_items = false;
        while let Some(key) = members.next_key::<String>()? {
            if key == "items" {
                (has_items, held_back) = (true, Vec::new());
                members.next_value_seed(Document(self.0))?;
                continue;
            }
            let (line, value) = members.next_value_seed(Placed(self.0.place))?;
            if has_items {
                continue;
            }
            held_back.push(Entry {
                line,
                sku: Some(key),
                value,
            });
            if held_back.len() > HELD_BACK {
                held_back.drain(..).try_for_each(|entry| self.0.give(entry))?;
            }
        }
        held_back.into_iter().try_for_each(|entry| self.0.give(entry))
    }
}

/// A value, with the line on which it begins.
struct Placed<'a>(&'a Place);

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = (u64, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let line = self.0.line.get();
        self.0.length.set(0);
        let value = serde::Deserialize::deserialize(deserializer)?;
        Ok((line, value))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow::{Break, Continue};

    use super::*;
    use crate::domain::StoreId;

    fn check(text: &str, expected: &[&str]) {
        let mut lines = Vec::new();
        let mut parser = Parser::new(StoreId::parse("paris").unwrap());
        let mut take = |Line { number, read }: Line| {
            lines.push(match read {
                Ok(row) => format!("{number}: {} {} {}", row.sku, row.store_id, row.quantity),
                Err(fault) => format!("{number}{fault}"),
            });
            Continue(())
        };
        read(&mut text.as_bytes(), &mut parser, &mut take).unwrap();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn an_array_of_items_is_read() {
        check(
            "[\n{\"sku\":\"A\",\"quantity\":1,\"last_updated\":{\"by\":[1]}},\n {\"productId\":7,\"qty\":\"2\",\"store_id\":\"x\"},\n\
             {\"sku\":\"B\",\"productId\":9,\"stock\":3}]",
            &["2: A paris 1", "3: 7 x 2", "4: B paris 3"],
        );
        check("[]", &[]);
    }

    #[test]
    fn a_map_of_skus_is_read() {
        check(
            "{\"A\": {\"quantity\": 1, \"version\": 4},\n\"B\": 2,\n\"C\": {\"sku\": \"c\", \"quantity\": 3}, \"D\": -1}",
            &[
                "1: A paris 1",
                "2: B paris 2",
                "3: c paris 3",
                "3, column quantity: \"-1\" is less than 0",
            ],
        );
    }

    #[test]
    fn beside_items_nothing_is_stock() {
        check(
            "{\"version\": 3, \"synced\": {\"at\": 5}, \"items\": [{\"sku\": \"A\", \"quantity\": 1}], \"count\": 1}",
            &["1: A paris 1"],
        );
        check(
            "{\"items\": {\"A\": 1, \"B\": {\"stock\": 2}}}",
            &["1: A paris 1", "1: B paris 2"],
        );
    }

    #[test]
    fn a_long_map_is_not_held_back() {
        let members: Vec<String> = (0..3 * HELD_BACK).map(|i| format!("\"S{i}\": {i}")).collect();
        let mut seen = 0;
        let mut parser = Parser::new(StoreId::default_store());
        let text = format!("{{{}, \"broken", members.join(",\n"));
        let mut take = |line: Line| {
            match line.read {
                Ok(row) => assert_eq!((line.number, row.quantity), (seen + 1, seen)),
                Err(fault) => assert!(fault.message.ends_with("what follows was not read"), "{fault}"),
            }
            seen += 1;
            Continue(())
        };
        read(&mut text.as_bytes(), &mut parser, &mut take).unwrap();
        assert!(seen > 2 * HELD_BACK as u64, "{seen}");
    }

    #[test]
    fn what_is_no_document_is_said_with_its_line() {
        check(
            "[{\"sku\":\"A\",\"quantity\":1},\n5,\n{\"sku\":\"B\"},\n{]",
            &[
                "1: A paris 1",
                "2: is not an item",
                "3, column quantity: there must be one",
                "4: key must be a string at line 4 column 2; what follows was not read",
            ],
        );
        check(
            "5",
            &[
                "1: invalid type: integer `5`, expected an array or a map of items at line 1 column 1; what follows was not read",
            ],
        );
    }

    #[test]
    fn an_item_is_not_taken_in_beyond_its_limit() {
        let text = format!(
            "[{{\"sku\":\"A\",\"quantity\":1}},\n{{\"sku\":\"{}\"}}]",
            "x".repeat(2 * MAX_LINE)
        );
        let mut parser = Parser::new(StoreId::default_store());
        let mut count = 0;
        let result = read(&mut text.as_bytes(), &mut parser, &mut |_| {
            count += 1;
            Continue(())
        });
        let says = format!("{:#}", result.unwrap_err());
        assert_eq!(
            says,
            "cannot be read behind line 2: an item has more than 1048576 bytes"
        );
        assert_eq!(count, 1);
    }

    #[test]
    fn it_stops_when_nobody_takes_lines_any_more() {
        let mut parser = Parser::new(StoreId::default_store());
        let mut count = 0;
        let mut take = |_| {
            count += 1;
            Break(())
        };
        read(&mut "[1, 2, 3]".as_bytes(), &mut parser, &mut take).unwrap();
        assert_eq!(count, 1);
    }
}
