//! Traces: a span of each request, sent to a collector by OTLP over HTTP, where `OTEL_EXPORTER_OTLP_ENDPOINT` names one.
//!
//! Spans wait in a queue that drops what does not fit, and a thread of its own sends them: a collector that is slow or
//! away costs requests nothing, and the log a warning now and then.

use std::env;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context as Parent, KeyValue, SpanId, TraceId};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as Recording};

use super::collector::Collector;
use super::context::{Caller, Context, Hex, Place};

/// What makes spans, from the start on; none where they go nowhere.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// How long a stop waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);
const NAME: &str = "holdfast";

/// When this goes, what is left is sent first.
pub struct Exporter(Option<SdkTracerProvider>);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(Err(error)) = self
            .0
            .as_ref()
            .map(|provider| provider.shutdown_with_timeout(LAST_SPANS))
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

pub fn start() -> anyhow::Result<Exporter> {
    let is_named = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .into_iter()
        .any(is_set);
    if !is_named || env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Exporter(None));
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new()?)
        .build()?;
    let resource = match is_set("OTEL_SERVICE_NAME") {
        true => Resource::builder().build(),
        false => Resource::builder().with_service_name(NAME).build(),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    // There is one start of a process, and so one log.
    let _ = TRACER.set(provider.tracer(NAME));
    Ok(Exporter(Some(provider)))
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// That of a request, while it is answered.
pub struct Span(Option<(Recording, Rc<Context>)>);

impl Span {
    pub fn begin(context: &Rc<Context>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let parent = context.caller.as_ref().map(parent).unwrap_or_default();
        let about = [
            KeyValue::new("http.request.method", context.method.to_string()),
            KeyValue::new("url.path", context.uri.path().to_owned()),
            KeyValue::new("holdfast.request_id", context.request_id.as_str().to_owned()),
        ];
        let builder = tracer
            .span_builder(context.method.to_string())
            .with_kind(SpanKind::Server)
            .with_attributes(about);
        let span = tracer.build_with_context(builder, &parent);
        context.is_recorded_as(place(span.span_context()));
        Self(Some((span, context.clone())))
    }

    pub fn end(self, route: impl FnOnce() -> Option<String>, status: u16) {
        let Some((mut span, context)) = self.0 else { return };
        if !span.is_recording() {
            return;
        }
        if let Some(route) = route() {
            span.update_name(format!("{} {route}", context.method));
            span.set_attribute(KeyValue::new("http.route", route));
        }
        if let Some(by) = context.by() {
            span.set_attribute(KeyValue::new("enduser.id", by.as_str().to_owned()));
        }
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn parent(caller: &Caller) -> Parent {
    let Place { trace_id, span_id } = caller.place;
    let flags = if caller.is_sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    let state = caller
        .state
        .as_deref()
        .and_then(|state| state.parse::<TraceState>().ok());
    let place = SpanContext::new(
        TraceId::from_bytes(trace_id.0),
        SpanId::from_bytes(span_id.0),
        flags,
        true,
        state.unwrap_or_default(),
    );
    Parent::new().with_remote_span_context(place)
}

fn place(span: &SpanContext) -> Place {
    Place {
        trace_id: Hex(span.trace_id().to_bytes()),
        span_id: Hex(span.span_id().to_bytes()),
    }
}
