//! A client's connection, and how long one waits for it.
//!
//! actix-http waits for the first head on a connection, and closes one that nothing is asked on. Everything else that a
//! client may be slow with is bounded here: a later head, a body that is sent on and on after its answer, silence in the
//! middle of a body that nobody reads any more, and an answer that is not taken. Its own patience with bodies that are
//! read has `body.rs`.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::{DispatchError, ParseError};
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::address::{self, Network};
use crate::config::Limits;
use crate::metrics::Counter;

/// Who takes so much a second of an answer is not waited for in vain.
const SLOWEST_BYTES_A_SECOND: u32 = 1024;
/// actix-http closes a quiet connection in order; this is for when it does not.
const BEHIND_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a client may take for what.
#[derive(Clone, Copy)]
pub struct Patience {
    head: Duration,
    answer: Duration,
    quiet: Duration,
}

impl Patience {
    pub fn of(limits: &Limits) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            head: seconds(limits.head_seconds),
            answer: seconds(limits.answer_seconds),
            quiet: seconds(limits.keep_alive_seconds) + BEHIND_KEEP_ALIVE,
        }
    }
}

/// What a connection is told of the requests on it.
#[derive(Default)]
pub struct Progress {
    begun: Cell<u64>,
    answering: Cell<u32>,
}

/// A request that is being answered: the client owes nothing.
pub struct Answering(Rc<Progress>);

impl Answering {
    pub fn on(progress: Rc<Progress>) -> Self {
        progress.begun.set(progress.begun.get() + 1);
        progress.answering.set(progress.answering.get() + 1);
        Self(progress)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
    }
}

pub struct Connection {
    stream: TcpStream,
    patience: Patience,
    progress: Rc<Progress>,
    /// Of the requests on it, so many had begun when bytes came last.
    begun: u64,
    /// Since when bytes have come that are no request as yet, or a body that nobody reads.
    coming_since: Option<Instant>,
    /// Since when nothing was sent to the client.
    quiet_since: Instant,
    /// Since when the client does not take what it is sent; each KiB that it takes is worth a second.
    blocked_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Connection {
    pub fn new(stream: TcpStream, patience: Patience, place: Place) -> Self {
        Self {
            stream,
            patience,
            progress: Rc::default(),
            begun: 0,
            coming_since: None,
            quiet_since: Instant::now(),
            blocked_since: None,
            alarm: None,
            _place: place,
        }
    }

    pub fn progress(&self) -> Rc<Progress> {
        self.progress.clone()
    }

    /// Another request has begun: what came before was its head.
    fn note_requests(&mut self) {
        if self.begun != self.progress.begun.get() {
            self.begun = self.progress.begun.get();
            self.coming_since = None;
        }
    }

    /// When patience is at an end.
    fn end(&mut self) -> Option<Instant> {
        self.note_requests();
        let blocked = self.blocked_since.map(|since| since + self.patience.answer);
        if self.progress.answering.get() > 0 {
            return blocked;
        }
        let read = match self.coming_since {
            Some(since) => since + self.patience.head,
            None => self.quiet_since + self.patience.quiet,
        };
        Some(blocked.map_or(read, |blocked| blocked.min(read)))
    }

    /// Fails when patience is at an end; else it is woken then at the latest. The alarm is mostly left as it is, and set
    /// anew when it rings: a busy connection would else set it with every request.
    fn wait(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(end) = self.end() else { return Ok(()) };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            alarm.as_mut().reset(end);
        }
        Ok(())
    }

    fn took(&mut self, bytes: usize) {
        let now = Instant::now();
        self.quiet_since = now;
        if let Some(since) = self.blocked_since {
            let worth = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / SLOWEST_BYTES_A_SECOND;
            self.blocked_since = Some(now.min(since + worth));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.note_requests();
            if self.progress.answering.get() == 0 {
                self.coming_since.get_or_insert_with(Instant::now);
            }
        }
        // A client that sends on and on never lets it come to rest.
        self.wait(context)?;
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.took(written.as_ref().map_or(0, |written| *written));
                Poll::Ready(written)
            }
            Poll::Pending => {
                self.blocked_since.get_or_insert_with(Instant::now);
                self.wait(context)?;
                Poll::Pending
            }
        }
    }

    /// It is asked for when everything has been written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.blocked_since = None;
        self.wait(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How many connections there are, and how many each client has; how they have ended that did not end well.
#[derive(Default)]
pub struct Places {
    most: u32,
    /// Through these come many.
    trusted: Vec<Network>,
    taken: Mutex<HashMap<IpAddr, u32>>,
    open: AtomicUsize,
    opened: Counter,
    refused: Counter,
    heads_too_large: Counter,
    malformed: Counter,
    too_slow: Counter,
}

/// A connection's place.
pub struct Place {
    places: Arc<Places>,
    /// Among those of this client, where there is a limit.
    client: Option<IpAddr>,
}

/// What only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub opened: u64,
    /// Their clients had all that they may.
    pub refused: u64,
    pub heads_too_large: u64,
    /// What came was no HTTP.
    pub malformed: u64,
    pub too_slow: u64,
}

impl Counted {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(before.opened),
            refused: self.refused.saturating_sub(before.refused),
            heads_too_large: self.heads_too_large.saturating_sub(before.heads_too_large),
            malformed: self.malformed.saturating_sub(before.malformed),
            too_slow: self.too_slow.saturating_sub(before.too_slow),
        }
    }
}

impl Places {
    pub fn of(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            most: limits.max_connections_per_address,
            trusted: limits.trusted_proxies.clone(),
            ..Self::default()
        })
    }

    /// Refused where the client has all that it may.
    pub fn take(self: &Arc<Self>, peer: Option<SocketAddr>) -> io::Result<Place> {
        let client = self.limited(peer);
        if let Some(client) = client {
            let mut taken = self.taken();
            let count = taken.entry(client).or_default();
            if *count >= self.most {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            *count += 1;
        }
        self.opened.one();
        self.open.fetch_add(1, Ordering::Relaxed);
        let places = self.clone();
        Ok(Place { places, client })
    }

    /// The client, where its connections are counted.
    fn limited(&self, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let peer = peer?.ip().to_canonical();
        let is_trusted = self.trusted.iter().any(|network| network.contains(peer));
        (self.most > 0 && !is_trusted).then(|| address::household(peer))
    }

    /// How a connection has ended that did not end well.
    pub fn note(&self, end: &DispatchError) {
        match end {
            DispatchError::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => self.refused.one(),
            DispatchError::Io(error) if error.kind() == io::ErrorKind::TimedOut => self.too_slow.one(),
            DispatchError::SlowRequestTimeout => self.too_slow.one(),
            DispatchError::Parse(ParseError::TooLarge) => self.heads_too_large.one(),
            DispatchError::Parse(ParseError::Io(_)) => {}
            DispatchError::Parse(_) => self.malformed.one(),
            _ => {}
        }
    }

    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed) as u64
    }

    pub fn counted(&self) -> Counted {
        Counted {
            opened: self.opened.get(),
            refused: self.refused.get(),
            heads_too_large: self.heads_too_large.get(),
            malformed: self.malformed.get(),
            too_slow: self.too_slow.get(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&client);
            }
        }
    }
}
