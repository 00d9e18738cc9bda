//! `holdfast user`: users, in a data folder or of a running service. Passwords are asked for, or read from standard
//! input; never from an argument, which everybody on the machine can read.

use std::io::{IsTerminal, stdin};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use console::Term;
use hyper::body::Bytes;
use hyper::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Call, Client, Service};
use super::folder::Folder;
use super::retry;
use crate::actors::entries::{EntryWrite, first};
use crate::config::DataFolder;
use crate::credentials::{Secret, password};
use crate::domain::account::{AccountName, Role, StoresChange, User, UserChange};
use crate::domain::{Entry, EntryKey, EventKind, StoreId, Timestamp};
use crate::journal::{Append, EntryKind, Journal, Record};

/// Makes, shows and changes users.
///
/// On the data folder, while no service runs on it; or of a running service with --url, by the token in HOLDFAST_TOKEN,
/// which must be an admin's. Exit code 0: done; 2: it could not be done.
#[derive(clap::Args, Debug)]
pub struct UserArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Makes a user; asks for the password, or reads it from standard input
    Add {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        role: RoleArgs,
        #[command(flatten)]
        place: Place,
    },
    /// Shows all users
    List {
        /// Prints them as one JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Gives a user another role; with --store, or without, other stores
    Role {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        role: RoleArgs,
        #[command(flatten)]
        place: Place,
    },
    /// Keeps a user from logging in, and ends its tokens
    Disable {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        place: Place,
    },
    /// Lets a disabled user log in again
    Enable {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        place: Place,
    },
    /// Gives a user another password, which is asked for or read from standard input
    Password {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(clap::Args, Debug)]
struct RoleArgs {
    /// viewer, clerk, operator or admin
    #[arg(long, value_parser = parse_role)]
    role: Role,

    /// A store that a viewer or a clerk is narrowed to; may be given more than once
    #[arg(long = "store", value_name = "STORE", value_parser = StoreId::parse)]
    stores: Vec<StoreId>,
}

#[derive(clap::Args, Debug)]
struct Place {
    #[command(flatten)]
    data: DataFolder,

    /// A running service, instead of a data folder; HOLDFAST_TOKEN holds the token of an admin
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or("it must be viewer, clerk, operator or admin")
}

impl RoleArgs {
    fn stores(&self) -> Option<Vec<StoreId>> {
        (!self.stores.is_empty()).then(|| self.stores.clone())
    }
}

pub fn run(args: UserArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(carry_out(args.command))?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    let change = match &command {
        Command::List { json, place } => return list(*json, place).await,
        Command::Add { name, role, place } => return add(name, role, place).await,
        Command::Role { role, .. } => UserChange {
            role: Some(role.role),
            stores: role.stores().map_or(StoresChange::All, StoresChange::These),
            ..UserChange::default()
        },
        Command::Disable { .. } => disabled(true),
        Command::Enable { .. } => disabled(false),
        Command::Password { .. } => UserChange::default(),
    };
    match command {
        Command::Add { name, place, .. }
        | Command::Role { name, place, .. }
        | Command::Disable { name, place }
        | Command::Enable { name, place } => alter(&name, change, None, &place).await?,
        Command::Password { name, place } => alter(&name, change, Some(ask_password(&name)?), &place).await?,
        Command::List { .. } => {}
    }
    Ok(())
}

fn disabled(disabled: bool) -> UserChange {
    UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    }
}

/// Asked for twice at a terminal, without echo; else the first line of standard input.
fn ask_password(name: &AccountName) -> anyhow::Result<Secret> {
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

async fn add(name: &AccountName, role: &RoleArgs, place: &Place) -> anyhow::Result<()> {
    let stores = role.stores();
    let check = crate::domain::account::check_stores(role.role, stores.as_deref());
    check.map_err(|fault| anyhow!("the list of stores (--store) {fault}"))?;
    let password = ask_password(name)?;
    match &place.url {
        Some(url) => {
            let body = json!({"username": name, "password": password.expose(), "role": role.role});
            let body = with(body, "stores", stores.map(|stores| json!(stores)));
            Remote::reach(url)
                .await?
                .send(Method::POST, "/api/auth/register", body)
                .await?;
        }
        None => {
            let hash = password::hash(&password)?;
            let mut folder = Folder::open(&place.data.data_dir)?;
            let made = write(&mut folder, name, |found, _, now| {
                ensure!(found.is_none(), "there is a user {name:?} already");
                let user = User::new(name.clone(), hash.clone(), role.role, stores.clone(), now)?;
                Ok((EventKind::UserCreated, user))
            });
            made.await?;
            folder.close()?;
        }
    }
    println!("{name} is there, as {}", role.role.as_str());
    Ok(())
}

async fn alter(name: &AccountName, change: UserChange, password: Option<Secret>, place: &Place) -> anyhow::Result<()> {
    match &place.url {
        Some(url) => {
            let route = format!("/api/users/{name}");
            let body = body_of(&change, password.as_ref());
            Remote::reach(url).await?.send(Method::PUT, &route, body).await?;
        }
        None => {
            let password = password.as_ref().map(password::hash).transpose()?;
            let change = UserChange { password, ..change };
            let mut folder = Folder::open_existing(&place.data)?;
            let changed = write(&mut folder, name, |found, has_other, now| {
                let user = found.with_context(|| format!("there is no user {name:?}"))?;
                let after = user
                    .changed(&change, now)
                    .map_err(|fault| anyhow!("the list of stores (--store) {fault}"))?;
                ensure!(
                    !user.was_last_admin(Some(&after), has_other),
                    "{name:?} is the last admin that can log in: make another one first"
                );
                Ok((EventKind::UserUpdated, after))
            });
            changed.await?;
            folder.close()?;
        }
    }
    println!("{name} is changed");
    Ok(())
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

fn with(mut body: Value, name: &str, value: Option<Value>) -> Value {
    if let Some(value) = value {
        body[name] = value;
    }
    body
}

/// Writes what `decide` makes of a user and of whether there is another admin. Nobody else has the folder.
async fn write(
    folder: &mut Folder,
    name: &AccountName,
    decide: impl Fn(Option<&User>, bool, Timestamp) -> anyhow::Result<(EventKind, User)>,
) -> anyhow::Result<()> {
    let now = folder.now();
    let write = EntryWrite {
        key: EntryKey::User(name.clone()),
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
    let (kind, user) = decide(
        found.as_ref().and_then(|view| view.entry.as_user()),
        other.is_some(),
        now,
    )?;
    let event = write.event(kind, Some(Entry::User(user.into())), version + 1, now);
    let append = Append {
        entry_grounds: vec![(write.key, version)],
        records: vec![Record {
            event: event.into(),
            receipt: None,
        }],
        ..Append::default()
    };
    journal.append(append).await.context("it could not be written")?;
    Ok(())
}

/// A user as lists show it.
#[derive(Serialize, Deserialize)]
struct Row {
    username: AccountName,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stores: Option<Vec<StoreId>>,
    disabled: bool,
}

async fn list(is_json: bool, place: &Place) -> anyhow::Result<()> {
    let rows = match &place.url {
        Some(url) => Remote::reach(url).await?.users().await?,
        None => {
            let folder = Folder::open_existing(&place.data)?;
            let found = folder.journal.entries(EntryKind::User, None, usize::MAX).await?;
            let rows = found.iter().filter_map(|(_, view)| view.entry.as_user()).map(Row::of);
            let rows = rows.collect();
            folder.close()?;
            rows
        }
    };
    if is_json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        rows.iter().for_each(|row| println!("{}", row.line()));
    }
    Ok(())
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
        let stores = self.stores.as_ref().map_or_else(
            || "all stores".to_owned(),
            |stores| stores.iter().map(StoreId::as_str).collect::<Vec<_>>().join(", "),
        );
        let end = if self.disabled { "  (disabled)" } else { "" };
        format!("{}  {}  {stores}{end}", self.username, self.role.as_str())
    }
}

/// A running service.
struct Remote {
    service: Arc<Service>,
    client: Client,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
    next: Option<String>,
}

impl Remote {
    async fn reach(url: &str) -> anyhow::Result<Self> {
        let service = Arc::new(Service::parse(url)?);
        let client = service.reach().await.with_context(|| url.to_owned())?;
        Ok(Self { service, client })
    }

    /// Once: what it came to if there is no answer, a look at the list tells.
    async fn send(&mut self, method: Method, route: &str, body: Value) -> anyhow::Result<Bytes> {
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
        if !answer.status.is_success() {
            bail!("the service refused it: {}", retry::describe(&answer));
        }
        Ok(answer.body)
    }

    async fn users(&mut self) -> anyhow::Result<Vec<Row>> {
        let (mut rows, mut route) = (Vec::new(), "/api/users?limit=1000".to_owned());
        loop {
            let page = self.send(Method::GET, &route, Value::Null).await?;
            let page: Page = serde_json::from_slice(&page).context("the list of users is not as promised")?;
            rows.extend(page.items);
            match page.next {
                Some(next) => route = format!("/api/users?limit=1000&after={next}"),
                None => return Ok(rows),
            }
        }
    }
}
