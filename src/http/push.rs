//! Pushes: a store reports what it has counted, all or nothing, in one step.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpRequest;

use super::caller::Caller;
use super::problem::{Code, Problem};
use super::{State, forms, idempotency, write};
use crate::actors::batch::{MAX_OPERATIONS, Operation};
use crate::actors::joint::Ask;
use crate::actors::{ExecuteError, LastDay, Outcome, Told};
use crate::domain::command::{Counted, Set};
use crate::domain::{Action, Change, Expected, Origin, Request, Resource, Sku, StoreId, Timestamp};

/// What was counted of one level. Of two counts of the same level in a push, the later one counts.
pub struct Count {
    pub sku: Sku,
    pub store_id: StoreId,
    pub quantity: u64,
    pub counted_at: Option<Timestamp>,
}

/// Records the counts; nothing is to be recorded of none. `bytes` is the body, for the key.
pub async fn run(
    state: &State,
    request: &HttpRequest,
    bytes: &[u8],
    counts: Vec<Count>,
) -> Result<Option<Outcome>, Problem> {
    write::refuse_preconditions(request)?;
    if counts.len() > MAX_OPERATIONS {
        let detail = format!("A push has at most {MAX_OPERATIONS} counts, not {}.", counts.len());
        return Err(Problem::new(Code::PayloadTooLarge, detail).with("limit", MAX_OPERATIONS));
    }
    let caller = Caller::of(request);
    let status = forms::status(Resource::Level);
    let keyed = idempotency::keyed(request, bytes, None, &caller.origin.by, status)?;
    let inventory = state.inventory()?;
    let operations = (0..).zip(counts).map(|(index, count)| Operation {
        index,
        request: count.asks(&caller.origin),
        chose_reservation: false,
    });
    let operations: Vec<Operation> = operations.collect();
    check_times(&inventory.last_day(keyed).await?, &operations)?;
    // Of no counts, too.
    caller.may_move_somewhere()?;
    let stores: BTreeSet<&StoreId> = operations.iter().flat_map(|count| count.request.stores()).collect();
    caller.may_move_in(stores.into_iter())?;
    if operations.is_empty() {
        return Ok(inventory.done_before(keyed).await?);
    }
    let ask = Ask::Push(operations);
    let outcome = inventory.execute_joint(ask, caller.origin, keyed, false).await;
    Ok(Some(outcome.map_err(named_by_place)?))
}

/// The levels that it has changed, each once, in the order in which they were first reported.
pub fn changed(outcome: &Outcome) -> impl Iterator<Item = &Change> {
    let operations = match &outcome.told {
        Told::Operations(operations) => &**operations,
        _ => &[],
    };
    let mut seen = BTreeSet::new();
    let places = operations.iter().flat_map(|operation| &operation.changes);
    places
        .filter(move |place| seen.insert(**place))
        .filter_map(|place| outcome.event.changes.get(*place as usize))
}

fn check_times(last_day: &LastDay, operations: &[Operation]) -> Result<(), Problem> {
    operations.iter().try_for_each(|Operation { index, request, .. }| {
        let checked = last_day.check(request);
        checked.map_err(|error| named_by_place(ExecuteError::in_operation(*index, error)))
    })
}

/// Of a count whose time does not fit, by its place as other faults of the body are.
fn named_by_place(error: ExecuteError) -> Problem {
    if let ExecuteError::InOperation { index, error } = &error
        && let ExecuteError::CountedAt { now } = **error
    {
        return Problem::of_counted_at(&format!("[{index}].countedAt"), now);
    }
    error.into()
}

impl Count {
    fn asks(self, origin: &Arc<Origin>) -> Request {
        let set = Set {
            quantity: self.quantity,
            counted: self.counted_at.map(|at| Counted { at, moved: 0 }),
            ..Set::default()
        };
        Request {
            sku: self.sku,
            store_id: self.store_id,
            action: Action::Set(Box::new(set)),
            resource: Resource::Level,
            expected: Expected::default(),
            origin: origin.clone(),
        }
    }
}
