//! An HTTP/1.1 client with one keep-alive connection, which reconnects when it must.
//!
//! A client never sends a request twice by itself: whoever calls it knows whether the request may
//! be repeated. The connection is driven inside the task that waits for the answer, not in a task
//! of its own: that saves the wake-ups between the two for each request.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;

use super::retry;

/// An answer that takes longer than this counts as lost, connecting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the service is, parsed once from `--url`.
#[derive(Debug)]
pub struct Service {
    /// As it was given.
    url: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    /// Who asks, where one must log in.
    authorization: Option<HeaderValue>,
    /// The path in front of `/api`, for a service behind a proxy; without a slash at its end.
    prefix: String,
}

/// A request as a command knows it; it is cheap to clone and may be sent again.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub uri: Uri,
    pub body: Bytes,
    pub key: Option<HeaderValue>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a problem body tells; empty where the body is none.
#[derive(Debug, Default, Deserialize)]
pub struct Problem {
    pub error: Option<String>,
    pub detail: Option<String>,
}

/// Why there is no answer. Whether the request took effect is unknown in each case but the first.
#[derive(Debug)]
pub enum NoAnswer {
    Unreachable(std::io::Error),
    Broken(hyper::Error),
    TooLate,
}

pub struct Client {
    service: Arc<Service>,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
    ended: bool,
}

impl Service {
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("--url {url}"))?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "--url {url}: only http:// is spoken here"
        );
        ensure!(uri.query().is_none(), "--url {url}: a query has no place here");
        let Some(authority) = uri.authority() else {
            bail!("--url {url}: names no host");
        };
        Ok(Self {
            url: url.to_owned(),
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str())?,
            authorization: authorization()?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The path of a store's list of levels.
    pub fn store_path(&self, store: &str) -> String {
        let store = utf8_percent_encode(store, RESERVED);
        self.path(&format!("/api/inventory/stores/{store}/inventory"))
    }

    /// The path of a route that begins with `/api`.
    pub fn path(&self, route: &str) -> String {
        format!("{}{route}", self.prefix)
    }

    /// The path of a level.
    pub fn level_path(&self, store: &str, sku: &str) -> String {
        let sku = utf8_percent_encode(sku, RESERVED);
        format!("{}/{sku}", self.store_path(store))
    }

    /// The path of a reservation.
    pub fn reservation_path(&self, id: &str) -> String {
        self.path(&format!("/api/reservations/{}", utf8_percent_encode(id, RESERVED)))
    }

    /// Looks once whether there is a service, so that a wrong address shows at once.
    pub async fn reach(self: &Arc<Self>) -> anyhow::Result<Client> {
        let mut client = Client::new(self.clone());
        let answer = client
            .send(&Call::get(Uri::try_from(self.path("/api/health/live"))?))
            .await?;
        ensure!(
            answer.status.is_success(),
            "it does not answer as Holdfast does, but with {}",
            answer.status
        );
        Ok(client)
    }

    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(NoAnswer::Unreachable)?;
        stream.set_nodelay(true).map_err(NoAnswer::Unreachable)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(NoAnswer::Broken)?;
        Ok(Connection {
            sender,
            driver: Box::pin(driver),
            ended: false,
        })
    }

    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = &call.key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        request
    }
}

const TOKEN: &str = "HOLDFAST_TOKEN";

/// The token comes by the environment: arguments are seen by everybody on the machine.
fn authorization() -> anyhow::Result<Option<HeaderValue>> {
    let Some(token) = std::env::var_os(TOKEN).filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    // Of a variable that was read from a file, the end of the line may be left.
    let value = token
        .to_str()
        .map(|token| HeaderValue::from_str(&format!("Bearer {}", token.trim())));
    let Some(Ok(mut value)) = value else {
        bail!(
            "what the variable {TOKEN} holds cannot be a token; put one into it, of a login or a service token, or unset it"
        );
    };
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Call {
    pub fn get(uri: Uri) -> Self {
        Self {
            method: Method::GET,
            uri,
            body: Bytes::new(),
            key: None,
        }
    }
}

impl Answer {
    pub fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    pub fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            connection: None,
        }
    }

    /// What could not be done, and why a service says so; where it does not know who asks, what to do about that.
    pub fn refusal(&self, what: &str, answer: &Answer) -> String {
        let Service { url, authorization, .. } = &*self.service;
        match authorization {
            _ if answer.status != StatusCode::UNAUTHORIZED => format!("{what}: {}", retry::describe(answer)),
            Some(_) => format!(
                "the service at {url} does not take the token in {TOKEN} (401): put another into it, of a login or a \
                 service token"
            ),
            None => format!(
                "the service at {url} must know who asks (401): put a token into {TOKEN}, of a login or a service token"
            ),
        }
    }

    /// Sends the call once and waits for its answer, whatever its status.
    pub async fn send(&mut self, call: &Call) -> Result<Answer, NoAnswer> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(call)).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer::TooLate),
        }
    }

    /// The connection is put back only after a whole answer: one that failed, or whose exchange
    /// was cut off by the timeout, is dropped with whatever was still under way on it.
    async fn exchange(&mut self, call: &Call) -> Result<Answer, NoAnswer> {
        let mut connection = match self.kept_connection().await {
            Some(kept) => kept,
            None => self.service.connect().await?,
        };
        let request = self.service.request(call);
        let answer = connection.exchange(request).await.map_err(NoAnswer::Broken)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn kept_connection(&mut self) -> Option<Connection> {
        let mut kept = self.connection.take()?;
        kept.is_usable().await.then_some(kept)
    }
}

impl Connection {
    /// Looks whether the service has closed the connection while nobody was using it.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            self.ended = self.ended || self.driver.as_mut().poll(cx).is_ready();
            Poll::Ready(())
        })
        .await;
        !self.ended && self.sender.is_ready()
    }

    /// When the driver ends early, the sender hears of it and the answer resolves to its error.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let Self { sender, driver, ended } = self;
        let mut answer = pin!(async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await?.to_bytes(),
            })
        });
        poll_fn(|cx| {
            *ended = *ended || driver.as_mut().poll(cx).is_ready();
            answer.as_mut().poll(cx)
        })
        .await
    }
}

impl NoAnswer {
    /// A short name by which failures are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "connection broken",
            Self::TooLate => "timeout",
        }
    }
}

impl std::error::Error for NoAnswer {}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "the service cannot be reached: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::TooLate => write!(f, "no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments_keep_only_unreserved_characters() {
        let service = Service::parse("http://localhost:3000").unwrap();
        assert_eq!(
            service.level_path("Channel Islands", "AB/12 %é~._-"),
            "/api/inventory/stores/Channel%20Islands/inventory/AB%2F12%20%25%C3%A9~._-"
        );
        assert_eq!(service.reservation_path("cart-7/1"), "/api/reservations/cart-7%2F1");
    }

    #[test]
    fn a_url_is_taken_apart() {
        let service = Service::parse("http://[::1]:8080/stock/").unwrap();
        assert_eq!((service.host.as_str(), service.port), ("::1", 8080));
        assert_eq!(service.authority, "[::1]:8080");
        assert_eq!(service.store_path("a"), "/stock/api/inventory/stores/a/inventory");
        assert_eq!(Service::parse("http://shop.example").unwrap().port, 80);
    }

    #[test]
    fn a_url_that_cannot_work_is_refused() {
        for url in ["https://localhost", "localhost:3000", "http://a/?b=c", ""] {
            assert!(Service::parse(url).is_err(), "{url}");
        }
    }
}
