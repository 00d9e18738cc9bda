//! Measures the service beside others that do the same work, in one run: `cargo bench --bench http`.
//!
//! - Beside a bare actix-web server, which parses `{"delta":-1}` and answers 200 bytes of JSON: no stock, no disk,
//!   the floor under any service in this framework. It runs as actix-web starts it, with a thread per core, or with
//!   `--bare-workers N`.
//! - Carts beside single writes.
//! - Single writes with a steady load of large carts beside them, and without.
//! - A service that counts what it does beside one that does not.
//! - A service whose callers must say who they are beside one that asks nobody, and the same with limits that are not reached.
//!
//! Servers run as processes of their own and get their load from `holdfast bench`. What is compared is measured in
//! turns, as the machine's speed drifts; what counts is the ratio. Each figure is the median over the rounds.
//! `--rounds N` and `--seconds N` change how long it takes, `--only bare|carts|beside|guarded|metered` runs one of them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, rt, web};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

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

const ADJUST: &[&str] = &["--mode", "adjust", "--clients", "64"];

/// Name, and the arguments of `holdfast bench`; each is compared with `ADJUST`.
const CARTS: &[(&str, &[&str])] = &[
    (
        "carts of 3, 1,000 SKUs, 64 clients",
        &["--mode", "cart", "--clients", "64"],
    ),
    (
        "carts of 3, all with one hot SKU",
        &["--mode", "cart", "--clients", "64", "--hot-share", "1"],
    ),
];

/// Name, and the arguments of the `holdfast bench` that runs beside `ADJUST`, on the same SKUs.
const BESIDE: &[(&str, &[&str])] = &[
    (
        "20 carts of 500 a second",
        &["--mode", "cart", "--lines", "500", "--clients", "4", "--rate", "20"],
    ),
    (
        "carts of 500, one after another",
        &["--mode", "cart", "--lines", "500", "--clients", "1"],
    ),
];

/// Name, and the arguments of `holdfast bench`; what counting costs shows most where most is counted a second.
const METERED: &[(&str, &[&str])] = &[
    ("adjust, 1,000 SKUs, 64 clients", ADJUST),
    (
        "adjust, one SKU, 64 clients",
        &["--mode", "adjust", "--clients", "64", "--hot"],
    ),
    ("read, 64 clients", &["--mode", "read", "--clients", "64"]),
    ("carts of 3, 64 clients", &["--mode", "cart", "--clients", "64"]),
];

/// Name, and the arguments of `holdfast bench`; each is asked with a token of every request.
const GUARDED: &[(&str, &[&str])] = &[
    ("adjust, 1,000 SKUs, 64 clients", ADJUST),
    ("read, 64 clients", &["--mode", "read", "--clients", "64"]),
];

/// So many requests a minute that they are never reached.
const FAR_LIMITS: &[&str] = &["--rate-per-principal", "4000000000", "--rate-per-address", "4000000000"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(port) = option(&args, "--bare") {
        return bare(port.parse()?, option(&args, "--workers").unwrap_or("1").parse()?);
    }
    let only = option(&args, "--only");
    let runs = |part| only.is_none_or(|only| only == part);
    let pace = Pace {
        rounds: option(&args, "--rounds").unwrap_or("3").parse()?,
        seconds: option(&args, "--seconds").unwrap_or("4"),
    };
    if runs("bare") {
        let cores = std::thread::available_parallelism()?.to_string();
        beside_bare(&pace, option(&args, "--bare-workers").unwrap_or(&cores))?;
    }
    if runs("carts") {
        carts(&pace)?;
    }
    if runs("beside") {
        beside_large_carts(&pace)?;
    }
    if runs("guarded") {
        guarded(&pace)?;
    }
    if runs("metered") {
        metered(&pace)?;
    }
    Ok(())
}

struct Pace<'a> {
    rounds: usize,
    seconds: &'a str,
}

fn beside_bare(pace: &Pace, workers: &str) -> Result<()> {
    let bare_port = free_port()?;
    let this = std::env::current_exe()?;
    let _bare = Running::start(Command::new(this).args(["--bare", &bare_port.to_string(), "--workers", workers]))?;
    wait_for(bare_port)?;
    let service = Service::start()?;
    println!(
        "{:<34} {:>10} {:>10} {:>7} {:>9} {:>9}",
        "", "bare/s", "holdfast/s", "ratio", "p50 µs", "p99 µs"
    );
    for (name, case) in CASES {
        let mut floor = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..pace.rounds {
            floor.push(measure(bare_port, case, pace, &["--no-prepare"])?);
            ours.push(measure(service.port, case, pace, &[])?);
        }
        print_rates(name, &median(floor), &median(ours));
    }
    Ok(())
}

/// Each case has a service of its own, so that the ends of one's carts are not a load on the next.
fn carts(pace: &Pace) -> Result<()> {
    println!(
        "\n{:<34} {:>10} {:>10} {:>7} {:>9} {:>9}",
        "", "adjust/s", "carts/s", "ratio", "p50 µs", "p99 µs"
    );
    for (name, case) in CARTS {
        let service = Service::start()?;
        let mut single = Vec::new();
        let mut carts = Vec::new();
        for _ in 0..pace.rounds {
            single.push(measure(service.port, ADJUST, pace, &[])?);
            carts.push(measure(service.port, case, pace, &[])?);
        }
        print_rates(name, &median(single), &median(carts));
    }
    Ok(())
}

fn beside_large_carts(pace: &Pace) -> Result<()> {
    println!(
        "\n{:<34} {:>10} {:>10} {:>7} {:>9}",
        "adjust, 64 clients, beside", "p99 alone", "p99 beside", "ratio", "carts/s"
    );
    for (name, case) in BESIDE {
        let service = Service::start()?;
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        let mut carts = Vec::new();
        for _ in 0..pace.rounds {
            alone.push(measure(service.port, ADJUST, pace, &[])?);
            // The levels are stocked by now: both begin at once, and take equally long.
            let large = start(service.port, case, pace, &["--no-prepare"])?;
            beside.push(measure(service.port, ADJUST, pace, &["--no-prepare"])?);
            carts.push(large.finish()?);
        }
        let p99 = |rounds| median_by(rounds, |measured| measured.p99).p99;
        let (alone, beside) = (p99(alone), p99(beside));
        println!(
            "{name:<34} {alone:>10.0} {beside:>10.0} {:>7.2} {:>9.0}",
            beside / alone,
            median(carts).rate
        );
    }
    Ok(())
}

/// Three services in turns: one that asks nobody who they are, one that asks everybody, and one that also counts them.
fn guarded(pace: &Pace) -> Result<()> {
    let (open, guarded, limited) = (
        Service::start()?,
        Service::start_guarded(&[])?,
        Service::start_guarded(FAR_LIMITS)?,
    );
    println!(
        "\n{:<34} {:>10} {:>10} {:>7} {:>10} {:>7}",
        "", "open/s", "guarded/s", "ratio", "limited/s", "ratio"
    );
    for (name, case) in GUARDED {
        let mut rates = [&open, &guarded, &limited].map(|service| (service, Vec::new()));
        for _ in 0..pace.rounds {
            for (service, measured) in &mut rates {
                measured.push(measure_as(service.port, service.token.as_deref(), case, pace)?);
            }
        }
        let [open, guarded, limited] = rates.map(|(_, measured)| median(measured).rate);
        println!(
            "{name:<34} {open:>10.0} {guarded:>10.0} {:>7.2} {limited:>10.0} {:>7.2}",
            guarded / open,
            limited / guarded
        );
    }
    Ok(())
}

/// Two services in turns, which of them goes first by turns too: one that counts nothing, and one that does. Both
/// are asked for their figures once a round.
fn metered(pace: &Pace) -> Result<()> {
    let (plain, metered) = (Service::start_with(&["--no-metrics"])?, Service::start()?);
    println!("\n{:<34} {:>10} {:>10} {:>7}", "", "plain/s", "metered/s", "ratio");
    for (name, case) in METERED {
        let mut rates = [(&plain, Vec::new()), (&metered, Vec::new())];
        for round in 0..pace.rounds {
            for turn in 0..2 {
                let (service, measured) = &mut rates[(round + turn) % 2];
                measured.push(measure(service.port, case, pace, &[])?);
                ureq::get(format!("http://127.0.0.1:{}/metrics", service.port)).call()?;
            }
        }
        let [plain, metered] = rates.map(|(_, measured)| median(measured).rate);
        println!("{name:<34} {plain:>10.0} {metered:>10.0} {:>7.3}", metered / plain);
    }
    Ok(())
}

fn print_rates(name: &str, base: &Measured, measured: &Measured) {
    println!(
        "{name:<34} {:>10.0} {:>10.0} {:>7.2} {:>9.0} {:>9.0}",
        base.rate,
        measured.rate,
        measured.rate / base.rate,
        measured.p50,
        measured.p99
    );
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

fn measure(port: u16, case: &[&str], pace: &Pace, more: &[&str]) -> Result<Measured> {
    start(port, case, pace, more)?.finish()
}

fn measure_as(port: u16, token: Option<&str>, case: &[&str], pace: &Pace) -> Result<Measured> {
    let mut command = Command::new(HOLDFAST);
    command.envs(token.map(|token| ("HOLDFAST_TOKEN", token)));
    start_as(command, port, case, pace, &[])?.finish()
}

fn start(port: u16, case: &[&str], pace: &Pace, more: &[&str]) -> Result<Load> {
    start_as(Command::new(HOLDFAST), port, case, pace, more)
}

fn start_as(mut command: Command, port: u16, case: &[&str], pace: &Pace, more: &[&str]) -> Result<Load> {
    let url = format!("http://127.0.0.1:{port}");
    command
        .args(["bench", "--json", "--url", &url, "--seconds", pace.seconds])
        .args(case)
        .args(more)
        .stdout(Stdio::piped());
    let process = Running::start(&mut command)?;
    Ok(Load { command, process })
}

/// A `holdfast bench` under way.
struct Load {
    command: Command,
    process: Running,
}

impl Load {
    fn finish(mut self) -> Result<Measured> {
        let mut output = String::new();
        if let Some(stdout) = &mut self.process.0.stdout {
            stdout.read_to_string(&mut output)?;
        }
        let status = self.process.0.wait()?;
        ensure!(status.success(), "{:?} failed: {output}", self.command);
        let json: serde_json::Value = serde_json::from_str(&output)?;
        let number = |name: &str| json[name].as_f64().with_context(|| format!("no {name} in {json}"));
        Ok(Measured {
            rate: number("requestsPerSecond")?,
            p50: number("p50Micros")?,
            p99: number("p99Micros")?,
        })
    }
}

fn median(rounds: Vec<Measured>) -> Measured {
    median_by(rounds, |measured| measured.rate)
}

fn median_by(mut rounds: Vec<Measured>, figure: fn(&Measured) -> f64) -> Measured {
    rounds.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    rounds.swap_remove(rounds.len() / 2)
}

/// A service on a folder of its own, which goes with it.
struct Service {
    port: u16,
    /// An admin's, where callers must say who they are.
    token: Option<String>,
    _process: Running,
    _folder: TempDir,
}

impl Service {
    fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    fn start_with(settings: &[&str]) -> Result<Self> {
        Self::start_on(
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?,
            Command::new(HOLDFAST).args(settings),
        )
    }

    fn start_on(folder: TempDir, command: &mut Command) -> Result<Self> {
        let port = free_port()?;
        let serve = ["--log-level", "warn", "--port", &port.to_string()].map(str::to_owned);
        let process = Running::start(command.args(serve).arg("--data-dir").arg(folder.path()))?;
        wait_for(port)?;
        Ok(Self {
            port,
            token: None,
            _process: process,
            _folder: folder,
        })
    }

    /// With an admin, who has logged in.
    fn start_guarded(settings: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut add = Command::new(HOLDFAST);
        add.args(["user", "add", "bench", "--role", "admin", "--data-dir"])
            .arg(folder.path());
        let mut add = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        if let Some(mut stdin) = add.stdin.take() {
            stdin.write_all(PASSWORD.as_bytes())?;
        }
        ensure!(add.wait()?.success(), "the admin could not be made");
        let mut command = Command::new(HOLDFAST);
        command
            .env("JWT_SECRET", "only for this measurement: 4f1c9b07")
            .args(settings);
        let service = Self::start_on(folder, &mut command)?;
        let login = serde_json::json!({"username": "bench", "password": PASSWORD});
        let mut answer = ureq::post(format!("http://127.0.0.1:{}/api/auth/login", service.port)).send_json(login)?;
        let answer: serde_json::Value = answer.body_mut().read_json()?;
        let token = answer["token"].as_str().context("no token")?.to_owned();
        Ok(Self {
            token: Some(token),
            ..service
        })
    }
}

const PASSWORD: &str = "a password for this measurement";

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
