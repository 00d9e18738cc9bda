//! How products and stores are shown, and what writes of them are answered.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{ETAG, LOCATION};
use schemars::JsonSchema;
use serde::Serialize;

use super::csv::Listed;
use super::forms::Body;
use super::path;
use super::precondition::etag;
use crate::actors::{Outcome, Told};
use crate::domain::attributes::Attributes;
use crate::domain::{Entry, EventKind, Price, Product, Sku, Store, StoreId, Timestamp};

/// What the catalogue says of a SKU.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Product")]
pub struct ProductForm<'a> {
    sku: &'a Sku,
    /// What it is called; its SKU where nobody has named it.
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    attributes: &'a Attributes,
    /// It is not to be sold any more. Its stock is as it was.
    archived: bool,
    /// Rises by one with each change of the product; its stock has versions of its own.
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Listed for ProductForm<'_> {
    const NAME: &'static str = "products";
    const COLUMNS: &'static [&'static str] = &[
        "sku",
        "name",
        "description",
        "price.amount as price",
        "price.currency",
        "attributes",
        "archived",
        "version",
        "createdAt",
        "updatedAt",
    ];
}

/// The answer to a write of a product: the product after it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProductAnswer")]
pub struct ProductWriteForm<'a> {
    #[serde(flatten)]
    product: ProductForm<'a>,
    /// The event's place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// Where stock is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Store")]
pub struct StoreForm<'a> {
    store_id: &'a StoreId,
    /// What it is called; its id where nobody has named it.
    name: &'a str,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    /// A name of the IANA time zone database.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'a str>,
    /// If it has not pushed its counts for so long, it is overdue.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_interval_seconds: Option<u64>,
    /// Rises by one with each change of the store; the stock in it has versions of its own.
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Listed for StoreForm<'_> {
    const NAME: &'static str = "stores";
    const COLUMNS: &'static [&'static str] = &[
        "storeId",
        "name",
        "location",
        "timeZone",
        "syncIntervalSeconds",
        "version",
        "createdAt",
        "updatedAt",
    ];
}

/// The answer to a write of a store: the store after it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoreAnswer")]
pub struct StoreWriteForm<'a> {
    #[serde(flatten)]
    store: StoreForm<'a>,
    /// The event's place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

pub fn product<'a>(sku: &'a Sku, product: &'a Product) -> ProductForm<'a> {
    let details = &product.details;
    ProductForm {
        sku,
        name: product.name(sku),
        description: details.description.as_deref(),
        price: details.price,
        attributes: &details.attributes,
        archived: details.archived,
        version: product.version,
        created_at: product.created_at,
        updated_at: product.updated_at,
    }
}

pub fn store(version: u64, store: &Store) -> StoreForm<'_> {
    StoreForm {
        store_id: &store.store_id,
        name: &store.name,
        location: store.location.as_deref(),
        time_zone: store.time_zone.as_deref(),
        sync_interval_seconds: store.sync_interval_seconds,
        version,
        created_at: store.created_at,
        updated_at: store.updated_at,
    }
}

/// The body of the answer to a write of a product or a store; none to other writes, and to deletions.
pub fn written(outcome: &Outcome) -> Option<Body<'_>> {
    let seq = outcome.seq;
    if let Told::Product(after) = &outcome.told {
        let product = product(&outcome.event.items.first()?.sku, after);
        return Some(Body::Product(ProductWriteForm { product, seq }));
    }
    let (version, after) = store_after(outcome)?;
    let store = store(version, after);
    Some(Body::Store(StoreWriteForm { store, seq }))
}

fn store_after(outcome: &Outcome) -> Option<(u64, &Store)> {
    let change = outcome.event.entries.first()?;
    match change.entry.as_ref()? {
        Entry::Store(store) => Some((change.version, store)),
        _ => None,
    }
}

/// What the answer to a write of a product or a store says in its headers.
pub fn add_headers(response: &mut HttpResponseBuilder, outcome: &Outcome) {
    let (version, location) = match (&outcome.told, outcome.event.items.first()) {
        (Told::Product(product), Some(item)) => (product.version, product_url(&item.sku)),
        _ => match store_after(outcome) {
            Some((version, store)) => (version, store_url(&store.store_id)),
            None => return,
        },
    };
    response.insert_header((ETAG, etag(version)));
    if matches!(outcome.event.kind, EventKind::ProductCreated | EventKind::StoreCreated) {
        response.insert_header((LOCATION, location));
    }
}

fn product_url(sku: &Sku) -> String {
    format!("/api/products/{}", path::encoded(sku.as_str()))
}

fn store_url(store: &StoreId) -> String {
    format!("/api/stores/{}", path::encoded(store.as_str()))
}
