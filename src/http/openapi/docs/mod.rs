//! What each operation does, for whoever calls it: a file per tag (imports have one of their own), a function per operation.

mod access;
mod catalogue;
mod documents;
mod health;
mod history;
mod imports;
mod items;
mod levels;
mod many;
mod metrics;
mod reservations;
mod sync;
mod webhooks;

pub use access::*;
pub use catalogue::*;
pub use documents::*;
pub use health::*;
pub use history::*;
pub use imports::*;
pub use items::*;
pub use levels::*;
pub use many::*;
pub use metrics::*;
pub use reservations::*;
pub use sync::*;
pub use webhooks::*;

pub const LEVELS: &str = "Levels";
pub const ITEMS: &str = "Items";
pub const RESERVATIONS: &str = "Reservations";
pub const MANY: &str = "Many at once";
pub const CATALOGUE: &str = "Catalogue";
pub const SYNC: &str = "Sync";
pub const HISTORY: &str = "History";
pub const ACCESS: &str = "Access";
pub const WEBHOOKS: &str = "Webhooks";
pub const HEALTH: &str = "Health";
pub const METRICS: &str = "Metrics";
pub const DOCUMENTS: &str = "Documents";
pub const NODE: &str = "Node services";

/// The tags in the order in which a newcomer reads them.
pub const TAGS: [(&str, &str); 13] = [
    (LEVELS, "The stock of one SKU in one store: count it, move it, hold it."),
    (
        ITEMS,
        "One SKU over all stores, with its name, its price and its totals.",
    ),
    (
        RESERVATIONS,
        "What is held for somebody: a cart over any SKUs and stores, until it is sold, given back or over.",
    ),
    (MANY, "Writes that touch more than one level."),
    (
        CATALOGUE,
        "What there is to be stocked, and where. Stock needs no entry here first, unless the service is told to be strict.",
    ),
    (
        SYNC,
        "What all stores have together, as of the last sync, and the counts that stores report.",
    ),
    (HISTORY, "What happened, when and why; and what became of a write."),
    (
        ACCESS,
        "Who may do what: logging in, users, and the service tokens of machines.",
    ),
    (
        WEBHOOKS,
        "Events that are sent to you: a `POST` per event, signed as Standard Webhooks says, in order, at least once. Its body \
         is `{type, timestamp, data}`, where `data` is the event as `/api/events` shows it; its headers are `webhook-id` \
         (the same however often it is sent, and of no other event, not even of one that has its `seq` after a backup was \
         restored: ignore one that you have seen), `webhook-timestamp` and `webhook-signature`. Answer 2xx quickly; anything \
         else is tried again, after waits that grow, and 410 disables the webhook.",
    ),
    (HEALTH, "For load balancers and operators."),
    (METRICS, "How the service does, for operators and Prometheus."),
    (DOCUMENTS, "What you are reading."),
    (
        NODE,
        "For clients of the Node services that this one replaces: their routes, their forms. A new client is better off with \
         those above.",
    ),
];

/// Of a write that keeps its resource's version.
const WRITTEN: &[&str] = &["ETag", "Idempotency-Replayed"];
const CREATED: &[&str] = &["ETag", "Idempotency-Replayed", "Location"];
/// Of a write of what has no version.
const DONE: &[&str] = &["Idempotency-Replayed"];
const DONE_MINIMAL: &[&str] = &["Idempotency-Replayed", "Preference-Applied"];
const MINIMAL: &[&str] = &["ETag", "Idempotency-Replayed", "Preference-Applied"];
