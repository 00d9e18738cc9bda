//! Who calls, what they may do, and what they see. Without authentication all callers are one principal, which may do
//! everything.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};

use super::problem::{Code, Problem};
use super::routes::Right;
use crate::actors::{Inventory, new_id};
use crate::domain::{EntryKey, Origin, Principal, Request, RequestId, Rights, Scope, StoreId, Timestamp};

/// Who a request has proved to come from; authentication puts it among the request's extensions.
#[derive(Clone)]
pub struct Identity {
    pub principal: Principal,
    pub rights: Rights,
    pub standing: Arc<Standing>,
}

/// What an identity rests on: it is worth nothing any more when its token is over, or when the user or service token has
/// changed since, in whatever way.
pub struct Standing {
    pub key: EntryKey,
    /// Of the user or the service token, when it proved itself.
    pub version: u64,
    pub expires_at: Option<Timestamp>,
}

impl Standing {
    /// Whether the request would be let in again, as the same. For an answer that goes on for long.
    pub async fn holds(&self, inventory: &Inventory) -> bool {
        let now = inventory.now();
        let version = inventory.journal().entry_version(&self.key).await;
        self.expires_at.is_none_or(|at| at > now) && version.is_ok_and(|version| version == self.version)
    }
}

pub struct Caller {
    pub origin: Arc<Origin>,
    pub rights: Rights,
}

impl Caller {
    pub fn of(request: &HttpRequest) -> Self {
        let extensions = request.extensions();
        let request_id = extensions.get::<RequestId>().cloned();
        // The edge gives every request its id; only a test that goes round it has none.
        let request_id = request_id.unwrap_or_else(|| new_id().into());
        let (by, rights) = match extensions.get::<Identity>().cloned() {
            Some(Identity { principal, rights, .. }) => (principal, rights),
            None => (Principal::anonymous(), Rights::all()),
        };
        Self {
            origin: Arc::new(Origin {
                by,
                request_id,
                scope: rights.seen().clone(),
            }),
            rights,
        }
    }

    /// Refused where it takes another role.
    pub fn may(&self, right: Right) -> Result<(), Problem> {
        let role = self.rights.role();
        match right.role() {
            Some(needed) if role < needed => {
                let detail = format!(
                    "As {} you may not do this: it takes the role {}.",
                    role.as_str(),
                    needed.as_str()
                );
                Err(Problem::new(Code::Forbidden, detail))
            }
            _ => Ok(()),
        }
    }

    /// Refused where the caller may not move stock in this store, whether or not there is such a store.
    pub fn may_move(&self, store: &StoreId) -> Result<(), Problem> {
        if self.rights.moves(store) {
            return Ok(());
        }
        let detail = format!("{} you may not move stock in store {store:?}.", self.role());
        Err(Problem::new(Code::Forbidden, detail).with("storeId", store.as_str()))
    }

    /// Refused where it touches a store in which the caller may not move stock, or what all stores have in common.
    pub fn may_do(&self, request: &Request) -> Result<(), Problem> {
        self.may_move_in(request.stores())?;
        if request.describes() && !self.rights.moves_everywhere() {
            let detail = format!(
                "{} you may not name, describe or price what other stores have too.",
                self.role()
            );
            return Err(Problem::new(Code::Forbidden, detail).with("sku", request.sku.as_str()));
        }
        Ok(())
    }

    /// Refused where there is one of these stores in which the caller may not move stock.
    pub fn may_move_in<'a>(&self, mut stores: impl Iterator<Item = &'a StoreId>) -> Result<(), Problem> {
        stores.try_for_each(|store| self.may_move(store))
    }

    /// Refused where there is no store in which the caller may move stock.
    pub fn may_move_somewhere(&self) -> Result<(), Problem> {
        if self.rights.moves_somewhere() {
            return Ok(());
        }
        let detail = format!("{} you may not move stock.", self.role());
        Err(Problem::new(Code::Forbidden, detail))
    }

    fn role(&self) -> String {
        format!("As {}", self.rights.role().as_str())
    }
}

/// What a read shows its caller.
#[derive(Clone)]
pub struct Sight(Scope);

impl Sight {
    pub fn of(request: &HttpRequest) -> Self {
        let extensions = request.extensions();
        let identity = extensions.get::<Identity>();
        Self(
            identity
                .map(|identity| identity.rights.seen().clone())
                .unwrap_or_default(),
        )
    }

    pub fn scope(&self) -> &Scope {
        &self.0
    }

    pub fn has(&self, store: &StoreId) -> bool {
        self.0.has(store)
    }

    /// Of a store that the caller does not see, there is nothing to be known: not even whether it is there.
    pub fn check(&self, store: Option<&StoreId>) -> Result<(), Problem> {
        match store.filter(|store| !self.has(store)) {
            None => Ok(()),
            Some(store) => {
                let detail = format!("There is no store {store:?}.");
                Err(Problem::new(Code::NotFound, detail).with("storeId", store.as_str()))
            }
        }
    }
}

impl FromRequest for Sight {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
