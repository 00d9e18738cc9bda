//! Events as CloudEvents 1.0 (structured mode, JSON), for whatever hands them on: the feed, and who else delivers them.

use schemars::JsonSchema;
use serde::Serialize;

use super::forms::{self, EventForm};
use crate::domain::{Event, Timestamp};

/// Of several in an array.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// What a source is called that nobody has named.
pub const DEFAULT_SOURCE: &str = "/api/events";

/// An event as CloudEvents 1.0 writes it; `source` and `id` together are its name, everywhere and for ever.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CloudEvent")]
pub struct CloudEventForm<'a> {
    #[schemars(extend("const" = "1.0"))]
    specversion: &'static str,
    /// Its place in the log, as a text.
    id: String,
    /// The service, as its operator has named it.
    source: &'a str,
    /// The event's type behind `holdfast.`, such as `holdfast.level.adjusted`.
    #[serde(rename = "type")]
    kind: String,
    time: Timestamp,
    /// The reservation that it is about, or else the SKU, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: &'static str,
    data: EventForm<'a>,
}

pub fn event<'a>(source: &'a str, seq: u64, event: &'a Event) -> CloudEventForm<'a> {
    CloudEventForm {
        specversion: "1.0",
        id: seq.to_string(),
        source,
        kind: format!("holdfast.{}", event.kind),
        time: event.at,
        subject: subject(event),
        datacontenttype: "application/json",
        data: forms::event(seq, event),
    }
}

fn subject(event: &Event) -> Option<&str> {
    if let Some(id) = &event.reservation_id {
        return Some(id.as_str());
    }
    let first = &event.changes.first()?.sku;
    let is_only = event.changes.iter().all(|change| change.sku == *first);
    is_only.then(|| first.as_str())
}
