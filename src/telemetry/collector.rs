//! The collector of traces, over plain HTTP, from a thread that waits for nothing else.

use std::error::Error;
use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// In which it must have answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// It has little to say.
const MAX_ANSWER: usize = 1 << 20;
/// Between two warnings.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Collector {
    runtime: Runtime,
    warned: Mutex<Option<Instant>>,
}

impl Collector {
    pub fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let warned = Mutex::default();
        Ok(Self { runtime, warned })
    }

    fn warn(&self, error: &dyn fmt::Display) {
        let Ok(mut warned) = self.warned.lock() else { return };
        if warned.is_none_or(|warned| warned.elapsed() > QUIET) {
            *warned = Some(Instant::now());
            tracing::warn!(%error, "traces cannot be sent to their collector, and are lost");
        }
    }
}

type Answer = Result<Response<Bytes>, HttpError>;

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        // The thread that sends has nothing else to do meanwhile.
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, send(request)).await });
        let answer = answer.map_err(HttpError::from).flatten();
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.warn(&answer.status()),
            Err(error) => self.warn(error),
        }
        Box::pin(ready(answer))
    }
}

async fn send(mut request: Request<Bytes>) -> Answer {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("http") {
        return Err("its address must begin with http://: TLS is for a collector on this machine to add".into());
    }
    let authority = uri.authority().ok_or("its address names no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_str(authority.as_str())?);
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answer = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok::<_, Box<dyn Error + Send + Sync>>(Response::from_parts(head, body))
    };
    // The connection goes on while the answer is waited for, and ends with it.
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| "it has closed the connection".into(), HttpError::from)),
    }
}
