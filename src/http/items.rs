//! Items: one SKU over all stores.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::bodies::{CreateBody, ReleaseBody, ReserveBody, SetBody};
use super::caller::Sight;
use super::format::FORMAT;
use super::lists::{AFTER, LIMIT, Page, after_sku, search};
use super::path::ItemPath;
use super::problem::{Code, Problem};
use super::query::{Kind, Parameter, Query};
use super::write::{self, Answer, Target};
use super::{State, body, forms, precondition};
use crate::domain::{Resource, StoreId};
use crate::journal::ItemFilter;

/// `POST /api/inventory/items`
pub async fn create(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let (sku, mut asked) = body::parse::<CreateBody>(&request, &bytes)?.asks();
    let target = Target {
        sku,
        store_id: asked.store_id.take().unwrap_or_else(StoreId::default_store),
        resource: Resource::Item,
    };
    write::run(&state, &request, &bytes, target, asked).await
}

/// `GET /api/inventory/items/{sku}`
pub async fn get(state: Data<State>, request: HttpRequest, sight: Sight, path: ItemPath) -> Answer {
    Query::none(&request)?;
    let item = state.inventory()?.item(&path.sku).await?;
    let item = item.and_then(|item| item.within(sight.scope()));
    let item = item.ok_or_else(|| not_found(&path))?;
    precondition::show(&request, item.version, forms::item(&path.sku, &item))
}

pub const LIST: &[Parameter] = &[
    Parameter {
        name: "q",
        about: "The beginning of the SKU, or whole words of the name (all that are given), in any case.",
        kind: Kind::Text("heart"),
    },
    Parameter {
        name: "storeId",
        about: "Only items with a level in this store.",
        kind: Kind::Text("london"),
    },
    Parameter {
        name: "lowStock",
        about: "`true`: only items with a level that has no more available than its reorder point.",
        kind: Kind::Flag,
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// `GET /api/inventory/items`
pub async fn list(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let filter = ItemFilter {
        q: search(&query),
        store: query.id("storeId", StoreId::parse)?,
        low_stock: query.flag("lowStock")?,
        scope: sight.scope().clone(),
    };
    let store = filter.store.as_ref().map_or("", StoreId::as_str);
    let name = [
        "items",
        filter.q.as_deref().unwrap_or(""),
        store,
        if filter.low_stock { "low" } else { "" },
    ];
    let after = after_sku(&query, &name)?;
    sight.check(filter.store.as_ref())?;
    let items = state.inventory()?.items(&filter, after.as_ref(), limit + 1).await?;
    let seen = items
        .into_iter()
        .filter_map(|(sku, item)| Some((sku, item.within(sight.scope())?)));
    let items = seen.collect();
    let page = Page::of(items, limit, &name, |(sku, _)| sku.as_str().to_owned());
    page.answer(&request, &query, |(sku, item)| forms::item(sku, item))
}

pub const HISTORY: &[Parameter] = &[Parameter {
    name: "at",
    about: "The moment to look at (RFC 3339), not one to come.",
    kind: Kind::Required(&Kind::Time),
}];

/// `GET /api/inventory/items/{sku}/history`
pub async fn history(state: Data<State>, request: HttpRequest, sight: Sight, path: ItemPath) -> Answer {
    let query = Query::of(&request, HISTORY)?;
    let at = query
        .time("at")?
        .ok_or_else(|| Problem::invalid("at", "it is missing"))?;
    let inventory = state.inventory()?;
    let now = inventory.now();
    if at > now {
        return Err(Problem::invalid("at", format!("it is yet to come; here it is {now}")));
    }
    let item = inventory.item_at(&path.sku, at).await?;
    let not_then =
        || Problem::new(Code::NotFound, format!("At {at} there was no {path}.")).with("sku", path.sku.as_str());
    let item = item.and_then(|item| item.within(sight.scope()));
    let item = item.ok_or_else(not_then)?;
    Ok(HttpResponse::Ok().json(forms::item(&path.sku, &item)))
}

/// `PUT /api/inventory/items/{sku}/quantity`
pub async fn set(state: Data<State>, request: HttpRequest, path: ItemPath, payload: Payload) -> Answer {
    write::item::<SetBody>(state, request, path.sku, payload).await
}

/// `POST /api/inventory/items/{sku}/reserve`
pub async fn reserve(state: Data<State>, request: HttpRequest, path: ItemPath, payload: Payload) -> Answer {
    write::item::<ReserveBody>(state, request, path.sku, payload).await
}

/// `POST /api/inventory/items/{sku}/release`
pub async fn release(state: Data<State>, request: HttpRequest, path: ItemPath, payload: Payload) -> Answer {
    write::item::<ReleaseBody>(state, request, path.sku, payload).await
}

fn not_found(path: &ItemPath) -> Problem {
    Problem::new(Code::NotFound, format!("There is no {path}.")).with("sku", path.sku.as_str())
}
