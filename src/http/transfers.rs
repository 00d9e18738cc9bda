//! Transfers: stock of one SKU goes from one store to another, in one step.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};

use super::bodies::TransferBody;
use super::write::{self, Answer, Target};
use super::{State, body};
use crate::domain::Resource;

/// `POST /api/transfers`
pub async fn transfer(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let (sku, store_id, asked) = body::parse::<TransferBody>(&request, &bytes)?.asks()?;
    let target = Target {
        sku,
        store_id,
        resource: Resource::Level,
    };
    write::run(&state, &request, &bytes, target, asked).await
}
