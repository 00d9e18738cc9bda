//! Levels as the service shows them, and counts that stock them before a run.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode, Uri};
use indicatif::ProgressBar;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::cli::client::{Call, Client, Service};
use crate::cli::retry::{self, Patience};

/// A level's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelKey {
    pub store_id: String,
    pub sku: String,
}

/// A level as listed. Signed, so that a service that shows nonsense is caught comparing, not here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    #[serde(flatten)]
    pub key: LevelKey,
    pub quantity: i64,
    pub reserved: i64,
    pub available: i64,
}

/// A count to be put: so much is on hand from now on.
#[derive(Debug, PartialEq)]
pub struct Count {
    pub key: LevelKey,
    pub quantity: i64,
}

/// Every level of a store, page by page.
pub async fn list(
    client: &mut Client,
    service: &Service,
    patience: &Patience,
    store: &str,
) -> anyhow::Result<Vec<Level>> {
    let mut levels = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let call = Call::get(page_uri(service, store, after.as_deref())?);
        let answer = match patience.send(client, &call).await {
            Ok(answer) => answer,
            Err(gave_up) => bail!("cannot list store {store}: given up; {}", gave_up.last),
        };
        if answer.status == StatusCode::NOT_FOUND && after.is_none() {
            return Ok(levels); // The service may not know a store in which nothing was ever stocked.
        }
        ensure!(
            answer.status.is_success(),
            "cannot list store {store}: {}",
            retry::describe(&answer)
        );
        let page: Page = serde_json::from_slice(&answer.body)
            .with_context(|| format!("the list of store {store} is not as promised"))?;
        levels.extend(page.items);
        ensure!(
            page.next.is_none() || page.next != after,
            "the list of store {store} does not move on from its cursor"
        );
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(levels),
        }
    }
}

/// Puts the counts from many clients at once; all of them must succeed.
pub async fn put(
    service: &Arc<Service>,
    patience: &Arc<Patience>,
    clients: usize,
    run: &str,
    counts: Arc<[Count]>,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let (calls_service, calls_counts, run) = (service.clone(), counts.clone(), run.to_owned());
    let call_of = move |index: usize| count_call(&calls_service, &run, index, &calls_counts[index]);
    let outcome = retry::send_all(service, patience, clients, counts.len(), bar, call_of).await?;
    let Some(first) = outcome.failures.first() else {
        return Ok(());
    };
    let LevelKey { store_id, sku } = &counts[first.index].key;
    let status = first.status.map_or(String::new(), |status| format!("{status}: "));
    bail!(
        "{} of {} levels could not be stocked; the first, {sku} in {store_id}: {status}{}",
        counts.len() - (outcome.sent - outcome.failures.len()),
        counts.len(),
        first.detail
    )
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Level>,
    next: Option<String>,
}

fn page_uri(service: &Service, store: &str, after: Option<&str>) -> anyhow::Result<Uri> {
    let mut path = format!("{}?limit=1000", service.store_path(store));
    if let Some(cursor) = after {
        path.push_str("&after=");
        path.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
    }
    Ok(Uri::try_from(path)?)
}

fn count_call(service: &Service, run: &str, index: usize, count: &Count) -> anyhow::Result<Call> {
    let path = service.level_path(&count.key.store_id, &count.key.sku);
    Ok(Call {
        method: Method::PUT,
        uri: Uri::try_from(path)?,
        body: Bytes::from(format!(r#"{{"quantity":{}}}"#, count.quantity)),
        key: Some(HeaderValue::try_from(format!("{run}-stock-{index}"))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_contract_is_read() {
        let page: Page = serde_json::from_str(
            r#"{"items":[{"sku":"85123a","storeId":"EIRE","quantity":7,"reserved":2,"available":5,
                "version":3,"updatedAt":"2026-01-01T00:00:00.000Z"}],"next":null}"#,
        )
        .unwrap();
        assert_eq!(page.items[0].key.sku, "85123a");
        assert_eq!(page.items[0].key.store_id, "EIRE");
        assert_eq!((page.items[0].quantity, page.next), (7, None));
    }

    #[test]
    fn a_cursor_is_encoded_into_the_query() {
        let service = Service::parse("http://localhost").unwrap();
        let uri = page_uri(&service, "EIRE", Some("a+b=&/")).unwrap();
        assert_eq!(uri.query(), Some("limit=1000&after=a%2Bb%3D%26%2F"));
    }

    #[test]
    fn a_count_carries_a_key_of_its_run() {
        let service = Service::parse("http://localhost").unwrap();
        let count = Count {
            key: LevelKey {
                store_id: "EIRE".into(),
                sku: "BANK CHARGES".into(),
            },
            quantity: 12,
        };
        let call = count_call(&service, "run", 3, &count).unwrap();
        assert_eq!(call.uri.path(), "/api/inventory/stores/EIRE/inventory/BANK%20CHARGES");
        assert_eq!(call.body, r#"{"quantity":12}"#);
        assert_eq!(call.key.unwrap(), "run-stock-3");
    }
}
