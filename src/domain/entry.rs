//! What is kept in the log beside stock: users, service tokens, stores, schedules, webhooks.
//!
//! Each is an entry with a version of its own, and an event that changes it carries it as it stands after it. Such
//! events are the service's own: no feed, export or webhook shows them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::{AccountName, ServiceToken, User};
use super::catalogue::Store;
use super::sync::SyncSchedule;
use super::webhook::Webhook;
use super::{StoreId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryKey {
    User(AccountName),
    /// By its id.
    Token(Arc<str>),
    Store(StoreId),
    /// That nothing more may come to a store, which is to be deleted. By itself, so that the store stays at its version
    /// where that is not done after all.
    Closing(StoreId),
    /// Whether the sync runs by itself.
    SyncSchedule,
    /// When a store has pushed its counts last. No event carries it: the push itself makes it.
    LastPush(StoreId),
    /// By its id.
    Webhook(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    User(Arc<User>),
    Token(Arc<ServiceToken>),
    Store(Arc<Store>),
    Closing,
    SyncSchedule(SyncSchedule),
    LastPush(Timestamp),
    Webhook(Arc<Webhook>),
}

impl Entry {
    pub fn as_user(&self) -> Option<&User> {
        match self {
            Self::User(user) => Some(user),
            _ => None,
        }
    }

    pub fn as_token(&self) -> Option<&ServiceToken> {
        match self {
            Self::Token(token) => Some(token),
            _ => None,
        }
    }

    pub fn as_webhook(&self) -> Option<&Arc<Webhook>> {
        match self {
            Self::Webhook(webhook) => Some(webhook),
            _ => None,
        }
    }

    /// A user that can log in and make other users.
    pub fn governs(&self) -> bool {
        matches!(self, Self::User(user) if user.governs())
    }
}

/// An entry as it stands after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryChange {
    pub key: EntryKey,
    /// Rises by one with every event that changes the entry; one that was deleted and made again goes on counting.
    pub version: u64,
    /// None where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}
