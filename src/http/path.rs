//! Ids in paths. They are taken from the path as it was sent: a decoded slash is part of a SKU, and
//! bytes that are no UTF-8 are refused instead of replaced.

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::problem::Problem;
use crate::domain::{InvalidId, Sku, StoreId};

/// Everything but the unreserved characters of RFC 3986.
pub const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `/api/inventory/stores/{storeId}`…
pub struct StorePath(pub StoreId);

/// `/api/products/{sku}`
pub struct ProductPath(pub Sku);

/// `/api/stores/{storeId}`
pub struct CatalogueStorePath(pub StoreId);

/// `/api/inventory/stores/{storeId}/inventory/{sku}`…
#[derive(Clone)]
pub struct LevelPath {
    pub store_id: StoreId,
    pub sku: Sku,
}

/// `/api/inventory/items/{sku}`…
#[derive(Clone)]
pub struct ItemPath {
    pub sku: Sku,
}

impl FromRequest for ItemPath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(request, 4, "sku", Sku::parse).map(|sku| Self { sku }))
    }
}

impl ItemPath {
    pub fn url(&self) -> String {
        format!("/api/inventory/items/{}", encoded(self.sku.as_str()))
    }
}

impl fmt::Display for ItemPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {:?}", self.sku)
    }
}

impl FromRequest for StorePath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(request, 4, "storeId", StoreId::parse).map(Self))
    }
}

impl FromRequest for ProductPath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(last_id(request, "sku", Sku::parse).map(Self))
    }
}

impl FromRequest for CatalogueStorePath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(last_id(request, "storeId", StoreId::parse).map(Self))
    }
}

impl LevelPath {
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let store_id = id(request, 4, "storeId", StoreId::parse)?;
        let sku = id(request, 6, "sku", Sku::parse)?;
        Ok(Self { store_id, sku })
    }

    pub fn url(&self) -> String {
        let [store, sku] = [self.store_id.as_str(), self.sku.as_str()].map(encoded);
        format!("/api/inventory/stores/{store}/inventory/{sku}")
    }
}

impl From<LevelPath> for (Sku, StoreId) {
    fn from(LevelPath { store_id, sku }: LevelPath) -> Self {
        (sku, store_id)
    }
}

impl FromRequest for LevelPath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// As it stands in a path.
pub fn encoded(id: &str) -> impl fmt::Display {
    utf8_percent_encode(id, SEGMENT)
}

/// The decoded segment at `index`, counted from the empty one before the first slash.
pub fn segment<'a>(request: &'a HttpRequest, index: usize, name: &str) -> Result<Cow<'a, str>, Problem> {
    let raw = request.uri().path().split('/').nth(index).unwrap_or_default();
    decoded(raw, name)
}

/// The decoded segment at the end, wherever the resource is mounted.
pub fn last_segment<'a>(request: &'a HttpRequest, name: &str) -> Result<Cow<'a, str>, Problem> {
    let raw = request.uri().path().rsplit('/').next().unwrap_or_default();
    decoded(raw, name)
}

fn decoded<'a>(raw: &'a str, name: &str) -> Result<Cow<'a, str>, Problem> {
    percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| Problem::invalid(name, "it is not UTF-8 when percent-decoded"))
}

pub fn id<T>(
    request: &HttpRequest,
    index: usize,
    name: &str,
    parse: impl Fn(&str) -> Result<T, InvalidId>,
) -> Result<T, Problem> {
    let text = segment(request, index, name)?;
    parse(&text).map_err(|error| Problem::invalid(name, error))
}

/// The id at the end, wherever the resource is mounted.
fn last_id<T>(request: &HttpRequest, name: &str, parse: impl Fn(&str) -> Result<T, InvalidId>) -> Result<T, Problem> {
    let text = last_segment(request, name)?;
    parse(&text).map_err(|error| Problem::invalid(name, error))
}

impl fmt::Display for LevelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKU {:?} in store {:?}", self.sku, self.store_id)
    }
}
