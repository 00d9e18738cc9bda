//! An index as a file beside its segment: `events/0000000000000001.index`.
//!
//! Blocks of 4096 bytes, integers little endian. A search reads single blocks, and each one proves itself:
//!
//! ```text
//! every block     4080..4088   the segment's first sequence
//!                 4088..4092   the number of the block
//!                 4092..4096   CRC-32C of all before it in the block
//! block 0            0..8      HFINDEX and a newline
//!                    8..12     the version of this form: 2
//!                   16..24     the number of entries
//!                   24..40     the earliest and the latest time of the events, in milliseconds
//!                   40..72     the hash of the segment's last group, as its seal states it: so an index is not
//!                              taken for that of another segment
//! block 1 and on     0..4080   255 entries each, in order of hash and record:
//!                              8 bytes of hash, 4 the record's place in the segment, 4 its offset
//! ```
//!
//! What is not mentioned, and what is behind the last entry, is zero.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::IndexFault;
use super::entries::{Entry, Gathered, Sorted, Span};
use crate::domain::Timestamp;
use crate::journal::file::disk::write_atomically;

const MAGIC: [u8; 8] = *b"HFINDEX\n";
const VERSION: u32 = 2;
const BLOCK: usize = 4096;
/// What a block holds, before what proves it.
const CONTENT: usize = 4080;
const ENTRY: usize = 16;
const PER_BLOCK: u64 = (CONTENT / ENTRY) as u64;
/// A search keeps so many blocks at most.
const MAX_KEPT: usize = 64;

pub fn write(path: &Path, first_seq: u64, seal: &blake3::Hash, gathered: &Gathered) -> io::Result<()> {
    write_atomically(path, |out| encode(out, first_seq, seal, gathered))
}

pub fn encode(out: &mut impl Write, first_seq: u64, seal: &blake3::Hash, gathered: &Gathered) -> io::Result<()> {
    let entries = gathered.sorted();
    let Span { earliest, latest } = gathered.span();
    let mut header = Vec::with_capacity(BLOCK);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend([0; 4]);
    header.extend((entries.len() as u64).to_le_bytes());
    header.extend(earliest.as_millis().to_le_bytes());
    header.extend(latest.as_millis().to_le_bytes());
    header.extend(seal.as_bytes());
    out.write_all(&finish(header, first_seq, 0))?;
    for (entries, number) in entries.chunks(PER_BLOCK as usize).zip(1..) {
        let mut block = Vec::with_capacity(BLOCK);
        for entry in entries {
            block.extend(entry.hash.to_le_bytes());
            block.extend(entry.nth.to_le_bytes());
            block.extend(entry.offset.to_le_bytes());
        }
        out.write_all(&finish(block, first_seq, number))?;
    }
    Ok(())
}

fn finish(mut block: Vec<u8>, first_seq: u64, number: u32) -> Vec<u8> {
    block.resize(CONTENT, 0);
    block.extend(first_seq.to_le_bytes());
    block.extend(number.to_le_bytes());
    block.extend(crc32c::crc32c(&block).to_le_bytes());
    block
}

/// An index file, opened for one search.
pub struct IndexFile {
    file: File,
    first_seq: u64,
    count: u64,
    span: Span,
    kept: HashMap<u64, Vec<u8>>,
}

impl IndexFile {
    /// Opens the index of a segment with this first sequence and last group.
    pub fn open(path: &Path, first_seq: u64, seal: &blake3::Hash) -> Result<Self, IndexFault> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let header = read_block(&file, first_seq, 0)?;
        let version = u32::from_le_bytes(array(&header, 8));
        if header[..8] != MAGIC || version != VERSION {
            return Err(IndexFault::Unusable(format!("it is of another form: {version}")));
        }
        if header[40..72] != *seal.as_bytes() {
            return Err(IndexFault::Unusable("it is of another segment".to_owned()));
        }
        let time = |at| Timestamp::from_millis(i64::from_le_bytes(array(&header, at)));
        let count = u64::from_le_bytes(array(&header, 16));
        if length != (1 + count.div_ceil(PER_BLOCK)) * BLOCK as u64 {
            return Err(IndexFault::Unusable(format!(
                "it has {length} bytes and {count} entries"
            )));
        }
        Ok(Self {
            file,
            first_seq,
            count,
            span: Span {
                earliest: time(24),
                latest: time(32),
            },
            kept: HashMap::new(),
        })
    }

    pub fn span(&self) -> Span {
        self.span
    }
}

impl Sorted for IndexFile {
    fn count(&self) -> u64 {
        self.count
    }

    fn get(&mut self, at: u64) -> Result<Entry, IndexFault> {
        let number = 1 + at / PER_BLOCK;
        if !self.kept.contains_key(&number) {
            let block = read_block(&self.file, self.first_seq, number)?;
            if self.kept.len() == MAX_KEPT {
                self.kept.clear();
            }
            self.kept.insert(number, block);
        }
        let block = &self.kept[&number];
        let start = (at % PER_BLOCK) as usize * ENTRY;
        Ok(Entry {
            hash: u64::from_le_bytes(array(block, start)),
            nth: u32::from_le_bytes(array(block, start + 8)),
            offset: u32::from_le_bytes(array(block, start + 12)),
        })
    }
}

fn read_block(file: &File, first_seq: u64, number: u64) -> Result<Vec<u8>, IndexFault> {
    let mut block = vec![0; BLOCK];
    file.read_exact_at(&mut block, number * BLOCK as u64)?;
    let is_whole = u32::from_le_bytes(array(&block, 4092)) == crc32c::crc32c(&block[..4092]);
    let is_this = u64::from_le_bytes(array(&block, 4080)) == first_seq
        && u64::from(u32::from_le_bytes(array(&block, 4088))) == number;
    if is_whole && is_this {
        Ok(block)
    } else {
        Err(IndexFault::Unusable(format!("its block {number} is damaged")))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::super::entries::{Keys, Posting};
    use super::*;

    const FIRST_SEQ: u64 = 71;

    fn gathered(records: u64) -> Gathered {
        let mut gathered = Gathered::default();
        for n in 0..records {
            let posting = Posting {
                seq: FIRST_SEQ + n,
                at: Timestamp::from_millis(1_000_000 - n as i64),
                offset: 400 * n,
                keys: Keys::from_slice(&[n % 7, u64::MAX - n]),
            };
            gathered.add(&posting, FIRST_SEQ, 0);
        }
        gathered
    }

    fn seal() -> blake3::Hash {
        blake3::hash(b"the last group")
    }

    fn written(gathered: &Gathered) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        encode(&mut file.as_file(), FIRST_SEQ, &seal(), gathered).unwrap();
        file
    }

    fn read(path: &Path) -> Result<(Vec<Entry>, Span), IndexFault> {
        let mut index = IndexFile::open(path, FIRST_SEQ, &seal())?;
        let entries: Result<Vec<Entry>, _> = (0..index.count()).map(|at| index.get(at)).collect();
        Ok((entries?, index.span()))
    }

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        for records in [0, 1, 127, 128, 3000, 20_000] {
            let gathered = gathered(records);
            let (entries, span) = read(written(&gathered).path()).unwrap();
            assert_eq!(entries, gathered.sorted());
            assert_eq!(span, gathered.span());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let file = written(&gathered(20));
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 2 * BLOCK);
        for (at, byte) in bytes.iter().enumerate() {
            for bit in 0..8 {
                file.as_file().write_all_at(&[byte ^ 1 << bit], at as u64).unwrap();
                assert!(read(file.path()).is_err(), "bit {bit} of byte {at}");
            }
            file.as_file().write_all_at(&[*byte], at as u64).unwrap();
        }
        assert!(read(file.path()).is_ok());
    }

    #[test]
    fn an_index_of_another_length_is_noticed() {
        let file = written(&gathered(200));
        let length = file.as_file().metadata().unwrap().len();
        for other in (0..length)
            .step_by(512)
            .chain([length - 1, length + 1, length + BLOCK as u64])
        {
            let copy = written(&gathered(200));
            copy.as_file().set_len(other).unwrap();
            assert!(read(copy.path()).is_err(), "{other} of {length} bytes");
        }
    }

    #[test]
    fn an_index_of_another_segment_or_form_is_noticed() {
        let file = written(&gathered(20));
        assert!(IndexFile::open(file.path(), FIRST_SEQ + 1, &seal()).is_err());
        assert!(IndexFile::open(file.path(), FIRST_SEQ, &blake3::hash(b"another")).is_err());
        let mut newer = std::fs::read(file.path()).unwrap();
        newer[8] += 1;
        let crc = crc32c::crc32c(&newer[..BLOCK - 4]).to_le_bytes();
        newer[BLOCK - 4..BLOCK].copy_from_slice(&crc);
        std::fs::write(file.path(), newer).unwrap();
        assert_eq!(read(file.path()).unwrap_err().to_string(), "it is of another form: 3");
    }

    #[test]
    fn blocks_that_changed_places_are_noticed() {
        let file = written(&gathered(300));
        let bytes = std::fs::read(file.path()).unwrap();
        let (first, second) = (&bytes[BLOCK..2 * BLOCK], &bytes[2 * BLOCK..3 * BLOCK]);
        file.as_file().write_all_at(second, BLOCK as u64).unwrap();
        file.as_file().write_all_at(first, 2 * BLOCK as u64).unwrap();
        assert!(read(file.path()).is_err());
    }
}
