//! The service that is looked at, and what is in it.

use serde_json::{Value, json};

use crate::client::{Client, at, at_in};
use crate::support::TestApp;

pub const PASSWORD: &str = "planted staple battery";

pub fn url(app: &TestApp) -> String {
    format!("http://127.0.0.1:{}/", app.port)
}

/// Somebody who can sign in, made by the first admin.
pub struct Staff {
    admin: String,
}

impl Staff {
    /// Makes the first admin, `anna`.
    pub fn hire(app: &TestApp) -> Self {
        let log = app.log();
        let (_, rest) = log.split_once("\"setupToken\": \"").expect("no setup token");
        let (token, _) = rest.split_once('"').unwrap();
        let first = json!({"username": "anna", "password": PASSWORD, "setupToken": token});
        app.post("/api/auth/register", first).expect(201);
        let login = app.post("/api/auth/login", json!({"username": "anna", "password": PASSWORD}));
        let admin = format!("Bearer {}", login.expect(200)["token"].as_str().unwrap());
        Self { admin }
    }

    #[track_caller]
    pub fn add(&self, app: &TestApp, name: &str, role: &str) {
        let user = json!({"username": name, "password": PASSWORD, "role": role});
        app.post_with("/api/auth/register", &[("authorization", &self.admin)], user)
            .expect(201);
    }

    #[track_caller]
    pub fn count(&self, app: &TestApp, sku: &str, quantity: u64) {
        let headers = [("authorization", &*self.admin)];
        app.put_with(&at(sku), &headers, json!({"quantity": quantity}))
            .expect(201);
    }
}

/// What a shop has.
pub const GOODS: [(&str, &str); 12] = [
    ("85123A", "White hanging heart T-light holder"),
    ("22423", "Regency cakestand, three tiers"),
    ("47566", "Party bunting"),
    ("84879", "Assorted colour bird ornament"),
    ("20725", "Lunch bag, red retrospot"),
    ("21212", "Pack of 72 retrospot cake cases"),
    ("22720", "Set of three cake tins, pantry design"),
    ("23203", "Jumbo bag, vintage doily"),
    ("22086", "Paper chain kit, fifties Christmas"),
    ("22457", "Natural slate heart chalkboard"),
    ("BANK CHARGES", "Bank charges"),
    ("AB/12", "Gläser, klein"),
];

pub const STORES: [&str; 3] = ["london", "paris", "berlin"];

/// Fills a service with goods, some of which are low.
pub fn stock(app: &TestApp) {
    for (i, (sku, name)) in GOODS.iter().enumerate() {
        let price = json!({"amount": 295 + 110 * i, "currency": "GBP"});
        let item = json!({"sku": sku, "name": name, "price": price, "storeId": STORES[0], "quantity": 0});
        app.post("/api/inventory/items", item).expect(201);
        for (j, store) in STORES.iter().enumerate() {
            let quantity = match (i, j) {
                (3, 1) => 0,
                (5 | 8, _) => 7 + j,
                _ => 2_000 + 137 * i + 53 * j,
            };
            let count = json!({"quantity": quantity, "reorderPoint": 20});
            app.put(&path(store, sku), count);
        }
    }
}

/// The path of a level, whatever is in the SKU.
pub fn path(store: &str, sku: &str) -> String {
    at_in(&encoded(store), &encoded(sku))
}

pub fn encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub fn hold(app: &TestApp, reference: &str, lines: Value, seconds: u64) {
    let cart = json!({"lines": lines, "ttlSeconds": seconds, "reference": reference});
    app.post("/api/reservations", cart).expect(201);
}
