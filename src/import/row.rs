//! What a line says: cells by column, parsed into the count of one level.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::command::{ReorderPoint, Set};
use crate::domain::item::{Currency, DetailsPatch, check_description, check_name};
use crate::domain::text::shorten;
use crate::domain::{Action, Expected, InvalidId, MAX_QUANTITY, Origin, Price, Request, Resource, Sku, StoreId};

/// A line of the file as it was read; the first is line 1.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub number: u64,
    pub read: Result<Row, Fault>,
}

/// A count of one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub sku: Sku,
    pub store_id: StoreId,
    pub quantity: u64,
    pub reorder_point: Option<u64>,
    pub details: DetailsPatch,
}

/// Why a line is not taken: reads as the end of a sentence that begins with the line.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub column: Option<String>,
    pub message: String,
}

/// A line that is not in, as lists of errors have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    pub line: u64,
    pub column: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Sku,
    StoreId,
    Quantity,
    Name,
    Description,
    Price,
    Currency,
    ReorderPoint,
}

/// What a column or member of a known name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Take(Column),
    /// Written by an export beside what an import takes.
    PassOver,
}

/// The cells of a line; an empty one says nothing.
#[derive(Debug, Default)]
pub struct Cells<'a>([Option<Cow<'a, str>>; Column::ALL.len()]);

/// Makes rows, for lines that may not name their store.
pub struct Parser {
    default_store: StoreId,
    /// Mostly a store follows itself.
    last_store: StoreId,
}

impl Column {
    pub const ALL: [Self; 8] = [
        Self::Sku,
        Self::StoreId,
        Self::Quantity,
        Self::Name,
        Self::Description,
        Self::Price,
        Self::Currency,
        Self::ReorderPoint,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::StoreId => "storeId",
            Self::Quantity => "quantity",
            Self::Name => "name",
            Self::Description => "description",
            Self::Price => "price",
            Self::Currency => "currency",
            Self::ReorderPoint => "reorderPoint",
        }
    }
}

const PASSED_OVER: [&str; 5] = ["reserved", "available", "version", "updatedAt", "createdAt"];

impl Use {
    /// By name, exactly or else without regard to case, underscores, hyphens and spaces.
    pub fn of(name: &str) -> Option<Self> {
        let by = |fits: &dyn Fn(&str) -> bool| {
            let column = Column::ALL.into_iter().find(|column| fits(column.name()));
            let passed_over = || PASSED_OVER.into_iter().any(fits).then_some(Self::PassOver);
            column.map(Self::Take).or_else(passed_over)
        };
        let folded = fold(name);
        by(&|known| known == name).or_else(|| by(&|known| fold(known) == folded))
    }
}

fn fold(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    kept.flat_map(char::to_lowercase).collect()
}

impl Row {
    /// The count as a command.
    pub fn request(self, origin: Arc<Origin>, note: Option<String>) -> Request {
        let set = Set {
            quantity: self.quantity,
            reorder_point: self.reorder_point.map_or(ReorderPoint::Keep, ReorderPoint::At),
            details: self.details,
            note,
            ..Set::default()
        };
        Request {
            sku: self.sku,
            store_id: self.store_id,
            action: Action::Set(set.into()),
            resource: Resource::Level,
            expected: Expected::default(),
            origin,
        }
    }
}

impl<'a> Cells<'a> {
    pub fn get(&self, column: Column) -> Option<&str> {
        self.0[column as usize].as_deref()
    }

    pub fn put(&mut self, column: Column, text: impl Into<Cow<'a, str>>) {
        self.0[column as usize] = Some(text.into()).filter(|text| !text.is_empty());
    }
}

impl Fault {
    pub fn of_line(message: impl Into<String>) -> Self {
        Self {
            column: None,
            message: message.into(),
        }
    }

    pub fn at(column: &str, message: impl fmt::Display) -> Self {
        Self {
            column: Some(shorten(column)),
            message: message.to_string(),
        }
    }

    fn in_column(column: Column, message: impl fmt::Display) -> Self {
        Self::at(column.name(), message)
    }
}

impl LineError {
    pub fn new(line: u64, fault: Fault) -> Self {
        Self {
            line,
            column: fault.column,
            message: fault.message,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, ", column {column}: {}", self.message),
            None => write!(f, ": {}", self.message),
        }
    }
}

impl Parser {
    pub fn new(default_store: StoreId) -> Self {
        Self {
            last_store: default_store.clone(),
            default_store,
        }
    }

    pub fn row(&mut self, cells: &Cells) -> Result<Row, Fault> {
        let sku = required(cells, Column::Sku)?;
        Ok(Row {
            sku: Sku::parse(sku).map_err(|fault| bad_id(Column::Sku, sku, &fault))?,
            store_id: self.store(cells.get(Column::StoreId))?,
            quantity: whole_number(Column::Quantity, required(cells, Column::Quantity)?)?,
            reorder_point: optional_number(cells, Column::ReorderPoint)?,
            details: details(cells)?,
        })
    }

    fn store(&mut self, named: Option<&str>) -> Result<StoreId, Fault> {
        let Some(name) = named else {
            return Ok(self.default_store.clone());
        };
        if name != self.last_store.as_str() {
            self.last_store = StoreId::parse(name).map_err(|fault| bad_id(Column::StoreId, name, &fault))?;
        }
        Ok(self.last_store.clone())
    }
}

fn required<'a>(cells: &'a Cells, column: Column) -> Result<&'a str, Fault> {
    cells
        .get(column)
        .ok_or_else(|| Fault::in_column(column, "there must be one"))
}

fn bad_id(column: Column, text: &str, fault: &InvalidId) -> Fault {
    Fault::in_column(column, format!("{:?} {fault}", shorten(text)))
}

fn whole_number(column: Column, text: &str) -> Result<u64, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let shown = shorten(text);
    let fault = |what: &str| Fault::in_column(column, format!("{shown:?} {what}"));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("is not a whole number"));
    }
    if digits.len() < text.len() {
        return Err(fault("is less than 0"));
    }
    let number = digits.parse().ok().filter(|number| *number <= MAX_QUANTITY);
    number.ok_or_else(|| fault(&format!("is more than {MAX_QUANTITY}")))
}

fn optional_number(cells: &Cells, column: Column) -> Result<Option<u64>, Fault> {
    cells.get(column).map(|text| whole_number(column, text)).transpose()
}

fn details(cells: &Cells) -> Result<DetailsPatch, Fault> {
    let text = |column: Column, check: fn(&str) -> Result<(), &'static str>| {
        let text = cells.get(column);
        let checked = text.map_or(Ok(()), check);
        checked
            .map(|()| text.map(Into::into))
            .map_err(|fault| Fault::in_column(column, fault))
    };
    Ok(DetailsPatch {
        name: text(Column::Name, check_name)?,
        description: text(Column::Description, check_description)?,
        price: price(cells)?,
        ..DetailsPatch::default()
    })
}

fn price(cells: &Cells) -> Result<Option<Price>, Fault> {
    let amount = optional_number(cells, Column::Price).map_err(|fault| Fault {
        message: format!("{}; a price is given in minor units, such as cents", fault.message),
        ..fault
    })?;
    match (amount, cells.get(Column::Currency)) {
        (None, None) => Ok(None),
        (Some(amount), Some(currency)) => {
            let parsed = Currency::parse(currency);
            let currency = parsed
                .map_err(|fault| Fault::in_column(Column::Currency, format!("{:?} {fault}", shorten(currency))))?;
            Ok(Some(Price { amount, currency }))
        }
        (Some(_), None) => Err(Fault::in_column(Column::Currency, "a price needs one")),
        (None, Some(_)) => Err(Fault::in_column(Column::Price, "a currency needs one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(Column, &str)]) -> Result<Row, String> {
        let mut line = Cells::default();
        for (column, text) in cells {
            line.put(*column, text.to_owned());
        }
        let mut parser = Parser::new(StoreId::default_store());
        parser.row(&line).map_err(|fault| format!("line 17{fault}"))
    }

    #[test]
    fn names_of_columns_are_found_exactly_or_by_what_they_sound_like() {
        for name in ["storeId", "store_id", "Store ID", "STORE-ID", "storeid"] {
            assert_eq!(Use::of(name), Some(Use::Take(Column::StoreId)), "{name}");
        }
        assert_eq!(Use::of("SKU"), Some(Use::Take(Column::Sku)));
        assert_eq!(Use::of("updated_at"), Some(Use::PassOver));
        for name in ["", "store", "qty", "sku2"] {
            assert_eq!(Use::of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_empty_says_nothing() {
        let row = row(&[(Column::Sku, "A"), (Column::Quantity, "0"), (Column::Name, "")]).unwrap();
        assert_eq!(row.store_id, StoreId::default_store());
        assert_eq!((row.quantity, row.reorder_point), (0, None));
        assert_eq!(row.details, DetailsPatch::default());
    }

    #[test]
    fn a_line_follows_the_store_that_it_names() {
        let mut parser = Parser::new(StoreId::parse("paris").unwrap());
        let mut stores = Vec::new();
        for store in ["london", "london", "", "rome", "london"] {
            let mut cells = Cells::default();
            cells.put(Column::Sku, "A");
            cells.put(Column::Quantity, "1");
            cells.put(Column::StoreId, store);
            stores.push(parser.row(&cells).unwrap().store_id.to_string());
        }
        assert_eq!(stores, ["london", "london", "paris", "rome", "london"]);
    }

    #[test]
    fn a_fault_names_its_column() {
        use Column::*;
        let long = "x".repeat(256);
        let longer = "x".repeat(4001);
        let cases: [(&[(Column, &str)], &str); 17] = [
            (&[(Quantity, "1")], "sku: there must be one"),
            (&[(Sku, "A")], "quantity: there must be one"),
            (
                &[(Sku, " A"), (Quantity, "1")],
                "sku: \" A\" must not begin or end with white space",
            ),
            (
                &[(Sku, "A"), (StoreId, "."), (Quantity, "1")],
                "storeId: \".\" must not be \".\"",
            ),
            (
                &[(Sku, "A"), (Quantity, "12x")],
                "quantity: \"12x\" is not a whole number",
            ),
            (
                &[(Sku, "A"), (Quantity, "+1")],
                "quantity: \"+1\" is not a whole number",
            ),
            (
                &[(Sku, "A"), (Quantity, "1.0")],
                "quantity: \"1.0\" is not a whole number",
            ),
            (&[(Sku, "A"), (Quantity, "-")], "quantity: \"-\" is not a whole number"),
            (&[(Sku, "A"), (Quantity, "-1")], "quantity: \"-1\" is less than 0"),
            (
                &[(Sku, "A"), (Quantity, "9007199254740992")],
                "quantity: \"9007199254740992\" is more than 9007199254740991",
            ),
            (
                &[(Sku, "A"), (Quantity, "99999999999999999999999")],
                "quantity: \"99999999999999999999999\" is more than 9007199254740991",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (ReorderPoint, "few")],
                "reorderPoint: \"few\" is not a whole number",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (Name, &long)],
                "name: must have 1 to 255 characters",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (Description, &longer)],
                "description: must have 1 to 4000 characters",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (Price, "2.50"), (Currency, "EUR")],
                "price: \"2.50\" is not a whole number; a price is given in minor units, such as cents",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (Price, "250")],
                "currency: a price needs one",
            ),
            (
                &[(Sku, "A"), (Quantity, "1"), (Price, "250"), (Currency, "eur")],
                "currency: \"eur\" must be the three capital letters of a currency, such as EUR",
            ),
        ];
        for (cells, says) in cases {
            assert_eq!(row(cells).unwrap_err(), format!("line 17, column {says}"));
        }
        assert!(row(&[(Sku, "A"), (Quantity, "9007199254740991")]).is_ok());
    }

    #[test]
    fn what_is_shown_of_a_cell_is_short() {
        let said = row(&[(Column::Sku, "A"), (Column::Quantity, &"x".repeat(1 << 20))]).unwrap_err();
        assert!(said.len() < 300, "{}", said.len());
    }
}
