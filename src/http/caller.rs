//! Who calls, and what they may do. Without authentication all callers are one principal, which may do everything.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};

use super::problem::{Code, Problem};
use crate::actors::new_id;
use crate::domain::{Origin, Principal, RequestId, Rights, Role, StoreId};

/// Who a request has proved to come from; authentication puts it among the request's extensions.
#[derive(Clone)]
pub struct Identity {
    pub principal: Principal,
    pub rights: Rights,
}

pub struct Caller {
    pub origin: Origin,
    pub rights: Rights,
}

impl Caller {
    pub fn of(request: &HttpRequest) -> Self {
        let extensions = request.extensions();
        let request_id = extensions.get::<RequestId>().cloned();
        // The edge gives every request its id; only a test that goes round it has none.
        let request_id = request_id.unwrap_or_else(|| new_id().into());
        let (by, rights) = match extensions.get::<Identity>().cloned() {
            Some(Identity { principal, rights }) => (principal, rights),
            None => (Principal::anonymous(), Rights::all()),
        };
        Self {
            origin: Origin { by, request_id },
            rights,
        }
    }

    /// Refused where the caller may not move stock in this store, whether or not there is such a store.
    pub fn may_move(&self, store: &StoreId) -> Result<(), Problem> {
        if self.rights.moves(store) {
            return Ok(());
        }
        let role = self.rights.role().as_str();
        let detail = format!("As {role} you may not move stock in store {store:?}.");
        Err(Problem::new(Code::Forbidden, detail).with("storeId", store.as_str()))
    }

    /// Refused where the caller may not change what there is to be sold, and where.
    pub fn may_administer(&self, what: &str) -> Result<(), Problem> {
        if self.rights.role() == Role::Admin {
            return Ok(());
        }
        let role = self.rights.role().as_str();
        Err(Problem::new(Code::Forbidden, format!("As {role} you may not {what}.")))
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_admin_may_change_the_catalogue() {
        for role in Role::ALL {
            let caller = Caller {
                origin: Origin {
                    by: Principal::anonymous(),
                    request_id: new_id().into(),
                },
                rights: Rights::new(role, None),
            };
            assert_eq!(
                caller.may_administer("change products").is_ok(),
                role == Role::Admin,
                "{role:?}"
            );
        }
    }
}
