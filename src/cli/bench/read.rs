//! Reading from the service with patience: one resource, or a list page by page.

use anyhow::{Context, bail, ensure};
use hyper::{StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::client::{Call, Client};
use crate::cli::retry::Patience;

/// What is at a path; nothing where the service knows nothing there.
pub async fn one<T: DeserializeOwned>(
    client: &mut Client,
    patience: &Patience,
    path: &str,
) -> anyhow::Result<Option<T>> {
    let answer = match patience.send(client, &Call::get(Uri::try_from(path)?)).await {
        Ok(answer) => answer,
        Err(gave_up) => bail!("cannot read {path}: given up; {}", gave_up.last),
    };
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    ensure!(
        answer.status.is_success(),
        "{}",
        client.refusal(&format!("cannot read {path}"), &answer)
    );
    let read = serde_json::from_slice(&answer.body);
    Ok(Some(read.with_context(|| format!("{path} is not as promised"))?))
}

/// Hands the rows of a list to `take` until that has seen enough. The path has a query already. A list
/// that the service does not know, as that of a store in which nothing was ever stocked, has no rows.
pub async fn list<T: DeserializeOwned>(
    client: &mut Client,
    patience: &Patience,
    path: &str,
    mut take: impl FnMut(T) -> bool,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let from = page_path(path, after.as_deref());
        let Some(page) = one::<Page<T>>(client, patience, &from).await? else {
            ensure!(after.is_none(), "{path} ends with a page that is not there");
            return Ok(());
        };
        for row in page.items {
            if !take(row) {
                return Ok(());
            }
        }
        ensure!(
            page.next.is_none() || page.next != after,
            "{path} does not move on from its cursor"
        );
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

fn page_path(path: &str, after: Option<&str>) -> String {
    let mut path = path.to_owned();
    if let Some(cursor) = after {
        path.push_str("&after=");
        path.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_contract_is_read() {
        let page: Page<u64> = serde_json::from_str(r#"{"items":[1,2],"next":null}"#).unwrap();
        assert_eq!((page.items, page.next), (vec![1, 2], None));
    }

    #[test]
    fn a_cursor_is_encoded_into_the_query() {
        assert_eq!(page_path("/list?limit=1", None), "/list?limit=1");
        assert_eq!(
            page_path("/list?limit=1", Some("a+b=&/")),
            "/list?limit=1&after=a%2Bb%3D%26%2F"
        );
    }
}
