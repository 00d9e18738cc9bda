//! What happened: events, movements, sales, an item as it stood, and what became of a write.

use serde_json::json;

use super::HISTORY;
use crate::http::cloudevents::{self, CloudEventForm};
use crate::http::events::{EVENTS, EventsForm, MOVEMENTS};
use crate::http::forms::{EventForm, ItemForm, MovementForm};
use crate::http::items;
use crate::http::openapi::doc::{Content, Doc, JSON, LISTED};
use crate::http::openapi::examples as example;
use crate::http::openapi::schemas::Schemas;
use crate::http::operations::OperationForm;
use crate::http::problem::Code::{NotFound, OutcomeUnknown};
use crate::http::sales::{SALES, SalesForm, SalesRowForm};
use crate::http::stream::{self, STREAM};

pub fn history() -> Doc {
    Doc::read(
        "getItemAt",
        HISTORY,
        "The item as it stood at a moment of the past, made again from the log.",
    )
    .query(items::HISTORY)
    .answers::<ItemForm>(200, "The item as it was.", &[], example::item())
    .refuses(&[NotFound])
}

pub fn events() -> Doc {
    Doc::read(
        "listEvents",
        HISTORY,
        "Every change, in the one order in which they took effect. To follow the log, keep the `seq` of each answer and \
         give it as `after` the next time; `wait` holds the answer back until there is news. Whoever follows it misses nothing \
         that they may see and ask for. The log has no gaps, but `seq` may jump here: over events that feeds do not show \
         (those of users, service tokens, webhooks, schedules, products and stores, and the removal of a level that was \
         empty), and over those of stores that you do not see or did not ask for. In CSV \
         an event has a line for each of its changes. As CloudEvents 1.0 the page is an array; where there is more, `Link` \
         says so, and else the last `id` is what to go on from.",
    )
    .query(EVENTS)
    .answers_with(200, "A page of the log.", LISTED, {
        let mut page = example::page(example::event());
        page["seq"] = json!(41);
        page["end"] = json!(41);
        let json = Content {
            media_type: JSON,
            schema: Schemas::form::<EventsForm>,
            example: page,
        };
        let batch = Content {
            media_type: cloudevents::BATCH,
            schema: Schemas::form::<Vec<CloudEventForm>>,
            example: json!([example::cloud_event()]),
        };
        vec![json, Content::csv::<EventForm>(&example::event()), batch]
    })
    .refuses(&[NotFound])
}

pub fn event_stream() -> Doc {
    let content = Content::text(stream::MEDIA_TYPE, &example::stream());
    let mut doc = Doc::read(
        "streamEvents",
        HISTORY,
        "Each event as soon as it is recorded, as server-sent events: `id` is the `seq`, `event` the type, `data` the event \
         as of `/api/events`, or as a CloudEvent. It begins behind `Last-Event-ID` or `after`, and else with what is new, and \
         from any place that it has named nothing is lost or told twice. While nothing comes, a comment is sent every 15 \
         seconds, together with an `id` where events were passed over: the client would go on from there. Low stock is \
         followed by itself with `lowStock=true`. The stream ends when your token is over, or when the user or service token \
         is changed; when the service stops; and when you do not read what you are sent, as nobody waits for you. Connect \
         again with the last `id`. Browsers' `EventSource` sends no token; where callers must log in, read it with `fetch`.",
    )
    .query(STREAM)
    .answers_with(200, "The events.", &["Vary", "X-Accel-Buffering"], vec![content])
    .refuses(&[NotFound]);
    doc.headers.push("Last-Event-ID");
    doc
}

pub fn movements() -> Doc {
    Doc::read(
        "listMovements",
        HISTORY,
        "Every change of an on-hand quantity, the newest first, as an auditor reads them. Reservations are no \
         movements: they change what is available, not what is there.",
    )
    .query(MOVEMENTS)
    .lists::<MovementForm>("A page of movements.", example::movement())
    .refuses(&[NotFound])
}

pub fn sales() -> Doc {
    let json = Content {
        media_type: JSON,
        schema: Schemas::form::<SalesForm>,
        example: example::sales(),
    };
    let csv = Content::csv::<SalesRowForm>(&example::sales()["items"][0]);
    Doc::read(
        "getSales",
        HISTORY,
        "What was sold and what came back, by SKU and store and in buckets of time, and how long the stock lasts if it goes \
         on selling so (`daysOfCover`). It counts movements of type `SALE` (commits of reservations among them) and \
         `RETURN`, all that were answered before the request began. Buckets are whole, those of `from` and `to` too; the one \
         that is not over yet is `partial`. Days are those of UTC, also of a store with another time zone, and weeks begin \
         on Monday. Hours are kept for 35 days, days for 400, and weeks for ever: what is asked more finely than it is kept \
         is refused, naming `from`; a log that does not go back so far is kept in full, and is never asked too finely. What \
         sells best: `?group=sku&sort=sold&limit=10`. What was sold of a SKU or in a store that was deleted since stays \
         counted.",
    )
    .query(SALES)
    .answers_with(
        200,
        "A page of sales.",
        LISTED,
        vec![json, csv],
    )
    .refuses(&[NotFound])
}

pub fn operation() -> Doc {
    Doc::read(
        "getOperation",
        HISTORY,
        "Tells what a write of yours was answered, by its `Idempotency-Key`, without sending it again. `pending`: it is \
         still running. 404: it did not take effect, was refused, or is longer ago than keys are kept (24 hours, if the \
         operator has not set another time), or is one of which the log knows nothing, such as a run of the sync. 503 \
         `outcome_unknown`: storage failed meanwhile, and the next start tells. A write that came by a route of the Node \
         services took effect once as well, but its `body` has the form that the same write has under `/api`.",
    )
    .answers::<OperationForm>(200, "What became of it.", &[], example::operation())
    .refuses(&[NotFound, OutcomeUnknown])
}
