//! Invoice lines as a CSV file holds them, read into operations on stock.
//!
//! The columns are those of the "Online Retail" data set, found by name: InvoiceNo, StockCode,
//! Description, Quantity and Country are used. A SKU is the StockCode exactly as it stands, a
//! store is the Country. All that an invoice sells is one cart; every other line is an adjustment.
//! The whole file is read before anything is sent: a bad line shows at once, and what the file will
//! take from each level is known.

use std::collections::{BTreeMap, HashMap};
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
/// The most lines that a reservation may have.
const LARGEST_CART: usize = 2000;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug, Default)]
pub struct Invoices {
    /// Data lines, those of quantity 0 included.
    pub lines: u64,
    /// Lines of quantity 0, which do nothing.
    pub skipped: u64,
    /// Every level that an operation names, once.
    pub levels: Vec<LevelKey>,
    /// In the order of the file; a cart stands where its first line does.
    pub operations: Vec<Operation>,
}

#[derive(Debug, PartialEq)]
pub enum Operation {
    Cart(Cart),
    Adjust(Adjust),
}

/// All that one invoice sells.
#[derive(Debug, PartialEq)]
pub struct Cart {
    /// Its first line of the file, whose header is line 1.
    pub line: u64,
    pub invoice: String,
    pub lines: Vec<CartLine>,
}

#[derive(Debug, PartialEq)]
pub struct CartLine {
    /// Which of `Invoices::levels` it is about.
    pub level: usize,
    /// Always positive.
    pub units: i64,
}

#[derive(Debug, PartialEq)]
pub struct Adjust {
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
        let mut reading = Reading::default();
        for record in reader.records() {
            let record = record.map_err(|error| name_column(error, &header))?;
            reading.take(&Line::read(&record, &columns)?)?;
        }
        Ok(reading.invoices)
    }

    pub fn carts(&self) -> impl Iterator<Item = &Cart> {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Cart(cart) => Some(cart),
            Operation::Adjust(_) => None,
        })
    }

    /// How many adjustments are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        let of_kind = |operation: &&Operation| matches!(operation, Operation::Adjust(adjust) if adjust.kind == kind);
        self.operations.iter().filter(of_kind).count()
    }
}

impl Operation {
    /// The line of the file where it stands.
    pub fn line(&self) -> u64 {
        match self {
            Self::Cart(cart) => cart.line,
            Self::Adjust(adjust) => adjust.line,
        }
    }
}

impl Cart {
    /// The body of the request that reserves it, with a line for each of the invoice's.
    pub fn body(&self, levels: &[LevelKey], run: &str) -> String {
        let lines = self.lines.iter().map(|line| {
            let LevelKey { store_id, sku } = &levels[line.level];
            json!({"sku": sku, "storeId": store_id, "quantity": line.units})
        });
        let lines: Vec<_> = lines.collect();
        json!({"lines": lines, "reference": self.reference(run)}).to_string()
    }

    /// By which its reservation and its sales are known as those of a run.
    fn reference(&self, run: &str) -> String {
        format!("{}{}", reference_prefix(run), self.invoice)
    }

    /// What it takes from each level.
    pub fn units(&self) -> BTreeMap<usize, i64> {
        let mut units = BTreeMap::new();
        for line in &self.lines {
            *units.entry(line.level).or_default() += line.units;
        }
        units
    }
}

/// How the references of a run's carts begin.
pub fn reference_prefix(run: &str) -> String {
    format!("{run}-")
}

impl Adjust {
    /// The body of the request that carries it out.
    pub fn body(&self) -> String {
        let mut body = match self.kind {
            Kind::Return => json!({"delta": self.units, "type": "RETURN", "note": self.note}),
            Kind::Remove => json!({"delta": -self.units, "type": "MANUAL_REMOVE"}),
        };
        if self.kind == Kind::Remove && !self.note.is_empty() {
            body["note"] = self.note.as_str().into();
        }
        body.to_string()
    }
}

/// A file as far as it is read.
#[derive(Default)]
struct Reading {
    invoices: Invoices,
    /// Where each level stands in `Invoices::levels`.
    levels: HashMap<LevelKey, usize>,
    /// Where the cart of each invoice stands in `Invoices::operations`.
    carts: HashMap<String, usize>,
}

impl Reading {
    fn take(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        self.invoices.lines += 1;
        match line.quantity {
            0 => self.invoices.skipped += 1,
            1.. => self.sell(line)?,
            _ => self.adjust(line),
        }
        Ok(())
    }

    fn sell(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        let sold = CartLine {
            level: self.level(line),
            units: line.quantity,
        };
        let operations = &mut self.invoices.operations;
        let index = *self.carts.entry(line.invoice.to_owned()).or_insert(operations.len());
        if let Some(Operation::Cart(cart)) = operations.get_mut(index) {
            ensure!(
                cart.lines.len() < LARGEST_CART,
                "line {}: invoice {} sells more than {LARGEST_CART} lines, which a cart cannot hold",
                line.number,
                line.invoice
            );
            cart.lines.push(sold);
        } else {
            operations.push(Operation::Cart(Cart {
                line: line.number,
                invoice: line.invoice.to_owned(),
                lines: vec![sold],
            }));
        }
        Ok(())
    }

    fn adjust(&mut self, line: &Line<'_>) {
        let (kind, note) = if line.invoice.starts_with('C') {
            (Kind::Return, line.invoice)
        } else {
            (Kind::Remove, line.description)
        };
        let adjust = Adjust {
            line: line.number,
            level: self.level(line),
            kind,
            units: -line.quantity,
            note: note.to_owned(),
        };
        self.invoices.operations.push(Operation::Adjust(adjust));
    }

    fn level(&mut self, line: &Line<'_>) -> usize {
        let key = LevelKey {
            store_id: line.store.to_owned(),
            sku: line.sku.to_owned(),
        };
        let levels = &mut self.invoices.levels;
        *self.levels.entry(key).or_insert_with_key(|key| {
            levels.push(key.clone());
            levels.len() - 1
        })
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

    fn body(invoices: &Invoices, operation: &Operation) -> String {
        match operation {
            Operation::Cart(cart) => cart.body(&invoices.levels, "run"),
            Operation::Adjust(adjust) => adjust.body(),
        }
    }

    #[test]
    fn an_invoice_becomes_a_cart_and_every_other_line_an_adjustment() {
        let invoices = parse(concat!(
            "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n",
            "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n",
            "536589,21777,\"damages?, \"\"wet\"\"\",-10,2010-12-01 16:50:00,0.0,,EIRE\n",
            "536365,21777,,2,2010-12-01 08:26:00,2.55,17850.0,EIRE\n",
            "536590,21777,,0,2010-12-01 16:50:00,0.0,,EIRE\n",
            "536591,21777,,-3,2010-12-01 16:50:00,0.0,,EIRE\n",
            "536365,85123A,HOLDER,1,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n",
        ))
        .unwrap();
        let operations = invoices.operations.iter();
        let bodies: Vec<_> = operations.map(|operation| body(&invoices, operation)).collect();
        assert_eq!(
            bodies,
            [
                concat!(
                    r#"{"lines":[{"quantity":6,"sku":"85123A","storeId":"United Kingdom"},"#,
                    r#"{"quantity":2,"sku":"21777","storeId":"EIRE"},"#,
                    r#"{"quantity":1,"sku":"85123A","storeId":"United Kingdom"}],"reference":"run-536365"}"#
                ),
                r#"{"delta":1,"note":"C536379","type":"RETURN"}"#,
                r#"{"delta":-10,"note":"damages?, \"wet\"","type":"MANUAL_REMOVE"}"#,
                r#"{"delta":-3,"type":"MANUAL_REMOVE"}"#,
            ]
        );
        let lines: Vec<_> = invoices.operations.iter().map(Operation::line).collect();
        assert_eq!(lines, [2, 3, 4, 7]);
        assert_eq!((invoices.lines, invoices.skipped), (7, 1));
        assert_eq!(invoices.count(Kind::Remove), 2);
        let units: Vec<_> = invoices.carts().map(Cart::units).collect();
        assert_eq!(units, [BTreeMap::from([(0, 7), (2, 2)])]);
    }

    #[test]
    fn an_invoice_that_no_cart_can_hold_is_named() {
        let line = "1,A,,1,,,,EIRE\n";
        assert_eq!(parse(&line.repeat(2000)).unwrap().carts().count(), 1);
        assert_eq!(
            complaint(&line.repeat(2001)),
            "line 2002: invoice 1 sells more than 2000 lines, which a cart cannot hold"
        );
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
