//! `holdfast user`: users and service tokens, in a data folder or of a running service. Passwords are asked for, or read
//! from standard input; never from an argument, which everybody on the machine can read.

mod accounts;
mod place;
mod tokens;

use std::process::ExitCode;

use crate::cli::wait_for;
use crate::domain::account::{AccountName, InvalidStores, Role, StoresChange, UserChange};
use crate::domain::{StoreId, Timestamp};
use place::Place;

/// Makes, shows and changes users and service tokens.
///
/// On the data folder; or through the API: of the service that runs on the folder, or of another with --url. A service
/// that has its callers log in asks for the token of an admin, which is read from HOLDFAST_TOKEN. Exit code 0: done; 2: it
/// could not be done.
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
    /// Deletes a user, and ends its tokens
    Delete {
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        place: Place,
    },
    /// Service tokens: those of machines, which do not log in
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(clap::Subcommand, Debug)]
enum TokenCommand {
    /// Makes a service token and prints it: nothing shows it again
    Add {
        /// Whom events name, as token:NAME
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        #[command(flatten)]
        role: RoleArgs,
        /// A moment to come (RFC 3339), from which on it is worth nothing
        #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
        expires_at: Option<Timestamp>,
        #[command(flatten)]
        place: Place,
    },
    /// Shows all service tokens, without what proves them
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Ends a service token
    Revoke {
        /// Its id, or its name where no other has that
        #[arg(value_name = "ID|NAME")]
        which: String,
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

fn parse_role(text: &str) -> Result<Role, &'static str> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or("it must be viewer, clerk, operator or admin")
}

impl RoleArgs {
    fn stores(&self) -> Option<Vec<StoreId>> {
        (!self.stores.is_empty()).then(|| self.stores.clone())
    }

    /// The stores of somebody new.
    fn fitting_stores(&self) -> anyhow::Result<Option<Vec<StoreId>>> {
        let stores = self.stores();
        crate::domain::account::check_stores(self.role, stores.as_deref()).map_err(of_stores)?;
        Ok(stores)
    }
}

fn of_stores(fault: InvalidStores) -> anyhow::Error {
    anyhow::anyhow!("the list of stores (--store) {fault}")
}

/// As a list shows them to a person.
fn told(stores: Option<&[StoreId]>) -> String {
    let names = |stores: &[StoreId]| stores.iter().map(StoreId::as_str).collect::<Vec<_>>().join(", ");
    stores.map_or_else(|| "all stores".to_owned(), names)
}

pub fn run(args: UserArgs) -> anyhow::Result<ExitCode> {
    wait_for(carry_out(args.command))?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add { name, role, place } => accounts::add(&name, &role, &place).await,
        Command::List { place } => accounts::list(&place).await,
        Command::Role { name, role, place } => {
            let change = UserChange {
                role: Some(role.role),
                stores: role.stores().map_or(StoresChange::All, StoresChange::These),
                ..UserChange::default()
            };
            accounts::change(&name, change, None, &place).await
        }
        Command::Disable { name, place } => accounts::change(&name, disabled(true), None, &place).await,
        Command::Enable { name, place } => accounts::change(&name, disabled(false), None, &place).await,
        Command::Password { name, place } => {
            let password = accounts::ask_password(&name)?;
            accounts::change(&name, UserChange::default(), Some(password), &place).await
        }
        Command::Delete { name, place } => accounts::delete(&name, &place).await,
        Command::Token { command } => match command {
            TokenCommand::Add {
                name,
                role,
                expires_at,
                place,
            } => tokens::add(&name, &role, expires_at, &place).await,
            TokenCommand::List { place } => tokens::list(&place).await,
            TokenCommand::Revoke { which, place } => tokens::revoke(&which, &place).await,
        },
    }
}

fn disabled(disabled: bool) -> UserChange {
    UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    }
}
