//! How the service does.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::METRICS;
use crate::http::metrics::forms::{
    ConcurrencyForm, InventoryForm, LimitsForm, MetricsForm, PersistenceForm, RequestsForm, ResetForm, SystemForm,
    WebhooksForm,
};
use crate::http::metrics::{BackgroundMetricsForm, MetricsHealthForm};
use crate::http::openapi::doc::{Content, Doc};
use crate::http::openapi::examples as example;
use crate::http::problem::Code::Forbidden;
use crate::http::write::BareBody;

/// Whoever sees some stores only is refused: these figures are of all stores together.
fn metrics_of<T: JsonSchema>(id: &'static str, about: &'static str, example: Value) -> Doc {
    Doc::read(id, METRICS, about)
        .answers::<T>(200, "As it is now.", &[], example)
        .refuses(&[Forbidden])
}

pub fn metrics() -> Doc {
    metrics_of::<MetricsForm>(
        "getMetrics",
        "Everything that is measured, in parts that can be asked for by themselves. Counts begin at `since`: the start of \
         the service, or the last reset. It is for callers who see all stores.",
        example::metrics(),
    )
}

pub fn request_metrics() -> Doc {
    let example = json!(RequestsForm::default());
    metrics_of::<RequestsForm>(
        "getRequestMetrics",
        "What was asked of the service, by route and status, with percentiles of how long it took, and refusals by code.",
        example,
    )
}

pub fn inventory_metrics() -> Doc {
    let example = json!(InventoryForm::default());
    metrics_of::<InventoryForm>(
        "getInventoryMetrics",
        "How much stock there is to be kept, what was done with it, what was refused, and the hottest SKUs.",
        example,
    )
}

pub fn concurrency_metrics() -> Doc {
    let example = json!(ConcurrencyForm::default());
    metrics_of::<ConcurrencyForm>(
        "getConcurrencyMetrics",
        "How writes get on beside one another: actors, queues, conflicts, joint steps.",
        example,
    )
}

pub fn persistence_metrics() -> Doc {
    let example = json!(PersistenceForm::default());
    metrics_of::<PersistenceForm>(
        "getPersistenceMetrics",
        "How the log gets on: appends, groups, syncs, bytes, the last checkpoint, what the start has found, and the hash of \
         the history.",
        example,
    )
}

pub fn background_metrics() -> Doc {
    let example = json!(BackgroundMetricsForm::default());
    metrics_of::<BackgroundMetricsForm>(
        "getBackgroundMetrics",
        "What goes on beside the requests: streams that follow the log, imports, how far the sums of sales are behind, and \
         lines that the service could not log.",
        example,
    )
}

pub fn system_metrics() -> Doc {
    let example = json!(SystemForm::default());
    metrics_of::<SystemForm>(
        "getSystemMetrics",
        "The process and its machine: memory, processor time, threads, files.",
        example,
    )
}

pub fn limit_metrics() -> Doc {
    metrics_of::<LimitsForm>(
        "getLimits",
        "What anybody may take of the service, as the operator has set it, and how often each limit was met.",
        example::limits(),
    )
}

pub fn webhook_metrics() -> Doc {
    let example = json!(WebhooksForm::default());
    metrics_of::<WebhooksForm>(
        "getWebhookMetrics",
        "How deliveries to webhooks get on: how many webhooks there are, how far the last of them is behind, and how many \
         events could not be delivered. Of each, `/api/webhooks` tells.",
        example,
    )
}

pub fn health_metrics() -> Doc {
    let example = json!(MetricsHealthForm::default());
    metrics_of::<MetricsHealthForm>(
        "getHealthMetrics",
        "Judges what is measured, each part with a sentence: `basic` (it takes reads and writes), `detailed` (it has what it \
         needs), `business` (what is shown is what the log says). It is always 200; what a load balancer needs is \
         `/api/health/ready`. The stock is held against the log every 10 s, a few SKUs in turn, however many ask.",
        example,
    )
}

pub fn reset_metrics() -> Doc {
    Doc::unrecorded(
        "resetMetrics",
        METRICS,
        "From now on the JSON view counts from here. It changes nothing else: what Prometheus reads goes on, and stock and log \
         have nothing to do with it. A repeat begins anew once more, also under the same `Idempotency-Key`, which harms nothing \
         but what was counted in between.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<ResetForm>(200, "It counts from now on.", &[], json!({"since": "2025-11-27T08:26:00.123Z"}))
}

pub fn prometheus() -> Doc {
    let text = "# HELP holdfast_items Items.\n# TYPE holdfast_items gauge\nholdfast_items 2\n";
    let content = Content::text("text/plain; version=0.0.4; charset=utf-8", text);
    Doc::read(
        "getPrometheusMetrics",
        METRICS,
        "The same for Prometheus, in its text format: names begin with `holdfast_`, units are seconds and bytes, counts go on \
         from the start of the process. Have it send a service token of the role `viewer`, without stores.",
    )
    .answers_with(200, "Every metric.", &[], vec![content])
    .refuses(&[Forbidden])
}
