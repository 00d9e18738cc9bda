//! Sends one delivery and says what became of it. Nothing that a receiver does takes longer than it may, is followed
//! elsewhere, or is read beyond a few kilobytes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::target::{Target, is_allowed};
use crate::credentials::signature;
use crate::domain::{Timestamp, Webhook};
use crate::http::address::Network;

/// What a receiver is given.
#[derive(Clone, Debug)]
pub struct Reach {
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// From the beginning to the head of the answer.
    pub timeout: Duration,
    /// Nothing else is reached, where there are any.
    pub networks: Vec<Network>,
}

/// What is delivered: it stays the same however often it is sent, and so does its id.
pub struct Letter {
    pub id: String,
    body: Bytes,
}

/// As Standard Webhooks writes it.
#[derive(Serialize)]
struct Message<T, D> {
    #[serde(rename = "type")]
    topic: T,
    timestamp: Timestamp,
    data: D,
}

impl Letter {
    pub fn new(
        id: String,
        topic: impl Serialize,
        timestamp: Timestamp,
        data: impl Serialize,
    ) -> serde_json::Result<Self> {
        let body = serde_json::to_vec(&Message { topic, timestamp, data })?.into();
        Ok(Self { id, body })
    }

    /// The request that brings it, signed at this moment.
    fn request(&self, webhook: &Webhook, target: &Target, now: Timestamp) -> Request<Full<Bytes>> {
        let seconds = now.as_millis().div_euclid(1000);
        let signature = signature::sign(webhook.secrets(now), &self.id, seconds, &self.body);
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, target.authority.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("Holdfast"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-timestamp", seconds.into());
        for (name, value) in [("webhook-id", &self.id), ("webhook-signature", &signature)] {
            // Letters, digits and signs of base64 are a header value in any case.
            headers.extend(
                HeaderValue::from_str(value)
                    .ok()
                    .map(|value| (HeaderName::from_static(name), value)),
            );
        }
        request
    }
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// 410: the receiver wants no more.
    Gone,
    Failed {
        message: String,
        retry_after: Option<Duration>,
    },
}

pub struct Attempt {
    /// That of the answer, if there was one.
    pub status: Option<u16>,
    pub verdict: Verdict,
    pub took: Duration,
}

/// A connection that the next delivery may use as well.
pub struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// Whatever is still under way on it ends with it.
impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub struct Post {
    reach: Reach,
    /// From the first receiver on that wants it.
    tls: OnceCell<TlsConnector>,
}

/// What is read of an answer's body, so that its connection can be used again.
const READ: usize = 4096;
/// So long it is waited for.
const READ_TIME: Duration = Duration::from_secs(1);

impl Post {
    pub fn new(reach: Reach) -> Self {
        let tls = OnceCell::new();
        Self { reach, tls }
    }

    /// Whether nothing will ever be delivered there, as the URL names an address that is not allowed.
    pub fn is_barred(&self, url: &str) -> bool {
        let address = Target::parse(url).ok().and_then(|target| target.address());
        address.is_some_and(|address| !is_allowed(address, &self.reach.networks))
    }

    /// Sends it once, over the connection that was kept if it is still good. 2xx is a delivery as soon as its head is
    /// there, whatever comes behind it.
    pub async fn send(&self, webhook: &Webhook, letter: &Letter, kept: &mut Option<Line>) -> Attempt {
        let began = Instant::now();
        let exchange = timeout(self.reach.timeout, self.exchange(webhook, letter, kept.take())).await;
        let exchange = exchange.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.reach.timeout)));
        let took = began.elapsed();
        match exchange {
            Err(message) => Attempt {
                status: None,
                verdict: Verdict::failed(message),
                took,
            },
            Ok((response, line)) => {
                let (head, body) = response.into_parts();
                let status = head.status.as_u16();
                let verdict = judge(status, &head.headers, chrono::Utc::now().into());
                *kept = reads_whole(body).await.then_some(line);
                let status = Some(status);
                Attempt { status, verdict, took }
            }
        }
    }

    async fn exchange(
        &self,
        webhook: &Webhook,
        letter: &Letter,
        kept: Option<Line>,
    ) -> Result<(Response<Incoming>, Line), String> {
        let target = Target::parse(&webhook.terms.url)?;
        let request = || letter.request(webhook, &target, chrono::Utc::now().into());
        if let Some(mut line) = kept.filter(|line| !line.sender.is_closed()) {
            // A receiver may close a connection that was not in use at the moment at which it is used: only a fresh one
            // tells whether it is there.
            if let Ok(response) = line.sender.send_request(request()).await {
                return Ok((response, line));
            }
        }
        let connect = timeout(self.reach.connect_timeout, self.connect(&target)).await;
        let late = |_| format!("no connection within {:?}", self.reach.connect_timeout);
        let mut line = connect.map_err(late)??;
        let response = line.sender.send_request(request()).await.map_err(told)?;
        Ok((response, line))
    }

    async fn connect(&self, target: &Target) -> Result<Line, String> {
        let until = Instant::now() + self.reach.connect_timeout;
        let addresses = addresses(&target.host, target.port).await?;
        let stream = self.reach_any(&addresses, until).await?;
        // It costs nothing but a little speed.
        drop(stream.set_nodelay(true));
        if !target.is_tls {
            return line(stream).await;
        }
        let name =
            ServerName::try_from(target.host.clone()).map_err(|_| "its name can have no certificate".to_owned())?;
        let tls = self.tls.get_or_try_init(trust).await?;
        let stream = tls.connect(name, stream).await;
        line(stream.map_err(|error| format!("TLS failed: {error}"))?).await
    }

    /// Tries one after the other. Each has an equal share of the time that is left, so that one which does not answer leaves
    /// theirs to the others.
    async fn reach_any(&self, addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, String> {
        let is_allowed = |address: &&SocketAddr| is_allowed(address.ip(), &self.reach.networks);
        let (allowed, barred): (Vec<&SocketAddr>, Vec<_>) = addresses.iter().partition(is_allowed);
        let mut fault = match barred.first() {
            Some(address) => format!("deliveries may not go to {}", address.ip()),
            None => "its name has no address".to_owned(),
        };
        for (address, left) in allowed.iter().zip((1..=allowed.len() as u32).rev()) {
            let share = until.saturating_duration_since(Instant::now()) / left;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => fault = format!("cannot connect to {address}: {error}"),
                Err(_) => fault = format!("cannot connect to {address} within {share:?}"),
            }
        }
        Err(fault)
    }
}

impl Verdict {
    pub fn failed(message: String) -> Self {
        let retry_after = None;
        Self::Failed { message, retry_after }
    }
}

fn judge(status: u16, headers: &HeaderMap, now: Timestamp) -> Verdict {
    let message = match status {
        200..=299 => return Verdict::Delivered,
        410 => return Verdict::Gone,
        300..=399 => format!("answered {status}, and redirects are not followed"),
        _ => format!("answered {status}"),
    };
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, now));
    Verdict::Failed { message, retry_after }
}

/// Seconds, or a moment as HTTP writes it.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let moment = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
    let millis = moment.saturating_sub(now.as_millis());
    u64::try_from(millis).ok().map(Duration::from_millis)
}

/// Whether the body had its end, and soon.
async fn reads_whole(mut body: Incoming) -> bool {
    let read = async {
        let mut left = READ;
        while let Some(frame) = body.frame().await {
            let length = frame.ok()?.data_ref().map_or(0, Bytes::len);
            left = left.checked_sub(length)?;
        }
        Some(())
    };
    matches!(timeout(READ_TIME, read).await, Ok(Some(())))
}

/// Looks a name up in a thread that nobody waits for at a stop: the system's resolver may take half a minute.
async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (found, answer) = oneshot::channel();
    let name = (host.to_owned(), port);
    let look = move || {
        // Nobody may be waiting any more.
        drop(found.send(name.to_socket_addrs().map(Iterator::collect)));
    };
    let thread = std::thread::Builder::new()
        .name("holdfast-names".to_owned())
        .spawn(look);
    thread.map_err(|error| format!("cannot look its name up: {error}"))?;
    match answer.await {
        Ok(found) => found.map_err(|error| format!("cannot look its name up: {error}")),
        Err(_) => Err("cannot look its name up".to_owned()),
    }
}

async fn line(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Line, String> {
    let handshake = http1::Builder::new()
        .max_buf_size(1 << 16)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(told)?;
    // How it ends, whoever sends on it is told.
    let driver = rt::spawn(async move { drop(connection.await) });
    Ok(Line { sender, driver })
}

fn told(error: hyper::Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("the connection broke: {error}: {source}"),
        None => format!("the connection broke: {error}"),
    }
}

/// Certificates are read from files, which is not for the threads that serve.
async fn trust() -> Result<TlsConnector, String> {
    let read = spawn_blocking(connector).await;
    read.unwrap_or_else(|error| Err(format!("cannot read whom the system trusts: {error}")))
}

/// Trusts whom the system trusts, or the file or folder that `SSL_CERT_FILE` or `SSL_CERT_DIR` names.
fn connector() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "the system trusts no certificates ({}); see SSL_CERT_FILE",
            errors.join("; ")
        ));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    fn judged(status: u16, asked: Option<&'static str>) -> Verdict {
        let headers = asked.map(|asked| (RETRY_AFTER, HeaderValue::from_static(asked)));
        judge(
            status,
            &headers.into_iter().collect(),
            Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        )
    }

    #[test]
    fn nothing_but_2xx_is_a_delivery() {
        for status in [200, 202, 204, 299] {
            assert_eq!(judged(status, Some("5")), Verdict::Delivered);
        }
        assert_eq!(judged(410, None), Verdict::Gone);
        for status in [301, 304, 307, 400, 404, 429, 500, 503, 600] {
            assert!(
                matches!(judged(status, None), Verdict::Failed { retry_after: None, .. }),
                "{status}"
            );
        }
    }

    /// Listeners whose queues are full: the system does not answer who comes now. Of a plain one, too.
    async fn listeners(silent: usize) -> (Vec<SocketAddr>, Vec<Box<dyn std::any::Any>>) {
        let (mut addresses, mut held): (Vec<SocketAddr>, Vec<Box<dyn std::any::Any>>) = Default::default();
        for number in 0..=silent {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(if number < silent { 1 } else { 100 }).unwrap();
            let address = listener.local_addr().unwrap();
            let knocks = if number < silent { 8 } else { 0 };
            for _ in 0..knocks {
                let knock = rt::spawn(TcpStream::connect(address));
                rt::time::sleep(Duration::from_millis(5)).await;
                held.push(Box::new(knock));
            }
            addresses.push(address);
            held.push(Box::new(listener));
        }
        (addresses, held)
    }

    #[test]
    fn an_address_that_does_not_answer_leaves_time_to_the_others_and_all_have_no_more_than_there_is() {
        let post = Post::new(Reach {
            connect_timeout: Duration::from_millis(900),
            timeout: Duration::from_secs(9),
            networks: Vec::new(),
        });
        rt::System::new().block_on(async {
            let (addresses, _held) = listeners(2).await;
            let until = || Instant::now() + post.reach.connect_timeout;
            let reached = post.reach_any(&addresses, until()).await.unwrap();
            assert_eq!(reached.peer_addr().unwrap(), addresses[2]);
            let began = Instant::now();
            let fault = post.reach_any(&addresses[..2], until()).await.unwrap_err();
            let took = began.elapsed();
            assert!(
                fault.starts_with(&format!("cannot connect to {} within", addresses[1])),
                "{fault}"
            );
            assert!((850..1500).contains(&took.as_millis()), "{took:?}");
        });
    }

    #[test]
    fn a_receiver_says_when_to_come_again_in_seconds_or_as_a_moment() {
        for (asked, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", None),
            ("-5", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            let retry_after = expected.map(Duration::from_secs);
            let message = "answered 503".to_owned();
            assert_eq!(
                judged(503, Some(asked)),
                Verdict::Failed { message, retry_after },
                "{asked}"
            );
        }
    }
}
