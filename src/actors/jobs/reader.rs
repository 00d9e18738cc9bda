//! What was sent, read on a thread of its own, in pieces that are the same whenever it is read again.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::job::Job;
use crate::import::row::{Line, Parser};
use crate::import::text::unpack;
use crate::import::{self, Unreadable};

/// A chunk has the lines whose numbers are the same when divided by this, so that it begins and ends where it did before
/// a restart.
pub const CHUNK_LINES: u64 = 1000;
/// Chunks that may wait.
const CHUNKS_WAITING: usize = 1;

/// Lines that are brought in together.
pub struct Chunk {
    /// That of each line, divided by [`CHUNK_LINES`].
    pub number: u64,
    pub lines: Vec<Line>,
    /// So much of the body had been read when it was whole.
    pub read_bytes: u64,
}

impl Chunk {
    /// The number of its last line.
    pub fn through(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.number)
    }
}

pub struct Reader {
    chunks: Receiver<Chunk>,
    thread: JoinHandle<Result<(), Unreadable>>,
    is_halted: Arc<AtomicBool>,
}

impl Reader {
    /// Begins behind the last line that is done. `read` tells how much of the body has been read.
    pub fn start(input: &Path, job: &Job, read: Arc<AtomicU64>) -> io::Result<Self> {
        let is_halted = Arc::new(AtomicBool::new(false));
        read.store(0, Ordering::Relaxed);
        let raw = Counted {
            file: File::open(input)?,
            read: read.clone(),
            is_halted: is_halted.clone(),
        };
        let (sender, chunks) = channel(CHUNKS_WAITING);
        let (format, mut parser) = (job.asked.format, Parser::new(job.asked.default_store.clone()));
        let mut chunks_made = Chunks {
            sender,
            after: job.done.through,
            number: 0,
            lines: Vec::new(),
            read,
        };
        let read = move || {
            let mut text = unpack(raw)?;
            let read = import::read(format, &mut text, &mut parser, &mut |line| chunks_made.push(line));
            // With nobody left to take it, whoever left knows why.
            let _ = chunks_made.send();
            read
        };
        let thread = std::thread::Builder::new()
            .name("holdfast-import".to_owned())
            .spawn(read)?;
        Ok(Self {
            chunks,
            thread,
            is_halted,
        })
    }

    pub async fn next(&mut self) -> Option<Chunk> {
        self.chunks.recv().await
    }

    /// Call it when there is no next chunk: says whether that was the end of the text.
    pub fn end(self) -> Result<(), Unreadable> {
        self.thread.join().unwrap_or_else(|_| {
            let reason = "the reader met a defect of the service; the operator's log has it";
            Err(Unreadable::new(reason))
        })
    }

    /// Lets the thread end by itself, wherever it is.
    pub fn halt(self) {
        self.is_halted.store(true, Ordering::Relaxed);
    }
}

struct Chunks {
    sender: Sender<Chunk>,
    /// Lines up to this one are done.
    after: u64,
    number: u64,
    lines: Vec<Line>,
    read: Arc<AtomicU64>,
}

impl Chunks {
    fn push(&mut self, line: Line) -> ControlFlow<()> {
        if line.number <= self.after {
            return ControlFlow::Continue(());
        }
        let number = line.number / CHUNK_LINES;
        if number != self.number {
            self.send()?;
            self.number = number;
        }
        self.lines.push(line);
        ControlFlow::Continue(())
    }

    /// Breaks when nobody takes chunks any more.
    fn send(&mut self) -> ControlFlow<()> {
        if self.lines.is_empty() {
            return ControlFlow::Continue(());
        }
        let chunk = Chunk {
            number: self.number,
            lines: std::mem::take(&mut self.lines),
            read_bytes: self.read.load(Ordering::Relaxed),
        };
        match self.sender.blocking_send(chunk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// The file, as far as it has been read; at an end as soon as nobody wants more of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
    is_halted: Arc<AtomicBool>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_halted.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants more of it"));
        }
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::jobs::job::Asked;
    use crate::domain::{Principal, RequestId, StoreId, Timestamp};
    use crate::import::Format;

    /// The number of each chunk, and those of its lines.
    type Chunked = Vec<(u64, Vec<u64>)>;

    fn chunks(text: &str, through: u64) -> (Chunked, Result<(), Unreadable>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let asked = Asked {
            format: Format::Csv,
            default_store: StoreId::default_store(),
            dry_run: false,
            by: Principal::anonymous(),
            request_id: RequestId::parse("r-1").unwrap(),
            key: None,
        };
        let mut job = Job::new("1", asked, 0, Timestamp::from_millis(0));
        job.done.through = through;
        let mut reader = Reader::start(file.path(), &job, Arc::default()).unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.chunks.blocking_recv() {
            chunks.push((chunk.number, chunk.lines.iter().map(|line| line.number).collect()));
        }
        (chunks, reader.end())
    }

    #[test]
    fn a_chunk_is_the_same_wherever_reading_begins() {
        let rows: String = (0..2500).map(|n| format!("A,{n}\n")).collect();
        let text = format!("sku,quantity\n{rows}");
        let (all, end) = chunks(&text, 0);
        assert_eq!(end, Ok(()));
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((all[1].1[0], all[1].1[999], all[2].1.len()), (1000, 1999, 502));
        assert_eq!(chunks(&text, 999).0, all[1..]);
    }

    #[test]
    fn a_text_that_cannot_be_read_says_so_at_its_end() {
        let (lines, end) = chunks("sku,colour\nA,1\n", 0);
        assert!(lines.is_empty());
        assert_eq!(
            end.unwrap_err().to_string(),
            "line 1: column 2 is called \"colour\", which is not known here"
        );
    }
}
