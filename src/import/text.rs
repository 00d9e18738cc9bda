//! The text that is imported: unpacked where it is gzip, without the mark that some programs put before it.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::Unreadable;

/// So much of the text is looked at before it is read; a header line must lie in it.
const HEAD: u64 = 64 << 10;
/// What gzip begins with (RFC 1952).
pub const GZIP: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER: usize = 256 << 10;

pub struct Text {
    /// What it begins with, which `reader` reads once more.
    pub head: Vec<u8>,
    pub reader: Box<dyn BufRead + Send>,
}

pub fn unpack(raw: impl Read + Send + 'static) -> Result<Text, Unreadable> {
    let (magic, raw) =
        look_ahead(BufReader::with_capacity(BUFFER, raw), GZIP.len() as u64).map_err(Unreadable::from_start)?;
    if magic != GZIP {
        return begin(raw).map_err(Unreadable::from_start);
    }
    let text = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw));
    begin(text).map_err(|error| Unreadable::new(format!("it begins as gzip does, but cannot be unpacked: {error}")))
}

fn begin(text: impl BufRead + Send + 'static) -> io::Result<Text> {
    let (mark, mut text) = look_ahead(text, BYTE_ORDER_MARK.len() as u64)?;
    if mark == BYTE_ORDER_MARK {
        text.consume(BYTE_ORDER_MARK.len());
    }
    let (head, text) = look_ahead(text, HEAD)?;
    Ok(Text {
        head,
        reader: Box::new(text),
    })
}

/// What comes first, and a reader that still has it.
fn look_ahead<R: BufRead>(mut reader: R, length: u64) -> io::Result<(Vec<u8>, impl BufRead + use<R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> Result<String, Unreadable> {
        let mut text = unpack(Cursor::new(bytes.to_vec()))?;
        let mut all = String::new();
        let read = text.reader.read_to_string(&mut all);
        read.map_err(Unreadable::from_start)?;
        assert!(all.as_bytes().starts_with(&text.head));
        Ok(all)
    }

    #[test]
    fn gzip_and_a_byte_order_mark_are_known_by_their_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"\xef\xbb\xbfsku").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(read(&gzip).unwrap(), "sku");
        assert_eq!(read(b"\xef\xbb\xbfsku").unwrap(), "sku");
        assert_eq!(read(b"s").unwrap(), "s");
        assert_eq!(read(b"").unwrap(), "");
        assert!(read(&gzip[..gzip.len() - 4]).is_err());
    }
}
