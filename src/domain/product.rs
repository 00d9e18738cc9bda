//! A product: what the catalogue says of a SKU. It is the item's other side: both are there or neither is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Details, Sku, Timestamp};

/// What is asked of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductAction {
    /// Makes one of a SKU that is not there yet.
    Create(Box<Details>),
    /// Puts these details in the place of all that it has.
    Replace(Box<Details>),
    /// Takes it away with its item and its levels, which must have nothing in them.
    Delete,
}

/// A product as it stands at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Product {
    /// Rises with each change of the product, and not with those of its stock.
    pub version: u64,
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    pub created_at: Timestamp,
    /// The last change of the product.
    pub updated_at: Timestamp,
}

impl Product {
    /// One that nobody has named is called as its SKU.
    pub fn name<'a>(&'a self, sku: &'a Sku) -> &'a str {
        let name = self.details.name.as_ref();
        name.map_or(sku.as_str(), <Arc<str>>::as_ref)
    }
}
