//! Reservations as the log tells of them: those that hold something are in memory, all others are here only.

use std::sync::Arc;

use super::Shared;
use crate::domain::{Event, HoldStep, Reservation, ReservationId};
use crate::journal::{FoundReservations, HistoryFilter, ReservationFilter, ReservationPlace};

/// So many events are read at a time.
const PAGE: usize = 100;
/// A part of the list is made from so many events at most: a search with a rare answer goes on in the next part.
const MAX_EVENTS: usize = 2000;

impl Shared {
    /// A reservation as its events up to a place in the log have left it.
    pub fn reservation_at(&self, id: &ReservationId, seq: u64) -> Result<Option<Reservation>, String> {
        let filter = HistoryFilter {
            reservation: Some(id.clone()),
            ..HistoryFilter::default()
        };
        let end = seq.min(self.tables.visible()) + 1;
        // What is older than its first event need not be looked through.
        let makes_it = |event: &Event| {
            let mut holds = event.holds.iter();
            holds.any(|hold| hold.step == HoldStep::Placed && hold.reservation_id == *id)
        };
        let events = self.segments.search(&filter, end, usize::MAX, makes_it)?;
        let oldest_first = events.iter().rev().map(|(_, event)| &**event);
        Ok(Reservation::of_events(id, oldest_first))
    }

    /// Reservations open or over, newest first.
    pub fn reservations(
        &self,
        filter: &ReservationFilter,
        before: Option<ReservationPlace>,
        limit: usize,
    ) -> Result<FoundReservations, String> {
        let events = HistoryFilter {
            sku: filter.sku.clone(),
            store: filter.store.clone(),
            scope: filter.scope.clone(),
            placed: true,
            reference: filter.reference.clone(),
            ..HistoryFilter::default()
        };
        let mut found = FoundReservations::default();
        let mut end = before.as_ref().map_or(u64::MAX, |before| before.seq.saturating_add(1));
        for _ in 0..MAX_EVENTS / PAGE {
            let page = self
                .segments
                .search(&events, end.min(self.tables.visible() + 1), PAGE, |_| false)?;
            for (seq, event) in &page {
                end = *seq;
                for id in Reservation::all_made_by(event).into_keys().rev() {
                    let place = ReservationPlace::new(*seq, id.clone());
                    if before.as_ref().is_some_and(|before| place >= *before) {
                        continue;
                    }
                    if found.reservations.len() == limit {
                        return Ok(found);
                    }
                    found.resume = Some(place.clone());
                    let reservation = match self.tables.reservation(id) {
                        Some(open) => Some(open),
                        None => self.reservation_at(id, u64::MAX)?.map(Arc::new),
                    };
                    let fitting = reservation.filter(|reservation| filter.takes(reservation));
                    found
                        .reservations
                        .extend(fitting.map(|reservation| (place, reservation)));
                }
            }
            if page.len() < PAGE {
                found.resume = None;
                return Ok(found);
            }
        }
        Ok(found)
    }
}
