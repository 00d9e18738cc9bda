//! Levels: the stock of one SKU in one store.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};

use super::bodies::{AdjustBody, ReleaseBody, ReserveBody, SetBody};
use super::caller::Sight;
use super::format::FORMAT;
use super::lists::{AFTER, LIMIT, Page, after_sku};
use super::path::{LevelPath, StorePath};
use super::problem::{Code, Problem};
use super::query::{Parameter, Query};
use super::write::{self, Answer};
use super::{State, forms, precondition};

/// `GET …/inventory/{sku}`
pub async fn get(state: Data<State>, request: HttpRequest, sight: Sight, path: LevelPath) -> Answer {
    Query::none(&request)?;
    if !sight.has(&path.store_id) {
        return Err(not_found(&path));
    }
    let level = state.inventory()?.level(&path.sku, &path.store_id).await?;
    let level = level.ok_or_else(|| not_found(&path))?;
    precondition::show(&request, level.version, forms::level(&path.sku, &path.store_id, &level))
}

pub const LIST: &[Parameter] = &[LIMIT, AFTER, FORMAT];

/// `GET …/stores/{storeId}/inventory`
pub async fn list(state: Data<State>, request: HttpRequest, sight: Sight, StorePath(store): StorePath) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let name = ["levels", store.as_str()];
    let after = after_sku(&query, &name)?;
    sight.check(Some(&store))?;
    let levels = state.inventory()?.levels_in(&store, after.as_ref(), limit + 1).await?;
    let page = Page::of(levels, limit, &name, |(sku, _)| sku.as_str().to_owned());
    page.answer(&request, &query, |(sku, level)| forms::level(sku, &store, level))
}

/// `PUT …/inventory/{sku}`
pub async fn set(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write::level::<SetBody>(state, request, path.into(), payload).await
}

/// `POST …/inventory/{sku}/adjust`
pub async fn adjust(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write::level::<AdjustBody>(state, request, path.into(), payload).await
}

/// `POST …/inventory/{sku}/reserve`
pub async fn reserve(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write::level::<ReserveBody>(state, request, path.into(), payload).await
}

/// `POST …/inventory/{sku}/release`
pub async fn release(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write::level::<ReleaseBody>(state, request, path.into(), payload).await
}

fn not_found(path: &LevelPath) -> Problem {
    Problem::new(Code::NotFound, format!("There is no {path}."))
        .with("sku", path.sku.as_str())
        .with("storeId", path.store_id.as_str())
}
