//! Service tokens: made, shown and revoked.

use anyhow::{Context, ensure};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::place::{At, Place, read, rows, with, write};
use super::{RoleArgs, told};
use crate::actors::new_id;
use crate::cli::folder::Folder;
use crate::credentials::service;
use crate::domain::account::{AccountName, Role, ServiceToken};
use crate::domain::{Entry, EntryKey, EventKind, StoreId, Timestamp};
use crate::journal::EntryKind;

/// A service token as it is shown here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    name: AccountName,
    role: Role,
    /// Null where it works in all of them.
    stores: Option<Vec<StoreId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// What the machine sends; only of one that has just been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub async fn add(
    name: &AccountName,
    role: &RoleArgs,
    expires_at: Option<Timestamp>,
    place: &Place,
) -> anyhow::Result<()> {
    let stores = role.fitting_stores()?;
    let row: Row = match place.reach_or_make().await? {
        At::Service(mut service) => {
            let body = json!({"name": name, "role": role.role});
            let body = with(body, "stores", stores.map(|stores| json!(stores)));
            let body = with(body, "expiresAt", expires_at.map(|at| json!(at)));
            service.write(Method::POST, "/api/tokens", body).await?
        }
        At::Folder(folder) => issue(folder, name, role.role, stores, expires_at).await?,
    };
    // A person gets the token alone, so that it can be read into a variable.
    let token = row.token.as_deref().context("the answer of the service has no token")?;
    place.tell(&row, token)
}

pub async fn list(place: &Place) -> anyhow::Result<()> {
    let rows: Vec<Row> = match place.reach().await? {
        At::Service(mut service) => service.read("/api/tokens").await?,
        At::Folder(folder) => read(folder, EntryKind::Token, |entry| entry.as_token().map(Row::of)).await?,
    };
    place.tell_all(&rows, Row::line)
}

/// The token of this id, or the one of this name.
pub async fn revoke(which: &str, place: &Place) -> anyhow::Result<()> {
    let (id, name) = match place.reach().await? {
        At::Service(mut service) => {
            let rows: Vec<Row> = service.read("/api/tokens").await?;
            let Row { id, name, .. } = Row::chosen(rows, which)?;
            drop(
                service
                    .send(Method::DELETE, &format!("/api/tokens/{id}"), Value::Null)
                    .await?,
            );
            (id, name)
        }
        At::Folder(folder) => {
            let rows = rows(&folder, EntryKind::Token, |entry| entry.as_token().map(Row::of)).await?;
            let Row { id, name, .. } = Row::chosen(rows, which)?;
            let revoked = write(folder, EntryKey::Token(id.as_str().into()), |_, _, _| {
                Ok((EventKind::TokenRevoked, None))
            });
            revoked.await?;
            (id, name)
        }
    };
    let form = json!({"id": id, "revoked": true});
    place.tell(&form, format_args!("{id} ({name}) is revoked"))
}

async fn issue(
    folder: Folder,
    name: &AccountName,
    role: Role,
    stores: Option<Vec<StoreId>>,
    expires_at: Option<Timestamp>,
) -> anyhow::Result<Row> {
    ServiceToken::principal_of(name)
        .ok()
        .context("the name must have at most 58 characters")?;
    let id = new_id().to_string();
    let (shown, secret) = service::issue(&id)?;
    let created_by = folder.origin.by.clone();
    let mut row = None;
    let made = write(folder, EntryKey::Token(id.as_str().into()), |_, _, now| {
        ensure!(
            expires_at.is_none_or(|at| at > now),
            "--expires-at must be a moment to come"
        );
        let token = ServiceToken {
            id: id.as_str().into(),
            name: name.clone(),
            secret,
            role,
            stores,
            expires_at,
            created_at: now,
            created_by,
        };
        row = Some(Row::of(&token));
        Ok((EventKind::TokenCreated, Some(Entry::Token(token.into()))))
    });
    made.await?;
    let token = Some(shown.expose().to_owned());
    Ok(Row {
        token,
        ..row.context("nothing was decided")?
    })
}

impl Row {
    fn of(token: &ServiceToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            role: token.role,
            stores: token.stores.clone(),
            expires_at: token.expires_at,
            token: None,
        }
    }

    /// An id is nobody's name: it says which, whatever the others are called.
    fn chosen(mut rows: Vec<Self>, which: &str) -> anyhow::Result<Self> {
        if let Some(at) = rows.iter().position(|row| row.id == which) {
            return Ok(rows.swap_remove(at));
        }
        rows.retain(|row| row.name.as_str() == which);
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        ensure!(
            ids.len() < 2,
            "{} service tokens have the name {which:?}; say which by its id: {}",
            ids.len(),
            ids.join(", ")
        );
        rows.pop().with_context(|| {
            format!(
                "there is no service token with the id or name {which:?}; `holdfast user token list` shows all of them"
            )
        })
    }

    fn line(&self) -> String {
        let (role, stores) = (self.role.as_str(), told(self.stores.as_deref()));
        let end = self.expires_at.map(|at| format!("  (until {at})")).unwrap_or_default();
        format!("{}  {}  {role}  {stores}{end}", self.id, self.name)
    }
}
