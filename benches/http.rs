//! Compares the service with a bare actix-web server in one run: `cargo bench --bench http`.
//!
//! The bare server parses `{"delta":-1}` and answers 200 bytes of JSON: no stock, no disk, the floor
//! under any service in this framework. Both run as processes of their own and get the same load from
//! `holdfast bench`, in turns, as the machine's speed drifts; what counts is the ratio. Each figure is
//! the median over the rounds. The bare server runs as actix-web starts it, with a thread per core, or with
//! `--bare-workers N`; `--rounds N` and `--seconds N` change how long it takes.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, rt, web};
use anyhow::{Context, Result, ensure};

const HOLDFAST: &str = env!("CARGO_BIN_EXE_holdfast");

/// Name, and the arguments of `holdfast bench`.
const CASES: &[(&str, &[&str])] = &[
    (
        "adjust, 1,000 SKUs, 64 clients",
        &["--mode", "adjust", "--clients", "64"],
    ),
    (
        "adjust, one SKU, 64 clients",
        &["--mode", "adjust", "--clients", "64", "--hot"],
    ),
    (
        "adjust with keys, 64 clients",
        &["--mode", "adjust", "--clients", "64", "--keys"],
    ),
    (
        "adjust, 1,000 SKUs, 256 clients",
        &["--mode", "adjust", "--clients", "256"],
    ),
    (
        "adjust, one SKU, 256 clients",
        &["--mode", "adjust", "--clients", "256", "--hot"],
    ),
    ("adjust, 1 client", &["--mode", "adjust", "--clients", "1"]),
    ("read, 64 clients", &["--mode", "read", "--clients", "64"]),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(port) = option(&args, "--bare") {
        return bare(port.parse()?, option(&args, "--workers").unwrap_or("1").parse()?);
    }
    let rounds: usize = option(&args, "--rounds").unwrap_or("3").parse()?;
    let seconds = option(&args, "--seconds").unwrap_or("4");
    let cores = std::thread::available_parallelism()?.to_string();
    let workers = option(&args, "--bare-workers").unwrap_or(&cores);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (bare_port, port) = (free_port()?, free_port()?);
    let this = std::env::current_exe()?;
    let _bare = Running::start(Command::new(this).args(["--bare", &bare_port.to_string(), "--workers", workers]))?;
    let serve = ["--log-level", "warn", "--port", &port.to_string()].map(str::to_owned);
    let _service = Running::start(Command::new(HOLDFAST).args(serve).arg("--data-dir").arg(folder.path()))?;
    wait_for(bare_port)?;
    wait_for(port)?;
    println!(
        "{:<34} {:>10} {:>10} {:>7} {:>9} {:>9}",
        "", "bare/s", "holdfast/s", "ratio", "p50 µs", "p99 µs"
    );
    for (name, case) in CASES {
        let mut floor = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..rounds {
            floor.push(measure(bare_port, case, seconds, &["--no-prepare"])?);
            ours.push(measure(port, case, seconds, &[])?);
        }
        let (floor, ours) = (median(floor), median(ours));
        let ratio = ours.rate / floor.rate;
        println!(
            "{name:<34} {:>10.0} {:>10.0} {ratio:>7.2} {:>9.0} {:>9.0}",
            floor.rate, ours.rate, ours.p50, ours.p99
        );
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Delta {
    #[serde(rename = "delta")]
    _delta: i64,
}

fn bare(port: u16, workers: usize) -> Result<()> {
    let body = web::Data::new(format!("{{\"padding\":\"{}\"}}", "x".repeat(200 - 14)));
    rt::System::new().block_on(async move {
        let answer = |body: &str| {
            HttpResponse::Ok()
                .content_type("application/json")
                .body(body.to_owned())
        };
        let app = move || {
            let post = move |_: web::Json<Delta>, body: web::Data<String>| async move { answer(&body) };
            let get = move |body: web::Data<String>| async move { answer(&body) };
            let level = web::resource("/api/inventory/stores/{store}/inventory/{sku}").get(get);
            let adjust = web::resource("/api/inventory/stores/{store}/inventory/{sku}/adjust").post(post);
            App::new().app_data(body.clone()).service(level).service(adjust)
        };
        Ok(HttpServer::new(app)
            .workers(workers)
            .bind(("127.0.0.1", port))?
            .run()
            .await?)
    })
}

struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
}

fn measure(port: u16, case: &[&str], seconds: &str, more: &[&str]) -> Result<Measured> {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(HOLDFAST);
    command
        .args(["bench", "--json", "--url", &url, "--seconds", seconds])
        .args(case)
        .args(more);
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| json[name].as_f64().with_context(|| format!("no {name} in {json}"));
    Ok(Measured {
        rate: number("requestsPerSecond")?,
        p50: number("p50Micros")?,
        p99: number("p99Micros")?,
    })
}

fn median(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    rounds.swap_remove(rounds.len() / 2)
}

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("starting {command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Result<()> {
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    anyhow::bail!("nothing listens on port {port}")
}

fn option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(String::as_str)
}
