//! What was sent and what was answered, and the service held to it after a crash.
//!
//! Every write adds one to a SKU under a key of its own. So a SKU's quantity is how many took effect,
//! its version is that and one for the count that made it, and each key tells which.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::Client;

const SKUS: usize = 8;

#[derive(Clone, Debug)]
pub struct Write {
    pub sku: String,
    pub key: String,
    pub note: String,
}

#[derive(Default)]
pub struct Books {
    pub acknowledged: Vec<Write>,
    /// Refused with 503 `storage_unavailable`: not applied, also not after a restart.
    pub refused: Vec<Write>,
    /// Not answered, or with 503 `outcome_unknown`.
    pub unknown: Vec<Write>,
}

impl Write {
    pub fn new(key: impl Into<String>, note: &str) -> Self {
        Self {
            sku: "SKU-0".into(),
            key: key.into(),
            note: note.into(),
        }
    }
}

impl Books {
    /// With the SKUs in place, at quantity 0 and version 1.
    pub fn open(client: &Client) -> Self {
        for sku in 0..SKUS {
            assert_eq!(client.put(&format!("SKU-{sku}"), 0).status, 201);
        }
        Self::default()
    }

    /// Sends a write and enters what was answered; returns the problem's code, empty on success.
    pub fn send(&mut self, client: &Client, write: Write) -> String {
        let answer = client.add_one(&write.sku, &write.key, &write.note);
        let error = answer.as_ref().map(|answer| answer.error().to_owned());
        match (answer.map(|answer| answer.status), error.as_deref()) {
            (Some(200), _) => self.acknowledged.push(write),
            (Some(503), Some("storage_unavailable")) => self.refused.push(write),
            (None, _) | (Some(503), Some("outcome_unknown")) => self.unknown.push(write),
            (status, error) => panic!("{}: {status:?} {error:?}", write.key),
        }
        error.unwrap_or_else(|| "no answer".into())
    }

    /// Writes from so many clients at once, each until it has no success, or at most `each` times.
    pub fn send_from(&mut self, port: u16, clients: usize, each: usize, run: &str, note: &str) {
        self.send_counted(port, clients, each, run, note, &AtomicUsize::new(0));
    }

    /// The same, and counts the answered ones meanwhile.
    pub fn send_counted(&mut self, port: u16, clients: usize, each: usize, run: &str, note: &str, count: &AtomicUsize) {
        let all = Mutex::new(self);
        std::thread::scope(|scope| {
            for i in 0..clients {
                let all = &all;
                scope.spawn(move || {
                    let (client, mut own) = (Client::new(port), Books::default());
                    for n in 0..each {
                        let write = Write {
                            sku: format!("SKU-{}", i % SKUS),
                            key: format!("{run}-{i}-{n}"),
                            note: note.into(),
                        };
                        if !own.send(&client, write).is_empty() {
                            break;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    all.lock().unwrap().take_in(own);
                });
            }
        });
    }

    fn take_in(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.refused.extend(other.refused);
        self.unknown.extend(other.unknown);
    }

    /// The levels of the service are those of the books, where so many of the unknown took effect.
    fn assert_levels(&self, client: &Client, unknown: &[Write]) {
        let mut expected: BTreeMap<String, u64> = (0..SKUS).map(|sku| (format!("SKU-{sku}"), 0)).collect();
        for write in self.acknowledged.iter().chain(unknown) {
            *expected.get_mut(&write.sku).unwrap() += 1;
        }
        for (sku, quantity) in expected {
            assert_eq!(
                client.level(&sku),
                (quantity, quantity + 1),
                "quantity and version of {sku}"
            );
        }
    }

    /// While the outcome of some is unknown: the state that was durable when storage failed is shown.
    pub fn assert_acknowledged_is_shown(&self, client: &Client) {
        self.assert_levels(client, &[]);
    }

    /// After a restart: every acknowledged write is there, none that was refused, each of the others
    /// wholly or not at all, as its key tells; and sent again, all of them are there once.
    pub fn assert_agree(&mut self, client: &Client) {
        for write in &self.acknowledged {
            assert!(
                client.took_effect(&write.key),
                "{} was acknowledged and is lost",
                write.key
            );
        }
        for write in &self.refused {
            assert!(
                !client.took_effect(&write.key),
                "{} was refused and is there",
                write.key
            );
        }
        let (there, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unknown)
            .into_iter()
            .partition(|write| client.took_effect(&write.key));
        self.assert_levels(client, &there);
        for (write, was_there) in there
            .into_iter()
            .map(|w| (w, true))
            .chain(gone.into_iter().map(|w| (w, false)))
        {
            let answer = client
                .add_one(&write.sku, &write.key, &write.note)
                .expect("a repeat is answered");
            assert_eq!((answer.status, answer.replayed), (200, was_there), "{answer:?}");
            self.acknowledged.push(write);
        }
        self.assert_levels(client, &[]);
        if let Some(write) = self.acknowledged.first() {
            let answer = client
                .add_one(&write.sku, &write.key, &write.note)
                .expect("a repeat is answered");
            assert_eq!((answer.status, answer.replayed), (200, true), "{answer:?}");
            self.assert_levels(client, &[]);
        }
    }
}
