//! Rows of stock: a level, and what its item is called and costs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::item::Currency;
use crate::domain::{Details, Level, Price, Sku, StoreId, Timestamp};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow<'a> {
    sku: &'a Sku,
    #[serde(flatten)]
    level: &'a LevelForm,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
}

/// A level as the API shows it in its item.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelForm {
    store_id: StoreId,
    quantity: u64,
    reserved: u64,
    available: u64,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reorder_point: Option<u64>,
    updated_at: Timestamp,
}

/// An item as the API shows it, as far as its rows need it.
#[derive(Deserialize)]
pub struct ItemForm {
    pub sku: Sku,
    pub name: Option<Arc<str>>,
    pub description: Option<Arc<str>>,
    pub price: Option<Price>,
    pub levels: Vec<LevelForm>,
}

impl LevelForm {
    pub fn of(store_id: StoreId, level: &Level) -> Self {
        Self {
            store_id,
            quantity: level.quantity,
            reserved: level.reserved,
            available: level.available(),
            version: level.version,
            reorder_point: level.reorder_point,
            updated_at: level.updated_at,
        }
    }
}

impl ItemForm {
    pub fn of(sku: Sku, details: Details, levels: Vec<LevelForm>) -> Self {
        Self {
            sku,
            name: details.name,
            description: details.description,
            price: details.price,
            levels,
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = StockRow<'_>> {
        self.levels.iter().map(|level| StockRow {
            sku: &self.sku,
            level,
            name: self.name.as_deref(),
            description: self.description.as_deref(),
            price: self.price.map(|price| price.amount),
            currency: self.price.map(|price| price.currency),
        })
    }
}
