//! Subscriptions to events, and their deliveries.

use serde_json::json;

use super::{CREATED, DONE, MINIMAL, WEBHOOKS, WRITTEN};
use crate::http::entries::DeleteBody;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{NotFound, QuotaExceeded, VersionMismatch};
use crate::http::webhooks;
use crate::http::webhooks::{
    DeadLetterForm, NewWebhookBody, NewWebhookForm, RedeliverBody, RedeliveryForm, ShownWebhookForm, TestForm,
    WebhookBody,
};
use crate::http::write::BareBody;

pub fn webhooks() -> Doc {
    Doc::read(
        "listWebhooks",
        WEBHOOKS,
        "Every webhook, the oldest first, without its secret, and how its deliveries stand.",
    )
    .query(webhooks::LIST)
    .lists::<ShownWebhookForm>("A page of webhooks.", example::shown_webhook())
}

pub fn create_webhook() -> Doc {
    Doc::write(
        "createWebhook",
        WEBHOOKS,
        "Subscribes a receiver to events from now on. Where no `secret` is given the service makes one, which is in this \
         answer and nowhere else: neither a repeat under the same `Idempotency-Key` nor `GET /api/operations/{key}` shows it \
         again. An event is delivered once, whether it was asked for by its type or by `*`; with `stock.low` alone it comes \
         as `stock.low`, and its `changes` say by `lowStock` which levels it is about. How many webhooks there may be is \
         at `/api/metrics/limits`; one more is refused with `quota_exceeded`.",
    )
    .takes::<NewWebhookBody>(json!({
        "url": "https://shop.example/hooks/stock", "events": ["level.adjusted", "stock.low"], "storeId": "london",
    }))
    .answers::<NewWebhookForm>(201, "The webhook.", CREATED, example::new_webhook())
    .refuses(&[QuotaExceeded])
}

pub fn webhook() -> Doc {
    Doc::read(
        "getWebhook",
        WEBHOOKS,
        "One webhook, without its secret, and how its deliveries stand. The `ETag` is that of what was set, for `If-Match`; \
         its deliveries go on without a new one, so there is no 304.",
    )
    .answers::<ShownWebhookForm>(200, "The webhook.", &["ETag"], example::shown_webhook())
    .refuses(&[NotFound])
}

pub fn replace_webhook() -> Doc {
    Doc::write(
        "replaceWebhook",
        WEBHOOKS,
        "Sets all that a webhook has, but for its secret, which stays unless a new one is given or asked for \
         (`rotateSecret`); for 24 hours both then sign. What is waiting to be tried again is tried at once. A webhook that \
         is enabled goes on where it was disabled.",
    )
    .takes::<WebhookBody>(json!({
        "url": "https://shop.example/hooks/stock", "events": ["level.adjusted", "stock.low"], "storeId": "london",
        "rotateSecret": true,
    }))
    .conditional()
    .answers::<NewWebhookForm>(200, "The webhook after it.", WRITTEN, example::changed_webhook())
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch])
}

pub fn delete_webhook() -> Doc {
    Doc::write(
        "deleteWebhook",
        WEBHOOKS,
        "Ends a webhook, with its dead letters. A delivery that is under way at this moment may still arrive.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch])
}

pub fn test_webhook() -> Doc {
    Doc::unrecorded(
        "testWebhook",
        WEBHOOKS,
        "Sends a delivery of type `webhook.test` at once and says what came back, also where the webhook is disabled. It \
         changes nothing, not even where it is answered 410, and is not tried again. A repeat sends another one, with a \
         `webhook-id` of its own, also under the same `Idempotency-Key`; receivers know it by its type.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<TestForm>(
        200,
        "What became of it.",
        &[],
        json!({"delivered": false, "status": 503, "durationMs": 12, "error": "answered 503"}),
    )
    .refuses(&[NotFound])
}

pub fn dead_letters() -> Doc {
    Doc::read(
        "listDeadLetters",
        WEBHOOKS,
        "The events of which every attempt to deliver them has failed, in the order of the log. The newest 1000 are kept; \
         each can be read by its `seq` at `/api/events`.",
    )
    .query(webhooks::LIST)
    .lists::<DeadLetterForm>("A page of dead letters.", example::dead_letter())
    .refuses(&[NotFound])
}

pub fn redeliver_dead_letters() -> Doc {
    Doc::unrecorded(
        "redeliverDeadLetters",
        WEBHOOKS,
        "Has dead letters sent once more, in turns with what is new: those with these `seqs`, or all of them. One that is \
         delivered leaves the list; one that fails stays there until it is asked for again, and the others wait, twice as \
         long after each one more that fails, until one is delivered or somebody asks again. A disabled webhook sends them \
         when it is enabled. To repeat it does no harm: what waits to be sent is not sent twice, and what has been delivered has \
         left the list (with `seqs`, it is then 404). A receiver knows a delivery that comes again by its `webhook-id`.",
    )
    .takes::<RedeliverBody>(json!({"seqs": [42]}))
    .or_nothing()
    .answers::<RedeliveryForm>(202, "They are about to be sent.", &[], json!({"redelivering": 1}))
    .refuses(&[NotFound])
}
