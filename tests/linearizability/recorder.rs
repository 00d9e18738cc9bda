//! Clients of the running service, and the record of what they asked and were told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::history::{Answer, Asked, Id, Level, Line, Lines, Operation, PLACES, Place, Reservation, Settle, Shortage};
use super::history::{LAST_READER, Status, Told};
use super::mix::{Book, Shopper};

pub struct Recorder {
    /// One clock for all: the history compares the times of different clients.
    clock: Instant,
    book: Mutex<Book>,
    operations: Mutex<Vec<Operation>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            clock: Instant::now(),
            book: Mutex::default(),
            operations: Mutex::default(),
        }
    }

    pub fn answers(&self) -> usize {
        self.operations
            .lock()
            .unwrap()
            .iter()
            .filter(|operation| operation.answer.is_some())
            .count()
    }

    /// The service has ended: what it has not answered yet takes effect no more.
    pub fn service_is_gone(&self) {
        let now = self.clock.elapsed();
        let mut operations = self.operations.lock().unwrap();
        let unanswered = operations.iter_mut().filter(|operation| operation.answer.is_none());
        unanswered.for_each(|operation| operation.gone = Some(now));
    }

    pub fn into_history(self) -> Vec<Operation> {
        self.operations.into_inner().unwrap()
    }

    /// Has so many clients ask at once, each so often, or until it gets no answer.
    pub fn run(&self, port: u16, seed: u64, clients: usize, each: usize) {
        std::thread::scope(|scope| {
            for client in 0..clients {
                scope.spawn(move || {
                    let connection = Connection::new(port);
                    let mut shopper = Shopper::new(seed.wrapping_mul(1000) + client as u64);
                    for _ in 0..each {
                        let asked = shopper.next(&mut self.book.lock().unwrap());
                        let Some(told) = self.ask(&connection, client, asked.clone()) else {
                            break;
                        };
                        shopper.learn(&asked, &told);
                    }
                });
            }
        });
    }

    /// Reads everything at the end, so that whatever went wrong on the way shows.
    pub fn read_all(&self, port: u16) {
        let (connection, reservations) = (Connection::new(port), self.book.lock().unwrap().len());
        let levels = PLACES.into_iter().map(Asked::ReadLevel);
        for asked in levels.chain((0..reservations).map(Asked::ReadReservation)) {
            self.ask(&connection, LAST_READER, asked).expect("a read is answered");
        }
    }

    fn ask(&self, connection: &Connection, client: usize, asked: Asked) -> Option<Told> {
        let invoked = self.clock.elapsed();
        let reply = connection.send(&asked);
        let at = self.clock.elapsed();
        let told = reply.and_then(|(status, body)| told(&asked, status, &body));
        let answer = told.clone().map(|told| Answer { at, told });
        self.operations.lock().unwrap().push(Operation {
            client,
            asked,
            invoked,
            answer,
            gone: None,
        });
        told
    }
}

pub struct Connection {
    agent: ureq::Agent,
    base: String,
}

impl Connection {
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self {
            agent: config.new_agent(),
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    pub fn stock(&self, place: Place, quantity: u64) {
        let request = self.agent.put(format!("{}{}", self.base, level(place)));
        let response = request
            .send_json(json!({ "quantity": quantity }))
            .expect("a count is answered");
        assert_eq!(response.status(), 201);
    }

    /// `None` where the connection failed.
    fn send(&self, asked: &Asked) -> Option<(u16, Value)> {
        let (path, body) = request(asked);
        let url = format!("{}{path}", self.base);
        let response = match body {
            Some(body) => self.agent.post(url).send_json(body),
            None => self.agent.get(url).call(),
        };
        let mut response = response.ok()?;
        let body = response.body_mut().read_to_string().ok()?;
        let status = response.status().as_u16();
        Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }
}

fn level(Place { sku, store }: Place) -> String {
    format!("/api/inventory/stores/{store}/inventory/{sku}")
}

/// The path, and the body of a write.
fn request(asked: &Asked) -> (String, Option<Value>) {
    let at = |place, verb| format!("{}/{verb}", level(place));
    let (path, body) = match asked {
        Asked::ReadLevel(place) => return (level(*place), None),
        Asked::ReadReservation(id) => return (format!("/api/reservations/r{id}"), None),
        Asked::Adjust { place, delta, expected } => {
            let mut body = json!({ "delta": delta });
            if let Some(version) = expected {
                body["expectedVersion"] = json!(version);
            }
            (at(*place, "adjust"), body)
        }
        Asked::Reserve { place, id, quantity } => {
            let body = json!({"quantity": quantity, "reservationId": format!("r{id}")});
            (at(*place, "reserve"), body)
        }
        Asked::ReserveCart { id, lines } => {
            let body = json!({"lines": shown(lines), "reservationId": format!("r{id}")});
            ("/api/reservations".to_owned(), body)
        }
        Asked::ReleaseHere { place, id } => (at(*place, "release"), json!({"reservationId": format!("r{id}")})),
        Asked::ReleaseQuantity { place, quantity } => (at(*place, "release"), json!({ "quantity": quantity })),
        Asked::Settle { how, id, lines } => {
            let verb = match how {
                Settle::Commit => "commit",
                Settle::Release => "release",
            };
            let body = lines.as_ref().map_or(json!({}), |lines| json!({"lines": shown(lines)}));
            (format!("/api/reservations/r{id}/{verb}"), body)
        }
    };
    (path, Some(body))
}

fn shown(lines: &Lines) -> Vec<Value> {
    let line =
        |(place, quantity): (&Place, &u64)| json!({"sku": place.sku, "storeId": place.store, "quantity": quantity});
    lines.iter().map(line).collect()
}

/// What an answer says; `None` where it says that nobody knows.
fn told(asked: &Asked, status: u16, body: &Value) -> Option<Told> {
    let error = body["error"].as_str().unwrap_or_default();
    if (status, error) == (503, "outcome_unknown") {
        return None;
    }
    let told = match (status, error) {
        (200 | 201, _) if status == status_of_success(asked) => done(asked, body),
        (404, "not_found") => Some(Told::NotFound),
        (409, "version_mismatch") => body["currentVersion"]
            .as_u64()
            .map(|current| Told::VersionMismatch { current }),
        (409, "insufficient_stock") => shortages(asked, body),
        (409, "not_reserved") => Some(Told::NotReserved),
        (409, "reservation_not_active") if asked.place().is_some() => Some(Told::NotActive),
        (409, "reservation_not_active") => read_reservation(&body["reservation"]).map(Told::NotActiveAs),
        _ => None,
    };
    Some(told.unwrap_or_else(|| Told::Other(format!("{status} {body}"))))
}

fn status_of_success(asked: &Asked) -> u16 {
    match asked {
        Asked::Reserve { .. } | Asked::ReserveCart { .. } => 201,
        _ => 200,
    }
}

fn done(asked: &Asked, body: &Value) -> Option<Told> {
    Some(match asked {
        Asked::Reserve { place, .. } => {
            Told::Reserved(read_level(*place, body)?, read_reservation(&body["reservation"])?)
        }
        Asked::ReadReservation(_) | Asked::ReserveCart { .. } | Asked::Settle { .. } => {
            Told::Reservation(read_reservation(body)?)
        }
        Asked::ReadLevel(place)
        | Asked::Adjust { place, .. }
        | Asked::ReleaseHere { place, .. }
        | Asked::ReleaseQuantity { place, .. } => Told::Level(read_level(*place, body)?),
    })
}

fn shortages(asked: &Asked, body: &Value) -> Option<Told> {
    let lines = match asked {
        Asked::ReserveCart { .. } => body["lines"].as_array()?.as_slice(),
        _ => std::slice::from_ref(body),
    };
    let shortage = |line: &Value| {
        if line["error"] != "insufficient_stock" {
            return None;
        }
        let ShortageForm {
            place,
            requested,
            available,
            reserved,
        } = Deserialize::deserialize(line).ok()?;
        Some(Shortage {
            place: place.known()?,
            requested,
            available,
            reserved,
        })
    };
    lines.iter().map(shortage).collect::<Option<_>>().map(Told::Short)
}

fn read_level(place: Place, body: &Value) -> Option<Level> {
    let form = LevelForm::deserialize(body).ok()?;
    let is_whole = form.place.known()? == place && form.available == form.quantity.checked_sub(form.reserved)?;
    is_whole.then_some(Level {
        quantity: form.quantity,
        reserved: form.reserved,
        version: form.version,
    })
}

fn read_reservation(body: &Value) -> Option<Reservation> {
    let form = ReservationForm::deserialize(body).ok()?;
    let lines = form.lines.iter().map(|line| {
        let place = line.place.known().filter(|_| line.expired == 0)?;
        let line = Line {
            quantity: line.quantity,
            held: line.held,
            committed: line.committed,
            released: line.released,
        };
        Some((place, line))
    });
    let lines: BTreeMap<Place, Line> = lines.collect::<Option<_>>()?;
    let id = form.reservation_id.strip_prefix('r')?.parse::<Id>().ok()?;
    (lines.len() == form.lines.len()).then_some(Reservation {
        id,
        status: match form.status.as_str() {
            "active" => Status::Active,
            "committed" => Status::Committed,
            "released" => Status::Released,
            _ => return None,
        },
        lines,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaceForm {
    sku: String,
    store_id: String,
}

impl PlaceForm {
    fn known(&self) -> Option<Place> {
        PLACES
            .into_iter()
            .find(|place| place.sku == self.sku && place.store == self.store_id)
    }
}

#[derive(Deserialize)]
struct LevelForm {
    #[serde(flatten)]
    place: PlaceForm,
    quantity: u64,
    reserved: u64,
    available: u64,
    version: u64,
}

#[derive(Deserialize)]
struct ShortageForm {
    #[serde(flatten)]
    place: PlaceForm,
    requested: u64,
    available: u64,
    reserved: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReservationForm {
    reservation_id: String,
    status: String,
    lines: Vec<LineForm>,
}

#[derive(Deserialize)]
struct LineForm {
    #[serde(flatten)]
    place: PlaceForm,
    quantity: u64,
    held: u64,
    committed: u64,
    released: u64,
    expired: u64,
}
