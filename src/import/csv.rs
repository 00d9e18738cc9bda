//! Lines of CSV, split here and not by the `csv` crate: a record must not take more memory than a line
//! may have, whatever the file holds, and a quote that nothing closes must not pass for an end.

use std::io::BufRead;
use std::ops::ControlFlow::{self, Break};

use super::row::{Cells, Column, Fault, Line, Parser, Use};
use super::{MAX_LINE, Unreadable};
use crate::domain::text::shorten;

/// Reads all lines behind the header; `head` is what the input begins with, the header in it.
pub fn read(
    head: &[u8],
    input: &mut dyn BufRead,
    parser: &mut Parser,
    take: &mut dyn FnMut(Line) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut records = Records::new(input, delimiter(head));
    let header = match records.next().map_err(Unreadable::from_start)? {
        Some(record) => Header::parse(&record).map_err(|fault| Unreadable::new(format!("line 1: {fault}")))?,
        None => return Err(Unreadable::new("there is no header line")),
    };
    loop {
        let after = records.splitter.line;
        let Some(record) = records.next().map_err(|error| Unreadable::behind(after, &error))? else {
            return Ok(());
        };
        let line = Line {
            number: record.line,
            read: header.cells(&record).and_then(|cells| parser.row(&cells)),
        };
        if let Break(()) = take(line) {
            return Ok(());
        }
    }
}

/// Of comma, semicolon and tab the one that the header has most of.
fn delimiter(head: &[u8]) -> u8 {
    let header = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: &u8| memchr::memchr_iter(*delimiter, header).count();
    // Of equals the last is taken: the comma, where there is none of any.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// What each cell of a line is for.
struct Header {
    names: Vec<String>,
    uses: Vec<Use>,
}

impl Header {
    /// A fault reads as the end of a sentence that begins with the line.
    fn parse(record: &Record) -> Result<Self, String> {
        let cells = record.texts().map_err(|fault| fault.message)?;
        let mut header = Self {
            names: Vec::new(),
            uses: Vec::new(),
        };
        for (i, name) in cells.into_iter().enumerate() {
            let Some(found) = Use::of(name) else {
                let name = shorten(name);
                return Err(format!("column {} is called {name:?}, which is not known here", i + 1));
            };
            if found != Use::PassOver && header.uses.contains(&found) {
                let before = "there is such a column before it";
                return Err(format!("column {} is called {name:?}, but {before}", i + 1));
            }
            header.names.push(name.to_owned());
            header.uses.push(found);
        }
        for column in [Column::Sku, Column::Quantity] {
            if !header.uses.contains(&Use::Take(column)) {
                return Err(format!("there is no column {}", column.name()));
            }
        }
        Ok(header)
    }

    fn cells<'a>(&self, record: &Record<'a>) -> Result<Cells<'a>, Fault> {
        let texts = record.texts().map_err(|fault| self.name(fault))?;
        if texts.len() != self.names.len() {
            let message = format!(
                "the line has {} cells where the header has {}",
                texts.len(),
                self.names.len()
            );
            return Err(match self.names.get(texts.len()) {
                Some(missing) => Fault::at(missing, message),
                None => Fault::of_line(message),
            });
        }
        let mut cells = Cells::default();
        for (text, used) in texts.into_iter().zip(&self.uses) {
            if let Use::Take(column) = used {
                cells.put(*column, text);
            }
        }
        Ok(cells)
    }

    fn name(&self, fault: CellFault) -> Fault {
        match fault.cell.and_then(|cell| self.names.get(cell)) {
            Some(name) => Fault::at(name, fault.message),
            None => Fault::of_line(fault.message),
        }
    }
}

struct CellFault {
    cell: Option<usize>,
    message: String,
}

impl CellFault {
    fn in_cell(cell: usize, message: &str) -> Self {
        Self {
            cell: Some(cell),
            message: message.to_owned(),
        }
    }
}

/// One record, its cells behind one another without what stood between them.
struct Record<'a> {
    /// Where it begins.
    line: u64,
    text: &'a [u8],
    ends: &'a [usize],
    fault: Option<RecordFault>,
}

#[derive(Clone, Copy, Debug)]
enum RecordFault {
    TooLong,
    BehindQuote { cell: usize },
    NeverClosed,
}

impl<'a> Record<'a> {
    fn texts(&self) -> Result<Vec<&'a str>, CellFault> {
        match self.fault {
            Some(RecordFault::TooLong) => Err(CellFault {
                cell: None,
                message: format!("has more than {MAX_LINE} bytes, or a quote in it that is never closed"),
            }),
            Some(RecordFault::NeverClosed) => Err(CellFault {
                cell: None,
                message: "a quote is opened here that nothing closes: what follows was not read".to_owned(),
            }),
            Some(RecordFault::BehindQuote { cell }) => {
                Err(CellFault::in_cell(cell, "goes on behind its closing quote"))
            }
            None => self.cut(),
        }
    }

    fn cut(&self) -> Result<Vec<&'a str>, CellFault> {
        let mut texts = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (cell, end) in self.ends.iter().enumerate() {
            let text = std::str::from_utf8(&self.text[start..*end]);
            texts.push(text.map_err(|_| CellFault::in_cell(cell, "is not UTF-8"))?);
            start = *end;
        }
        Ok(texts)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote inside a quoted cell: its end, or half of a doubled one.
    Quote,
}

/// The records of the input, each with no more memory than a line may have.
struct Records<'i> {
    input: &'i mut dyn BufRead,
    splitter: Splitter,
}

impl<'i> Records<'i> {
    fn new(input: &'i mut dyn BufRead, delimiter: u8) -> Self {
        Self {
            input,
            splitter: Splitter::new(delimiter),
        }
    }

    /// The next record that has anything in its cells.
    fn next(&mut self) -> std::io::Result<Option<Record<'_>>> {
        loop {
            let line = self.splitter.line;
            if !self.read_record()? {
                return Ok(None);
            }
            if self.splitter.has_content() {
                return Ok(Some(self.splitter.record(line)));
            }
        }
    }

    /// Reads up to the end of a record; false where the input was at its end already.
    fn read_record(&mut self) -> std::io::Result<bool> {
        self.splitter.begin();
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(self.splitter.end());
            }
            let (taken, is_whole) = self.splitter.take(chunk);
            self.input.consume(taken);
            if is_whole {
                return Ok(true);
            }
        }
    }
}

/// One record in the making, fed with pieces of the input.
struct Splitter {
    delimiter: u8,
    at: At,
    /// The line that is being read, from 1.
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of the record so far.
    length: usize,
    fault: Option<RecordFault>,
}

impl Splitter {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            at: At::CellStart,
            line: 1,
            text: Vec::new(),
            ends: Vec::new(),
            length: 0,
            fault: None,
        }
    }

    fn begin(&mut self) {
        self.text.clear();
        self.ends.clear();
        (self.at, self.length, self.fault) = (At::CellStart, 0, None);
    }

    fn has_content(&self) -> bool {
        !self.text.is_empty() || self.fault.is_some()
    }

    fn record(&self, line: u64) -> Record<'_> {
        Record {
            line,
            text: &self.text,
            ends: &self.ends,
            fault: self.fault,
        }
    }

    /// Takes bytes up to the end of the record, or all; says how many, and whether the record is whole.
    fn take(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut i = 0;
        while i < chunk.len() {
            let (taken, is_whole) = match self.at {
                At::CellStart if chunk[i] == b'"' => (self.go(At::Quoted), false),
                At::CellStart | At::Plain => self.take_plain(&chunk[i..]),
                At::Quoted => (self.take_quoted(&chunk[i..]), false),
                At::Quote => self.take_behind_quote(chunk[i]),
            };
            i += taken;
            self.length += taken;
            if is_whole {
                return (i, true);
            }
        }
        (i, false)
    }

    fn go(&mut self, at: At) -> usize {
        self.at = at;
        1
    }

    fn take_plain(&mut self, chunk: &[u8]) -> (usize, bool) {
        self.at = At::Plain;
        let Some(end) = memchr::memchr2(self.delimiter, b'\n', chunk) else {
            self.push(chunk);
            return (chunk.len(), false);
        };
        self.push(&chunk[..end]);
        let is_whole = chunk[end] == b'\n';
        if is_whole {
            self.drop_return();
        }
        (end + 1, self.end_cell(is_whole))
    }

    /// The carriage return in front of a line feed is no part of the cell.
    fn drop_return(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        if self.text.len() > start && self.text.last() == Some(&b'\r') {
            self.text.pop();
        }
    }

    fn take_quoted(&mut self, chunk: &[u8]) -> usize {
        let end = memchr::memchr(b'"', chunk);
        let part = &chunk[..end.unwrap_or(chunk.len())];
        self.line += memchr::memchr_iter(b'\n', part).count() as u64;
        self.push(part);
        match end {
            Some(end) => end + self.go(At::Quote),
            None => chunk.len(),
        }
    }

    fn take_behind_quote(&mut self, byte: u8) -> (usize, bool) {
        match byte {
            b'"' => {
                self.push(b"\"");
                (self.go(At::Quoted), false)
            }
            b'\r' => (1, false),
            b'\n' => (1, self.end_cell(true)),
            byte if byte == self.delimiter => (1, self.end_cell(false)),
            _ => {
                let cell = self.ends.len();
                self.fault.get_or_insert(RecordFault::BehindQuote { cell });
                (self.go(At::Plain), false)
            }
        }
    }

    fn end_cell(&mut self, is_last: bool) -> bool {
        if self.length <= MAX_LINE {
            self.ends.push(self.text.len());
        } else {
            self.fault = Some(RecordFault::TooLong);
        }
        self.line += u64::from(is_last);
        self.at = At::CellStart;
        is_last
    }

    /// Keeps nothing of a record that is too long, but goes on to its end.
    fn push(&mut self, part: &[u8]) {
        if self.length + part.len() <= MAX_LINE {
            self.text.extend_from_slice(part);
        } else {
            self.fault = Some(RecordFault::TooLong);
        }
    }

    /// Ends a record that no line feed ends; false where there was nothing more.
    fn end(&mut self) -> bool {
        if self.at == At::Quoted {
            self.fault = Some(RecordFault::NeverClosed);
        } else if self.length > 0 {
            self.end_cell(true);
        }
        self.length > 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::ops::ControlFlow::Continue;

    use super::*;
    use crate::domain::StoreId;

    /// What was read, a line each, with the input handed over in pieces of so many bytes.
    fn read_in_pieces(text: &[u8], piece: usize) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        let mut parser = Parser::new(StoreId::default_store());
        let mut input = BufReader::with_capacity(piece, text);
        let read = read(text, &mut input, &mut parser, &mut |line| {
            lines.push(show(line));
            Continue(())
        });
        read.map(|()| lines).map_err(|error| error.to_string())
    }

    fn show(Line { number, read }: Line) -> String {
        match read {
            Ok(row) => {
                let details = row.details.name.or(row.details.description);
                let text = details.as_deref().unwrap_or("-");
                format!("{number}: {} {} {} {text:?}", row.sku, row.store_id, row.quantity)
            }
            Err(fault) => format!("{number}{fault}"),
        }
    }

    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        for piece in [1, 2, 3, 7, 1 << 16] {
            let lines = read_in_pieces(text.as_ref(), piece).unwrap();
            assert_eq!(lines, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn lines_are_read_whatever_separates_their_cells() {
        for delimiter in [",", ";", "\t"] {
            let text = "sku,description,quantity\nA,Tea,1\r\nB,\"a, \"\"b\"\"\r\nc\",2\n\n,,\nC,,3";
            check(
                text.replace(',', delimiter),
                &[
                    "2: A default 1 \"Tea\"",
                    &format!("3: B default 2 \"a{delimiter} \\\"b\\\"\\r\\nc\"").replace('\t', "\\t"),
                    "7: C default 3 \"-\"",
                ],
            );
        }
    }

    #[test]
    fn a_header_may_be_quoted_and_spelt_in_other_ways() {
        check(
            "\"Store ID\",\"SKU\",QUANTITY,reserved\r\nx,A,1,9\r\n",
            &["2: A x 1 \"-\""],
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_leaves_the_others_in() {
        check(
            b"sku,quantity,name\nA\nB,1\nC,1,x,y\nD,1,\xa3\nE,1,\"a\"b\nF,1,\nG,1,\"x\"\r\nH,1,a\"b\n",
            &[
                "2, column quantity: the line has 1 cells where the header has 3",
                "3, column name: the line has 2 cells where the header has 3",
                "4: the line has 4 cells where the header has 3",
                "5, column name: is not UTF-8",
                "6, column name: goes on behind its closing quote",
                "7: F default 1 \"-\"",
                "8: G default 1 \"x\"",
                "9: H default 1 \"a\\\"b\"",
            ],
        );
    }

    #[test]
    fn a_character_is_not_put_together_from_two_cells() {
        check(b"sku,quantity,name\n\xc3,1,\xa9\n", &["2, column sku: is not UTF-8"]);
    }

    #[test]
    fn a_quote_that_nothing_closes_is_no_end() {
        check(
            "sku,quantity,name\nA,1,\nB,2,\"x\nC,3,\n",
            &[
                "2: A default 1 \"-\"",
                "3: a quote is opened here that nothing closes: what follows was not read",
            ],
        );
    }

    #[test]
    fn a_line_is_not_taken_in_beyond_its_limit() {
        let row = |length: usize| format!("A,1,\"{}\"\n", "x".repeat(length - 6));
        for (length, says) in [
            (MAX_LINE, "2, column description: must have 1 to 4000 characters"),
            (
                MAX_LINE + 1,
                "2: has more than 1048576 bytes, or a quote in it that is never closed",
            ),
            (
                4 * MAX_LINE,
                "2: has more than 1048576 bytes, or a quote in it that is never closed",
            ),
        ] {
            let text = format!("sku,quantity,description\n{}B,2,\n", row(length));
            let lines = read_in_pieces(text.as_bytes(), 1 << 16).unwrap();
            assert_eq!(lines, [says, "3: B default 2 \"-\""]);
        }
    }

    #[test]
    fn a_long_line_takes_no_more_memory_than_a_line_may_have() {
        for filler in ["x", "\"x\n\"", ",", "\"\""] {
            let text = format!("{}\n", filler.repeat(3 * MAX_LINE / filler.len()));
            let mut input = text.as_bytes();
            let mut records = Records::new(&mut input, b',');
            while records.read_record().unwrap() {}
            let Splitter { text, ends, .. } = &records.splitter;
            assert!(text.capacity() <= 2 * MAX_LINE, "{filler:?}: {}", text.capacity());
            assert!(ends.capacity() <= 2 * MAX_LINE, "{filler:?}: {}", ends.capacity());
        }
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused_by_name() {
        for (header, says) in [
            ("", "there is no header line"),
            ("\n\n", "there is no header line"),
            ("sku\n", "line 1: there is no column quantity"),
            ("quantity,name\n", "line 1: there is no column sku"),
            (
                "sku,quantity,colour\n",
                "line 1: column 3 is called \"colour\", which is not known here",
            ),
            (
                "sku,quantity,SKU\n",
                "line 1: column 3 is called \"SKU\", but there is such a column before it",
            ),
        ] {
            assert_eq!(read_in_pieces(header.as_bytes(), 64).unwrap_err(), says);
        }
        let utf16: Vec<u8> = "sku,quantity\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16 = [b"\xff\xfe", &utf16[..]].concat();
        assert_eq!(read_in_pieces(&utf16, 64).unwrap_err(), "line 1: is not UTF-8");
    }
}
