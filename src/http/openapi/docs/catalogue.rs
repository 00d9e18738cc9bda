//! Products and stores.

use serde_json::json;

use super::{CATALOGUE, CREATED, DONE, MINIMAL, WRITTEN};
use crate::http::catalogue::{ProductForm, ProductWriteForm, StoreForm, StoreWriteForm};
use crate::http::entries::DeleteBody;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{AlreadyExists, Forbidden, InUse, NotFound, VersionMismatch};
use crate::http::products::{NewProductBody, ProductBody};
use crate::http::stores::{NewStoreBody, StoreBody};
use crate::http::{products, stores};

pub fn products() -> Doc {
    Doc::read(
        "listProducts",
        CATALOGUE,
        "All products in order of SKU, in pages, or those that fit every parameter that is given.",
    )
    .query(products::LIST)
    .lists::<ProductForm>("A page of products.", example::product())
}

pub fn create_product() -> Doc {
    Doc::write(
        "createProduct",
        CATALOGUE,
        "Makes a product of a SKU that has no stock yet; to make both in one step, create the item. A SKU that is stocked \
         is a product already, called as its SKU until it is named.",
    )
    .takes::<NewProductBody>(json!({
        "sku": "85123A", "name": "White hanging heart T-light holder", "price": {"amount": 295, "currency": "GBP"},
        "attributes": {"colour": "white", "grams": 120},
    }))
    .conditional()
    .answers::<ProductWriteForm>(201, "The new product.", CREATED, example::new_product())
    .refuses(&[Forbidden, AlreadyExists])
}

pub fn product() -> Doc {
    Doc::read(
        "getProduct",
        CATALOGUE,
        "What the catalogue says of a SKU. Its `ETag` is the product's own version, which sales and counts leave as it \
         is.",
    )
    .answers::<ProductForm>(200, "The product.", &["ETag"], example::product())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn replace_product() -> Doc {
    Doc::write(
        "replaceProduct",
        CATALOGUE,
        "Sets all that a product has: what is left out, it has no longer. The item shows the new name, description and \
         price, and its version rises too.",
    )
    .takes::<ProductBody>(json!({
        "name": "White hanging heart T-light holder", "price": {"amount": 275, "currency": "GBP"},
        "attributes": {"colour": "white", "grams": 120}, "expectedVersion": 1,
    }))
    .conditional()
    .answers::<ProductWriteForm>(200, "The product after it.", WRITTEN, example::written_product())
    .minimal(MINIMAL)
    .refuses(&[Forbidden, NotFound, VersionMismatch])
}

pub fn delete_product() -> Doc {
    Doc::write(
        "deleteProduct",
        CATALOGUE,
        "Takes a product away, with its item and its levels. Refused while there is stock of it, or a hold on it. What \
         happened to it stays in the log; a product that is made again begins anew, but its versions go on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[Forbidden, NotFound, VersionMismatch, InUse])
}

pub fn stores() -> Doc {
    Doc::read(
        "listStores",
        CATALOGUE,
        "All stores in order of id, in pages, or those that the search finds. Whoever is narrowed to some stores sees \
         only these.",
    )
    .query(stores::LIST)
    .lists::<StoreForm>("A page of stores.", example::store())
}

pub fn create_store() -> Doc {
    Doc::write(
        "createStore",
        CATALOGUE,
        "Makes a store. One that is stocked is there already, called as its id until it is named.",
    )
    .takes::<NewStoreBody>(json!({
        "storeId": "london", "name": "London, Carnaby Street", "location": "12 Carnaby Street, London",
        "timeZone": "Europe/London", "syncIntervalSeconds": 900,
    }))
    .conditional()
    .answers::<StoreWriteForm>(201, "The new store.", CREATED, example::new_store())
    .refuses(&[Forbidden, AlreadyExists, InUse])
}

pub fn store() -> Doc {
    Doc::read("getStore", CATALOGUE, "A store, with its version as its `ETag`.")
        .answers::<StoreForm>(200, "The store.", &["ETag"], example::store())
        .not_modified()
        .refuses(&[NotFound])
}

pub fn replace_store() -> Doc {
    Doc::write(
        "replaceStore",
        CATALOGUE,
        "Sets all that a store has: what is left out, it has no longer.",
    )
    .takes::<StoreBody>(json!({"name": "London", "timeZone": "Europe/London"}))
    .conditional()
    .answers::<StoreWriteForm>(200, "The store after it.", WRITTEN, example::written_store())
    .minimal(MINIMAL)
    .refuses(&[Forbidden, NotFound, VersionMismatch])
}

pub fn delete_store() -> Doc {
    Doc::write(
        "deleteStore",
        CATALOGUE,
        "Takes a store away, with its levels. Refused while anything is on hand or held there; `sku` says of what. While \
         it is being deleted, which takes a moment, nothing can come to it (409 `in_use`). A store that is made again \
         begins anew, but its versions go on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[Forbidden, NotFound, VersionMismatch, InUse])
}
