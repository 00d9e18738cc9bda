//! Where lines go: into a queue that never blocks, and from there to their place, by a thread of its own.
//!
//! What comes while the queue is full is lost, and so is what cannot be written, such as to a full disk: it is counted,
//! and the log says so as soon as it can be written again. The service goes on in either case.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::OWN;
use super::files::Files;

pub enum Output {
    Stderr,
    Stdout,
    Files(Files),
}

/// Takes lines from whoever logs.
#[derive(Clone)]
pub struct Queue {
    /// A line; none ends the writing.
    lines: Sender<Option<String>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes of lines that are not written yet.
    waiting: AtomicUsize,
    /// Lines that nobody will read.
    lost: AtomicU64,
}

/// So many bytes of lines may wait.
const MAX_WAITING: usize = 16 << 20;
/// Lines that are written at once, in bytes.
const BATCH: usize = 64 << 10;
/// How long a stop waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

impl Queue {
    pub fn new(lines: Sender<Option<String>>) -> Self {
        let counts = Arc::default();
        Self { lines, counts }
    }

    pub fn put(&self, line: String) {
        let size = line.len();
        let waiting = self.counts.waiting.fetch_add(size, Ordering::Relaxed) + size;
        if waiting > MAX_WAITING || self.lines.send(Some(line)).is_err() {
            self.counts.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }
}

/// The thread that writes. When this goes, what is left in the queue is written first.
pub struct Sink {
    queue: Queue,
    ended: Receiver<()>,
}

impl Sink {
    pub fn start(output: Output) -> io::Result<(Queue, Self)> {
        let (sender, lines) = channel();
        let (end, ended) = channel();
        let queue = Queue::new(sender);
        let writer = Writer {
            lines,
            output,
            counts: queue.counts.clone(),
            told: 0,
            is_failing: false,
            is_ending: false,
        };
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
            writer.run();
            drop(end);
        })?;
        let sink = Self {
            queue: queue.clone(),
            ended,
        };
        Ok((queue, sink))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Where the thread is gone there is nothing to wait for, and where its output hangs no reason to wait for ever.
        let _ = self.queue.lines.send(None);
        let _ = self.ended.recv_timeout(LAST_LINES);
    }
}

struct Writer {
    lines: Receiver<Option<String>>,
    output: Output,
    counts: Arc<Counts>,
    /// How many lost lines the log has told of.
    told: u64,
    is_failing: bool,
    is_ending: bool,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch) {
            self.write(&batch);
            self.counts.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            batch.clear();
            self.tell_of_losses();
        }
    }

    /// Waits for lines and takes what there is, up to a batch; false when there will be no more.
    fn gather(&mut self, batch: &mut Vec<u8>) -> bool {
        let mut next = match self.is_ending {
            true => self.lines.try_recv().ok(),
            false => self.lines.recv().ok(),
        };
        let is_more = next.is_some();
        while let Some(message) = next {
            match message {
                Some(line) => batch.extend_from_slice(line.as_bytes()),
                None => self.is_ending = true,
            }
            next = (batch.len() < BATCH).then(|| self.lines.try_recv().ok()).flatten();
        }
        is_more
    }

    fn write(&mut self, batch: &[u8]) {
        let mut rest = batch;
        while !rest.is_empty() {
            match self.output.write_some(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => {
                    let lines = rest.iter().filter(|byte| **byte == b'\n').count();
                    self.counts.lost.fetch_add(lines as u64, Ordering::Relaxed);
                    self.complain(&error);
                    return;
                }
            }
        }
        self.is_failing &= batch.is_empty();
    }

    /// Once, where somebody may see it.
    fn complain(&mut self, error: &io::Error) {
        if !self.is_failing && matches!(self.output, Output::Files(_)) {
            // Whether anybody reads it is theirs to say.
            let _ = writeln!(
                io::stderr(),
                "the log cannot be written ({error}); until it can, lines are lost"
            );
        }
        self.is_failing = true;
    }

    fn tell_of_losses(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost > self.told && !self.is_failing {
            let lines = lost - self.told;
            self.told = lost;
            tracing::warn!(target: OWN, lines, "lines are missing here: there were more than could be written");
        }
    }
}

impl Output {
    /// Writes whole lines, as many as it can at once; returns how many bytes.
    fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(lines)?,
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()?;
            }
            Self::Files(files) => return files.write_some(lines),
        }
        Ok(lines.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_written_in_order_when_the_sink_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let files = Files::open(path.clone(), 1 << 30, 2).unwrap();
        let (queue, sink) = Sink::start(Output::Files(files)).unwrap();
        (0..10_000).for_each(|n| queue.put(format!("line {n}\n")));
        drop(sink);
        let expected: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        assert!(std::fs::read_to_string(path).unwrap() == expected);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn what_comes_faster_than_it_is_taken_is_lost_and_counted_and_takes_no_memory() {
        let (lines, taken) = channel();
        let queue = Queue::new(lines);
        let line = "x".repeat(1 << 20);
        (0..20).for_each(|_| queue.put(line.clone()));
        assert_eq!(queue.lost(), 4);
        assert_eq!(taken.try_iter().count(), 16);
        drop(taken);
        queue.put(String::new());
        assert_eq!(queue.lost(), 5);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_the_rest_goes_on() {
        let (sender, lines) = channel();
        let full = std::path::PathBuf::from("/dev/full");
        let Ok(files) = Files::open(full, 1 << 20, 1) else {
            return;
        };
        let counts = Arc::<Counts>::default();
        let mut writer = Writer {
            lines,
            output: Output::Files(files),
            counts: counts.clone(),
            told: 0,
            is_failing: false,
            is_ending: false,
        };
        drop(sender);
        writer.write(b"one\ntwo\n");
        assert!(writer.is_failing);
        assert_eq!(counts.lost.load(Ordering::Relaxed), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        writer.output = Output::Files(Files::open(path.clone(), 1 << 20, 1).unwrap());
        writer.write(b"three\n");
        assert!(!writer.is_failing);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
    }
}
