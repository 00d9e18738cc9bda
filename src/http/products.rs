//! Products: what the catalogue says of a SKU.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use validator::Validate;

use super::bodies::{PriceBody, check_description, check_name, object, present};
use super::caller::Caller;
use super::catalogue;
use super::entries::DeleteBody;
use super::format::FORMAT;
use super::idempotency::KEY_PATTERN;
use super::lists::{AFTER, LIMIT, Page, after_sku, search};
use super::path::ProductPath;
use super::problem::{Code, Problem};
use super::query::{Kind, Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, body, forms, idempotency, precondition};
use crate::actors::Options;
use crate::domain::attributes::{Attributes, MAX_ATTRIBUTES};
use crate::domain::item::{MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS};
use crate::domain::product::ProductAction;
use crate::domain::{Details, MAX_QUANTITY, Request, Resource, Sku};
use crate::journal::ProductFilter;

/// A new product. Its SKU has no stock yet.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewProductBody {
    pub sku: Sku,
    /// What it is called.
    #[validate(custom(function = check_name))]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub name: String,
    /// What there is to say of it.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_description))]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION_CHARS))]
    pub description: Option<String>,
    /// What one of it costs.
    #[serde(default, deserialize_with = "object")]
    #[validate(nested)]
    pub price: Option<PriceBody>,
    /// What else there is to say of it, by name.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_ATTRIBUTES))]
    pub attributes: Attributes,
    /// It is not to be sold any more. Nothing follows from it for its stock.
    #[serde(default)]
    pub archived: bool,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// All that a product is to have: what is left out, it has no longer.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProductBody {
    /// What it is called.
    #[validate(custom(function = check_name))]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub name: String,
    /// What there is to say of it.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_description))]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION_CHARS))]
    pub description: Option<String>,
    /// What one of it costs.
    #[serde(default, deserialize_with = "object")]
    #[validate(nested)]
    pub price: Option<PriceBody>,
    /// What else there is to say of it, by name.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_ATTRIBUTES))]
    pub attributes: Attributes,
    /// It is not to be sold any more. Nothing follows from it for its stock.
    #[serde(default)]
    pub archived: bool,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// `POST /api/products`
pub async fn create(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let body: NewProductBody = body::parse(&request, &bytes)?;
    let details = Details {
        name: Some(body.name.into()),
        description: body.description.map(Into::into),
        price: body.price.map(Into::into),
        attributes: body.attributes,
        archived: body.archived,
    };
    let asked = Asked {
        sku: body.sku,
        action: ProductAction::Create(Box::new(details)),
        version: None,
        key: body.idempotency_key,
    };
    run(&state, &request, &bytes, asked).await
}

/// `PUT /api/products/{sku}`
pub async fn replace(state: Data<State>, request: HttpRequest, path: ProductPath, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let body: ProductBody = body::parse(&request, &bytes)?;
    let details = Details {
        name: Some(body.name.into()),
        description: body.description.map(Into::into),
        price: body.price.map(Into::into),
        attributes: body.attributes,
        archived: body.archived,
    };
    let asked = Asked {
        sku: path.0,
        action: ProductAction::Replace(Box::new(details)),
        version: body.expected_version,
        key: body.idempotency_key,
    };
    run(&state, &request, &bytes, asked).await
}

/// `DELETE /api/products/{sku}`
pub async fn delete(state: Data<State>, request: HttpRequest, path: ProductPath, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let body = DeleteBody::parse(&request, &bytes)?;
    let asked = Asked {
        sku: path.0,
        action: ProductAction::Delete,
        version: body.expected_version,
        key: body.idempotency_key,
    };
    run(&state, &request, &bytes, asked).await
}

struct Asked {
    sku: Sku,
    action: ProductAction,
    version: Option<u64>,
    key: Option<String>,
}

async fn run(state: &State, request: &HttpRequest, bytes: &[u8], asked: Asked) -> Answer {
    let caller = Caller::of(request);
    let expected = precondition::expected(request, asked.version)?;
    let status = forms::status(Resource::Product);
    let keyed = idempotency::keyed(request, bytes, asked.key.as_deref(), &caller.origin.by, status)?;
    caller.may(Right::Administer)?;
    let options = Options {
        keyed,
        ..Options::default()
    };
    let command = Request::of_product(asked.sku.clone(), asked.action, expected, caller.origin);
    let outcome = state.inventory()?.execute(command, options).await?;
    if outcome.replayed.is_none() {
        let event = &outcome.event;
        tracing::info!(sku = asked.sku.as_str(), by = event.by.as_str(), kind = ?event.kind, "a product was changed");
    }
    Ok(forms::written(&outcome, write::wants_minimal(request)))
}

/// `GET /api/products/{sku}`
pub async fn get(state: Data<State>, request: HttpRequest, ProductPath(sku): ProductPath) -> Answer {
    Query::none(&request)?;
    let product = state.inventory()?.product(&sku).await?;
    let not_found = || Problem::new(Code::NotFound, format!("There is no product {sku:?}.")).with("sku", sku.as_str());
    let product = product.ok_or_else(not_found)?;
    precondition::show(&request, product.version, catalogue::product(&sku, &product))
}

pub const LIST: &[Parameter] = &[
    Parameter {
        name: "q",
        about: "The beginning of the SKU, or whole words of the name (all that are given), in any case.",
        kind: Kind::Text("heart"),
    },
    Parameter {
        name: "archived",
        about: "`true`: only those that are archived; `false`: only those that are not.",
        kind: Kind::Choice,
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// `GET /api/products`
pub async fn list(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let filter = ProductFilter {
        q: search(&query),
        archived: query.choice("archived")?,
    };
    let archived = match filter.archived {
        None => "",
        Some(true) => "archived",
        Some(false) => "current",
    };
    let name = ["products", filter.q.as_deref().unwrap_or(""), archived];
    let after = after_sku(&query, &name)?;
    let products = state.inventory()?.products(&filter, after.as_ref(), limit + 1).await?;
    let page = Page::of(products, limit, &name, |(sku, _)| sku.as_str().to_owned());
    page.answer(&request, &query, |(sku, product)| catalogue::product(sku, product))
}
