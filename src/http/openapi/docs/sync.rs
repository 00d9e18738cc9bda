//! Totals over stores, when they are made, and the counts that stores report.

use serde_json::json;

use super::{DONE, SYNC};
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{BelowReserved, QuantityLimit};
use crate::http::sync::{CountBody, PushForm, StartBody, StatusForm, TotalsForm};
use crate::http::write::BareBody;

pub fn push_counts() -> Doc {
    let doc = Doc::write(
        "pushCounts",
        SYNC,
        "A store reports what it has counted: every count takes effect, or, if one is refused, none; in one step and one \
         event. Up to 10,000 counts. A level is made where there is none. With `countedAt` a count may lie back up to 24 \
         hours: what was sold or came in since then stays counted, so the new quantity is the count plus the movements \
         after it. `variance` is what was counted less what the books had for that moment: below 0 something is missing. \
         Of two counts of the same SKU and store the later one counts. A store that pushes is not overdue. A refusal \
         lists in `operations` each count that was refused; a line that does not fit is named by its place, as \
         `[3].quantity`.",
    )
    .takes::<Vec<CountBody>>(json!([
        {"sku": "85123A", "storeId": "london", "quantity": 10},
        {"sku": "22423", "storeId": "london", "quantity": 4},
    ]))
    .answers::<PushForm>(200, "The levels after it, each once.", DONE, example::push())
    .refuses(&[BelowReserved, QuantityLimit]);
    told_in_full(doc)
}

pub fn sync_totals() -> Doc {
    Doc::read(
        "getSyncTotals",
        SYNC,
        "What is on hand and reserved in each store and in all, as of the last sync: all events up to `seq` are in it, \
         and none behind. Whoever sees some stores only is shown those, and their sum as `central`. Sums are exact \
         integers and may pass 2^53.",
    )
    .answers::<TotalsForm>(200, "The totals.", &[], example::totals())
}

pub fn sync_status() -> Doc {
    Doc::read(
        "getSyncStatus",
        SYNC,
        "Whether the sync runs by itself, how its last run went, how far the totals are behind the log, and which stores \
         have not pushed their counts for as long as their `syncIntervalSeconds`.",
    )
    .answers::<StatusForm>(200, "How the sync stands.", &[], example::sync_status())
}

pub fn run_sync() -> Doc {
    Doc::unrecorded(
        "runSync",
        SYNC,
        "Brings the totals up to date with all that was recorded before, and answers when that is done. Two runs never \
         go on at once: who asks while one is under way waits for the next, with all others who do. A run that fails is \
         answered as well: `lastError` says why. To repeat it does no harm: it runs again, also under the same key, which \
         changes nothing twice.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands after it.", &[], example::sync_status())
}

pub fn start_sync() -> Doc {
    told_in_full(Doc::write(
        "startSync",
        SYNC,
        "Has the sync run by itself from now on, also after a restart. The first run begins at once, unless the last was \
         shorter ago than `intervalMs`. After failures it tries again twice as late each time, up to a minute, or to \
         `intervalMs` where that is longer. Without `intervalMs` it is every 15000 ms, whatever it was before. This takes \
         the place of the setting with which the service was started.",
    ))
    .takes::<StartBody>(json!({"intervalMs": 15000}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands with it.", DONE, example::sync_status())
}

pub fn stop_sync() -> Doc {
    told_in_full(Doc::write(
        "stopSync",
        SYNC,
        "Has the sync run only when it is asked to, also after a restart. A run that is under way goes on to its end.",
    ))
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands with it.", DONE, example::stopped_sync())
}

/// Its answer has nothing to be left out.
pub(super) fn told_in_full(mut doc: Doc) -> Doc {
    doc.headers.retain(|name| *name != "Prefer");
    doc
}
