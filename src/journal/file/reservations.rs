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
    /// A reservation that was not open a moment ago.
    pub fn reservation(&self, id: &ReservationId) -> Result<Option<Arc<Reservation>>, String> {
        let filter = HistoryFilter {
            reservation: Some(id.clone()),
            ..HistoryFilter::default()
        };
        let mut events: Vec<Event> = Vec::new();
        let mut before = self.tables.visible() + 1;
        // One by one, as what is older than its first event need not be looked through.
        while let Some((seq, event)) = self.segments.search(&filter, before, 1)?.pop() {
            let is_first = |hold| is_placed(hold, id);
            let is_made = event.holds.iter().any(is_first);
            before = seq;
            events.push(event);
            if is_made {
                break;
            }
        }
        Ok(Reservation::of_events(id, events.iter().rev()).map(Arc::new))
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
            placed: true,
            reference: filter.reference.clone(),
            ..HistoryFilter::default()
        };
        let mut found = FoundReservations::default();
        let mut end = before.as_ref().map_or(u64::MAX, |before| before.seq.saturating_add(1));
        for _ in 0..MAX_EVENTS / PAGE {
            let page = self
                .segments
                .search(&events, end.min(self.tables.visible() + 1), PAGE)?;
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
                        None => self.reservation(id)?,
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

fn is_placed(hold: &crate::domain::HoldChange, id: &ReservationId) -> bool {
    hold.step == HoldStep::Placed && hold.reservation_id == *id
}
