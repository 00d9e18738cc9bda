//! What callers with narrowed rights see and may do by these routes. The rest is tested from outside, in `tests/api/`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::Service;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Data;
use actix_web::{App, HttpMessage, rt};
use serde_json::{Value, json};

use super::stock;
use crate::actors::{Inventory, Settings};
use crate::domain::{Principal, Rights, Role, Sku, StoreId};
use crate::http::caller::Identity;
use crate::http::edge::{self, Gauge};
use crate::http::{State, routes};
use crate::journal::memory::MemoryJournal;

fn store(name: &str) -> StoreId {
    StoreId::parse(name).unwrap()
}

fn of_london(role: Role) -> Rights {
    Rights::new(role, Some(&[store("london")]))
}

/// A service with 5 of SKU A in London and 7 in Paris, until it has answered one request of such a caller.
struct Shop(Arc<MemoryJournal>);

impl Shop {
    async fn open() -> Self {
        let shop = Self(Arc::new(MemoryJournal::new(24 * 3_600_000)));
        let counts = json!([
            {"sku": "A", "store_id": "london", "quantity": 5}, {"sku": "A", "store_id": "paris", "quantity": 7},
        ]);
        shop.ask(&Rights::all(), Method::POST, "/sync/push", counts).await;
        shop
    }

    async fn ask(&self, rights: &Rights, method: Method, path: &str, body: Value) -> (u16, Value) {
        let settings = Settings {
            queue_limit: 8,
            idle_after: Duration::from_secs(60),
            snapshot_interval: Duration::from_secs(60),
            snapshots_per_second: 1,
        };
        let state = Data::new(State::recovering(None, false));
        state.serve(Inventory::start(self.0.clone(), settings));
        let gauge = Arc::new(Gauge::default());
        let app = App::new()
            .app_data(state.clone())
            .wrap_fn(move |request, service| edge::handle(gauge.clone(), false, request, service))
            .configure(|config| routes::configure(config, &state));
        let service = init_service(app).await;
        let request = TestRequest::with_uri(path).method(method).set_json(body);
        let request = request.insert_header(("x-store-id", "paris")).to_request();
        request.extensions_mut().insert(Identity {
            principal: Principal::parse("till").unwrap(),
            rights: rights.clone(),
        });
        let response = service.call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body().boxed()).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[test]
fn a_write_in_a_store_that_is_not_the_callers_is_refused_and_changes_nothing() {
    rt::System::new().block_on(async {
        let shop = Shop::open().await;
        let of_paris = format!("/stock/{}", stock::id_of(&Sku::parse("A").unwrap(), &store("paris")));
        let of_nothing = format!("/stock/{}", stock::id_of(&Sku::parse("B").unwrap(), &store("paris")));
        let entry = json!({"storeId": "paris", "sku": "A", "quantity": 1});
        let push = json!([
            {"sku": "A", "store_id": "london", "quantity": 1}, {"sku": "A", "store_id": "paris", "quantity": 1},
        ]);
        for (method, path, body) in [
            (Method::PUT, "/inventory/A", json!({"quantity": 1})),
            (Method::PUT, "/inventory/B", json!({"quantity": 1})),
            (Method::POST, "/inventory/A/adjust", json!({"delta": 1})),
            (Method::POST, "/inventory/B/adjust", json!({"delta": 1})),
            (Method::POST, "/stock", entry),
            (Method::PUT, of_paris.as_str(), json!({"quantity": 1})),
            (Method::PUT, of_nothing.as_str(), json!({"quantity": 1})),
            (Method::POST, "/sync/push", push),
        ] {
            let (status, answer) = shop.ask(&of_london(Role::Clerk), method, path, body).await;
            assert_eq!(
                (status, &answer["error"]),
                (403, &json!("forbidden")),
                "{path}: {answer}"
            );
        }
        let (_, all) = shop.ask(&Rights::all(), Method::GET, "/inventory/A", Value::Null).await;
        assert_eq!(all["total"], 12, "{all}");
    });
}

#[test]
fn a_viewer_moves_nothing() {
    rt::System::new().block_on(async {
        let shop = Shop::open().await;
        let count = json!([{"sku": "A", "store_id": "london", "quantity": 1}]);
        let (status, _) = shop
            .ask(&of_london(Role::Viewer), Method::POST, "/sync/push", count.clone())
            .await;
        assert_eq!(status, 403);
        let (status, answer) = shop
            .ask(&of_london(Role::Clerk), Method::POST, "/sync/push", count)
            .await;
        assert_eq!((status, &answer["changed"][0]["quantity"]), (200, &json!(1)));
    });
}

#[test]
fn reads_show_the_callers_stores_and_no_others() {
    rt::System::new().block_on(async {
        let shop = Shop::open().await;
        let viewer = of_london(Role::Viewer);
        let (_, item) = shop.ask(&viewer, Method::GET, "/inventory/A", Value::Null).await;
        assert_eq!(item["total"], 5, "{item}");
        assert_eq!(item["per_store"].as_array().map(Vec::len), Some(1), "{item}");
        let (_, stock) = shop.ask(&viewer, Method::GET, "/stock/london", Value::Null).await;
        assert_eq!(stock[0]["quantity"], 5, "{stock}");
        for path in ["/stock/paris", "/stock/nowhere"] {
            let (status, answer) = shop.ask(&viewer, Method::GET, path, Value::Null).await;
            assert_eq!(
                (status, &answer["error"]),
                (404, &json!("not_found")),
                "{path}: {answer}"
            );
        }
        let (status, nothing) = shop
            .ask(&Rights::all(), Method::GET, "/stock/nowhere", Value::Null)
            .await;
        assert_eq!((status, nothing), (200, json!([])));
    });
}
