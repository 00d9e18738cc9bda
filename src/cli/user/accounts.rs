//! Users: made, shown, changed and deleted.

use std::io::{IsTerminal, stdin};

use anyhow::{Context, anyhow, ensure};
use console::Term;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::place::{At, Place, read, with, write};
use super::{RoleArgs, of_stores, told};
use crate::credentials::{Secret, password};
use crate::domain::account::{AccountName, Role, StoresChange, User, UserChange};
use crate::domain::{Entry, EntryKey, EventKind, StoreId};
use crate::journal::EntryKind;

/// A user as it is shown here.
#[derive(Serialize, Deserialize)]
struct Row {
    username: AccountName,
    role: Role,
    /// Null where it works in all of them.
    stores: Option<Vec<StoreId>>,
    disabled: bool,
}

pub async fn add(name: &AccountName, role: &RoleArgs, place: &Place) -> anyhow::Result<()> {
    let stores = role.fitting_stores()?;
    let password = ask_password(name)?;
    let row: Row = match place.reach_or_make().await? {
        At::Service(mut service) => {
            let body = json!({"username": name, "password": password.expose(), "role": role.role});
            let body = with(body, "stores", stores.map(|stores| json!(stores)));
            service.write(Method::POST, "/api/auth/register", body).await?
        }
        At::Folder(folder) => {
            let hash = password::hash(&password)?;
            let mut row = None;
            let made = write(folder, EntryKey::User(name.clone()), |found, _, now| {
                ensure!(found.is_none(), "there is a user {name:?} already");
                let user = User::new(name.clone(), hash, role.role, stores, now)?;
                row = Some(Row::of(&user));
                Ok((EventKind::UserCreated, Some(Entry::User(user.into()))))
            });
            made.await?;
            row.context("nothing was decided")?
        }
    };
    place.tell(&row, format_args!("{name} is there, as {}", role.role.as_str()))
}

pub async fn list(place: &Place) -> anyhow::Result<()> {
    let rows: Vec<Row> = match place.reach().await? {
        At::Service(mut service) => service.read("/api/users").await?,
        At::Folder(folder) => read(folder, EntryKind::User, |entry| entry.as_user().map(Row::of)).await?,
    };
    place.tell_all(&rows, Row::line)
}

pub async fn change(
    name: &AccountName,
    change: UserChange,
    password: Option<Secret>,
    place: &Place,
) -> anyhow::Result<()> {
    let row: Row = match place.reach().await? {
        At::Service(mut service) => {
            let body = body_of(&change, password.as_ref());
            service.write(Method::PUT, &route(name), body).await?
        }
        At::Folder(folder) => {
            let password = password.as_ref().map(password::hash).transpose()?;
            let change = UserChange { password, ..change };
            let mut row = None;
            let changed = write(folder, EntryKey::User(name.clone()), |found, has_other, now| {
                let user = known(found, name)?;
                let after = user.changed(&change, now).map_err(of_stores)?;
                check_admin(user, Some(&after), has_other)?;
                row = Some(Row::of(&after));
                Ok((EventKind::UserUpdated, Some(Entry::User(after.into()))))
            });
            changed.await?;
            row.context("nothing was decided")?
        }
    };
    place.tell(&row, format_args!("{name} is changed"))
}

pub async fn delete(name: &AccountName, place: &Place) -> anyhow::Result<()> {
    match place.reach().await? {
        At::Service(mut service) => drop(service.send(Method::DELETE, &route(name), Value::Null).await?),
        At::Folder(folder) => {
            let deleted = write(folder, EntryKey::User(name.clone()), |found, has_other, _| {
                check_admin(known(found, name)?, None, has_other)?;
                Ok((EventKind::UserDeleted, None))
            });
            deleted.await?;
        }
    }
    let form = json!({"username": name, "deleted": true});
    place.tell(&form, format_args!("{name} is deleted"))
}

/// Asked for twice at a terminal, without echo; else the first line of standard input.
pub fn ask_password(name: &AccountName) -> anyhow::Result<Secret> {
    let text = if stdin().is_terminal() {
        let terminal = Term::stderr();
        terminal.write_str(&format!("Password of {name}: "))?;
        let once = terminal.read_secure_line()?;
        terminal.write_str("The same again: ")?;
        ensure!(once == terminal.read_secure_line()?, "the two are not the same");
        once
    } else {
        let mut line = String::new();
        stdin().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    password::check(&text).map_err(|fault| anyhow!("a password {fault}"))?;
    Ok(Secret::new(text))
}

fn known<'a>(found: Option<&'a Entry>, name: &AccountName) -> anyhow::Result<&'a User> {
    let user = found.and_then(Entry::as_user);
    user.with_context(|| format!("there is no user {name:?}"))
}

fn check_admin(user: &User, after: Option<&User>, has_other: bool) -> anyhow::Result<()> {
    let name = &user.username;
    ensure!(
        !user.was_last_admin(after, has_other),
        "{name:?} is the last admin that can log in: make another one first"
    );
    Ok(())
}

fn route(name: &AccountName) -> String {
    format!("/api/users/{name}")
}

/// What the service is asked for.
fn body_of(change: &UserChange, password: Option<&Secret>) -> Value {
    let stores = match &change.stores {
        StoresChange::Keep => None,
        // Who stands above clerks has no list that could be cleared.
        StoresChange::All if change.role.is_some_and(|role| role >= Role::Operator) => None,
        StoresChange::All => Some(Value::Null),
        StoresChange::These(stores) => Some(json!(stores)),
    };
    let body = with(json!({}), "stores", stores);
    let body = with(body, "role", change.role.map(|role| json!(role)));
    let body = with(body, "disabled", change.disabled.map(Value::Bool));
    with(body, "password", password.map(|password| json!(password.expose())))
}

impl Row {
    fn of(user: &User) -> Self {
        Self {
            username: user.username.clone(),
            role: user.role,
            stores: user.stores.clone(),
            disabled: user.disabled,
        }
    }

    fn line(&self) -> String {
        let (role, stores) = (self.role.as_str(), told(self.stores.as_deref()));
        let end = if self.disabled { "  (disabled)" } else { "" };
        format!("{}  {role}  {stores}{end}", self.username)
    }
}
