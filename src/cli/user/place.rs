//! Where users and service tokens are kept: in a data folder that nobody else has, or with a running service.

use std::fmt::Display;
use std::sync::Arc;

use anyhow::{Context, ensure};
use hyper::body::Bytes;
use hyper::{Method, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actors::entries::{EntryWrite, first};
use crate::cli::client::{Call, Client, Service};
use crate::cli::folder::Folder;
use crate::cli::target::Target;
use crate::domain::{Entry, EntryKey, EventKind, Timestamp};
use crate::journal::file;
use crate::journal::{Append, EntryKind, Journal, Record};

#[derive(clap::Args, Debug)]
pub struct Place {
    #[command(flatten)]
    target: Target,
}

pub enum At {
    Folder(Folder),
    Service(Remote),
}

impl Place {
    /// A folder that must be there already, or a service.
    pub async fn reach(&self) -> anyhow::Result<At> {
        self.reach_or(|| Folder::open_existing(&self.target.data)).await
    }

    /// The same, where the folder is made if there is none.
    pub async fn reach_or_make(&self) -> anyhow::Result<At> {
        self.reach_or(|| Folder::open(&self.target.data.data_dir)).await
    }

    /// Who finds the folder taken by a service goes through that: it has said in the folder where it is reached, so that it
    /// can be no other.
    async fn reach_or(&self, open: impl FnOnce() -> anyhow::Result<Folder>) -> anyhow::Result<At> {
        let url = match &self.target.url {
            Some(url) => url.clone(),
            None => match open() {
                Ok(folder) => return Ok(At::Folder(folder)),
                Err(refused) => file::served_at(&self.target.data.data_dir).ok_or(refused)?,
            },
        };
        Ok(At::Service(Remote::reach(&url).await?))
    }

    /// Says what came of it: to a program all of it, to a person a sentence.
    pub fn tell(&self, form: &impl Serialize, sentence: impl Display) -> anyhow::Result<()> {
        match self.target.json {
            true => println!("{}", serde_json::to_string(form)?),
            false => println!("{sentence}"),
        }
        Ok(())
    }

    /// The same of a list, with a line for each row.
    pub fn tell_all<T: Serialize>(&self, rows: &[T], line: impl Fn(&T) -> String) -> anyhow::Result<()> {
        match self.target.json {
            true => println!("{}", serde_json::to_string(rows)?),
            false => rows.iter().for_each(|row| println!("{}", line(row))),
        }
        Ok(())
    }
}

/// Writes what `decide` makes of an entry and of whether there is another admin, and leaves the folder. Nobody else has it.
pub async fn write(
    mut folder: Folder,
    key: EntryKey,
    decide: impl FnOnce(Option<&Entry>, bool, Timestamp) -> anyhow::Result<(EventKind, Option<Entry>)>,
) -> anyhow::Result<()> {
    let now = folder.now();
    let write = EntryWrite {
        key,
        origin: folder.origin.clone(),
        keyed: None,
    };
    let journal = &folder.journal;
    let (found, version) = (
        journal.entry(&write.key).await?,
        journal.entry_version(&write.key).await?,
    );
    let is_other = |key: &EntryKey, entry: &Entry| *key != write.key && entry.governs();
    let other = first(journal, EntryKind::User, is_other).await?;
    let (kind, after) = decide(found.as_ref().map(|view| &view.entry), other.is_some(), now)?;
    let event = write.event(kind, after, version + 1, now);
    let append = Append {
        entry_grounds: vec![(write.key, version)],
        records: vec![Record {
            event: event.into(),
            receipt: None,
        }],
        ..Append::default()
    };
    journal.append(append).await.context("it could not be written")?;
    folder.close()
}

/// All entries of a kind, of which `row` makes something; leaves the folder.
pub async fn read<T>(folder: Folder, kind: EntryKind, row: impl Fn(&Entry) -> Option<T>) -> anyhow::Result<Vec<T>> {
    let rows = rows(&folder, kind, row).await?;
    folder.close()?;
    Ok(rows)
}

/// The same, for who goes on with the folder.
pub async fn rows<T>(folder: &Folder, kind: EntryKind, row: impl Fn(&Entry) -> Option<T>) -> anyhow::Result<Vec<T>> {
    let found = folder.journal.entries(kind, None, usize::MAX).await?;
    Ok(found.iter().filter_map(|(_, view)| row(&view.entry)).collect())
}

/// A running service.
pub struct Remote {
    service: Arc<Service>,
    client: Client,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl Remote {
    async fn reach(url: &str) -> anyhow::Result<Self> {
        let service = Arc::new(Service::parse(url)?);
        let client = service.reach().await.with_context(|| url.to_owned())?;
        Ok(Self { service, client })
    }

    /// What the service answers to a write of somebody.
    pub async fn write<T: DeserializeOwned>(&mut self, method: Method, route: &str, body: Value) -> anyhow::Result<T> {
        let answer = self.send(method, route, body).await?;
        serde_json::from_slice(&answer).context("the answer of the service is not as promised")
    }

    /// Once: what it came to if there is no answer, a look at the list tells.
    pub async fn send(&mut self, method: Method, route: &str, body: Value) -> anyhow::Result<Bytes> {
        let call = Call {
            method,
            uri: Uri::try_from(self.service.path(route))?,
            body: if body.is_null() {
                Bytes::new()
            } else {
                body.to_string().into()
            },
            key: None,
        };
        let answer = self.client.send(&call).await?;
        ensure!(
            answer.status.is_success(),
            "{}",
            self.client.refusal("the service refused it", &answer)
        );
        Ok(answer.body)
    }

    /// All rows of a list.
    pub async fn read<T: DeserializeOwned>(&mut self, list: &str) -> anyhow::Result<Vec<T>> {
        let (mut rows, mut route) = (Vec::new(), format!("{list}?limit=1000"));
        loop {
            let page = self.send(Method::GET, &route, Value::Null).await?;
            let page: Page<T> = serde_json::from_slice(&page).context("the list is not as promised")?;
            rows.extend(page.items);
            match page.next {
                Some(next) => route = format!("{list}?limit=1000&after={next}"),
                None => return Ok(rows),
            }
        }
    }
}

/// A body with a member more, if there is something to be said.
pub fn with(mut body: Value, name: &str, value: Option<Value>) -> Value {
    if let Some(value) = value {
        body[name] = value;
    }
    body
}
