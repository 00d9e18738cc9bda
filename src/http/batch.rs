//! Batches: many operations in one request, each standing for itself or all of them in one step.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use actix_web::web::{self, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use validator::Validate;

use super::bodies::{
    AdjustBody, AdjustType, Asked, Object, PriceBody, ReleaseBody, ReserveBody, SetBody, StockBody, TransferBody,
    object, present,
};
use super::caller::Caller;
use super::forms::{LevelForm, ReservationForm};
use super::problem::{Code, Problem};
use super::write::{self, Answer};
use super::{State, body, forms, idempotency};
use crate::actors::batch::{MAX_OPERATIONS, Operation, Outcomes};
use crate::actors::joint::Ask;
use crate::actors::{ExecuteError, LastDay, Outcome, Told};
use crate::domain::item::{DetailsPatch, check_description, check_name};
use crate::domain::{Expected, Origin, Request, Reservation, ReservationId, Resource, Sku, StoreId, Timestamp};

/// Operations on any SKUs, each of which stands for itself.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchBody<'a> {
    /// Up to 10,000, each of which is refused by itself if it does not fit.
    #[serde(borrow)]
    #[schemars(with = "Vec<OperationBody>", length(max = MAX_OPERATIONS))]
    operations: &'a RawValue,
    /// All or nothing, in one step and one event: if one operation is refused, none takes effect. Otherwise each
    /// stands for itself.
    #[serde(default)]
    atomic: bool,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = idempotency::KEY_PATTERN))]
    idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/inventory/batch`
pub async fn run(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let batch: BatchBody = body::parse(&request, &bytes)?;
    let caller = Caller::of(&request);
    let key = batch.idempotency_key.as_deref();
    let keyed = idempotency::keyed(&request, &bytes, key, &caller.origin.by, forms::status(Resource::Level))?;
    let inventory = state.inventory()?;
    let last_day = inventory.last_day(keyed).await?;
    let Parsed {
        operations,
        mut refused,
        forbidden,
        ..
    } = parse_each(batch.operations, &caller, &last_day)?;
    let is_minimal = write::wants_minimal(&request) && !batch.dry_run;
    if batch.atomic && !refused.is_empty() {
        return Err(Problem::of_operations(refused));
    }
    caller.may_move_somewhere()?;
    if batch.atomic && !forbidden.is_empty() {
        return Err(Problem::of_operations(forbidden));
    }
    refused.extend(forbidden);
    if batch.atomic && !operations.is_empty() {
        let ask = Ask::Batch(operations);
        let outcome = inventory
            .execute_joint(ask, caller.origin, keyed, batch.dry_run)
            .await?;
        let made = Reservation::all_made_by(&outcome.event);
        let body = text(&atomic(&outcome, &made, is_minimal));
        return answer(body, outcome.replayed.is_some(), is_minimal);
    }
    let outcomes = inventory.execute_each(operations, keyed, batch.dry_run).await?;
    let dry_run = batch.dry_run.then_some(true);
    answer_each(&state, outcomes, refused, dry_run, is_minimal).await
}

/// Answers what each of the operations came to, beside those that were `refused` at the door.
async fn answer_each(
    state: &State,
    outcomes: Outcomes,
    mut refused: Vec<(u32, Problem)>,
    dry_run: Option<bool>,
    is_minimal: bool,
) -> Answer {
    let replayed = !outcomes.is_empty() && outcomes.iter().all(|(_, outcome)| is_replayed(outcome));
    let mut done = Vec::with_capacity(outcomes.len());
    for (index, outcome) in outcomes {
        match outcome {
            Ok(outcome) => done.push((index, outcome)),
            Err(error) => refused.push((index, error.into())),
        }
    }
    let codes = refused.iter().map(|(_, problem)| problem.code());
    codes.for_each(|code| state.watch.traffic.refuse_operation(code));
    let is_large = done.len() + refused.len() >= LARGE;
    let write_down = move || {
        text(&BatchForm {
            dry_run,
            results: results(&done, refused, is_minimal),
            seq: None,
        })
    };
    let body = match is_large {
        true => web::block(write_down)
            .await
            .map_err(|error| Problem::internal(&error))?,
        false => write_down(),
    };
    answer(body, replayed, is_minimal)
}

fn answer(body: serde_json::Result<Vec<u8>>, replayed: bool, is_minimal: bool) -> Answer {
    let body = body.map_err(|error| Problem::internal(&error))?;
    let mut response = HttpResponse::Ok();
    if is_minimal {
        response.insert_header(("preference-applied", "return=minimal"));
    }
    if replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    Ok(response.content_type("application/json").body(body))
}

fn text(form: &BatchForm) -> serde_json::Result<Vec<u8>> {
    // Made in one piece: a large answer would be copied each time that it outgrows its buffer.
    let mut body = Vec::with_capacity(64 + TYPICAL_RESULT * form.results.len());
    serde_json::to_writer(&mut body, form).map(|()| body)
}

/// What the answer to an operation has, in bytes.
const TYPICAL_RESULT: usize = 320;
/// The answers to so many operations are written down off the thread that serves, which is what is short when there are
/// large batches: it decides the next one meanwhile.
const LARGE: usize = 200;

/// The operations of a batch as commands, and those that are refused at the door.
struct Parsed<'a> {
    caller: &'a Caller,
    last_day: &'a LastDay,
    operations: Vec<Operation>,
    refused: Vec<(u32, Problem)>,
    /// They fit, but the caller may not do them.
    forbidden: Vec<(u32, Problem)>,
}

impl Parsed<'_> {
    fn add(&mut self, body: Result<OperationBody, Problem>) {
        let index = self.count() as u32;
        let read = body.and_then(|body| read(body, &self.caller.origin));
        let fitting = read.and_then(|read| {
            self.last_day.check(&read.0)?;
            Ok(read)
        });
        let (request, chose_reservation) = match fitting {
            Ok(read) => read,
            Err(problem) => return self.refused.push((index, problem)),
        };
        match self.caller.may_do(&request) {
            Ok(()) => self.operations.push(Operation {
                index,
                request,
                chose_reservation,
            }),
            Err(problem) => self.forbidden.push((index, problem)),
        }
    }

    fn count(&self) -> usize {
        self.operations.len() + self.refused.len() + self.forbidden.len()
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.refused.clear();
        self.forbidden.clear();
    }
}

/// Reads the operations in one go, each a command before the next is looked at. Should one be no operation at all, they
/// are read again one by one, as what is wrong with one of them must not stand in the way of the others.
fn parse_each<'a>(operations: &RawValue, caller: &'a Caller, last_day: &'a LastDay) -> Result<Parsed<'a>, Problem> {
    let text = operations.get();
    let mut parsed = Parsed {
        caller,
        last_day,
        operations: Vec::with_capacity(text.len() / TYPICAL_OPERATION),
        refused: Vec::new(),
        forbidden: Vec::new(),
    };
    let mut json = serde_json::Deserializer::from_str(text);
    if Each(|body| parsed.add(Ok(body))).deserialize(&mut json).is_err() {
        body::check_depth(text.as_bytes())?;
        let bodies = serde_json::from_str::<Vec<&RawValue>>(text);
        let bodies = bodies.map_err(|_| Problem::invalid("operations", "it must be a list of operations"))?;
        parsed.clear();
        bodies
            .iter()
            .for_each(|raw| parsed.add(body::parse_object(raw.get().as_bytes())));
    }
    let count = parsed.count();
    if count > MAX_OPERATIONS {
        let detail = format!("A batch has at most {MAX_OPERATIONS} operations, not {count}.");
        return Err(Problem::new(Code::PayloadTooLarge, detail).with("limit", MAX_OPERATIONS));
    }
    Ok(parsed)
}

/// What an operation has at least, in bytes, or little more.
const TYPICAL_OPERATION: usize = 64;

/// A list whose elements are handed on as they are read, without a list of them in memory.
struct Each<F>(F);

impl<'de, F: FnMut(OperationBody)> DeserializeSeed<'de> for Each<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(OperationBody)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut operations: A) -> Result<(), A::Error> {
        while let Some(Object(operation)) = operations.next_element()? {
            (self.0)(operation);
        }
        Ok(())
    }
}

fn is_replayed(outcome: &Result<Outcome, ExecuteError>) -> bool {
    outcome.as_ref().is_ok_and(|outcome| outcome.replayed.is_some())
}

/// An operation of a batch: a member for each that the single requests have.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BatchOperation")]
pub struct OperationBody {
    op: Op,
    sku: Sku,
    /// Where: required, but for a transfer, which has `fromStoreId` and `toStoreId`.
    #[serde(default, deserialize_with = "present")]
    store_id: Option<StoreId>,
    /// Of a transfer.
    #[serde(default, deserialize_with = "present")]
    from_store_id: Option<StoreId>,
    /// Of a transfer.
    #[serde(default, deserialize_with = "present")]
    to_store_id: Option<StoreId>,
    /// Of all but an adjust; a release has this or `reservationId`.
    #[serde(default, deserialize_with = "present")]
    quantity: Option<u64>,
    /// Of a reserve: the same as `quantity`.
    #[serde(default, deserialize_with = "present")]
    qty: Option<u64>,
    /// Of an adjust.
    #[serde(default, deserialize_with = "present")]
    delta: Option<i64>,
    /// Of an adjust.
    #[serde(rename = "type", default, deserialize_with = "present")]
    movement: Option<AdjustType>,
    /// Of a set, an adjust or a reserve.
    #[serde(default, deserialize_with = "present")]
    expected_version: Option<u64>,
    /// Of a set.
    #[serde(default, deserialize_with = "present")]
    counted_at: Option<Timestamp>,
    /// Of a set; null clears it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(extend("x-nullable" = true))]
    reorder_point: Option<Option<u64>>,
    /// Of a set, an adjust or a transfer.
    #[serde(default, deserialize_with = "present")]
    note: Option<String>,
    /// Of a reserve.
    #[serde(default, deserialize_with = "present")]
    #[schemars(range(min = 1, max = 2_592_000))]
    ttl_seconds: Option<u64>,
    /// Of a reserve or a release.
    #[serde(default, deserialize_with = "present")]
    reservation_id: Option<ReservationId>,
    /// Of a reserve.
    #[serde(default, deserialize_with = "present")]
    reference: Option<String>,
    /// Of a set: names the item.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Of a set: describes the item.
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    /// Of a set: prices the item.
    #[serde(default, deserialize_with = "object")]
    price: Option<PriceBody>,
}

/// What is done: `set` counts, `adjust` adds or takes, `reserve` holds, `release` gives back, `transfer` moves to another
/// store.
// Read by way of a string, as serde would take `{"set": null}` for the word too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
#[schemars(!try_from, rename = "BatchOp")]
enum Op {
    Set,
    Adjust,
    Reserve,
    Release,
    Transfer,
}

impl TryFrom<String> for Op {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "set" => Ok(Self::Set),
            "adjust" => Ok(Self::Adjust),
            "reserve" => Ok(Self::Reserve),
            "release" => Ok(Self::Release),
            "transfer" => Ok(Self::Transfer),
            _ => Err("it must be set, adjust, reserve, release or transfer"),
        }
    }
}

/// The operation as a command, and whether it chose the id of its reservation.
fn read(operation: OperationBody, origin: &Arc<Origin>) -> Result<(Request, bool), Problem> {
    operation.check_members()?;
    let (sku, store_id, asked) = operation.asks()?;
    let request = Request {
        sku,
        store_id,
        action: asked.action,
        resource: Resource::Level,
        expected: Expected {
            version: asked.version,
            ..Expected::default()
        },
        origin: origin.clone(),
    };
    Ok((request, asked.chose_reservation))
}

impl OperationBody {
    /// Refuses members that the single request would not know.
    fn check_members(&self) -> Result<(), Problem> {
        use Op::{Adjust, Release, Reserve, Set, Transfer};
        let members: [(&str, bool, &[Op]); 17] = [
            ("storeId", self.store_id.is_some(), &[Set, Adjust, Reserve, Release]),
            ("fromStoreId", self.from_store_id.is_some(), &[Transfer]),
            ("toStoreId", self.to_store_id.is_some(), &[Transfer]),
            ("quantity", self.quantity.is_some(), &[Set, Reserve, Release, Transfer]),
            ("qty", self.qty.is_some(), &[Reserve]),
            ("delta", self.delta.is_some(), &[Adjust]),
            ("type", self.movement.is_some(), &[Adjust]),
            (
                "expectedVersion",
                self.expected_version.is_some(),
                &[Set, Adjust, Reserve],
            ),
            ("countedAt", self.counted_at.is_some(), &[Set]),
            ("reorderPoint", self.reorder_point.is_some(), &[Set]),
            ("note", self.note.is_some(), &[Set, Adjust, Transfer]),
            ("ttlSeconds", self.ttl_seconds.is_some(), &[Reserve]),
            ("reservationId", self.reservation_id.is_some(), &[Reserve, Release]),
            ("reference", self.reference.is_some(), &[Reserve]),
            ("name", self.name.is_some(), &[Set]),
            ("description", self.description.is_some(), &[Set]),
            ("price", self.price.is_some(), &[Set]),
        ];
        let misplaced = members.iter().find(|(_, given, ops)| *given && !ops.contains(&self.op));
        match misplaced {
            None => Ok(()),
            Some((member, ..)) => Err(Problem::invalid(member, "this operation does not know this member")),
        }
    }

    fn asks(self) -> Result<(Sku, StoreId, Asked), Problem> {
        let (sku, store_id) = (self.sku.clone(), self.store_id.clone());
        let asked = match self.op {
            Op::Transfer => return self.transfer(),
            Op::Set => self.set()?,
            Op::Adjust => asked(AdjustBody {
                delta: given(self.delta, "delta")?,
                movement: self.movement,
                note: self.note,
                expected_version: self.expected_version,
                idempotency_key: None,
                dry_run: false,
            })?,
            Op::Reserve if self.quantity.is_some() && self.qty.is_some() => {
                return Err(Problem::invalid(
                    "qty",
                    "it stands for quantity, which is there as well",
                ));
            }
            Op::Reserve => asked(ReserveBody {
                quantity: given(self.quantity.or(self.qty), "quantity")?,
                store_id: None,
                ttl_seconds: self.ttl_seconds,
                reservation_id: self.reservation_id,
                reference: self.reference,
                expected_version: self.expected_version,
                idempotency_key: None,
                dry_run: false,
            })?,
            Op::Release => asked(ReleaseBody {
                reservation_id: self.reservation_id,
                quantity: self.quantity,
                store_id: None,
                idempotency_key: None,
                dry_run: false,
            })?,
        };
        Ok((sku, given(store_id, "storeId")?, asked))
    }

    fn set(self) -> Result<Asked, Problem> {
        let fits = |member: &str, text: &Option<String>, check: fn(&str) -> Result<(), &'static str>| {
            let checked = text.as_deref().map_or(Ok(()), check);
            checked.map_err(|fault| Problem::invalid(member, fault))
        };
        fits("name", &self.name, check_name)?;
        fits("description", &self.description, check_description)?;
        if let Some(price) = &self.price {
            body::validate(price)?;
        }
        asked(SetBody {
            quantity: given(self.quantity, "quantity")?,
            counted_at: self.counted_at,
            reorder_point: self.reorder_point,
            note: self.note,
            expected_version: self.expected_version,
            details: DetailsPatch {
                name: self.name.map(Into::into),
                description: self.description.map(Into::into),
                price: self.price.map(Into::into),
                ..DetailsPatch::default()
            },
            ..SetBody::default()
        })
    }

    fn transfer(self) -> Result<(Sku, StoreId, Asked), Problem> {
        let transfer = TransferBody {
            sku: self.sku,
            from_store_id: given(self.from_store_id, "fromStoreId")?,
            to_store_id: given(self.to_store_id, "toStoreId")?,
            quantity: given(self.quantity, "quantity")?,
            note: self.note,
            idempotency_key: None,
            dry_run: false,
        };
        body::validate(&transfer)?;
        transfer.asks()
    }
}

fn asked(body: impl StockBody) -> Result<Asked, Problem> {
    body::validate(&body)?;
    body.asks()
}

fn given<T>(member: Option<T>, name: &str) -> Result<T, Problem> {
    member.ok_or_else(|| Problem::invalid(name, "it is missing"))
}

/// The answer to a batch.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchAnswer")]
pub struct BatchForm<'a> {
    /// One for each operation, in their order.
    pub results: Vec<ResultForm<'a>>,
    /// Of an atomic batch: the place of its event in the log; a dry run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// True where nothing was changed, as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// What became of an operation: `status` is that with which the single request would have been answered.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "BatchResult")]
pub enum ResultForm<'a> {
    Done(DoneForm<'a>),
    Refused(RefusedForm),
}

/// It took effect, or would.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchDone")]
pub struct DoneForm<'a> {
    /// Its place among the operations, from 0.
    index: u32,
    status: u16,
    /// Of all but a transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<LevelForm<'a>>,
    /// Of a reserve.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<Box<ReservationForm<'a>>>,
    /// Of a transfer: the level from which the stock went.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Box<LevelForm<'a>>>,
    /// Of a transfer: the level to which it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Box<LevelForm<'a>>>,
    /// The event's place in the log; a dry run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// It was refused, and changed nothing.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BatchRefusal")]
pub struct RefusedForm {
    /// Its place among the operations, from 0.
    index: u32,
    status: u16,
    /// The code of the refusal.
    #[serde(serialize_with = "by_name")]
    #[schemars(with = "String")]
    error: Code,
    /// The refusal, as a sentence.
    detail: String,
    /// What else a client needs to go on, as in the problem of the single request.
    #[serde(flatten)]
    members: Map<String, Value>,
}

fn by_name<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

impl ResultForm<'_> {
    fn index(&self) -> u32 {
        match self {
            Self::Done(DoneForm { index, .. }) | Self::Refused(RefusedForm { index, .. }) => *index,
        }
    }
}

fn results(done: &[(u32, Outcome)], refused: Vec<(u32, Problem)>, minimal: bool) -> Vec<ResultForm<'_>> {
    let results = done.iter().map(|(index, outcome)| succeeded(*index, outcome, minimal));
    let mut results: Vec<_> = results.collect();
    if !refused.is_empty() {
        results.extend(refused.into_iter().map(|(index, problem)| failed(index, problem)));
        results.sort_unstable_by_key(ResultForm::index);
    }
    results
}

/// What an atomic batch has done, or would do; `made` are the reservations of its event.
pub fn atomic<'a>(
    outcome: &'a Outcome,
    made: &'a BTreeMap<&ReservationId, Reservation>,
    minimal: bool,
) -> BatchForm<'a> {
    let event = &*outcome.event;
    let operations = match &outcome.told {
        Told::Operations(operations) => &**operations,
        _ => &[],
    };
    let level = |place: Option<&u32>| {
        let change = event.changes.get(*place? as usize)?;
        Some(forms::changed(change, event.at)).filter(|_| !minimal)
    };
    let results = operations.iter().zip(0..).map(|(touched, index)| {
        let is_transfer = touched.changes.len() > 1;
        let (first, second) = (level(touched.changes.first()), level(touched.changes.get(1)));
        let reservation = touched.reservation_id.as_ref().and_then(|id| made.get(id));
        ResultForm::Done(DoneForm {
            index,
            status: match outcome.seq {
                Some(_) => forms::status_of_kind(Resource::Level, touched.kind),
                None => 200,
            },
            from: first.clone().filter(|_| is_transfer).map(Box::new),
            level: first.filter(|_| !is_transfer),
            reservation: reservation.map(|made| Box::new(forms::reservation(made))),
            to: second.map(Box::new),
            seq: outcome.seq,
        })
    });
    BatchForm {
        results: results.collect(),
        dry_run: outcome.seq.is_none().then_some(true),
        seq: outcome.seq,
    }
}

/// An operation that took effect, or would.
pub fn succeeded(index: u32, outcome: &Outcome, minimal: bool) -> ResultForm<'_> {
    let event = &*outcome.event;
    let mut levels = event.changes.iter().map(|change| forms::changed(change, event.at));
    let (first, second) = (levels.next(), levels.next());
    let is_transfer = second.is_some();
    ResultForm::Done(DoneForm {
        index,
        status: forms::status_of(outcome),
        from: first.clone().filter(|_| is_transfer && !minimal).map(Box::new),
        level: first.filter(|_| !is_transfer && !minimal),
        reservation: forms::placed(event).map(Box::new),
        to: second.filter(|_| !minimal).map(Box::new),
        seq: outcome.seq,
    })
}

fn failed<'a>(index: u32, problem: Problem) -> ResultForm<'a> {
    let (code, detail, members) = problem.into_parts();
    ResultForm::Refused(RefusedForm {
        index,
        status: code.status().as_u16(),
        error: code,
        detail,
        members,
    })
}
