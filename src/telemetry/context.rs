//! What lines are told of the request that they belong to.
//!
//! It is looked up only when a line is written, so that a request that logs nothing pays for no more than this being at
//! hand: one allocation, and a pointer that changes places whenever its task goes on.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use actix_web::http::{Method, Uri};

use crate::domain::{Principal, RequestId};

/// A request, while it is answered.
pub struct Context {
    pub method: Method,
    pub uri: Uri,
    pub request_id: RequestId,
    /// The trace that the caller has begun.
    pub caller: Option<Caller>,
    own: OnceCell<Place>,
    by: OnceCell<Principal>,
}

/// What a caller says of its trace (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its span that this request belongs to.
    pub place: Place,
    /// It keeps what it records of this trace, and so shall we.
    pub is_sampled: bool,
    /// What others along the way have to say of it.
    pub state: Option<String>,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub trace_id: Hex<16>,
    pub span_id: Hex<8>,
}

/// An id as bytes, which are not all zero; shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Hex<N> {
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).filter(|bytes| *bytes != [0; N]).map(Self)
    }

    fn random() -> Self {
        let mut bytes = [0; N];
        // An id that is not random is a poor one, but no reason to fail what it is the id of.
        if getrandom::fill(&mut bytes).is_err() || bytes == [0; N] {
            bytes[N - 1] = 1;
        }
        Self(bytes)
    }
}

/// What is written in hexadecimal: in lower case only, as the standard has it.
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Context {
    pub fn new(method: Method, uri: Uri, request_id: RequestId, caller: Option<Caller>) -> Self {
        Self {
            method,
            uri,
            request_id,
            caller,
            own: OnceCell::new(),
            by: OnceCell::new(),
        }
    }

    /// This request's own span: a recorded one's, or one that is made up when it is first asked for.
    pub fn own(&self) -> Place {
        *self.own.get_or_init(|| Place {
            trace_id: self
                .caller
                .as_ref()
                .map_or_else(Hex::random, |caller| caller.place.trace_id),
            span_id: Hex::random(),
        })
    }

    /// The span that records it.
    pub fn is_recorded_as(&self, place: Place) {
        // There is none before it: it is recorded from its beginning on.
        let _ = self.own.set(place);
    }

    /// Who has proved to call.
    pub fn by(&self) -> Option<&Principal> {
        self.by.get()
    }
}

tokio::task_local! {
    static CURRENT: Rc<Context>;
}

/// What is logged while this runs belongs to the request.
pub fn within<F: Future>(context: Rc<Context>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work)
}

/// The same for a task that a request leaves behind, if there is a request.
pub async fn carried<F: Future>(context: Option<Rc<Context>>, work: F) -> F::Output {
    match context {
        Some(context) => CURRENT.scope(context, work).await,
        None => work.await,
    }
}

/// The request that is being answered here and now.
pub fn current() -> Option<Rc<Context>> {
    CURRENT.try_with(Rc::clone).ok()
}

/// Whoever calls has proved who they are.
pub fn called_by(principal: &Principal) {
    // Outside a request there is nobody to be told.
    let _ = CURRENT.try_with(|context| context.by.set(principal.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(caller: Option<Caller>) -> Context {
        let id = RequestId::parse("r1").unwrap();
        Context::new(Method::GET, Uri::from_static("/x"), id, caller)
    }

    #[test]
    fn ids_are_lower_case_hexadecimal_and_not_all_zero() {
        let id = Hex::<8>::parse("00f067aa0ba902b7").unwrap();
        assert_eq!(id.to_string(), "00f067aa0ba902b7");
        for wrong in [
            "",
            "00f067aa0ba902b",
            "00F067AA0BA902B7",
            "0000000000000000",
            "00f067aa0ba902bg",
            "00f067aa0ba902b70",
        ] {
            assert_eq!(Hex::<8>::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_has_one_span_in_the_trace_of_its_caller() {
        let place = Place {
            trace_id: Hex([7; 16]),
            span_id: Hex([8; 8]),
        };
        let joined = context(Some(Caller {
            place,
            is_sampled: true,
            state: None,
        }));
        assert_eq!(joined.own().trace_id, place.trace_id);
        assert_ne!(joined.own().span_id, place.span_id);
        assert_eq!(joined.own(), joined.own());
        assert_ne!(context(None).own().trace_id, context(None).own().trace_id);
    }

    #[test]
    fn a_task_of_its_own_knows_its_request_only_if_it_is_carried_along() {
        actix_web::rt::System::new().block_on(async {
            let request = async {
                let known = || async { current().map(|context| context.request_id.as_str().to_owned()) };
                let carried = actix_web::rt::spawn(carried(current(), known())).await.unwrap();
                let plain = actix_web::rt::spawn(known()).await.unwrap();
                (known().await, carried, plain)
            };
            let id = Some("r1".to_owned());
            assert_eq!(within(Rc::new(context(None)), request).await, (id.clone(), id, None));
            assert!(current().is_none());
        });
    }
}
