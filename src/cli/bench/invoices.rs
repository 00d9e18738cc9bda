//! Invoice lines as a CSV file holds them, read into operations on stock.
//!
//! The columns are those of the "Online Retail" data set, found by name: InvoiceNo, StockCode,
//! Description, Quantity and Country are used. A SKU is the StockCode exactly as it stands, a
//! store is the Country. The whole file is read before anything is sent: a bad line shows at once,
//! and what the file will take from each level is known.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use serde_json::json;

use super::stock::LevelKey;

/// The largest quantity that a level holds.
const LARGEST: i64 = (1 << 53) - 1;
/// The longest SKU or store id, in Unicode scalar values.
const LONGEST_ID: usize = 64;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug, Default)]
pub struct Invoices {
    /// Data lines, those of quantity 0 included.
    pub lines: u64,
    /// Lines of quantity 0, which do nothing.
    pub skipped: u64,
    /// Every level that an operation names, once.
    pub levels: Vec<LevelKey>,
    /// In the order of the file.
    pub operations: Vec<Operation>,
}

#[derive(Debug, PartialEq)]
pub struct Operation {
    /// The line of the file, its header being line 1.
    pub line: u64,
    /// Which of `Invoices::levels` it is about.
    pub level: usize,
    pub kind: Kind,
    /// Always positive.
    pub units: i64,
    /// What the service is told along with it: the invoice, or why stock was removed.
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reserve,
    Return,
    Remove,
}

impl Invoices {
    /// Reads a file, compressed or not.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
        let named_gz = file.extension().is_some_and(|extension| extension == "gz");
        let text = if named_gz || bytes.starts_with(&GZIP_MAGIC) {
            let mut text = Vec::new();
            MultiGzDecoder::new(bytes.as_slice())
                .read_to_end(&mut text)
                .with_context(|| format!("{name} is not whole gzip"))?;
            text
        } else {
            bytes
        };
        Self::parse(&text).with_context(|| format!("{name} is not a file of invoice lines"))
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        let mut reader = csv::Reader::from_reader(text);
        let header = reader.headers().map_err(in_line)?.clone();
        let columns = Columns::find(&header)?;
        let mut invoices = Self::default();
        let mut known = HashMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| name_column(error, &header))?;
            let line = Line::read(&record, &columns)?;
            invoices.lines += 1;
            match line.operation() {
                Some(kind) => invoices.take(line, kind, &mut known),
                None => invoices.skipped += 1,
            }
        }
        Ok(invoices)
    }

    fn take(&mut self, line: Line<'_>, kind: Kind, known: &mut HashMap<LevelKey, usize>) {
        let key = LevelKey {
            store_id: line.store.to_owned(),
            sku: line.sku.to_owned(),
        };
        let level = *known.entry(key).or_insert_with_key(|key| {
            self.levels.push(key.clone());
            self.levels.len() - 1
        });
        let note = match kind {
            Kind::Reserve | Kind::Return => line.invoice,
            Kind::Remove => line.description,
        };
        self.operations.push(Operation {
            line: line.number,
            level,
            kind,
            units: line.quantity.abs(),
            note: note.to_owned(),
        });
    }

    /// How many operations are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.operations
            .iter()
            .filter(|operation| operation.kind == kind)
            .count()
    }
}

impl Operation {
    /// The body of the request that carries it out.
    pub fn body(&self) -> String {
        let mut body = match self.kind {
            Kind::Reserve => json!({"quantity": self.units, "reference": self.note}),
            Kind::Return => json!({"delta": self.units, "type": "RETURN", "note": self.note}),
            Kind::Remove => json!({"delta": -self.units, "type": "MANUAL_REMOVE"}),
        };
        if self.kind == Kind::Remove && !self.note.is_empty() {
            body["note"] = self.note.as_str().into();
        }
        body.to_string()
    }
}

struct Column {
    name: &'static str,
    index: usize,
}

struct Columns {
    invoice: Column,
    sku: Column,
    description: Column,
    quantity: Column,
    store: Column,
}

struct Line<'a> {
    number: u64,
    invoice: &'a str,
    sku: &'a str,
    description: &'a str,
    quantity: i64,
    store: &'a str,
}

impl Columns {
    fn find(header: &StringRecord) -> anyhow::Result<Self> {
        let column = |name: &'static str| {
            let index = header.iter().position(|field| field == name);
            index
                .map(|index| Column { name, index })
                .ok_or_else(|| anyhow!("line 1: column {name} is missing"))
        };
        Ok(Self {
            invoice: column("InvoiceNo")?,
            sku: column("StockCode")?,
            description: column("Description")?,
            quantity: column("Quantity")?,
            store: column("Country")?,
        })
    }
}

impl<'a> Line<'a> {
    fn read(record: &'a StringRecord, columns: &Columns) -> anyhow::Result<Self> {
        let number = record.position().map_or(0, csv::Position::line);
        let field = |column: &Column| record.get(column.index).unwrap_or_default();
        let line = Self {
            number,
            invoice: field(&columns.invoice),
            sku: field(&columns.sku),
            description: field(&columns.description),
            quantity: whole_number(field(&columns.quantity))
                .with_context(|| format!("line {number}, column {}", columns.quantity.name))?,
            store: field(&columns.store),
        };
        for (column, longest) in [
            (&columns.invoice, usize::MAX),
            (&columns.sku, LONGEST_ID),
            (&columns.store, LONGEST_ID),
        ] {
            check_length(field(column), longest).with_context(|| format!("line {number}, column {}", column.name))?;
        }
        Ok(line)
    }

    /// What the line does to stock; nothing if its quantity is 0.
    fn operation(&self) -> Option<Kind> {
        match self.quantity {
            0 => None,
            1.. => Some(Kind::Reserve),
            _ if self.invoice.starts_with('C') => Some(Kind::Return),
            _ => Some(Kind::Remove),
        }
    }
}

fn whole_number(field: &str) -> anyhow::Result<i64> {
    let number: i64 = field.parse().map_err(|_| anyhow!("{field:?} is not a whole number"))?;
    ensure!(
        (-LARGEST..=LARGEST).contains(&number),
        "{field} is more than a level can hold"
    );
    Ok(number)
}

fn check_length(field: &str, longest: usize) -> anyhow::Result<()> {
    ensure!(!field.is_empty(), "is empty");
    ensure!(
        field.chars().count() <= longest,
        "{field:?} is longer than {longest} characters"
    );
    Ok(())
}

/// Says where the reader stumbled in terms of our columns.
fn name_column(error: csv::Error, header: &StringRecord) -> anyhow::Error {
    let (line, index, what) = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos: Some(pos),
            expected_len,
            len,
        } => (
            pos.line(),
            *expected_len.min(len) as usize,
            format!("the line has {len} fields where the header has {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { pos: Some(pos), err } => (pos.line(), err.field(), "is not UTF-8".to_owned()),
        _ => return in_line(error),
    };
    let column = header
        .get(index)
        .map_or_else(|| format!("{} (beyond the header)", index + 1), str::to_owned);
    anyhow!("line {line}, column {column}: {what}")
}

fn in_line(error: csv::Error) -> anyhow::Error {
    match error.position() {
        Some(position) => anyhow!("line {}: {error}", position.line()),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn parse(lines: &str) -> anyhow::Result<Invoices> {
        Invoices::parse(format!("{HEADER}{lines}").as_bytes())
    }

    fn complaint(lines: &str) -> String {
        format!("{:#}", parse(lines).unwrap_err())
    }

    #[test]
    fn lines_become_operations() {
        let invoices = parse(concat!(
            "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n",
            "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n",
            "536589,21777,\"damages?, \"\"wet\"\"\",-10,2010-12-01 16:50:00,0.0,,EIRE\n",
            "536590,21777,,0,2010-12-01 16:50:00,0.0,,EIRE\n",
            "536591,21777,,-3,2010-12-01 16:50:00,0.0,,EIRE\n",
        ))
        .unwrap();
        let bodies: Vec<_> = invoices.operations.iter().map(Operation::body).collect();
        assert_eq!(
            bodies,
            [
                r#"{"quantity":6,"reference":"536365"}"#,
                r#"{"delta":1,"note":"C536379","type":"RETURN"}"#,
                r#"{"delta":-10,"note":"damages?, \"wet\"","type":"MANUAL_REMOVE"}"#,
                r#"{"delta":-3,"type":"MANUAL_REMOVE"}"#,
            ]
        );
        let lines: Vec<_> = invoices.operations.iter().map(|o| (o.line, o.level)).collect();
        assert_eq!(lines, [(2, 0), (3, 1), (4, 2), (6, 2)]);
        assert_eq!((invoices.lines, invoices.skipped), (5, 1));
        assert_eq!(invoices.count(Kind::Remove), 2);
    }

    #[test]
    fn codes_stay_exactly_as_they_stand() {
        let invoices = parse(concat!(
            "1,BANK CHARGES,,1,,,,United Kingdom\n",
            "1,15056bl,,1,,,,EIRE\n",
            "1,15056BL,,1,,,,EIRE\n",
            "1,gift_0001_40,,1,,,,EIRE\n",
        ))
        .unwrap();
        let skus: Vec<_> = invoices.levels.iter().map(|key| key.sku.as_str()).collect();
        assert_eq!(skus, ["BANK CHARGES", "15056bl", "15056BL", "gift_0001_40"]);
    }

    #[test]
    fn a_bad_line_is_named_with_its_column() {
        let good = "1,A,,1,,,,EIRE\n";
        for (bad, says) in [
            (
                "1,A,,six,,,,EIRE\n",
                "line 3, column Quantity: \"six\" is not a whole number",
            ),
            ("1,A,,,,,,EIRE\n", "line 3, column Quantity: \"\" is not a whole number"),
            ("1,,,1,,,,EIRE\n", "line 3, column StockCode: is empty"),
            ("1,A,,1,,,,\n", "line 3, column Country: is empty"),
            (
                "1,A,,1,,,\n",
                "line 3, column Country: the line has 7 fields where the header has 8",
            ),
            (
                "1,A,,1,,,,EIRE,\n",
                "line 3, column 9 (beyond the header): the line has 9 fields where the header has 8",
            ),
            (
                "1,A,,9007199254740992,,,,EIRE\n",
                "line 3, column Quantity: 9007199254740992 is more than a level can hold",
            ),
        ] {
            assert_eq!(complaint(&format!("{good}{bad}")), says);
        }
        let long = "x".repeat(65);
        assert!(complaint(&format!("1,{long},,1,,,,EIRE\n")).contains("line 2, column StockCode"));
    }

    #[test]
    fn text_that_is_not_utf8_is_named() {
        let text = [HEADER.as_bytes(), b"1,A,\xa3 SIGN,1,,,,EIRE\n"].concat();
        let error = Invoices::parse(&text).unwrap_err();
        assert_eq!(error.to_string(), "line 2, column Description: is not UTF-8");
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = Invoices::parse(b"InvoiceNo,StockCode\n1,2\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1: column Description is missing");
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writeln!(gzip, "{HEADER}1,A,,2,,,,EIRE").unwrap();
        let file = std::env::temp_dir().join(format!("bench-invoices-{}", std::process::id()));
        fs::write(&file, gzip.finish().unwrap()).unwrap();
        let invoices = Invoices::read(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(invoices.unwrap().lines, 1);
    }
}
