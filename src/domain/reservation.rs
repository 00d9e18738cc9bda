//! A reservation as a whole. Each SKU knows only the holds on its own levels; what a reservation holds, and has sold and
//! given back, in all its SKUs and stores is made from the same events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, HoldChange, HoldStep, Principal, ReservationId, Scope, Sku, StoreId, Timestamp};

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReservationStatus {
    /// Something is held.
    Active,
    /// Nothing is held any more, and something was sold.
    Committed,
    /// Nothing was sold, and the last of it was given back.
    Released,
    /// Nothing was sold, and the last of it was over.
    Expired,
}

impl ReservationStatus {
    pub const ALL: [Self; 4] = [Self::Active, Self::Committed, Self::Released, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reservation {
    pub reservation_id: ReservationId,
    pub by: Principal,
    pub status: ReservationStatus,
    /// One per level, in order of SKU and store.
    pub lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a reservation has of one level: `quantity = held + committed + released + expired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    pub sku: Sku,
    pub store_id: StoreId,
    /// What was held at first.
    pub quantity: u64,
    /// What was asked for, where less would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<u64>,
    pub held: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub committed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: u64,
}

impl Reservation {
    /// As an event has made it, by what that did to its holds; `None` where the event has not made it.
    pub fn made_by(event: &Event, own: &[&HoldChange]) -> Option<Self> {
        let first = own.first().filter(|hold| hold.step == HoldStep::Placed)?;
        let mut reservation = Self {
            reservation_id: first.reservation_id.clone(),
            by: event.by.clone(),
            status: ReservationStatus::Active,
            lines: Vec::with_capacity(own.len()),
            reference: first.reference.clone().or_else(|| event.reference.clone()),
            expires_at: None,
            created_at: event.at,
            updated_at: event.at,
        };
        reservation.take(own, event.at);
        Some(reservation)
    }

    /// All that an event has made, in order of id.
    pub fn all_made_by(event: &Event) -> BTreeMap<&ReservationId, Self> {
        let of_each = event.holds_by_reservation().into_iter();
        of_each
            .filter_map(|(id, own)| Some((id, Self::made_by(event, &own)?)))
            .collect()
    }

    /// As events, oldest first, have left it.
    pub fn of_events<'a>(id: &ReservationId, events: impl IntoIterator<Item = &'a Event>) -> Option<Self> {
        let mut reservation: Option<Self> = None;
        for event in events {
            let own = event.holds_of(id);
            match &mut reservation {
                Some(reservation) => reservation.take(&own, event.at),
                None => reservation = Self::made_by(event, &own),
            }
        }
        reservation
    }

    /// Applies what an event of this moment did to its holds.
    pub fn take(&mut self, own: &[&HoldChange], at: Timestamp) {
        let Some(last) = own.last() else { return };
        own.iter().for_each(|hold| self.evolve_line(hold));
        self.updated_at = at;
        self.status = match self.is_active() {
            true => ReservationStatus::Active,
            false => self.ended_by(last.step),
        };
    }

    fn ended_by(&self, last: HoldStep) -> ReservationStatus {
        if self.lines.iter().any(|line| line.committed > 0) {
            ReservationStatus::Committed
        } else if last == HoldStep::Expired {
            ReservationStatus::Expired
        } else {
            ReservationStatus::Released
        }
    }

    fn evolve_line(&mut self, hold: &HoldChange) {
        let found = self
            .lines
            .binary_search_by(|line| (&line.sku, &line.store_id).cmp(&(&hold.sku, &hold.store_id)));
        let line = match (found, hold.step) {
            (Ok(i), _) => &mut self.lines[i],
            (Err(i), HoldStep::Placed) => {
                let line = Line {
                    sku: hold.sku.clone(),
                    store_id: hold.store_id.clone(),
                    quantity: hold.quantity,
                    requested: hold.requested,
                    held: 0,
                    committed: 0,
                    released: 0,
                    expired: 0,
                };
                self.lines.insert(i, line);
                &mut self.lines[i]
            }
            // Nothing that was placed: no line of it can end.
            (Err(_), _) => return,
        };
        line.held = hold.held;
        match hold.step {
            HoldStep::Placed | HoldStep::Extended => self.expires_at = hold.expires_at,
            HoldStep::Committed => line.committed += hold.quantity,
            HoldStep::Released => line.released += hold.quantity,
            HoldStep::Expired => line.expired += hold.quantity,
        }
    }

    /// Whether it is seen by someone who sees these stores only: whole, or not at all. As its lines are those with which
    /// it was made, that never changes.
    pub fn is_within(&self, scope: &Scope) -> bool {
        scope.is_all() || self.lines.iter().all(|line| scope.has(&line.store_id))
    }

    pub fn is_active(&self) -> bool {
        self.lines.iter().any(|line| line.held > 0)
    }

    /// The lines in which it holds something.
    pub fn open_lines(&self) -> u64 {
        self.lines.iter().filter(|line| line.held > 0).count() as u64
    }

    /// What is still held is over at `now`, whether or not that has been recorded.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.is_active() && self.expires_at.is_some_and(|at| at <= now)
    }

    /// What it is at `now`, whether or not it has been recorded that it is over.
    pub fn status_at(&self, now: Timestamp) -> ReservationStatus {
        match self.is_due(now) {
            true => self.ended_by(HoldStep::Expired),
            false => self.status,
        }
    }

    /// The SKUs in which it holds something.
    pub fn held_skus(&self) -> impl Iterator<Item = &Sku> {
        let held = self.lines.iter().filter(|line| line.held > 0).map(|line| &line.sku);
        let mut last = None;
        held.filter(move |sku| last.replace(*sku) != Some(*sku))
    }

    pub fn line(&self, sku: &Sku, store: &StoreId) -> Option<&Line> {
        let found = self
            .lines
            .binary_search_by(|line| (&line.sku, &line.store_id).cmp(&(sku, store)));
        found.ok().map(|i| &self.lines[i])
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
