//! Rows from a running service, page by page over its lists.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::What;
use super::output::Output;
use super::stock::ItemForm;
use crate::cli::client::{Call, Client, Service};
use crate::cli::retry::{GaveUp, Patience};

const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

pub async fn export(url: &str, what: What, output: &mut Output) -> anyhow::Result<()> {
    let service = Arc::new(Service::parse(url)?);
    let mut client = service.reach().await.with_context(|| url.to_owned())?;
    let (mut after, mut end) = (None, None);
    loop {
        let page = page(&mut client, &service, what, after.as_deref()).await?;
        // The log grows while it is read: what comes after this moment is for the next export.
        end = end.or(page.end);
        for row in &page.items {
            if let Some(end) = end
                && place_of(row)? > end
            {
                return Ok(());
            }
            write(what, row, output)?;
        }
        ensure!(
            page.next.is_none() || page.next != after,
            "the list of {} does not move on from its cursor",
            what.name()
        );
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// As it came, but for stock, whose items have a row for each of their levels.
fn write(what: What, row: &RawValue, output: &mut Output) -> anyhow::Result<()> {
    match what {
        What::Events | What::Movements => output.write(row),
        What::Stock => {
            let item: ItemForm = serde_json::from_str(row.get()).context("an item is not as promised")?;
            item.rows().try_for_each(|row| output.write(&row))
        }
    }
}

fn place_of(event: &RawValue) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Event {
        seq: u64,
    }
    let event: Event = serde_json::from_str(event.get()).context("an event is not as promised")?;
    Ok(event.seq)
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    /// Of events: the end of the log.
    end: Option<u64>,
}

async fn page(client: &mut Client, service: &Service, what: What, after: Option<&str>) -> anyhow::Result<Page> {
    let list = match what {
        What::Stock => "/api/inventory/items",
        What::Events => "/api/events",
        What::Movements => "/api/movements",
    };
    let mut path = service.path(list) + "?limit=1000";
    if let Some(cursor) = after {
        path.push_str("&after=");
        path.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
    }
    let call = Call::get(Uri::try_from(path)?);
    match Patience::new(GIVE_UP_AFTER).send(client, &call).await {
        Ok(answer) if answer.status.is_success() => {
            serde_json::from_slice(&answer.body).with_context(|| format!("the answer of {list} is not as promised"))
        }
        Ok(answer) => bail!(client.refusal(&format!("cannot list {}", what.name()), &answer)),
        Err(GaveUp { last }) => bail!("given up after {} s: {last}", GIVE_UP_AFTER.as_secs()),
    }
}
