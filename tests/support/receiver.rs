//! What receives webhooks in tests, and behaves as badly as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
/// Whom a service must trust to deliver to [`Receiver::content_by_tls`].
pub const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/ca.pem");

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Null where it is not JSON.
    pub json: Value,
    pub came: Instant,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// These bytes and no more.
    Raw(String),
    /// Nothing, and the connection stays open.
    Silence,
    /// This head, and a body that never ends.
    Endless(&'static str),
    /// This, and then silence, with the connection open.
    Stuck(&'static str),
}

pub struct Receiver {
    pub port: u16,
    came: Arc<Mutex<Vec<Delivery>>>,
}

impl Delivery {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The place of its event in the log.
    pub fn seq(&self) -> u64 {
        self.json["data"]["seq"].as_u64().unwrap_or_default()
    }

    /// How many of its signatures were made with this secret.
    pub fn signatures_by(&self, secret: &str) -> usize {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let prefix = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [prefix.as_bytes(), &self.body].concat();
        let signatures = self.header("webhook-signature").split(' ');
        let is_right = |signature: &&str| {
            let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, &signed, &signature).is_ok()
        };
        signatures.filter(is_right).count()
    }
}

impl Receiver {
    /// Answers each request as it is told; the first one is number 0.
    pub fn start(answer: impl Fn(usize, &Delivery) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_behind(|stream| Box::new(stream), answer)
    }

    /// Takes whatever comes by TLS; its certificate is of `localhost`, by the authority of [`AUTHORITY`].
    pub fn content_by_tls() -> Self {
        let certificate = CertificateDer::from_pem_file(format!("{TLS}/localhost.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(format!("{TLS}/localhost.key")).unwrap();
        let config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        let config = Arc::new(config.unwrap());
        let wrap = move |stream| -> Box<dyn Stream> {
            Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream))
        };
        Self::start_behind(wrap, |_, _| Reply::Status(204))
    }

    fn start_behind(
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        answer: impl Fn(usize, &Delivery) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (came.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, noted, answer) = (wrap(stream.unwrap()), noted.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &noted, &*answer));
            }
        });
        Self { port, came }
    }

    /// Takes whatever comes.
    pub fn content() -> Self {
        Self::start(|_, _| Reply::Status(204))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks", self.port)
    }

    pub fn came(&self) -> Vec<Delivery> {
        self.came.lock().unwrap().clone()
    }

    /// The places of the events that came, in the order in which they did.
    pub fn seqs(&self) -> Vec<u64> {
        self.came().iter().map(Delivery::seq).collect()
    }

    /// What has come, once that is so many.
    #[track_caller]
    pub fn await_count(&self, count: usize) -> Vec<Delivery> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let came = self.came();
            if came.len() >= count {
                return came;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!(
            "only {} of {count} deliveries came: {:?}",
            self.came().len(),
            self.seqs()
        );
    }
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

fn serve(stream: Box<dyn Stream>, noted: &Mutex<Vec<Delivery>>, answer: &dyn Fn(usize, &Delivery) -> Reply) {
    let mut connection = BufReader::new(stream);
    while let Some(delivery) = read(&mut connection) {
        let number = {
            let mut noted = noted.lock().unwrap();
            noted.push(delivery.clone());
            noted.len() - 1
        };
        let stream = connection.get_mut();
        let sent = match answer(number, &delivery) {
            Reply::Status(status) => {
                write!(stream, "HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n")
            }
            Reply::Raw(text) => {
                let _ = stream.write_all(text.as_bytes());
                return;
            }
            Reply::Silence => return std::thread::sleep(Duration::from_secs(60)),
            Reply::Stuck(text) => {
                let _ = stream.write_all(text.as_bytes());
                return std::thread::sleep(Duration::from_secs(60));
            }
            Reply::Endless(head) => {
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() {
                    sent = stream.write_all(&[b'x'; 1024]);
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read(connection: &mut BufReader<Box<dyn Stream>>) -> Option<Delivery> {
    let mut line = || {
        let mut line = String::new();
        connection.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let request = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut delivery = Delivery {
        target: request,
        headers,
        body: Vec::new(),
        json: Value::Null,
        came: Instant::now(),
    };
    delivery.body = vec![0; delivery.header("content-length").parse().ok()?];
    connection.read_exact(&mut delivery.body).ok()?;
    delivery.json = serde_json::from_slice(&delivery.body).unwrap_or_default();
    Some(delivery)
}
