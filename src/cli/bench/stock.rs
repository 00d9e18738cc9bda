//! Levels as the service shows them, and counts that stock them before a run.

use std::sync::Arc;

use anyhow::bail;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::read;
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

/// Every level of a store.
pub async fn list(
    client: &mut Client,
    service: &Service,
    patience: &Patience,
    store: &str,
) -> anyhow::Result<Vec<Level>> {
    let mut levels = Vec::new();
    let path = format!("{}?limit=1000", service.store_path(store));
    read::list(client, patience, &path, |level| {
        levels.push(level);
        true
    })
    .await?;
    Ok(levels)
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
    let outcome = retry::send_all(service, patience, clients, counts.len(), bar, call_of, |_, _| Ok(None)).await?;
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
    fn a_level_of_the_contract_is_read() {
        let level: Level = serde_json::from_str(
            r#"{"sku":"85123a","storeId":"EIRE","quantity":7,"reserved":2,"available":5,
                "version":3,"updatedAt":"2026-01-01T00:00:00.000Z"}"#,
        )
        .unwrap();
        assert_eq!(
            (level.key.sku.as_str(), level.key.store_id.as_str()),
            ("85123a", "EIRE")
        );
        assert_eq!((level.quantity, level.reserved, level.available), (7, 2, 5));
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
