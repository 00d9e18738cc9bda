//! A problem of each code, as a client may get it: made as the service makes its own.

use serde_json::{Value, json};

use crate::actors::ExecuteError;
use crate::actors::batch::MAX_OPERATIONS;
use crate::domain::{Reason, Refusal, ReservationId, ReservationStatus, Resource, Sku, StoreId, Timestamp};
use crate::http::problem::{Code, Problem};
use crate::journal::JournalError;

pub fn example(code: Code, path: &str) -> Value {
    let (code, detail, members) = problem_of(code).into_parts();
    let mut example = json!({
        "type": format!("/problems/{}", code.as_str()),
        "title": code.title(),
        "status": code.status().as_u16(),
        "detail": detail,
        "instance": path,
        "error": code.as_str(),
        "timestamp": "2025-11-27T08:26:00.123Z",
        "requestId": "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6b",
    });
    if let Some(example) = example.as_object_mut() {
        example.extend(members);
    }
    example
}

pub fn problem_of(code: Code) -> Problem {
    problem(code).unwrap_or_else(|| Problem::new(code, code.title()))
}

/// None where an id of the example is none, which the test below rules out.
fn problem(code: Code) -> Option<Problem> {
    let (sku, store_id) = (Sku::parse("85123A").ok()?, StoreId::parse("london").ok()?);
    let reservation_id = ReservationId::parse("cart-7").ok()?;
    let refused = |reason| {
        Some(Problem::from(Refusal {
            sku: sku.clone(),
            store_id: store_id.clone(),
            resource: Resource::Level,
            reason,
        }))
    };
    let plain = |detail: &str| Some(Problem::new(code, detail));
    match code {
        Code::InvalidRequest => Some(Problem::invalid("quantity", "must be from 1 to 9007199254740991")),
        Code::Unauthenticated => plain("A token is needed: Authorization: Bearer TOKEN."),
        Code::Forbidden => {
            let detail = "As clerk you may not move stock in store \"paris\".";
            Some(Problem::new(code, detail).with("storeId", "paris"))
        }
        Code::NotFound => refused(Reason::NoLevel),
        Code::MethodNotAllowed => plain("Only GET, PUT, HEAD, OPTIONS can be asked here."),
        Code::RequestTimeout => plain("The body took longer than 30s."),
        Code::VersionMismatch => refused(Reason::VersionMismatch {
            expected: 6,
            current: 7,
        }),
        Code::PreconditionFailed => refused(Reason::PreconditionFailed { current: 7 }),
        Code::InsufficientStock => refused(Reason::InsufficientStock {
            requested: 8,
            available: 7,
            reserved: 3,
            next_expiry: Timestamp::parse("2025-11-27T08:36:00.123Z").ok(),
        }),
        Code::BelowReserved => refused(Reason::BelowReserved {
            requested: 2,
            reserved: 3,
        }),
        Code::NotReserved => refused(Reason::NotReserved { requested: 5, held: 3 }),
        Code::QuantityLimit => refused(Reason::QuantityLimit),
        Code::AlreadyExists => refused(Reason::ItemExists),
        Code::ReservationNotActive => refused(Reason::ReservationNotActive {
            reservation_id,
            status: ReservationStatus::Expired,
        }),
        Code::InUse => Some(ExecuteError::StoreInUse { store_id, sku }.into()),
        Code::QuotaExceeded => Some(Problem::of_quota(100_000)),
        Code::RequestInFlight => Some(ExecuteError::KeyInFlight.into()),
        Code::PayloadTooLarge => {
            let detail = format!(
                "A batch has at most {MAX_OPERATIONS} operations, not {}.",
                MAX_OPERATIONS + 1
            );
            Some(Problem::new(code, detail).with("limit", MAX_OPERATIONS))
        }
        Code::UnsupportedMediaType => plain("The Content-Type must be application/json, not \"text/plain\"."),
        Code::MisdirectedRequest => plain("This service answers to localhost, 127.0.0.1 and [::1] only."),
        Code::RateLimited => plain("There were more than 10 logins in a minute; come again in 6 seconds."),
        Code::IdempotencyKeyReused => Some(ExecuteError::KeyReused.into()),
        Code::Internal => plain("The request met a defect of the service; the operator's log has it."),
        Code::Overloaded => Some(ExecuteError::Overloaded { sku }.into()),
        Code::StorageUnavailable => Some(JournalError::Unavailable(String::new()).into()),
        Code::OutcomeUnknown => Some(JournalError::Unknown(String::new()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_example_with_the_members_that_its_advice_names() {
        for code in Code::ALL {
            let (found, _, members) = problem(code).unwrap().into_parts();
            assert_eq!(found, code);
            let advice = code.advice();
            for always in advice.always {
                assert!(members.contains_key(*always), "{code:?} lacks {always}");
            }
            for member in members.keys().map(String::as_str) {
                let is_named = advice.always.contains(&member) || advice.sometimes.contains(&member);
                assert!(is_named, "{code:?} does not tell of {member}");
            }
        }
    }
}
