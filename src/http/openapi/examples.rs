//! Examples for the document: one small story, in which London has 85123A on its shelves.

use serde_json::{Value, json};

use super::common::WEBHOOK_ID;
use crate::http::metrics::forms::{
    ConcurrencyForm, InventoryForm, PersistenceForm, RequestsForm, SystemForm, WebhooksForm,
};
use crate::http::metrics::{BackgroundMetricsForm, MetricsHealthForm};

const AT: &str = "2025-11-27T08:26:00.123Z";
const CREATED: &str = "2025-11-27T08:00:00.000Z";
const RESERVATION: &str = "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a";

/// `members` over those of `base`.
fn with(mut base: Value, members: Value) -> Value {
    if let (Some(base), Value::Object(members)) = (base.as_object_mut(), members) {
        base.extend(members);
    }
    base
}

pub fn level() -> Value {
    json!({
        "sku": "85123A", "storeId": "london", "quantity": 10, "reserved": 3, "available": 7, "version": 2,
        "reorderPoint": 5, "updatedAt": AT,
    })
}

/// Just made.
pub fn new_level() -> Value {
    with(
        level(),
        json!({"reserved": 0, "available": 10, "version": 1, "seq": 40}),
    )
}

/// After what was reserved has been given back.
pub fn released_level() -> Value {
    with(
        level(),
        json!({"reserved": 0, "available": 10, "version": 3, "seq": 42}),
    )
}

/// After two were sold.
pub fn adjusted_level() -> Value {
    with(level(), json!({"quantity": 8, "available": 5, "version": 3, "seq": 44}))
}

pub fn counted_level() -> Value {
    with(level(), json!({"version": 3, "seq": 42}))
}

fn written_level() -> Value {
    with(level(), json!({"seq": 41}))
}

/// What a dry run answers instead.
pub fn rehearsed(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.remove("seq");
    }
    with(answer, json!({"dryRun": true}))
}

pub fn reservation() -> Value {
    json!({
        "reservationId": RESERVATION,
        "status": "active",
        "lines": [{
            "sku": "85123A", "storeId": "london", "quantity": 3, "held": 3, "committed": 0, "released": 0,
            "expired": 0,
        }],
        "reference": "cart-7",
        "expiresAt": "2025-11-27T08:36:00.123Z",
        "createdAt": AT,
        "updatedAt": AT,
    })
}

/// Two lines, one of them from another store.
pub fn cart() -> Value {
    let line = |sku: &str, store: &str, quantity: u64| {
        json!({
            "sku": sku, "storeId": store, "quantity": quantity, "held": quantity, "committed": 0, "released": 0,
            "expired": 0,
        })
    };
    with(
        reservation(),
        json!({"lines": [line("22423", "leeds", 1), line("85123A", "london", 3)]}),
    )
}

pub fn written_cart() -> Value {
    with(cart(), json!({"seq": 41}))
}

/// The cart with so much of each line as `member`, and nothing held.
pub fn resolved_cart(status: &str, member: &str) -> Value {
    let mut cart = with(
        cart(),
        json!({"status": status, "updatedAt": "2025-11-27T08:30:00.000Z", "seq": 42}),
    );
    for line in cart["lines"].as_array_mut().into_iter().flatten() {
        line[member] = line["quantity"].clone();
        line["held"] = 0.into();
    }
    cart
}

pub fn extended_cart() -> Value {
    with(cart(), json!({"expiresAt": "2025-11-27T08:56:00.123Z", "seq": 42}))
}

pub fn reserved_level() -> Value {
    with(written_level(), json!({"reservation": reservation()}))
}

pub fn item() -> Value {
    json!({
        "sku": "85123A",
        "name": "White hanging heart T-light holder",
        "price": {"amount": 295, "currency": "GBP"},
        "version": 2, "quantity": 10, "reserved": 3, "available": 7,
        "levels": [level()],
        "createdAt": CREATED,
        "updatedAt": AT,
    })
}

pub fn new_item() -> Value {
    let mut level = new_level();
    if let Some(members) = level.as_object_mut() {
        members.remove("seq");
        members.remove("reorderPoint");
    }
    with(
        item(),
        json!({"version": 1, "reserved": 0, "available": 10, "levels": [level], "seq": 40, "updatedAt": CREATED}),
    )
}

pub fn written_item() -> Value {
    with(item(), json!({"seq": 41}))
}

pub fn reserved_item() -> Value {
    with(written_item(), json!({"reservation": reservation()}))
}

pub fn product() -> Value {
    json!({
        "sku": "85123A",
        "name": "White hanging heart T-light holder",
        "price": {"amount": 275, "currency": "GBP"},
        "attributes": {"colour": "white", "grams": 120},
        "archived": false,
        "version": 2,
        "createdAt": CREATED,
        "updatedAt": AT,
    })
}

pub fn new_product() -> Value {
    with(
        product(),
        json!({"price": {"amount": 295, "currency": "GBP"}, "version": 1, "updatedAt": CREATED, "seq": 39}),
    )
}

pub fn written_product() -> Value {
    with(product(), json!({"seq": 45}))
}

pub fn store() -> Value {
    json!({
        "storeId": "london", "name": "London", "timeZone": "Europe/London", "version": 2, "createdAt": CREATED,
        "updatedAt": AT,
    })
}

pub fn new_store() -> Value {
    with(
        store(),
        json!({
            "name": "London, Carnaby Street", "location": "12 Carnaby Street, London", "syncIntervalSeconds": 900,
            "version": 1, "updatedAt": CREATED, "seq": 38,
        }),
    )
}

pub fn written_store() -> Value {
    with(store(), json!({"seq": 46}))
}

pub fn transfer() -> Value {
    json!({
        "from": with(level(), json!({"quantity": 6, "available": 3, "version": 3})),
        "to": {
            "sku": "85123A", "storeId": "leeds", "quantity": 4, "reserved": 0, "available": 4, "version": 1,
            "updatedAt": AT,
        },
        "seq": 42,
    })
}

pub fn batch() -> Value {
    json!({"results": [
        {"index": 0, "status": 200, "level": with(level(), json!({"version": 3})), "seq": 43},
        {
            "index": 1, "status": 409, "error": "insufficient_stock",
            "detail": "SKU \"22423\" in store \"london\" has 0 available (0 reserved), not 2.",
            "sku": "22423", "storeId": "london", "requested": 2, "available": 0, "reserved": 0,
        },
        with(transfer(), json!({"index": 2, "status": 200, "seq": 44})),
    ]})
}

pub fn push() -> Value {
    json!({
        "changed": [
            with(level(), json!({"version": 3, "variance": -1})),
            {
                "sku": "22423", "storeId": "london", "quantity": 4, "reserved": 0, "available": 4, "version": 1,
                "updatedAt": AT, "variance": 4,
            },
        ],
        "seq": 45,
    })
}

pub fn totals() -> Value {
    json!({
        "seq": 45,
        "at": AT,
        "central": {"skus": 2, "quantity": 18, "reserved": 3, "available": 15},
        "stores": [
            {"storeId": "leeds", "skus": 1, "quantity": 4, "reserved": 0, "available": 4, "updatedAt": CREATED},
            {"storeId": "london", "skus": 2, "quantity": 14, "reserved": 3, "available": 11, "updatedAt": AT},
        ],
    })
}

pub fn sync_status() -> Value {
    json!({
        "running": true, "intervalMs": 15000, "lastRunAt": AT, "lastDurationMs": 3, "runs": 7, "failures": 0, "seq": 45,
        "lagEvents": 2, "lagMs": 350,
        "overdueStores": [{"storeId": "leeds", "lastPushAt": CREATED, "syncIntervalSeconds": 900}],
    })
}

pub fn stopped_sync() -> Value {
    with(sync_status(), json!({"running": false}))
}

pub fn event() -> Value {
    json!({
        "seq": 41,
        "type": "reservation.created",
        "at": AT,
        "by": "anonymous",
        "requestId": "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6b",
        "reservationId": RESERVATION,
        "reference": "cart-7",
        "changes": [{
            "sku": "85123A", "storeId": "london", "delta": 0, "quantity": 10, "reserved": 3, "version": 2,
            "itemVersion": 2,
        }],
    })
}

pub fn cloud_event() -> Value {
    json!({
        "specversion": "1.0",
        "id": "41",
        "source": "/api/events",
        "type": "holdfast.reservation.created",
        "time": AT,
        "subject": RESERVATION,
        "datacontenttype": "application/json",
        "data": event(),
    })
}

pub fn stream() -> String {
    format!(
        "retry: 2000\nid: 40\n\nid: 41\nevent: reservation.created\ndata: {}\n\n:\n\n",
        event()
    )
}

pub fn movement() -> Value {
    json!({
        "seq": 44, "type": "SALE", "sku": "85123A", "storeId": "london", "delta": -2, "quantityAfter": 8, "at": AT,
        "by": "anonymous", "note": "invoice 536365",
    })
}

pub fn sales() -> Value {
    json!({
        "by": "day",
        "group": "level",
        "from": "2025-10-29T00:00:00.000Z",
        "to": "2025-11-27T23:59:59.999Z",
        "seq": 44,
        "total": {"sold": 6, "returned": 1, "net": 5},
        "items": [{
            "from": "2025-11-27T00:00:00.000Z", "sku": "85123A", "storeId": "london", "sold": 6, "returned": 1, "net": 5,
            "partial": true, "available": 7, "netPerDay": 2.5, "daysOfCover": 2.8,
            "observedSeconds": 172_800,
        }],
        "next": null,
    })
}

pub fn operation() -> Value {
    json!({
        "status": "completed", "answer": {"status": 201, "body": reserved_level()}, "seq": 41, "at": AT,
    })
}

pub fn login() -> Value {
    json!({
        "token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.…",
        "expiresAt": AT,
        "user": {"username": "anna", "role": "clerk", "stores": ["london"]},
    })
}

pub fn user() -> Value {
    json!({
        "username": "ben", "role": "clerk", "stores": ["london"], "disabled": false, "version": 1, "createdAt": AT,
        "updatedAt": AT,
    })
}

pub fn service_token() -> Value {
    json!({
        "id": "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6c", "name": "till-7", "role": "clerk", "stores": ["london"],
        "version": 1, "createdAt": AT, "createdBy": "anna",
    })
}

pub fn new_service_token() -> Value {
    with(
        service_token(),
        json!({"token": "hf_01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6c_…"}),
    )
}

pub fn webhook() -> Value {
    json!({
        "id": WEBHOOK_ID, "url": "https://shop.example/hooks/stock", "events": ["level.adjusted", "stock.low"],
        "storeId": "london", "disabled": false, "version": 1, "createdAt": AT, "createdBy": "anna", "updatedAt": AT,
    })
}

pub fn new_webhook() -> Value {
    with(webhook(), json!({"secret": "whsec_…"}))
}

pub fn changed_webhook() -> Value {
    with(
        webhook(),
        json!({"version": 2, "previousSecretUntil": "2025-11-28T08:26:00.123Z"}),
    )
}

/// One whose receiver is down at the moment.
pub fn shown_webhook() -> Value {
    with(
        webhook(),
        json!({"delivery": {
            "status": "retrying", "seq": 41, "lag": 3, "delivered": 17, "failedAttempts": 2, "consecutiveFailures": 2,
            "nextAttemptAt": "2025-11-27T08:30:04.123Z", "lastSuccessAt": AT,
            "lastError": {"at": "2025-11-27T08:30:02.123Z", "message": "answered 503"},
            "deadLetters": 0, "droppedDeadLetters": 0,
        }}),
    )
}

pub fn dead_letter() -> Value {
    json!({
        "seq": 42, "type": "stock.low", "attempts": 36, "lastError": {"at": AT, "message": "answered 500"},
        "redelivering": false,
    })
}

pub fn health() -> Value {
    json!({"status": "ok", "uptimeSeconds": 3600, "timestamp": AT, "version": env!("CARGO_PKG_VERSION")})
}

pub fn job() -> Value {
    json!({
        "jobId": super::common::JOB_ID, "kind": "import", "status": "succeeded", "dryRun": false, "lines": 2, "imported": 1,
        "failedLines": 1, "totalBytes": 51, "readBytes": 51, "percent": 100, "by": "anna", "createdAt": CREATED,
        "startedAt": CREATED, "finishedAt": AT,
    })
}

pub fn queued_job() -> Value {
    let mut job = with(
        job(),
        json!({"status": "queued", "lines": 0, "imported": 0, "failedLines": 0, "readBytes": 0, "percent": 0}),
    );
    if let Some(members) = job.as_object_mut() {
        members.retain(|name, _| !["startedAt", "finishedAt"].contains(&name.as_str()));
    }
    job
}

/// A page that is the last one.
pub fn page(row: Value) -> Value {
    json!({"items": [row], "next": null})
}

/// As a service that has just been started shows itself.
pub fn metrics() -> Value {
    json!({
        "timestamp": "2025-11-27T08:26:00.123Z",
        "requests": RequestsForm::default(),
        "inventory": InventoryForm::default(),
        "concurrency": ConcurrencyForm::default(),
        "persistence": PersistenceForm::default(),
        "background": BackgroundMetricsForm::default(),
        "system": SystemForm::default(),
        "limits": limits(),
        "webhooks": WebhooksForm::default(),
        "health": MetricsHealthForm::default(),
    })
}

pub fn limits() -> Value {
    json!({
        "since": "2025-11-27T08:26:00.123Z",
        "settings": {
            "maxConnections": 10_000, "maxConnectionsPerAddress": 0, "headSeconds": 10, "bodySeconds": 30, "answerSeconds": 30,
            "keepAliveSeconds": 75, "maxBodyBytes": 4_194_304, "maxImportBytes": 4_294_967_296_u64, "maxOpenHolds": 100_000, "maxWebhooks": 1000,
            "ratePerPrincipal": 0, "ratePerAddress": 0, "loginRate": 10, "trustedProxies": [],
        },
        "fixed": {"jsonDepth": 32, "headBytes": 131_072, "headFields": 96, "batchOperations": 10_000},
        "openConnections": 1,
        "connections": 1,
        "refused": {
            "rateLimited": 0, "tooLarge": 0, "headTooLarge": 0, "tooSlow": 0, "connections": 0, "quota": 0, "overloaded": 0,
            "malformed": 0,
        },
    })
}
