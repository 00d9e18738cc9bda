//! What a run has sold, by the service's own movements: its books as an auditor reads them.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use super::read;
use super::stock::LevelKey;
use crate::cli::client::{Client, Service};
use crate::cli::retry::Patience;

/// The last sequence of the log at present.
pub async fn end_of_log(client: &mut Client, service: &Service, patience: &Patience) -> anyhow::Result<u64> {
    let path = service.path("/api/events?limit=1");
    let log: Option<Log> = read::one(client, patience, &path).await?;
    Ok(log.with_context(|| format!("{path} is not there"))?.end)
}

/// How many units of each level the sales behind `after` add up to, of those whose reference begins with
/// `prefix`: others may sell from the same levels meanwhile.
pub async fn sold(
    client: &mut Client,
    service: &Service,
    patience: &Patience,
    prefix: &str,
    after: u64,
) -> anyhow::Result<BTreeMap<LevelKey, i64>> {
    let mut sold = BTreeMap::new();
    let path = service.path("/api/movements?type=SALE&limit=1000");
    read::list(client, patience, &path, |movement: Movement| {
        let is_newer = movement.seq > after;
        if is_newer && movement.is_of(prefix) {
            *sold.entry(movement.key).or_default() -= movement.delta;
        }
        is_newer // The list is newest first.
    })
    .await?;
    Ok(sold)
}

#[derive(Deserialize)]
struct Log {
    end: u64,
}

#[derive(Deserialize)]
struct Movement {
    seq: u64,
    #[serde(flatten)]
    key: LevelKey,
    delta: i64,
    reference: Option<String>,
}

impl Movement {
    fn is_of(&self, prefix: &str) -> bool {
        self.reference
            .as_deref()
            .is_some_and(|reference| reference.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_movement_is_told_by_its_reference() {
        let movement = |reference: &str| -> Movement {
            serde_json::from_str(&format!(
                r#"{{"seq":7,"type":"SALE","sku":"A","storeId":"EIRE","delta":-2,"quantityAfter":1,
                    "at":"2026-01-01T00:00:00.000Z","by":"anonymous"{reference}}}"#
            ))
            .unwrap()
        };
        assert!(movement(r#","reference":"run-536365""#).is_of("run-"));
        assert!(!movement(r#","reference":"run2-536365""#).is_of("run-"));
        assert!(!movement("").is_of("run-"));
        assert_eq!((movement("").seq, movement("").delta), (7, -2));
    }
}
