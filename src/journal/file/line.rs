//! One line of JSON that carries its own checksum, as logs, checkpoints and snapshots are made of.
//!
//! `{"crc":"9ae1b2c3","v":1,…}`: the CRC-32C (Castagnoli, RFC 3720) covers every byte behind the comma
//! that follows it, up to the end of the line. `v` is the form's version; a reader refuses what is
//! newer than itself instead of guessing.

use std::convert::Infallible;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::Event;
use crate::journal::{Receipt, Record};

pub const VERSION: u32 = 1;

/// `{"crc":"` + 8 digits + `",`
const HEAD: usize = 18;

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    #[error("its checksum does not match")]
    Checksum,
    #[error("it is of format version {0}, which a newer Holdfast wrote: start that one")]
    Newer(u32),
    #[error("its checksum is right, but it cannot be read: {0}")]
    Form(String),
}

/// A line of the log, read back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    #[serde(rename = "crc")]
    _crc: serde::de::IgnoredAny,
    #[serde(rename = "v")]
    _version: u32,
    pub group: u64,
    pub seq: Option<u64>,
    pub event: Option<Event>,
    pub receipt: Option<Box<Receipt>>,
    /// Closes a group: BLAKE3 over the hash of the group before and the record lines of this one.
    pub seal: Option<String>,
    /// Closes a segment: the first sequence of the next.
    pub next: Option<u64>,
}

/// Adds the part of a record's line that does not depend on its place in the log.
pub fn encode_record(out: &mut Vec<u8>, record: &Record) -> serde_json::Result<()> {
    out.extend_from_slice(b"\"event\":");
    serde_json::to_writer(&mut *out, &*record.event)?;
    if let Some(receipt) = &record.receipt {
        out.extend_from_slice(b",\"receipt\":");
        serde_json::to_writer(&mut *out, receipt)?;
    }
    out.push(b'}');
    Ok(())
}

/// Adds the line of a record, of which `body` adds what [`encode_record`] makes of it. Where that fails, a part of a line
/// is left.
pub fn push_record<E>(
    out: &mut Vec<u8>,
    group: u64,
    seq: u64,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    push(out, |out| {
        push_number(out, b"\"seq\":", seq);
        push_number(out, b",\"group\":", group);
        out.push(b',');
        body(out)
    })
}

pub fn push_seal(out: &mut Vec<u8>, group: u64, hash: blake3::Hash) {
    push_members(out, format!("\"group\":{group},\"seal\":\"{hash}\"}}").as_bytes());
}

pub fn push_next(out: &mut Vec<u8>, group: u64, next: u64) {
    push_members(out, format!("\"group\":{group},\"next\":{next}}}").as_bytes());
}

/// Writes any structure as such a line; it must serialize as an object with at least one member.
pub fn push_object<T: Serialize>(out: &mut Vec<u8>, object: &T) -> serde_json::Result<()> {
    let json = serde_json::to_vec(object)?;
    push_members(out, &json[1..]);
    Ok(())
}

fn push_members(out: &mut Vec<u8>, members: &[u8]) {
    let Ok(()) = push(out, |out| {
        out.extend_from_slice(members);
        Ok::<_, Infallible>(())
    });
}

fn push<E>(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(b"{\"crc\":\"00000000\",");
    push_number(out, b"\"v\":", VERSION.into());
    out.push(b',');
    body(out)?;
    let crc = crc32c::crc32c(&out[start + HEAD..]);
    let digits = (0..8).rev().map(|place| HEX[(crc >> (4 * place) & 0xf) as usize]);
    out[start + 8..start + 16]
        .iter_mut()
        .zip(digits)
        .for_each(|(at, digit)| *at = digit);
    out.push(b'\n');
    Ok(())
}

const HEX: &[u8; 16] = b"0123456789abcdef";

// By hand, as `format!` took a tenth of the time of a line.
fn push_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Reads a line (without its newline) whose checksum is right and whose format is known.
pub fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineFault> {
    if !is_whole(line) {
        return Err(LineFault::Checksum);
    }
    // Looked at first: a newer form may look like one of today and mean something else.
    if !line[HEAD..].starts_with(format!("\"v\":{VERSION},").as_bytes()) {
        return Err(match version(line) {
            Some(newer) if newer > VERSION => LineFault::Newer(newer),
            _ => LineFault::Form("it has no format version that is known".to_owned()),
        });
    }
    serde_json::from_slice(line).map_err(|error| LineFault::Form(error.to_string()))
}

pub fn is_whole(line: &[u8]) -> bool {
    let digits = line.get(8..16).and_then(|digits| std::str::from_utf8(digits).ok());
    let crc = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    line.starts_with(b"{\"crc\":\"") && line.len() > HEAD && crc == Some(crc32c::crc32c(&line[HEAD..]))
}

fn version(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct OnlyVersion {
        v: u32,
    }
    serde_json::from_slice::<OnlyVersion>(line).ok().map(|only| only.v)
}

/// The sequence of a record's line, without reading the rest of it.
pub fn peek_seq(line: &[u8]) -> Option<u64> {
    let rest = line
        .get(HEAD..)?
        .strip_prefix(format!("\"v\":{VERSION},\"seq\":").as_bytes())?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// The lines of a file from `offset` on, each with its own offset. Newlines and zeros between lines
/// are room that was allocated ahead, and passed over.
pub fn lines(bytes: &[u8], mut offset: usize) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        offset += bytes.get(offset..)?.iter().position(|b| !matches!(b, b'\n' | 0))?;
        let start = offset;
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
        offset = end;
        Some((start, &bytes[start..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let mut out = Vec::new();
        push_next(&mut out, 7, 8);
        let line = &out[..out.len() - 1];
        assert!(read::<LogLine>(line).is_ok());
        for i in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line.to_vec();
                bad[i] ^= 1 << bit;
                // An upper-case digit of the checksum is the same checksum.
                let same = bad.eq_ignore_ascii_case(line) && (8..16).contains(&i);
                assert_eq!(read::<LogLine>(&bad).is_ok(), same, "byte {i}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut out = Vec::new();
        push_members(&mut out, b"\"x\":1}");
        let newer = String::from_utf8(out).unwrap().replace("\"v\":1", "\"v\":2");
        let crc = crc32c::crc32c(&newer.trim_end().as_bytes()[HEAD..]);
        let newer = format!("{{\"crc\":\"{crc:08x}\",{}", &newer.trim_end()[HEAD..]);
        assert_eq!(read::<LogLine>(newer.as_bytes()).unwrap_err(), LineFault::Newer(2));
    }

    #[test]
    fn padding_is_passed_over() {
        let found: Vec<_> = lines(b"\n\nab\n\0\0\ncd", 0).collect();
        assert_eq!(found, [(2, &b"ab"[..]), (8, &b"cd"[..])]);
    }
}
