//! Who may come in: a request of all but the open routes says who calls, by a token in `Authorization`.
//!
//! A token is proved once, and remembered together with the version of the user (or service token) that it was proved
//! on: after that a request costs a hash, and two look-ups. Whatever changes the user raises its version, so that a
//! lowered role, a new password or a deletion counts from the next request on.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::State;
use super::caller::{Identity, Standing};
use super::problem::{Code, Problem};
use super::routes::Right;
use crate::actors::Inventory;
use crate::credentials::keys::{Keys, Proof};
use crate::credentials::random::is_same;
use crate::credentials::{Secret, service};
use crate::domain::account::{ServiceToken, User};
use crate::domain::{Entry, EntryKey, Timestamp};
use crate::journal::record::Digest;
use crate::telemetry::context;

/// What authentication needs, where it is on.
pub struct Access {
    pub keys: Keys,
    pub open_registration: bool,
    /// Makes the first admin; there is none after that.
    setup_token: Arc<Mutex<Option<Secret>>>,
    /// Tokens that have proved themselves.
    known: DashMap<Digest, Identity, RandomState>,
}

/// Tokens that are remembered; beyond that all are forgotten, and proved again when they come.
const MAX_KNOWN: usize = 16_384;
/// Ours have some 300 bytes.
const MAX_TOKEN_BYTES: usize = 4096;

impl Access {
    pub fn new(keys: Keys, open_registration: bool) -> Self {
        Self {
            keys,
            open_registration,
            setup_token: Arc::default(),
            known: DashMap::default(),
        }
    }

    pub async fn expect_setup(&self, token: Secret) {
        *self.setup_token.lock().await = Some(token);
    }

    /// The setup token, which nobody else has while its caller makes the first admin; it is gone when that is done.
    pub async fn setup(&self, given: &str) -> Result<OwnedMutexGuard<Option<Secret>>, Problem> {
        let expected = self.setup_token.clone().lock_owned().await;
        let is_right = expected
            .as_ref()
            .is_some_and(|expected| is_same(expected.expose(), given));
        if is_right {
            Ok(expected)
        } else {
            Err(unproved(NO_SETUP_TOKEN))
        }
    }

    async fn identify(&self, token: &str, inventory: &Inventory) -> Result<Identity, Problem> {
        let digest = Digest::of(&[token.as_bytes()]);
        let now = inventory.now();
        let known = self.known.get(&digest).map(|known| known.clone());
        if let Some(known) = known
            && known.standing.expires_at.is_none_or(|at| at > now)
            && let Some(view) = inventory.journal().entry(&known.standing.key).await?
            && view.version == known.standing.version
        {
            return Ok(known);
        }
        let proved = self.prove(token, inventory, now).await?.ok_or_else(unauthenticated)?;
        self.remember(digest, proved.clone(), now);
        Ok(proved)
    }

    async fn prove(&self, token: &str, inventory: &Inventory, now: Timestamp) -> Result<Option<Identity>, Problem> {
        if let Some((id, secret)) = service::parse(token) {
            return prove_service(id, secret, inventory, now).await;
        }
        let Some(proof) = self.keys.verify(token, now) else {
            return Ok(None);
        };
        let key = EntryKey::User(proof.username.clone());
        let found = inventory.journal().entry(&key).await?;
        let identity = found.and_then(|view| match view.entry {
            Entry::User(user) => of_user(&user, view.version, key, &proof),
            _ => None,
        });
        Ok(identity)
    }

    fn remember(&self, digest: Digest, proved: Identity, now: Timestamp) {
        if self.known.len() >= MAX_KNOWN {
            self.known
                .retain(|_, known| known.standing.expires_at.is_none_or(|at| at > now));
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(digest, proved);
    }
}

async fn prove_service(
    id: &str,
    secret: &str,
    inventory: &Inventory,
    now: Timestamp,
) -> Result<Option<Identity>, Problem> {
    let key = EntryKey::Token(id.into());
    let Some(view) = inventory.journal().entry(&key).await? else {
        return Ok(None);
    };
    let Entry::Token(token) = view.entry else {
        return Ok(None);
    };
    let is_good = service::is_right(secret, &token.secret) && !token.is_over(now);
    Ok(of_service(&token, view.version, key).filter(|_| is_good))
}

fn of_user(user: &User, version: u64, key: EntryKey, proof: &Proof) -> Option<Identity> {
    let is_good = !user.disabled && user.password_version == proof.password_version;
    is_good.then(|| Identity {
        principal: user.username.principal(),
        rights: user.rights(),
        standing: Arc::new(Standing {
            key,
            version,
            expires_at: Some(proof.expires_at),
        }),
    })
}

fn of_service(token: &ServiceToken, version: u64, key: EntryKey) -> Option<Identity> {
    Some(Identity {
        principal: ServiceToken::principal_of(&token.name).ok()?,
        rights: token.rights(),
        standing: Arc::new(Standing {
            key,
            version,
            expires_at: token.expires_at,
        }),
    })
}

/// Says nothing of the reason: whoever guesses must not be told how near they are.
pub fn unauthenticated() -> Problem {
    unproved("This needs a valid token: log in at /api/auth/login, and send Authorization: Bearer TOKEN.")
}

/// What was given instead of a token does not prove it either.
pub fn unproved(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail).with_header(WWW_AUTHENTICATE, "Bearer")
}

pub const NO_SETUP_TOKEN: &str = "This setup token is not good, or not any more.";

pub fn is_given(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION);
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let is_only = values.next().is_none() && token.len() <= MAX_TOKEN_BYTES;
    (is_only && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

/// Wraps a resource some of whose methods are not open.
pub async fn admit<B: MessageBody + 'static>(
    state: &State,
    needs: &[(Method, Right)],
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !is_open(needs, request.method()) {
        match state.identify(request.headers()).await {
            Ok(Some(identity)) => {
                let principal = identity.principal.clone();
                context::called_by(&principal);
                request.extensions_mut().insert(identity);
                if let Err(problem) = state.limiter.admit_principal(request.request(), &principal) {
                    return Ok(request.error_response(problem));
                }
            }
            Ok(None) => {}
            Err(problem) => return Ok(request.error_response(problem)),
        }
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

impl State {
    /// Who calls; none where nobody must log in.
    pub(super) async fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
        let Some(access) = &self.access else { return Ok(None) };
        let token = bearer(headers).ok_or_else(unauthenticated)?;
        access.identify(token, self.inventory()?).await.map(Some)
    }
}

/// OPTIONS asks what there is, and is asked by browsers before they send a token.
fn is_open(needs: &[(Method, Right)], method: &Method) -> bool {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let right = needs
        .iter()
        .find(|(needed, _)| needed == method)
        .map(|(_, right)| *right);
    *method == Method::OPTIONS || right == Some(Right::Open)
}

/// Whether the service, which knows no callers, is called by a name that only this machine has: a web page elsewhere
/// can have its own name lead here, but not change the name.
pub fn is_local(request: &ServiceRequest) -> bool {
    let named = request.uri().host().is_none_or(is_local_name);
    let mut hosts = request.headers().get_all(actix_web::http::header::HOST).peekable();
    let is_old = request.version() < actix_web::http::Version::HTTP_11;
    let has_host = is_old || hosts.peek().is_some();
    named && has_host && hosts.all(|host| host.to_str().is_ok_and(|host| is_local_name(without_port(host))))
}

fn is_local_name(host: &str) -> bool {
    host == "127.0.0.1" || host == "[::1]" || host.eq_ignore_ascii_case("localhost")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

pub fn misdirected() -> Problem {
    Problem::new(
        Code::MisdirectedRequest,
        "Nobody must log in here, so this service answers to localhost, 127.0.0.1 and [::1] only.",
    )
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HOST;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in [
            "localhost",
            "LocalHost:3000",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:3000",
        ] {
            let request = TestRequest::get().insert_header((HOST, host)).to_srv_request();
            assert!(is_local(&request), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:80",
            "::1",
            "10.0.0.1",
            "localhost:x",
        ] {
            let request = TestRequest::get().insert_header((HOST, host)).to_srv_request();
            assert!(!is_local(&request), "{host}");
        }
    }

    #[test]
    fn every_name_that_a_request_gives_must_be_local() {
        let two = TestRequest::get()
            .append_header((HOST, "localhost"))
            .append_header((HOST, "example.org"))
            .to_srv_request();
        let absolute = TestRequest::get()
            .uri("http://example.org/")
            .insert_header((HOST, "localhost"))
            .to_srv_request();
        let none = TestRequest::get().to_srv_request();
        assert!(!is_local(&two) && !is_local(&absolute) && !is_local(&none));
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        let token = |value: &str| {
            let request = TestRequest::get()
                .insert_header((AUTHORIZATION, value))
                .to_http_request();
            bearer(request.headers()).map(str::to_owned)
        };
        assert_eq!(token("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token("bearer  a.b.c").as_deref(), Some("a.b.c"));
        for value in ["Bearer", "Basic YTpi", "a.b.c", ""] {
            assert_eq!(token(value), None, "{value}");
        }
        let request = TestRequest::get()
            .append_header((AUTHORIZATION, "Bearer a"))
            .append_header((AUTHORIZATION, "Bearer b"))
            .to_http_request();
        assert_eq!(bearer(request.headers()), None);
    }
}
