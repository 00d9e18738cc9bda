//! The index of a segment: where in it the records are that touch a SKU, a store, a kind of movement, a
//! reservation or a receipt, so that a search reads these and no others.
//!
//! A record is entered under the hash of each of its keys. Two keys may share a hash: whoever finds a
//! record here reads it and looks. While a segment is written to, its entries lie in memory; once it is
//! closed they go to a file beside it. That file is never needed: where it is missing, damaged or of
//! another segment, it is made again from the log.

mod entries;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub use self::entries::{Gathered, Keys, Newest, Posting, Sorted, Span, keys, keys_of};
use self::file::IndexFile;
use super::segment::{self, Chain, End};

/// An entry says in four bytes where its record begins.
pub const MAX_SEGMENT_BYTES: u64 = 4095 << 20;

/// Why the index cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum IndexFault {
    #[error("it is missing")]
    Missing,
    #[error("{0}")]
    Unusable(String),
}

impl From<io::Error> for IndexFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unusable(error.to_string()),
        }
    }
}

pub struct Index {
    segment: PathBuf,
    first_seq: u64,
    /// Entries that are in no file yet.
    gathered: Mutex<Option<Gathered>>,
    /// Held while the file is made, so that not all who miss it make it.
    making: Mutex<()>,
    /// The hash of the segment's last group.
    seal: OnceLock<blake3::Hash>,
}

/// An index at one moment, to look things up in.
pub enum View {
    Memory(Gathered),
    File(IndexFile),
}

impl View {
    pub fn span(&self) -> Span {
        match self {
            Self::Memory(gathered) => gathered.span(),
            Self::File(file) => file.span(),
        }
    }
}

pub fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension("index")
}

impl Index {
    /// Of the segment that is written to.
    pub fn gathering(segment: PathBuf, first_seq: u64) -> Self {
        Self {
            gathered: Mutex::new(Some(Gathered::default())),
            ..Self::in_file(segment, first_seq)
        }
    }

    /// Of a closed segment that this process has not written.
    pub fn in_file(segment: PathBuf, first_seq: u64) -> Self {
        Self {
            segment,
            first_seq,
            gathered: Mutex::default(),
            making: Mutex::default(),
            seal: OnceLock::new(),
        }
    }

    /// Takes in records of the segment that is written to; their offsets count from `start`.
    pub fn add(&self, postings: &[Posting], start: u64) {
        if let Some(gathered) = self.gathered().as_mut() {
            for posting in postings {
                gathered.add(posting, self.first_seq, start);
            }
        }
    }

    /// Looks something up; an index that turns out to be of no use is made again first.
    pub fn with<T>(&self, ask: impl Fn(View) -> Result<T, IndexFault>) -> Result<T, String> {
        let attempt = || ask(self.view()?);
        if let Ok(answer) = attempt() {
            return Ok(answer);
        }
        let _making = self.making();
        // Another may have made it meanwhile.
        match attempt() {
            Ok(answer) => Ok(answer),
            Err(fault) => {
                self.make_again(&fault)?;
                attempt().map_err(|fault| fault.to_string())
            }
        }
    }

    /// Sees to a file that can be used, of a closed segment. Without one, searches make it.
    pub fn check(&self) {
        let _making = self.making();
        let made = match self.view() {
            Ok(View::Memory(_)) => {
                self.write();
                Ok(())
            }
            Ok(View::File(_)) => Ok(()),
            Err(fault) => self.make_again(&fault),
        };
        if let Err(fault) = made {
            tracing::error!(fault, "the index of a segment cannot be made");
        }
    }

    /// Brings the entries of a closed segment from memory to a file.
    pub fn save(&self) {
        let _making = self.making();
        self.write();
    }

    fn view(&self) -> Result<View, IndexFault> {
        if let Some(gathered) = &*self.gathered() {
            return Ok(View::Memory(gathered.clone()));
        }
        let file = IndexFile::open(&path_of(&self.segment), self.first_seq, self.seal()?)?;
        Ok(View::File(file))
    }

    /// With entries in memory, it is not their file that a search has failed on, but the log.
    fn make_again(&self, fault: &IndexFault) -> Result<(), String> {
        if self.gathered().is_some() {
            return Err(fault.to_string());
        }
        let index = path_of(&self.segment);
        match fault {
            IndexFault::Missing => tracing::info!(index = %index.display(), "making an index that is missing"),
            IndexFault::Unusable(fault) => {
                tracing::warn!(index = %index.display(), fault, "an index cannot be used; making it again");
            }
        }
        let gathered =
            gather(&self.segment, self.first_seq).map_err(|fault| format!("{}: {fault}", self.segment.display()))?;
        *self.gathered() = Some(gathered);
        self.write();
        Ok(())
    }

    /// What cannot be written stays in memory, and is tried again with the next segment.
    fn write(&self) {
        let Some(gathered) = self.gathered().clone() else {
            return;
        };
        let written = self
            .seal()
            .and_then(|seal| file::write(&path_of(&self.segment), self.first_seq, seal, &gathered));
        match written {
            Ok(()) => *self.gathered() = None,
            Err(error) => tracing::warn!(
                segment = %self.segment.display(),
                %error,
                "could not write the index of a segment; trying again later"
            ),
        }
    }

    /// A closed segment changes no more.
    fn seal(&self) -> io::Result<&blake3::Hash> {
        if let Some(seal) = self.seal.get() {
            return Ok(seal);
        }
        let seal = segment::last_seal(&self.segment)?;
        Ok(self.seal.get_or_init(|| seal))
    }

    fn gathered(&self) -> MutexGuard<'_, Option<Gathered>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with the file, in the eyes of someone who has read the segment; nothing where there is none.
pub fn fault_of_file(
    segment: &Path,
    first_seq: u64,
    seal: &blake3::Hash,
    gathered: &Gathered,
) -> io::Result<Option<String>> {
    let found = match std::fs::read(path_of(segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let mut expected = Vec::new();
    file::encode(&mut expected, first_seq, seal, gathered)?;
    let common = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    Ok((found != expected).then(|| format!("at byte {common} it is not what the segment makes it")))
}

/// Whether a search would believe the file: one that it would not is made again.
pub fn is_usable(segment: &Path, first_seq: u64, seal: &blake3::Hash) -> bool {
    let opened = IndexFile::open(&path_of(segment), first_seq, seal);
    opened.is_ok_and(|mut file| (0..file.count()).all(|at| file.get(at).is_ok()))
}

/// The entries of a closed segment, from its records.
fn gather(segment: &Path, first_seq: u64) -> Result<Gathered, String> {
    let bytes = std::fs::read(segment).map_err(|error| error.to_string())?;
    let mut gathered = Gathered::default();
    let read = segment::read_groups(&bytes, &mut Chain::from_segment(first_seq), |group, _| {
        for posting in group.postings() {
            gathered.add(&posting, first_seq, 0);
        }
        Ok(())
    });
    match read.map_err(|damage| damage.to_string())?.1 {
        End::Closed { .. } => Ok(gathered),
        End::Open => Err("its end is missing".to_owned()),
        End::Torn { offset, fault } => Err(format!("at byte {offset}: {fault}")),
    }
}
