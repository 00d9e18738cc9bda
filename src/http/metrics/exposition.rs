//! What is counted, as Prometheus reads it: its text format 0.0.4. In base units (seconds, bytes), counts from the start of
//! the process on, whatever was reset. Written by hand: figures are read from histograms of our own, of which a client
//! library would want to be the owner.

use std::fmt::{self, Display, Write};

use super::forms::{name_of, name_of_status};
use super::reading::Reading;
use crate::domain::EventKind;
use crate::journal::figures::{RecoveryFigures, Standing, StockFigures};
use crate::metrics::Distribution;

pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Up to where times are counted, in microseconds: powers of two, as the histograms have borders there. 64 µs to 8 s.
const TIMES: [u64; 12] = [
    1 << 6,
    1 << 8,
    1 << 9,
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 23,
];
/// Up to where sizes are.
const SIZES: [u64; 8] = [2, 4, 8, 16, 64, 256, 1024, 4096];
const MICROS_A_SECOND: f64 = 1e6;

/// A text in the making.
struct Page(String);

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

type Labels<'a> = &'a [(&'static str, &'a str)];

/// The samples of one name.
struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        Family {
            page: &mut self.0,
            name,
        }
    }

    fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// What is not known is left out.
    fn gauge_if(&mut self, name: &'static str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }
}

impl Family<'_> {
    fn sample(&mut self, labels: Labels, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Of times in microseconds, as seconds.
    fn times(&mut self, labels: Labels, micros: &Distribution) {
        self.histogram(labels, micros, &TIMES, MICROS_A_SECOND);
    }

    fn sizes(&mut self, labels: Labels, sizes: &Distribution) {
        self.histogram(labels, sizes, &SIZES, 1.0);
    }

    /// A bucket's border belongs to it, and values are whole: so it is one below what they all are below.
    fn histogram(&mut self, labels: Labels, values: &Distribution, borders: &[u64], unit: f64) {
        let largest = |border: u64| if unit > 1.0 { border } else { border - 1 };
        for border in borders {
            let border_told = (largest(*border) as f64 / unit).to_string();
            self.line("_bucket", labels, Some(&border_told), values.below(*border));
        }
        self.line("_bucket", labels, Some("+Inf"), values.count());
        self.line("_sum", labels, None, values.sum() as f64 / unit);
        self.line("_count", labels, None, values.count());
    }

    fn line(&mut self, suffix: &str, labels: Labels, border: Option<&str>, value: impl Display) {
        let border = border.map(|border| ("le", border));
        let mut all = labels.iter().copied().chain(border).peekable();
        let _ = write!(self.page, "{}{suffix}", self.name);
        if all.peek().is_some() {
            let mut mark = '{';
            for (name, value) in all {
                let _ = write!(self.page, "{mark}{name}=\"{}\"", Escaped(value));
                mark = ',';
            }
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {value}");
    }
}

/// The text of a label.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

pub fn write(reading: &Reading) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    requests(&mut page, reading);
    refusals(&mut page, reading);
    operations(&mut page, reading);
    stock(&mut page, &reading.stock);
    drift(&mut page, reading);
    actors(&mut page, reading);
    queues(&mut page, reading);
    groups(&mut page, reading);
    appends(&mut page, reading);
    files(&mut page, &reading.standing);
    checkpoint(&mut page, reading);
    recovery(&mut page, &reading.standing.recovery);
    background(&mut page, reading);
    system(&mut page, reading);
    limits(&mut page, reading);
    webhooks(&mut page, reading);
    page.0
}

fn requests(page: &mut Page, reading: &Reading) {
    let asked = || reading.counts.traffic.routes.iter().filter(|route| route.count() > 0);
    let help = "Requests that were answered, by route and status; other: of no route.";
    let mut family = page.family("holdfast_http_requests_total", Kind::Counter, help);
    for route in asked() {
        for (status, count) in route.statuses() {
            let (method, status) = (route.label.method.as_str(), name_of_status(status));
            let labels = [("method", method), ("route", route.label.path), ("status", &status)];
            family.sample(&labels, count);
        }
    }
    let help = "From the head of a request until its answer begins.";
    let mut family = page.family("holdfast_http_request_duration_seconds", Kind::Histogram, help);
    for route in asked() {
        let labels = [("method", route.label.method.as_str()), ("route", route.label.path)];
        family.times(&labels, &route.micros);
    }
}

fn refusals(page: &mut Page, reading: &Reading) {
    let traffic = &reading.counts.traffic;
    let help = "Refusals by code.";
    let mut family = page.family("holdfast_refusals_total", Kind::Counter, help);
    for (code, count) in traffic.refusals() {
        family.sample(&[("code", code.as_str())], count);
    }
    let help = "Requests that are being answered.";
    page.gauge("holdfast_http_requests_in_flight", help, reading.in_flight);
    let help = "Requests whose clients did not wait for the answer.";
    page.counter("holdfast_http_requests_abandoned_total", help, traffic.abandoned);
}

fn operations(page: &mut Page, reading: &Reading) {
    let events = &reading.counts.journal.events;
    let help = "What was recorded, by the kind of its event.";
    let mut family = page.family("holdfast_operations_total", Kind::Counter, help);
    for kind in EventKind::SHOWN {
        family.sample(&[("type", &name_of(kind))], events.of(kind));
    }
    family.sample(&[("type", "other")], events.hidden());
    let help = "Refused stock writes by code, of batches each operation.";
    let mut family = page.family("holdfast_operations_refused_total", Kind::Counter, help);
    for (code, count) in reading.counts.traffic.stock_refusals() {
        family.sample(&[("code", code.as_str())], count);
    }
    let help = "Writes that were answered again under their idempotency key.";
    page.counter("holdfast_idempotent_replays_total", help, reading.counts.actors.replays);
}

fn stock(page: &mut Page, stock: &StockFigures) {
    page.gauge("holdfast_items", "Items.", stock.items);
    page.gauge("holdfast_levels", "Levels: SKUs in stores.", stock.levels);
    page.gauge("holdfast_stores", "Stores with a level.", stock.stores);
    let help = "Items with a level that runs low.";
    page.gauge("holdfast_low_stock_items", help, stock.low_items);
    let help = "Reservations that hold something.";
    page.gauge("holdfast_open_reservations", help, stock.open_reservations);
    page.gauge("holdfast_held_lines", "Their lines that do.", stock.held_lines);
}

fn drift(page: &mut Page, reading: &Reading) {
    let help = "Differences between two that must say the same; it must be 0.";
    let mut family = page.family("holdfast_drift", Kind::Gauge, help);
    for found in &reading.drift {
        family.sample(&[("between", found.between)], found.differing);
    }
    let help = "How often such two were compared.";
    let mut family = page.family("holdfast_drift_comparisons_total", Kind::Counter, help);
    for found in &reading.drift {
        family.sample(&[("between", found.between)], found.compared);
    }
}

fn actors(page: &mut Page, reading: &Reading) {
    let counted = &reading.counts.actors;
    page.gauge("holdfast_actors", "SKUs in use.", reading.workload.actors_live);
    let help = "SKUs that came into use.";
    page.counter("holdfast_actors_started_total", help, counted.actors_started);
    let help = "SKUs that went out of use.";
    page.counter("holdfast_actors_stopped_total", help, counted.actors_stopped);
}

fn queues(page: &mut Page, reading: &Reading) {
    let workload = &reading.workload;
    let help = "Commands not answered yet.";
    page.gauge("holdfast_commands_waiting", help, workload.commands_waiting);
    let help = "The same of the SKU with most.";
    page.gauge("holdfast_longest_queue", help, workload.longest_queue);
    let help = "Commands that may wait for a SKU.";
    page.gauge("holdfast_queue_limit", help, workload.queue_limit);
    let help = "Keys of writes under way.";
    page.gauge("holdfast_claims_in_flight", help, workload.claims_in_flight);
    let help = "Appends decided once more, as something had moved on.";
    let conflicts = reading.counts.journal.conflicts;
    page.counter("holdfast_journal_conflicts_total", help, conflicts);
}

fn groups(page: &mut Page, reading: &Reading) {
    let counted = &reading.counts.actors;
    let help = "Commands of a SKU decided together.";
    let mut family = page.family("holdfast_group_commands", Kind::Histogram, help);
    family.sizes(&[], &counted.commands_per_group);
    let help = "SKUs of a joint step.";
    let mut family = page.family("holdfast_joint_step_skus", Kind::Histogram, help);
    family.sizes(&[], &counted.skus_per_joint_step);
    let help = "How long joint steps took.";
    let mut family = page.family("holdfast_joint_step_duration_seconds", Kind::Histogram, help);
    family.times(&[], &counted.joint_step_micros);
}

fn appends(page: &mut Page, reading: &Reading) {
    let counted = &reading.counts.journal;
    let help = "1 while writes are taken, 0 while they are refused.";
    page.gauge("holdfast_writes_accepted", help, u8::from(reading.refusing.is_none()));
    let help = "The last event that readers see.";
    page.gauge("holdfast_log_seq", help, reading.standing.visible);
    page.counter("holdfast_appends_total", "Appends to the log.", counted.appends);
    let help = "Records synced together.";
    let mut family = page.family("holdfast_log_group_records", Kind::Histogram, help);
    family.sizes(&[], &counted.records_per_group);
    let help = "How long syncs of the log took.";
    let mut family = page.family("holdfast_log_sync_duration_seconds", Kind::Histogram, help);
    family.times(&[], &counted.sync_micros);
    let help = "Bytes written to the log.";
    page.counter("holdfast_log_written_bytes_total", help, counted.bytes);
    page.counter("holdfast_snapshots_total", "Snapshots written.", counted.snapshots);
    let help = "Checkpoints written.";
    page.counter("holdfast_checkpoints_total", help, counted.checkpoints);
}

fn files(page: &mut Page, standing: &Standing) {
    let help = "What the log takes of the disk.";
    page.gauge("holdfast_log_bytes", help, standing.log_bytes);
    page.gauge("holdfast_log_segments", "Files of the log.", standing.segments);
    let help = "What is left of the disk.";
    page.gauge_if("holdfast_disk_free_bytes", help, standing.disk_free_bytes);
}

fn checkpoint(page: &mut Page, reading: &Reading) {
    let checkpoint = reading.standing.checkpoint.as_ref();
    let help = "When the last checkpoint was written.";
    let at = checkpoint.map(|checkpoint| checkpoint.at.as_millis() as f64 / 1000.0);
    page.gauge_if("holdfast_checkpoint_timestamp_seconds", help, at);
    let help = "The last event in the last checkpoint.";
    let seq = checkpoint.map(|checkpoint| checkpoint.seq);
    page.gauge_if("holdfast_checkpoint_seq", help, seq);
    let help = "The size of the last checkpoint.";
    let bytes = checkpoint.map(|checkpoint| checkpoint.bytes);
    page.gauge_if("holdfast_checkpoint_bytes", help, bytes);
}

fn recovery(page: &mut Page, recovery: &RecoveryFigures) {
    let (help, seconds) = ("How long the start read.", recovery.duration_ms as f64 / 1000.0);
    page.gauge("holdfast_recovery_duration_seconds", help, seconds);
    let help = "Events that the start read.";
    page.gauge("holdfast_recovery_replayed_events", help, recovery.replayed);
    let help = "Bytes of a write that a crash cut short.";
    page.gauge("holdfast_recovery_torn_bytes", help, recovery.torn_bytes);
}

fn background(page: &mut Page, reading: &Reading) {
    let (counted, standing) = (&reading.counts.background, &reading.background);
    let help = "The last event in the totals of all stores; NaN before the first sync.";
    let totals = reading.standing.totals_seq.map_or(f64::NAN, |seq| seq as f64);
    page.gauge("holdfast_totals_seq", help, totals);
    let help = "The last event in the sums of sales.";
    page.gauge("holdfast_sales_seq", help, standing.sales_seq);
    let help = "Open streams of events.";
    page.gauge("holdfast_stream_followers", help, standing.followers);
    let help = "Streams that were ended, as what they were sent was not read.";
    page.counter(
        "holdfast_stream_followers_dropped_total",
        help,
        counted.followers_dropped,
    );
    let imports = &standing.imports;
    let help = "Imports that are not over; uploading: their bodies are coming in.";
    let mut family = page.family("holdfast_imports", Kind::Gauge, help);
    for (state, count) in [
        ("uploading", imports.uploading),
        ("queued", imports.queued),
        ("running", imports.running),
    ] {
        family.sample(&[("state", state)], count);
    }
    let help = "Lines of the service's own log that could not be written.";
    page.counter("holdfast_log_lines_lost_total", help, counted.lost_lines);
}

fn system(page: &mut Page, reading: &Reading) {
    let process = &reading.process;
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("engine", reading.standing.engine),
    ];
    let mut family = page.family("holdfast_build_info", Kind::Gauge, "Which service this is.");
    family.sample(&labels, 1);
    let began = reading.began.as_millis() as f64 / 1000.0;
    page.gauge("holdfast_start_time_seconds", "When the service was started.", began);
    let help = "Memory in use.";
    page.gauge_if("holdfast_resident_memory_bytes", help, process.resident_bytes);
    page.gauge_if("holdfast_threads", "Threads.", process.threads);
    page.gauge_if("holdfast_open_files", "Open file handles.", process.open_files);
    let help = "File handles that may be open.";
    page.gauge_if("holdfast_max_open_files", help, process.max_open_files);
    if let Some(seconds) = process.cpu_seconds {
        page.counter("holdfast_cpu_seconds_total", "Processor time of all threads.", seconds);
    }
}

fn limits(page: &mut Page, reading: &Reading) {
    let connections = &reading.counts.connections;
    page.gauge("holdfast_connections", "Open connections.", reading.open_connections);
    let help = "Connections that may be open.";
    page.gauge("holdfast_max_connections", help, reading.limits.max_connections);
    let help = "Connections taken.";
    page.counter("holdfast_connections_opened_total", help, connections.opened);
    let help = "Connections refused, or ended in disorder, by reason.";
    let mut family = page.family("holdfast_connections_failed_total", Kind::Counter, help);
    for (reason, count) in [
        ("refused", connections.refused),
        ("head_too_large", connections.heads_too_large),
        ("malformed", connections.malformed),
        ("too_slow", connections.too_slow),
    ] {
        family.sample(&[("reason", reason)], count);
    }
}

fn webhooks(page: &mut Page, reading: &Reading) {
    let webhooks = &reading.webhooks;
    let mut family = page.family(
        "holdfast_webhooks",
        Kind::Gauge,
        "Webhooks, by how their deliveries stand.",
    );
    for (status, count) in [
        ("delivering", webhooks.delivering),
        ("retrying", webhooks.retrying),
        ("disabled", webhooks.disabled),
    ] {
        family.sample(&[("status", status)], count);
    }
    let help = "Events that the webhook which is furthest behind has not looked at, the disabled ones apart.";
    page.gauge("holdfast_webhook_events_behind", help, webhooks.events_behind);
    let help = "Events that could not be delivered, of all webhooks.";
    page.gauge("holdfast_webhook_dead_letters", help, webhooks.dead_letters);
    let help = "Dead letters that had to make room for later ones, of the webhooks that there are.";
    page.gauge(
        "holdfast_webhook_dead_letters_dropped",
        help,
        webhooks.dropped_dead_letters,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    fn page(write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page(String::new());
        write(&mut page);
        page.0
    }

    #[test]
    fn a_family_says_what_it_is_and_escapes_its_labels() {
        let text = page(|page| {
            page.family("a_total", Kind::Counter, "What it is.")
                .sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 7);
        });
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 7\n";
        assert_eq!(text, expected);
        assert!(page(|page| page.gauge("b", "B.", 1.5)).ends_with("# TYPE b gauge\nb 1.5\n"));
        assert_eq!(page(|page| page.gauge_if("b", "B.", None::<u64>)), "");
    }

    #[test]
    fn a_histogram_counts_up_to_each_border_in_base_units() {
        let micros = Histogram::default();
        [10, 63, 64, 2_000_000, 100_000_000]
            .into_iter()
            .for_each(|time| micros.record(time));
        let text = page(|page| {
            page.family("t_seconds", Kind::Histogram, "T.")
                .times(&[("route", "/x")], &micros.read());
        });
        for line in [
            "t_seconds_bucket{route=\"/x\",le=\"0.000064\"} 2",
            "t_seconds_bucket{route=\"/x\",le=\"0.000256\"} 3",
            "t_seconds_bucket{route=\"/x\",le=\"4.194304\"} 4",
            "t_seconds_bucket{route=\"/x\",le=\"+Inf\"} 5",
            "t_seconds_sum{route=\"/x\"} 102.000137",
            "t_seconds_count{route=\"/x\"} 5",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_size_at_the_border_of_a_bucket_belongs_to_it() {
        let sizes = Histogram::default();
        [1, 1, 2, 3, 4].into_iter().for_each(|size| sizes.record(size));
        let text = page(|page| page.family("s", Kind::Histogram, "S.").sizes(&[], &sizes.read()));
        assert!(
            text.contains("s_bucket{le=\"1\"} 2\n") && text.contains("s_bucket{le=\"3\"} 4\n"),
            "{text}"
        );
    }
}
