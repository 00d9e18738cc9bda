//! Every operation of the OpenAPI document, asked by every role, in its own stores, in foreign ones and across both. What
//! is expected comes from [`RULES`] alone: an operation that no rule is for fails the test, so that none can be forgotten.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, from_now};
use crate::staff::{Employee, FOREIGN, House, OWN};

/// How the requests of an operation that reads or moves stock name the stores that they touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// In their path, in members of their body, or in `X-Store-Id`.
    Named,
    /// By the lines of the reservation in their path.
    Cart,
    /// By the levels of the SKU in their path.
    Item,
    /// The same; but where nothing of it is seen, it is an item of nothing.
    NodeItem,
    /// Not at all, or in the query: they show what the caller sees.
    Feed,
    /// It has none: what there is to be sold is no secret.
    Catalogue,
    /// They are of all stores together: who sees some only is refused.
    Whole,
    /// A list of stores: those that the caller sees.
    Stores,
    /// By the write whose key is in their path.
    Key,
    /// Each of the operations in their body by itself.
    Batch,
    /// They are open to everybody, and see for themselves whom they let in.
    Door,
}

/// By `operationId`. What needs `operate` or `administer` takes a role and no store, and what is open and reads takes
/// nothing: these need no rule.
const RULES: &[(&str, Rule)] = &[
    ("getLevel", Rule::Named),
    ("listLevels", Rule::Named),
    ("countLevel", Rule::Named),
    ("adjustLevel", Rule::Named),
    ("reserveLevel", Rule::Named),
    ("releaseLevel", Rule::Named),
    ("createItem", Rule::Named),
    ("countItem", Rule::Named),
    ("reserveItem", Rule::Named),
    ("releaseItem", Rule::Named),
    ("transferStock", Rule::Named),
    ("createReservation", Rule::Named),
    ("commitReservation", Rule::Cart),
    ("releaseReservation", Rule::Cart),
    ("extendReservation", Rule::Cart),
    ("getReservation", Rule::Cart),
    ("getItem", Rule::Item),
    ("getItemAt", Rule::Item),
    ("listItems", Rule::Feed),
    ("listEvents", Rule::Feed),
    ("streamEvents", Rule::Feed),
    ("listMovements", Rule::Feed),
    ("getSales", Rule::Feed),
    ("listReservations", Rule::Feed),
    ("getOperation", Rule::Key),
    ("getMetrics", Rule::Whole),
    ("getRequestMetrics", Rule::Whole),
    ("getInventoryMetrics", Rule::Whole),
    ("getConcurrencyMetrics", Rule::Whole),
    ("getPersistenceMetrics", Rule::Whole),
    ("getBackgroundMetrics", Rule::Whole),
    ("getSystemMetrics", Rule::Whole),
    ("getLimits", Rule::Whole),
    ("getWebhookMetrics", Rule::Whole),
    ("getHealthMetrics", Rule::Whole),
    ("getPrometheusMetrics", Rule::Whole),
    ("runBatch", Rule::Batch),
    ("listProducts", Rule::Catalogue),
    ("getProduct", Rule::Catalogue),
    ("listStores", Rule::Stores),
    ("getStore", Rule::Named),
    ("listProductsAsBefore", Rule::Catalogue),
    ("getProductAsBefore", Rule::Catalogue),
    ("listStoresAsBefore", Rule::Stores),
    ("getStoreAsBefore", Rule::Named),
    ("login", Rule::Door),
    ("register", Rule::Door),
    ("loginAsBefore", Rule::Door),
    ("registerAsBefore", Rule::Door),
    ("getNodeItem", Rule::NodeItem),
    ("countNodeItem", Rule::Named),
    ("adjustNodeItem", Rule::Named),
    ("pushNodeCounts", Rule::Named),
    ("pushCounts", Rule::Named),
    ("getSyncTotals", Rule::Stores),
    ("getSyncStatus", Rule::Stores),
    ("receiveNodeStock", Rule::Named),
    ("listNodeStock", Rule::Named),
    ("countNodeStock", Rule::Named),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Viewer,
    /// Of own stores only.
    OwnViewer,
    Clerk,
    Operator,
    Admin,
}

impl Who {
    const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Viewer,
        Self::OwnViewer,
        Self::Clerk,
        Self::Operator,
        Self::Admin,
    ];

    fn is_narrow(self) -> bool {
        matches!(self, Self::OwnViewer | Self::Clerk)
    }

    fn sees(self, store: &str) -> bool {
        !self.is_narrow() || OWN.contains(&store)
    }

    fn moves(self, store: &str) -> bool {
        match self {
            Self::Nobody | Self::Viewer | Self::OwnViewer => false,
            Self::Clerk => OWN.contains(&store),
            Self::Operator | Self::Admin => true,
        }
    }

    fn may(self, right: &str) -> bool {
        match right {
            "operate" => matches!(self, Self::Operator | Self::Admin),
            "administer" => self == Self::Admin,
            other => panic!("no such right: {other}"),
        }
    }

    fn hired(self, house: &House) -> Employee {
        match self {
            Self::Nobody => house.nobody(),
            Self::Viewer => house.hire("viewer", "viewer", &[]),
            Self::OwnViewer => house.hire("own-viewer", "viewer", &OWN),
            Self::Clerk => house.clerk(),
            Self::Operator => house.hire("operator", "operator", &[]),
            Self::Admin => house.admin.clone(),
        }
    }
}

/// Which stores a request touches: the places in it that name one have these in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Own,
    Foreign,
    Both,
}

impl Where {
    const ALL: [Self; 3] = [Self::Own, Self::Foreign, Self::Both];

    fn stores(self) -> [&'static str; 2] {
        match self {
            Self::Own => OWN,
            Self::Foreign => FOREIGN,
            Self::Both => [OWN[0], FOREIGN[0]],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Unauthenticated,
    Forbidden,
    NotFound,
    /// Done; or refused by the stock, and not for want of a right.
    Allowed,
    /// Anything but a defect: see [`Rule::Door`].
    Anything,
}

impl Expected {
    fn fits(self, status: u16) -> bool {
        match self {
            Self::Unauthenticated => status == 401,
            Self::Forbidden => status == 403,
            Self::NotFound => status == 404,
            Self::Allowed => (200..300).contains(&status) || status == 409,
            Self::Anything => status < 500,
        }
    }

    fn is_refusal(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Forbidden | Self::NotFound)
    }
}

/// An operation of the document.
struct Operation<'a> {
    id: &'a str,
    method: String,
    path: &'a str,
    right: &'a str,
    has_store_filter: bool,
    has_pages: bool,
    has_store_header: bool,
    /// Its refusals have the form of the Node services.
    is_of_node: bool,
    needs_time: bool,
    /// The example of its body.
    body: Option<&'a Value>,
    /// The same where it is no JSON, with its type.
    text: Option<(&'a str, &'a str)>,
}

impl Operation<'_> {
    fn rule(&self) -> Option<Rule> {
        let found = RULES.iter().find(|(id, _)| *id == self.id).map(|(_, rule)| *rule);
        let needs_one = match self.right {
            "operate" | "administer" => false,
            "open" => self.method != "GET",
            _ => true,
        };
        assert!(
            found.is_some() || !needs_one,
            "{} {} ({}) needs a rule: say how it names the stores that it touches",
            self.method,
            self.path,
            self.id
        );
        found
    }

    fn is_read(&self) -> bool {
        self.method == "GET"
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, about) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "parameters")
        {
            let parameters = || about["parameters"].as_array().into_iter().flatten();
            found.push(Operation {
                id: about["operationId"].as_str().unwrap(),
                method: method.to_uppercase(),
                path,
                right: about["x-right"].as_str().unwrap(),
                has_store_filter: parameters().any(|one| one["in"] == "query" && one["name"] == "storeId"),
                has_pages: parameters().any(|one| one["in"] == "query" && one["name"] == "limit"),
                has_store_header: parameters().any(|one| one["$ref"] == "#/components/parameters/X-Store-Id"),
                is_of_node: about["operationId"].as_str().unwrap().contains("Node"),
                needs_time: parameters().any(|one| one["in"] == "query" && one["required"] == true),
                body: about["requestBody"]["content"]
                    .get("application/json")
                    .map(|content| &content["example"]),
                text: about["requestBody"]["content"]["text/csv"]["example"]
                    .as_str()
                    .map(|text| ("text/csv", text)),
            });
        }
    }
    found
}

/// A request with SKUs and a reservation of its own, so that no other is in its way.
struct Case<'a> {
    operation: &'a Operation<'a>,
    path: String,
    body: Option<Value>,
    /// The stores that it names, in the order of the places.
    named: Vec<&'static str>,
    header: Option<&'static str>,
    place: Where,
    number: usize,
}

const SKUS: [&str; 2] = ["85123A", "22423"];
const RESERVATION: &str = "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a";
const KEY: &str = "cart-7";

impl<'a> Case<'a> {
    fn new(operation: &'a Operation<'a>, place: Where, number: usize) -> Self {
        let mut case = Self {
            operation,
            path: String::new(),
            body: operation.body.cloned(),
            named: Vec::new(),
            header: None,
            place,
            number,
        };
        case.path = operation.path.to_owned();
        if operation.has_store_header {
            case.header = Some(case.next_store());
        }
        if operation.path == "/stock/{id}" {
            let store = case.next_store();
            let entry = format!("{}:{store}{}", store.len(), case.sku(SKUS[0]));
            let id = if operation.is_read() {
                store.replace(' ', "%20")
            } else {
                URL_SAFE_NO_PAD.encode(entry)
            };
            case.path = format!("/stock/{id}");
        }
        if case.path.contains("{storeId}") {
            let store = case.next_store();
            case.path = case.path.replace("{storeId}", &store.replace(' ', "%20"));
        }
        case.path = case
            .path
            .replace("{sku}", &case.sku(SKUS[0]))
            .replace("{reservationId}", &case.reservation())
            .replace("{key}", &format!("{KEY}-{number}"))
            .replace("{code}", "forbidden")
            .replace("{file}", "app.js")
            .replace("{username}", "nobody-of-this-name")
            .replace("{jobId}", RESERVATION)
            .replace("{tokenId}", RESERVATION)
            .replace("{webhookId}", RESERVATION);
        if let Some(mut body) = case.body.take() {
            if operation.id == "createItem" {
                // These would be about other stores too.
                let members = body.as_object_mut().unwrap();
                members.retain(|name, _| !["name", "price"].contains(&name.as_str()));
            }
            case.fill(&mut body);
            case.body = Some(body);
        }
        if operation.has_store_filter && operation.is_read() {
            case.path += if operation.has_pages { "?limit=1000" } else { "?after=0" };
        }
        if operation.id == "createImport" {
            // What is done in the background would seem to be done by those who come next.
            case.path += "?dryRun=true";
        }
        case
    }

    fn sku(&self, example: &str) -> String {
        format!("{example}-{}", self.number)
    }

    fn reservation(&self) -> String {
        format!("reservation-{}", self.number)
    }

    fn next_store(&mut self) -> &'static str {
        let store = self.place.stores()[self.named.len() % 2];
        self.named.push(store);
        store
    }

    /// Puts stores, SKUs and the reservation of this case in the places of those of the example.
    fn fill(&mut self, value: &mut Value) {
        match value {
            Value::Array(entries) => entries.iter_mut().for_each(|entry| self.fill(entry)),
            Value::Object(members) => {
                if self.operation.id == "pushNodeCounts" {
                    members.insert("store_id".to_owned(), Value::Null);
                }
                for name in ["storeId", "fromStoreId", "toStoreId", "store_id"] {
                    if let Some(member) = members.get_mut(name) {
                        *member = self.next_store().into();
                    }
                }
                members.values_mut().for_each(|member| self.fill(member));
            }
            Value::String(text) if SKUS.contains(&text.as_str()) => *text = self.sku(text),
            Value::String(text) if text == RESERVATION => *text = self.reservation(),
            _ => {}
        }
    }

    /// One that would touch no foreign store, or the same as another, tells nothing.
    fn is_of_use(&self, rule: Option<Rule>) -> bool {
        match rule {
            None | Some(Rule::Door | Rule::Catalogue | Rule::Whole) => self.place == Where::Own,
            Some(Rule::Named) => self.place != Where::Both || self.named.len() > 1,
            Some(_) => true,
        }
    }

    /// Stock, a reservation and a hold of the caller's own for it.
    fn prepare(&self, house: &House, caller: &Employee, rule: Rule) {
        let places: Vec<&str> = match rule {
            Rule::Item | Rule::NodeItem => self.place.stores().to_vec(),
            _ => OWN.into_iter().chain(FOREIGN).collect(),
        };
        let skus = SKUS.iter().filter(|_| self.operation.id != "createItem");
        let counts = skus.flat_map(|sku| places.iter().map(|store| self.count(sku, store)));
        let counts: Vec<Value> = counts.collect();
        house
            .admin
            .post("/api/inventory/batch", json!({"operations": counts}))
            .expect(200);
        if !self.operation.is_read() || rule == Rule::Cart {
            let lines: Vec<Value> = self
                .place
                .stores()
                .iter()
                .map(|store| json!({"sku": self.sku(SKUS[0]), "storeId": store, "quantity": 5}))
                .collect();
            let reference = if self.place == Where::Own { "own" } else { "ZSECRET" };
            let cart = json!({"lines": lines, "reservationId": self.reservation(), "reference": reference});
            house.admin.post("/api/reservations", cart);
            let hold = json!({"lines": lines});
            caller.post("/api/reservations", hold);
        }
        if rule == Rule::Key {
            let key = format!("{KEY}-{}", self.number);
            let [first, _] = self.place.stores();
            let path = format!("/api/inventory/stores/{}/inventory/{}/adjust", first, self.sku(SKUS[0]));
            caller.post_with(&path, &[("idempotency-key", &key)], json!({"delta": 1}));
        }
    }

    /// What lies in foreign stores can be told from all else.
    fn count(&self, sku: &str, store: &str) -> Value {
        let quantity = if FOREIGN.contains(&store) { 777_001 } else { 1000 };
        json!({"op": "set", "sku": self.sku(sku), "storeId": store, "quantity": quantity, "note": format!("in {store}")})
    }

    fn expected(&self, who: Who, rule: Option<Rule>) -> Expected {
        let right = self.operation.right;
        if rule == Some(Rule::Door) {
            return Expected::Anything;
        }
        if right == "open" {
            return Expected::Allowed;
        }
        if who == Who::Nobody {
            return Expected::Unauthenticated;
        }
        let touched: &[&str] = match rule {
            None if who.may(right) => return Expected::Anything,
            None => return Expected::Forbidden,
            Some(Rule::Named) => &self.named,
            Some(_) => &self.place.stores(),
        };
        let sees_all = touched.iter().all(|store| who.sees(store));
        let sees_any = touched.iter().any(|store| who.sees(store));
        let moves_all = touched.iter().all(|store| who.moves(store));
        let allowed_if = |is_allowed: bool, otherwise| if is_allowed { Expected::Allowed } else { otherwise };
        match rule {
            Some(Rule::Feed | Rule::NodeItem | Rule::Catalogue | Rule::Stores) => Expected::Allowed,
            Some(Rule::Item) => allowed_if(sees_any, Expected::NotFound),
            Some(Rule::Whole) => allowed_if(!who.is_narrow(), Expected::Forbidden),
            // What was not done cannot be found.
            Some(Rule::Key) => allowed_if(who.moves(touched[0]), Expected::NotFound),
            Some(Rule::Batch) => allowed_if(OWN.iter().any(|own| who.moves(own)), Expected::Forbidden),
            _ if self.operation.is_read() => allowed_if(sees_all, Expected::NotFound),
            _ => allowed_if(moves_all, Expected::Forbidden),
        }
    }

    fn send(&self, caller: &Employee) -> Answer {
        let now = format!("{}?at={}", self.path, from_now(0));
        let path = if self.operation.needs_time { &now } else { &self.path };
        self.send_to(caller, path, self.body.as_ref())
    }

    fn send_to(&self, caller: &Employee, path: &str, body: Option<&Value>) -> Answer {
        let json = body.map(|_| JSON);
        let body = body.map(Value::to_string);
        let text = self.operation.text.filter(|_| body.is_none());
        let json = json.or(text.map(|(media_type, _)| ("content-type", media_type)));
        let body = body.or(text.map(|(_, text)| text.to_owned()));
        let store = self.header.map(|store| ("x-store-id", store));
        let headers: Vec<(&str, &str)> = json.into_iter().chain(store).collect();
        caller.send(
            &self.operation.method,
            path,
            &headers,
            body.as_deref().map(str::as_bytes),
        )
    }

    #[track_caller]
    fn is_refused(&self, answer: &Answer) {
        match self.operation.is_of_node {
            true => assert!(
                answer["error"].is_string() && answer["type"].is_null(),
                "{}",
                answer.text()
            ),
            false => answer.is_a_problem(),
        }
    }
}

/// No answer to somebody who is narrowed tells of what is foreign, beyond what the request has said itself.
#[track_caller]
fn tells_nothing(answer: &Answer, path: &str, body: Option<&Value>, told: &str) {
    let cursor = answer["next"]
        .as_str()
        .and_then(|next| URL_SAFE_NO_PAD.decode(next).ok());
    let cursor = cursor
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let text = format!(
        "{}{cursor}{:?}",
        String::from_utf8_lossy(&answer.body),
        answer.header("link")
    );
    let asked = format!("{path}{}", body.map(Value::to_string).unwrap_or_default());
    for secret in ["ZFOREIGN", "777001", "ZSECRET"] {
        assert!(
            !text.contains(secret) || asked.contains(secret),
            "{told} tells of {secret}: {text}"
        );
    }
}

#[test]
fn every_operation_lets_in_whom_it_should_and_nobody_else() {
    let house = House::open();
    let document = house.nobody().get("/api/openapi.json").expect(200).json;
    let staff = Who::ALL.map(|who| (who, who.hired(&house)));
    let operations = operations(&document);
    let mut number = 0;
    for operation in &operations {
        let rule = operation.rule();
        for (place, (who, caller)) in Where::ALL
            .iter()
            .flat_map(|place| staff.iter().map(move |one| (*place, one)))
        {
            number += 1;
            let case = Case::new(operation, place, number);
            if !case.is_of_use(rule) {
                continue;
            }
            if let Some(rule) = rule {
                case.prepare(&house, caller, rule);
            }
            let (end, expected) = (house.end(), case.expected(*who, rule));
            let answer = case.send(caller);
            let told = format!(
                "{} {} {:?} as {who:?} in {place:?}",
                operation.method, case.path, case.body
            );
            assert!(
                expected.fits(answer.status),
                "{told}: {expected:?}, not {} {}",
                answer.status,
                answer.text()
            );
            if expected.is_refusal() {
                case.is_refused(&answer);
                assert_eq!(house.end(), end, "{told} was refused and has changed something");
            }
            if who.is_narrow() {
                let asked = format!("{} in {:?}", case.path, case.named);
                tells_nothing(&answer, &asked, case.body.as_ref(), &told);
            }
            match rule {
                Some(Rule::Feed) if *who != Who::Nobody => check_filter(&case, *who, caller, &told),
                Some(Rule::Batch) => check_batch(&case, *who, caller, &house, &answer, &told),
                _ => {}
            }
        }
    }
    let documented: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
    for (id, _) in RULES {
        assert!(
            documented.contains(id),
            "there is a rule for {id}, but no such operation"
        );
    }
}

/// A list that is asked for a store shows it to those who see it, and to others is not there.
fn check_filter(case: &Case, who: Who, caller: &Employee, told: &str) {
    assert!(
        case.operation.has_store_filter,
        "{told}: a list that cannot be asked for a store"
    );
    for store in case.place.stores() {
        let path = format!("{}&storeId={}", case.path, store.replace(' ', "%20"));
        let answer = case.send_to(caller, &path, None);
        let expected = if who.sees(store) { 200 } else { 404 };
        assert_eq!(answer.status, expected, "{path} as {who:?}: {}", answer.text());
        if who.is_narrow() {
            tells_nothing(&answer, &path, None, told);
        }
    }
    let nowhere = format!("{}&storeId=nowhere", case.path);
    let expected = if who.is_narrow() { 404 } else { 200 };
    assert_eq!(
        case.send_to(caller, &nowhere, None).status,
        expected,
        "{nowhere} as {who:?}"
    );
}

/// Each operation of a batch stands for itself; of an atomic one, one that is not allowed stands for all.
fn check_batch(case: &Case, who: Who, caller: &Employee, house: &House, answer: &Answer, told: &str) {
    let Some(body) = &case.body else { return };
    let operations = body["operations"].as_array().unwrap();
    let may = |operation: &Value| {
        let stores = ["storeId", "fromStoreId", "toStoreId"].map(|name| operation[name].as_str());
        stores.into_iter().flatten().all(|store| who.moves(store))
    };
    if answer.status == 200 {
        for (operation, result) in operations.iter().zip(answer["results"].as_array().unwrap()) {
            let is_refused = result["status"] == 403;
            assert_eq!(is_refused, !may(operation), "{told}: {operation} got {result}");
        }
    }
    let mut atomic = body.clone();
    atomic["atomic"] = true.into();
    let end = house.end();
    let answer = case.send_to(caller, &case.path, Some(&atomic));
    let is_refused = match who {
        Who::Nobody => answer.status == 401,
        _ => answer.status == 403,
    };
    assert_eq!(
        is_refused,
        !operations.iter().all(may),
        "{told}, atomic: {}",
        answer.text()
    );
    if is_refused {
        assert_eq!(house.end(), end, "{told}, atomic");
    }
    if answer.status == 403 && who == Who::Clerk {
        let listed = answer["operations"].as_array().unwrap();
        assert_eq!(
            listed.len(),
            operations.iter().filter(|one| !may(one)).count(),
            "{told}"
        );
    }
    if who.is_narrow() {
        tells_nothing(&answer, &case.path, Some(&atomic), told);
    }
}

#[test]
fn a_body_that_does_not_fit_is_refused_before_anybody_is_told_what_they_may() {
    let house = House::open();
    let document = house.nobody().get("/api/openapi.json").expect(200).json;
    let viewer = Who::OwnViewer.hired(&house);
    let end = house.end();
    let mut checked = 0;
    for operation in operations(&document) {
        if operation.body.is_none() || operation.right == "open" {
            continue;
        }
        let case = Case::new(&operation, Where::Foreign, 1);
        let unfit = json!({"nonsense": 1});
        for (caller, status) in [(&viewer, 400), (&house.nobody(), 401)] {
            let answer = case.send_to(caller, &case.path, Some(&unfit));
            assert_eq!(answer.status, status, "{}: {}", operation.id, answer.text());
            case.is_refused(&answer);
        }
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
    assert_eq!(house.end(), end);
}
