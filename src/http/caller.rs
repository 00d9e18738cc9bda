//! Who calls. Without authentication all callers are one principal.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};

use crate::actors::new_id;
use crate::domain::{Origin, Principal, RequestId};

pub struct Caller(pub Origin);

impl Caller {
    pub fn of(request: &HttpRequest) -> Self {
        let request_id = request.extensions().get::<RequestId>().cloned();
        // The edge gives every request its id; only a test that goes round it has none.
        let request_id = request_id.unwrap_or_else(|| new_id().into());
        Self(Origin {
            by: Principal::anonymous(),
            request_id,
        })
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
