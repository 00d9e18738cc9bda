//! The one place that knows every part: build, run, stop in order.

use std::future::ready;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, rt};
use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::actors::Inventory;
use crate::actors::jobs::Jobs;
use crate::config::Config;
use crate::config::log::Destination;
use crate::credentials::random;
use crate::http::access::Access;
use crate::http::body::Bounds;
use crate::http::connection::{Connection, Patience, Places};
use crate::http::edge::{Edge, Gauges};
use crate::http::limits::{self, Limiter};
use crate::http::metrics::{self, Watch};
use crate::http::problem::Problem;
use crate::http::traffic::Met;
use crate::http::webhooks::Couriers;
use crate::http::{State, routes};
use crate::journal::Journal;
use crate::journal::file::{FileJournal, Recovered};

/// For what comes in on an idle connection at the very moment of a stop.
const LAST_REQUESTS_SECONDS: u64 = 1;
/// A client that has not sent all of a body which was refused may send on for so long, so that it reads its answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves until it is told to stop; returns when all that was accepted is answered and on disk.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    rt::System::new().block_on(run(config))
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let keys = config.access.keys()?;
    if let Some(fault) = config.fault(keys.is_some()) {
        bail!(fault);
    }
    let is_local = keys.is_none() && !config.access.insecure_open;
    let access = keys.map(|keys| Access::new(keys, config.access.open_registration));
    let mut stop = Stop::listen()?;
    let listener = listen(config)?;
    let address = listener.local_addr()?;
    let limiter = Arc::new(Limiter::of(&config.limits));
    rt::spawn(limits::keep_small(Arc::downgrade(&limiter)));
    let (gauges, places) = (Arc::<Gauges>::default(), Places::of(&config.limits));
    let watch = Watch::of(
        config.limits.clone(),
        !config.no_metrics,
        gauges.clone(),
        places.clone(),
    );
    let state = Data::new(State::recovering(access, is_local, limiter, watch).with_feed(config.feed()));
    let server = server(config, listener, state.clone(), gauges.clone(), places)?;
    let handle = server.handle();
    rt::spawn(server);

    let journal = match recover(config, address).await {
        Ok(journal) => journal,
        Err(error) => {
            handle.stop(false).await;
            return Err(error);
        }
    };
    let inventory = Inventory::start(journal.clone(), config.actors());
    if let Some(access) = &state.access {
        offer_setup(access, &inventory).await?;
    }
    let jobs = start_jobs(config, &inventory, state.access.is_some())?;
    state.serve_jobs(jobs.clone());
    let sales = inventory.sales().clone();
    let couriers = Couriers::start(inventory.clone(), config.webhooks.settings(&config.limits)).await;
    state.deliver(couriers.clone());
    state.serve(inventory);
    rt::spawn(metrics::run(Arc::downgrade(&state.clone().into_inner())));
    tracing::info!(%address, data = %config.data.data_dir.display(), "Holdfast takes requests at http://{address}");
    if config.log.log_to != Destination::Stderr {
        // Whoever has started it looks here; whether anybody does is not known.
        let _ = writeln!(std::io::stderr(), "Holdfast takes requests at http://{address}");
    }

    stop.asked().await;
    tracing::info!("stopping: answering what is under way");
    // One for all who are waited for: who asked for the stop has a deadline too.
    let deadline = Instant::now() + Duration::from_secs(config.shutdown_seconds.into());
    state.stop();
    couriers.stop();
    drain(&handle, &gauges, &jobs, deadline).await;
    couriers.stopped().await;
    sales.close().await;
    let closing = tokio::task::spawn_blocking(move || journal.close());
    closing
        .await?
        .context("stopped, but not in order; the next start recovers from the log")?;
    tracing::info!("stopped");
    Ok(())
}

fn start_jobs(config: &Config, inventory: &Arc<Inventory>, authenticates: bool) -> anyhow::Result<Arc<Jobs>> {
    let folder = &config.data.data_dir;
    let describe = |error| Problem::from(error).to_string();
    let jobs = Jobs::start(inventory.clone(), folder, config.jobs(authenticates), describe);
    jobs.with_context(|| format!("cannot read the jobs in {}", folder.join("jobs").display()))
}

async fn stop_jobs(jobs: &Jobs, deadline: Instant) {
    if timeout_at(deadline, jobs.stop()).await.is_err() {
        tracing::warn!("an import did not come to rest; the next start goes on with it all the same");
    }
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = (config.host, config.port);
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {}:{}; stop what listens there, or choose another --port",
            config.host, config.port
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn server(
    config: &Config,
    listener: TcpListener,
    state: Data<State>,
    gauges: Arc<Gauges>,
    places: Arc<Places>,
) -> anyhow::Result<Server> {
    let (workers, limits) = (config.workers(), config.limits.clone());
    let (origins, patience) = (config.allowed_origins.clone(), Patience::of(&limits));
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let per_thread = move || {
        let met = Met::default();
        let edge = Rc::new(Edge {
            gauge: gauges.add(),
            state: state.clone(),
            origins: origins.clone(),
            met: met.clone(),
        });
        let bounds = Bounds::of(&limits);
        let app = App::new()
            .app_data(state.clone())
            .app_data(bounds)
            .app_data(PayloadConfig::new(bounds.size))
            .wrap_fn(move |request, service| edge.handle(request, service))
            .configure(|config| routes::configure(config, &state, &met));
        let app = app.into_factory().map_err(|error| error.error_response());
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let stopping = stopping.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(seconds(limits.keep_alive_seconds))
            .client_request_timeout(seconds(limits.head_seconds))
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(|connection: &Connection, data| drop(data.insert(connection.progress())))
            .h1(map_config(app, |()| AppConfig::default()));
        let (places, noted) = (places.clone(), places.clone());
        let accept = move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            let place = places.take(peer).map_err(DispatchError::from);
            ready(place.map(|place| (Connection::new(stream, patience, place), peer)))
        };
        let note = move |end: DispatchError| {
            noted.note(&end);
            end
        };
        fn_service(accept).and_then(http).map_err(note)
    };
    let server = builder
        .workers(workers)
        .max_concurrent_connections((config.limits.max_connections as usize).div_ceil(workers))
        .shutdown_timeout(LAST_REQUESTS_SECONDS)
        .disable_signals()
        .listen("holdfast", listener, per_thread)?;
    Ok(server.run())
}

/// Where there is nobody yet who could make users: prints what makes the first one, to the terminal and not to the log.
async fn offer_setup(access: &Access, inventory: &Inventory) -> anyhow::Result<()> {
    if inventory.has_admin().await? {
        return Ok(());
    }
    if prints_to_journal() {
        eprintln!("There is no admin yet: stop the service and make one with `holdfast user add`.");
        return Ok(());
    }
    let token = random::secret()?;
    eprintln!(
        "There is no admin yet. To make one: POST /api/auth/register {{\"username\", \"password\", \"setupToken\": \"{}\"}}, \
         or stop the service and use `holdfast user add`.",
        token.expose()
    );
    access.expect_setup(token).await;
    Ok(())
}

/// Whether what is printed goes to systemd's journal, which keeps it and shows it to others. The variable alone does not
/// tell, as it is inherited: it names the device and inode of the journal's stream.
fn prints_to_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| named == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Off the server's threads, so that health probes are answered meanwhile.
async fn recover(config: &Config, address: SocketAddr) -> anyhow::Result<Arc<dyn Journal>> {
    let options = config.journal();
    let started = Instant::now();
    let (journal, recovered) = tokio::task::spawn_blocking(move || FileJournal::open(&options)).await??;
    report(&recovered, started);
    if let Err(error) = journal.announce(from_here(address)) {
        tracing::warn!(%error, "commands on the data folder will not find this service by themselves");
    }
    Ok(Arc::new(journal))
}

/// As it is reached on this machine: what listens on all addresses, by the loopback one.
fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

fn report(recovered: &Recovered, started: Instant) {
    let Recovered {
        seq,
        replayed,
        torn_bytes,
        checkpoint_fault,
        ..
    } = recovered;
    if let Some(fault) = checkpoint_fault {
        tracing::warn!(fault, "the checkpoint cannot be used; the whole log was read instead");
    }
    if *torn_bytes > 0 {
        tracing::warn!(
            torn_bytes,
            "cut off a write that a crash had cut short; it was never answered"
        );
    }
    tracing::info!(seq, replayed, millis = started.elapsed().as_millis(), "recovered");
}

/// Lets go of the network in order: no new connections; what runs is answered, and its connection
/// closed, and imports come to rest; then the threads end. In this order, as a thread that ends takes its SKU actors with it.
async fn drain(handle: &ServerHandle, gauges: &Gauges, jobs: &Jobs, deadline: Instant) {
    handle.pause().await;
    gauges.drain();
    tokio::join!(stop_jobs(jobs, deadline), answered(gauges, deadline));
    handle.stop(gauges.running() == 0).await;
}

async fn answered(gauges: &Gauges, deadline: Instant) {
    while gauges.running() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The signals that end the service in order.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        // A write past a file-size limit is then an error that is answered, and not the end.
        std::mem::forget(signal(SignalKind::from_raw(SIGXFSZ))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

const SIGXFSZ: i32 = 25;
