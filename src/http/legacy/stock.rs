//! Stock entries: the levels of a store, each under one opaque name.

use std::io;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inventory::{Terms, touched};
use super::members::{self, Id, Quantity};
use crate::actors::Inventory;
use crate::domain::command::Set;
use crate::domain::{Action, Event, Level, Resource, Sku, StoreId, Timestamp};
use crate::http::bodies::{Asked, present};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem, shorten};
use crate::http::write::{self, Answer, Target};
use crate::http::{State, path, precondition};

/// The stock of one SKU in one store.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeStock")]
pub struct StockForm<'a> {
    /// Names this SKU in this store, for ever.
    stock_id: String,
    store_id: &'a StoreId,
    sku: &'a Sku,
    /// The SKU under its older name.
    product_id: &'a Sku,
    /// What is on hand.
    quantity: u64,
    /// What of it reservations hold.
    reserved: u64,
    /// What is left: `quantity` less `reserved`.
    available: u64,
    /// Rises by one with every event.
    version: u64,
    updated_at: Timestamp,
    /// True where nothing was changed, as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

/// What has come in.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeReceiveBody")]
#[schemars(extend("anyOf" = [{"required": ["sku"]}, {"required": ["productId"]}]))]
pub struct ReceiveBody {
    #[schemars(required, with = "Id")]
    store_id: Option<Id>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Id")]
    sku: Option<Id>,
    /// The same as `sku`.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Id")]
    product_id: Option<Id>,
    #[schemars(required, with = "Quantity")]
    quantity: Option<Quantity>,
    #[serde(flatten)]
    terms: Terms,
}

/// A count of a stock entry.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeCountBody")]
pub struct CountBody {
    #[schemars(required, with = "Quantity")]
    quantity: Option<Quantity>,
    #[serde(flatten)]
    terms: Terms,
}

/// `GET /stock/{storeId}`
pub async fn list(state: Data<State>, request: HttpRequest, Caller { rights, .. }: Caller) -> Answer {
    let name = path::last_segment(&request, "storeId")?;
    let store = StoreId::parse(&name).map_err(|error| Problem::invalid("storeId", error))?;
    if !rights.sees(&store) {
        let problem = Problem::new(Code::NotFound, format!("There is no store {store:?}."));
        return Err(problem.with("storeId", store.as_str()));
    }
    let inventory = state.inventory()?.clone();
    let first = inventory.levels_in(&store, None, PAGE).await?;
    let listing = Listing {
        inventory,
        store,
        page: Some(first),
        is_begun: false,
    };
    let body = stream::try_unfold(listing, Listing::next);
    Ok(HttpResponse::Ok().content_type("application/json").streaming(body))
}

/// `POST /stock`
pub async fn receive(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let (body, bytes) = members::read::<ReceiveBody>(&request, payload).await?;
    let (target, asked) = body.asks()?;
    run(&state, &request, &bytes, target, asked, |_| 201).await
}

/// `PUT /stock/{stockId}`
pub async fn count(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let name = path::last_segment(&request, "stockId")?;
    let (body, bytes) = members::read::<CountBody>(&request, payload).await?;
    let set = Set {
        quantity: Quantity::take(body.quantity.as_ref(), "quantity")?,
        // Nobody is given the id of what is not there.
        must_exist: true,
        ..Set::default()
    };
    let asked = body.terms.on(Action::Set(Box::new(set)))?;
    Caller::of(&request).may_move_somewhere()?;
    let not_found = || Problem::new(Code::NotFound, format!("There is no stock entry {:?}.", shorten(&name)));
    let (sku, store_id) = read_id(&name).ok_or_else(not_found)?;
    let target = Target {
        sku,
        store_id,
        resource: Resource::Level,
    };
    run(&state, &request, &bytes, target, asked, |_| 200).await
}

impl ReceiveBody {
    fn asks(self) -> Result<(Target, Asked), Problem> {
        let missing = |field| move || Problem::invalid(field, "it is missing");
        let store_id = self.store_id.as_ref().ok_or_else(missing("storeId"))?;
        let sku = Id::either((self.sku.as_ref(), "sku"), (self.product_id.as_ref(), "productId"))?;
        let (sku, name) = sku.ok_or_else(missing("sku"))?;
        let target = Target {
            sku: sku.take(name, Sku::parse)?,
            store_id: store_id.take("storeId", StoreId::parse)?,
            resource: Resource::Level,
        };
        let quantity = Quantity::take(self.quantity.as_ref(), "quantity")?;
        Ok((target, self.terms.on(Action::Receive { quantity })?))
    }
}

async fn run(
    state: &State,
    request: &HttpRequest,
    bytes: &[u8],
    target: Target,
    asked: Asked,
    status: fn(&Event) -> u16,
) -> Answer {
    let outcome = write::carry_out(state, request, bytes, target, asked, status).await?;
    let change = touched(&outcome)?;
    let status = match outcome.seq {
        Some(_) => outcome.replayed.unwrap_or_else(|| status(&outcome.event)),
        None => 200,
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    if outcome.seq.is_some() {
        response.insert_header((ETAG, precondition::etag(change.version)));
    }
    if outcome.replayed.is_some() {
        response.insert_header(("idempotency-replayed", "true"));
    }
    let level = change.level(outcome.event.at);
    Ok(response.json(StockForm {
        dry_run: outcome.seq.is_none().then_some(true),
        ..form(&change.sku, &change.store_id, &level)
    }))
}

fn form<'a>(sku: &'a Sku, store_id: &'a StoreId, level: &Level) -> StockForm<'a> {
    StockForm {
        stock_id: id_of(sku, store_id),
        store_id,
        sku,
        product_id: sku,
        quantity: level.quantity,
        reserved: level.reserved,
        available: level.available(),
        version: level.version,
        updated_at: level.updated_at,
        dry_run: None,
    }
}

/// The name of a level: its store and its SKU behind the length of the store, as base64url.
pub fn id_of(sku: &Sku, store_id: &StoreId) -> String {
    let store = store_id.as_str();
    URL_SAFE_NO_PAD.encode(format!("{}:{store}{sku}", store.len()))
}

/// What it names, if it is a name that [`id_of`] gives.
fn read_id(id: &str) -> Option<(Sku, StoreId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
    let (length, rest) = text.split_once(':')?;
    let (store, sku) = rest.split_at_checked(length.parse().ok()?)?;
    let (sku, store_id) = (Sku::parse(sku).ok()?, StoreId::parse(store).ok()?);
    (id_of(&sku, &store_id) == id).then_some((sku, store_id))
}

/// Levels that are read at a time: a store may have more of them than should be in memory at once.
const PAGE: usize = 1000;

/// A list that is written as it is read.
struct Listing {
    inventory: Arc<Inventory>,
    store: StoreId,
    /// What comes next; none at the end.
    page: Option<Vec<(Sku, Level)>>,
    is_begun: bool,
}

impl Listing {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some(page) = self.page.take() else { return Ok(None) };
        let mut text = Vec::new();
        for (sku, level) in &page {
            text.push(if self.is_begun { b',' } else { b'[' });
            self.is_begun = true;
            serde_json::to_writer(&mut text, &form(sku, &self.store, level))?;
        }
        match page.last().filter(|_| page.len() == PAGE) {
            Some((last, _)) => self.page = Some(self.after(last).await?),
            None => text.extend_from_slice(if self.is_begun { b"]" } else { b"[]" }),
        }
        Ok(Some((text.into(), self)))
    }

    async fn after(&self, last: &Sku) -> io::Result<Vec<(Sku, Level)>> {
        let page = self.inventory.levels_in(&self.store, Some(last), PAGE).await;
        page.map_err(|error| io::Error::other(Problem::from(error).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_level_and_no_other() {
        let ids = [
            ("A", "b"),
            ("Ab", "c"),
            ("A", "bc"),
            ("bc", "A"),
            ("AB/12", "Größe"),
            ("1:x", "2"),
            ("x", "1:2"),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (sku, store) in ids {
            let (sku, store) = (Sku::parse(sku).unwrap(), StoreId::parse(store).unwrap());
            let id = id_of(&sku, &store);
            assert!(
                id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "{id}"
            );
            assert_eq!(read_id(&id), Some((sku, store)));
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn what_is_no_id_names_nothing() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for id in [
            String::new(),
            "!".to_owned(),
            "A".to_owned(),
            encode("1:b"),
            encode("9:bA"),
            encode("-1:bA"),
            encode("01:bA"),
            encode("+1:bA"),
            encode("2:öA\0"),
            encode("1:öA"),
            format!("{}=", encode("1:bA")),
        ] {
            assert_eq!(read_id(&id), None, "{id}");
        }
        assert!(read_id(&encode("1:bA")).is_some());
    }
}
