//! Bulk loads, and the jobs that they become.

use serde_json::{Value, json};

use super::MANY;
use crate::http::imports::IMPORT;
use crate::http::jobs::{self, JobForm};
use crate::http::openapi::doc::{Content, Doc};
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{InUse, NotFound, QuotaExceeded};
use crate::http::write::BareBody;

const CSV_LINES: &str = "sku,storeId,quantity\n85123A,london,10\n22423,london,few\n";
const NDJSON_LINES: &str = "{\"sku\": \"85123A\", \"storeId\": \"london\", \"quantity\": 10}\n";
const CSV_ERRORS: &str = "line,column,message\n3,quantity,\"\"\"few\"\" is not a whole number\"\n";
const NDJSON_ERRORS: &str =
    "{\"line\": 3, \"column\": \"quantity\", \"message\": \"\\\"few\\\" is not a whole number\"}\n";

pub fn create_import() -> Doc {
    Doc::write(
        "createImport",
        MANY,
        "Brings stock in from a file: each line counts the level of one SKU in one store, and may name, describe and price \
         it. Columns (CSV, with a header line; comma, semicolon or tab) or members (NDJSON): `sku` and `quantity`; \
         `storeId`, `name`, `description`, `price` (an integer in minor units) with `currency`, `reorderPoint`. What an \
         export of stock has beside these is passed over. The body comes as it is or as gzip, of any length that the \
         operator allows, and is answered at once: the lines are brought in by a job, which also a restart of the service \
         does not end, and which brings no line in twice. What is wrong with a line leaves the others in. Where callers must \
         log in, up to 4 bodies of one principal may be coming in at a time.",
    )
    .query(IMPORT)
    .takes_content(Content::text("text/csv", CSV_LINES))
    .takes_content(Content::text("application/x-ndjson", NDJSON_LINES))
    .answers::<JobForm>(
        202,
        "The body has come whole, and its job waits.",
        &["Location", "Idempotency-Replayed", "Preference-Applied"],
        example::queued_job(),
    )
    .refuses(&[QuotaExceeded])
}

pub fn jobs() -> Doc {
    Doc::read(
        "listJobs",
        MANY,
        "Imports, the newest first. Those that are over are kept for 7 days, and 100 of them.",
    )
    .query(jobs::LIST)
    .lists::<JobForm>("A page of jobs.", example::job())
}

pub fn job() -> Doc {
    Doc::read(
        "getJob",
        MANY,
        "How far an import has come. Ask again while it is `queued` or `running`.",
    )
    .answers::<JobForm>(200, "The job.", &[], example::job())
    .refuses(&[NotFound])
}

pub fn delete_job() -> Doc {
    Doc::unrecorded(
        "deleteJob",
        MANY,
        "Takes an import that is over out of the list, with its errors; the stock stays as it is. To repeat it does no harm: \
         it is then 404, also under the same key.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers_with(204, "It is gone.", &[], Vec::new())
    .refuses(&[NotFound, InUse])
}

pub fn job_errors() -> Doc {
    Doc::read(
        "listJobErrors",
        MANY,
        "The lines that were refused so far, in their order: the number of the line, the column where it is about one, and \
         what is wrong, as NDJSON or (`?format=csv`) CSV.",
    )
    .query(jobs::ERRORS)
    .answers_with(
        200,
        "The list, as a file.",
        &["Content-Disposition"],
        vec![
            Content::text("application/x-ndjson", NDJSON_ERRORS),
            Content::text("text/csv; charset=utf-8", CSV_ERRORS),
        ],
    )
    .refuses(&[NotFound])
}

pub fn cancel_job() -> Doc {
    Doc::unrecorded(
        "cancelJob",
        MANY,
        "Stops an import as soon as the lines under way are in: what is in stays in, and what is not is not imported. One \
         that is over stays as it is. The answer says how it ended; it is `running` only where storage keeps it from \
         stopping at once. To repeat it does no harm, and is answered with the job as it stands by then.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<JobForm>(200, "The job as it stands.", &[], with_status("cancelled"))
    .refuses(&[NotFound])
}

fn with_status(status: &str) -> Value {
    let mut job = example::job();
    job["status"] = status.into();
    job
}
