//! How many requests are taken a minute: from an address, of a principal, and as logins. A limit that is not set costs
//! nothing.
//!
//! Counted by the generic cell rate algorithm (`governor`): the minute's requests may come all at once, and come back one
//! by one. What a request counted towards is told in the fields of draft-ietf-httpapi-ratelimit-headers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpMessage, HttpRequest};
use foldhash::fast::RandomState;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::address::{self, Network};
use super::problem::{Code, Problem};
use crate::config;
use crate::domain::Principal;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Every count, shared by all threads.
#[derive(Default)]
pub struct Limiter {
    trusted: Vec<Network>,
    by_address: Option<Rate<IpAddr>>,
    by_principal: Option<Rate<Principal>>,
    logins: Option<Logins>,
    /// What is told of the limits that a request counted towards, by the bits of those.
    policies: [Option<HeaderValue>; 16],
}

/// Logins and registrations.
struct Logins {
    by_address: Rate<IpAddr>,
    by_name: Rate<Arc<str>>,
    /// Who has logged in from where, and when: there, nobody can lock them out by logins under their name.
    known: Mutex<HashMap<(Arc<str>, IpAddr), Instant>>,
}

/// So long it is known that somebody has logged in from an address.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// So many are known at once; the others are held to the limit of their names.
const MAX_KNOWN: usize = 100_000;

impl Limiter {
    pub fn of(limits: &config::Limits) -> Self {
        let rates = [
            limits.rate_per_address,
            limits.rate_per_principal,
            limits.login_rate,
            limits.login_rate,
        ];
        let logins = Rate::per_minute(Limit::Login, limits.login_rate);
        Self {
            trusted: limits.trusted_proxies.clone(),
            by_address: Rate::per_minute(Limit::Address, limits.rate_per_address),
            by_principal: Rate::per_minute(Limit::Principal, limits.rate_per_principal),
            logins: logins
                .zip(Rate::per_minute(Limit::Name, limits.login_rate))
                .map(|(by_address, by_name)| Logins {
                    by_address,
                    by_name,
                    known: Mutex::default(),
                }),
            policies: std::array::from_fn(|bits| policy(bits, rates)),
        }
    }

    /// Counts a request by its address.
    pub fn admit_address(&self, request: &HttpRequest) -> Result<(), Problem> {
        match &self.by_address {
            Some(rate) if !is_probe(request) => rate.take(request, &self.client(request)),
            _ => Ok(()),
        }
    }

    /// Counts a request by who calls.
    pub fn admit_principal(&self, request: &HttpRequest, principal: &Principal) -> Result<(), Problem> {
        match &self.by_principal {
            Some(rate) if !is_probe(request) => rate.take(request, principal),
            _ => Ok(()),
        }
    }

    /// Where nobody must log in, all callers are one.
    pub fn admit_anonymous(&self, request: &HttpRequest) -> Result<(), Problem> {
        match self.by_principal {
            Some(_) => self.admit_principal(request, &Principal::anonymous()),
            None => Ok(()),
        }
    }

    /// Counts a login or a registration, before it is known whether there is such a name.
    pub fn admit_login(&self, request: &HttpRequest, name: &str) -> Result<(), Problem> {
        let Some(logins) = &self.logins else { return Ok(()) };
        let address = self.client(request);
        logins.by_address.take(request, &address)?;
        let name = name_key(name);
        match logins.is_known(&name, address) {
            true => Ok(()),
            false => logins.by_name.take(request, &name),
        }
    }

    /// Remembers that somebody has proved to be who they say.
    pub fn note_login(&self, request: &HttpRequest, name: &str) {
        if let Some(logins) = &self.logins {
            logins.note(name_key(name), self.client(request));
        }
    }

    /// What counts as one client.
    fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map(|peer| peer.ip());
        let peer = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        address::household(address::client(peer, request.headers(), &self.trusted))
    }

    /// Forgets who has not come for so long that all of their requests are there again.
    fn forget(&self) {
        self.by_address.iter().for_each(Rate::forget);
        self.by_principal.iter().for_each(Rate::forget);
        if let Some(logins) = &self.logins {
            logins.by_address.forget();
            logins.by_name.forget();
            logins.known().retain(|_, at| at.elapsed() < KNOWN_FOR);
        }
    }
}

/// Keeps the counts small for as long as there are any.
pub async fn keep_small(limiter: Weak<Limiter>) {
    while let Some(limiter) = limiter.upgrade() {
        limiter.forget();
        drop(limiter);
        tokio::time::sleep(MINUTE).await;
    }
}

/// What is longer is nobody's name, and must not fill the memory.
fn name_key(name: &str) -> Arc<str> {
    let end = name.char_indices().nth(MAX_NAME).map_or(name.len(), |(end, _)| end);
    name[..end].into()
}

const MAX_NAME: usize = 64;

/// Whoever watches the service must see it while others are too many.
fn is_probe(request: &HttpRequest) -> bool {
    request.path().starts_with("/api/health") || request.path() == "/health"
}

impl Logins {
    fn is_known(&self, name: &Arc<str>, address: IpAddr) -> bool {
        let known = self.known();
        let at = known.get(&(name.clone(), address));
        at.is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    fn note(&self, name: Arc<str>, address: IpAddr) {
        let mut known = self.known();
        if known.len() < MAX_KNOWN || known.contains_key(&(name.clone(), address)) {
            known.insert((name, address), Instant::now());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Arc<str>, IpAddr), Instant>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Address,
    Principal,
    Login,
    Name,
}

impl Limit {
    /// In the order in which a request meets them.
    const ALL: [Self; 4] = [Self::Address, Self::Principal, Self::Login, Self::Name];

    fn bit(self) -> usize {
        1 << self as usize
    }

    /// As it is called in the fields of replies.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Principal => "principal",
            Self::Login => "login",
            Self::Name => "name",
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Self::Address => "from your address",
            Self::Principal => "of yours",
            Self::Login => "to log in or register from your address",
            Self::Name => "to log in or register under this name",
        }
    }
}

/// The policy field of a request that counted towards the limits of these bits.
fn policy(bits: usize, rates: [u32; 4]) -> Option<HeaderValue> {
    let limits = Limit::ALL.into_iter().filter(|limit| bits & limit.bit() != 0);
    let entry = |limit: Limit| {
        let (name, rate) = (limit.name(), rates[limit as usize]);
        format!("\"{name}\";q={rate};w={}", MINUTE.as_secs())
    };
    let entries: Vec<String> = limits.map(entry).collect();
    HeaderValue::try_from(entries.join(", ")).ok()
}

/// So many requests a minute for each key.
struct Rate<K: Hash + Eq + Clone> {
    limit: Limit,
    per_minute: u32,
    counts: RateLimiter<K, DashMapStateStore<K, RandomState>, DefaultClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// 0: any number.
    fn per_minute(limit: Limit, per_minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        let counts = RateLimiter::dashmap_with_clock_and_hasher(quota, DefaultClock::default(), RandomState::default());
        Some(Self {
            limit,
            per_minute,
            counts: counts.with_middleware(),
        })
    }

    /// Counts the request, and leaves with it what its reply is to tell.
    fn take(&self, request: &HttpRequest, key: &K) -> Result<(), Problem> {
        let taken = self.counts.check_key(key);
        let taken = taken.map(|state| state.remaining_burst_capacity());
        let taken = taken.map_err(|until| until.wait_time_from(DefaultClock::default().now()));
        let (left, seconds) = match taken {
            Ok(left) => (left, self.seconds_for(self.per_minute - left)),
            Err(wait) => (0, wait.as_millis().div_ceil(1000).max(1) as u64),
        };
        let mut extensions = request.extensions_mut();
        match extensions.get_mut::<Standing>() {
            Some(standing) => standing.add(self.limit, left, seconds),
            None => {
                let mut standing = Standing::default();
                standing.add(self.limit, left, seconds);
                extensions.insert(standing);
            }
        }
        taken.map(drop).map_err(|_| self.refusal(seconds))
    }

    /// How long it takes until so many requests are there again.
    fn seconds_for(&self, requests: u32) -> u64 {
        (u64::from(requests) * MINUTE.as_secs()).div_ceil(u64::from(self.per_minute))
    }

    fn refusal(&self, seconds: u64) -> Problem {
        let (requests, counted) = (self.per_minute, self.limit.counted());
        let detail =
            format!("There were more than {requests} requests {counted} in a minute; come again in {seconds} s.");
        Problem::new(Code::RateLimited, detail).with_header(RETRY_AFTER, &seconds.to_string())
    }

    fn forget(&self) {
        self.counts.retain_recent();
        self.counts.shrink_to_fit();
    }
}

/// What a request counted towards, and what is left of each.
#[derive(Default)]
struct Standing {
    bits: usize,
    /// The field of the reply.
    left: Vec<u8>,
}

impl Standing {
    /// After `seconds` all of it is there again, or, where nothing is left, the next one. Every reply has this: it is put
    /// together without the machinery of formatting.
    fn add(&mut self, limit: Limit, left: u32, seconds: u64) {
        self.bits |= limit.bit();
        let mut digits = itoa::Buffer::new();
        let out = &mut self.left;
        match out.is_empty() {
            true => out.reserve(64),
            false => out.extend_from_slice(b", "),
        }
        out.push(b'"');
        out.extend_from_slice(limit.name().as_bytes());
        out.extend_from_slice(b"\";r=");
        out.extend_from_slice(digits.format(left).as_bytes());
        out.extend_from_slice(b";t=");
        out.extend_from_slice(digits.format(seconds).as_bytes());
    }
}

impl Limiter {
    /// Tells in a reply what its request counted towards: a field has a list, with an entry for each limit.
    pub fn tell(&self, request: &HttpRequest, headers: &mut HeaderMap) {
        let Some(Standing { bits, left }) = request.extensions_mut().remove() else {
            return;
        };
        if let (Some(policy), Ok(left)) = (&self.policies[bits], HeaderValue::try_from(left)) {
            headers.insert(RATE_LIMIT_POLICY.clone(), policy.clone());
            headers.insert(RATE_LIMIT.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        limits: config::Limits,
    }

    fn limiter(args: &[&str]) -> Limiter {
        let command = Command::parse_from([&["test"], args].concat());
        Limiter::of(&command.limits)
    }

    fn from(address: &str) -> HttpRequest {
        let address = format!("{address}:4711").parse().unwrap();
        TestRequest::get()
            .uri("/api/events")
            .peer_addr(address)
            .to_http_request()
    }

    fn told(limiter: &Limiter, request: &HttpRequest) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        limiter.tell(request, &mut headers);
        let all = |name: &HeaderName| {
            let values = headers.get_all(name).map(|value| value.to_str().unwrap());
            values.flat_map(|value| value.split(", ")).map(str::to_owned).collect()
        };
        let (policies, states): (Vec<String>, Vec<String>) = (all(&RATE_LIMIT_POLICY), all(&RATE_LIMIT));
        policies.into_iter().zip(states).collect()
    }

    #[test]
    fn without_limits_nothing_is_counted_or_told() {
        let limiter = limiter(&["--login-rate", "0"]);
        for _ in 0..1000 {
            let request = from("192.0.2.1");
            limiter.admit_address(&request).unwrap();
            limiter.admit_principal(&request, &Principal::anonymous()).unwrap();
            limiter.admit_login(&request, "ada").unwrap();
            assert!(told(&limiter, &request).is_empty());
        }
    }

    #[test]
    fn an_address_has_its_requests_and_is_told_how_many_are_left() {
        let limiter = limiter(&["--rate-per-address", "3"]);
        for (left, seconds) in [(2, 20), (1, 40), (0, 60)] {
            let request = from("192.0.2.1");
            limiter.admit_address(&request).unwrap();
            let state = format!("\"address\";r={left};t={seconds}");
            assert_eq!(told(&limiter, &request), [("\"address\";q=3;w=60".to_owned(), state)]);
        }
        let request = from("192.0.2.1");
        assert_eq!(limiter.admit_address(&request).unwrap_err().status(), 429);
        assert_eq!(told(&limiter, &request)[0].1, "\"address\";r=0;t=20");
        limiter.admit_address(&from("192.0.2.2")).unwrap();
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_client() {
        let limiter = limiter(&["--rate-per-address", "2"]);
        limiter.admit_address(&from("[2001:db8::1]")).unwrap();
        limiter.admit_address(&from("[2001:db8::2]")).unwrap();
        assert!(limiter.admit_address(&from("[2001:db8::3]")).is_err());
        limiter.admit_address(&from("[2001:db8:0:1::1]")).unwrap();
    }

    #[test]
    fn a_request_counts_towards_each_limit_that_there_is() {
        let limiter = limiter(&["--rate-per-address", "9", "--rate-per-principal", "1"]);
        let (till, other) = (Principal::parse("till").unwrap(), Principal::parse("other").unwrap());
        let request = from("192.0.2.1");
        limiter.admit_address(&request).unwrap();
        limiter.admit_principal(&request, &till).unwrap();
        assert_eq!(told(&limiter, &request).len(), 2);
        assert!(limiter.admit_principal(&from("192.0.2.2"), &till).is_err());
        limiter.admit_principal(&from("192.0.2.2"), &other).unwrap();
    }

    #[test]
    fn a_probe_is_never_too_much() {
        let limiter = limiter(&["--rate-per-address", "1", "--rate-per-principal", "1"]);
        for _ in 0..10 {
            let probe = TestRequest::get().uri("/api/health/ready").to_http_request();
            limiter.admit_address(&probe).unwrap();
            limiter.admit_principal(&probe, &Principal::anonymous()).unwrap();
        }
    }

    #[test]
    fn logins_are_counted_by_name_from_wherever_they_come() {
        let limiter = limiter(&["--login-rate", "3"]);
        for i in 0..3 {
            limiter.admit_login(&from(&format!("192.0.2.{i}")), "ada").unwrap();
        }
        assert!(limiter.admit_login(&from("192.0.2.9"), "ada").is_err());
        limiter.admit_login(&from("192.0.2.9"), "bob").unwrap();
    }

    #[test]
    fn logins_are_counted_by_address_under_whatever_names() {
        let limiter = limiter(&["--login-rate", "3"]);
        for i in 0..3 {
            limiter.admit_login(&from("192.0.2.1"), &format!("name {i}")).unwrap();
        }
        assert!(limiter.admit_login(&from("192.0.2.1"), "another").is_err());
        limiter.admit_login(&from("192.0.2.2"), "another").unwrap();
    }

    #[test]
    fn nobody_is_locked_out_where_they_have_logged_in() {
        let limiter = limiter(&["--login-rate", "3"]);
        limiter.admit_login(&from("192.0.2.1"), "ada").unwrap();
        limiter.note_login(&from("192.0.2.1"), "ada");
        for i in 10..20 {
            let _ = limiter.admit_login(&from(&format!("192.0.2.{i}")), "ada");
        }
        assert!(limiter.admit_login(&from("192.0.2.30"), "ada").is_err());
        limiter.admit_login(&from("192.0.2.1"), "ada").unwrap();
    }

    #[test]
    fn who_has_all_of_their_requests_again_is_forgotten() {
        let limiter = limiter(&["--rate-per-address", "60000"]);
        let rate = limiter.by_address.as_ref().unwrap();
        for i in 0..250 {
            limiter.admit_address(&from(&format!("192.0.2.{i}"))).unwrap();
        }
        assert!(rate.counts.len() > 200);
        std::thread::sleep(Duration::from_millis(20));
        limiter.forget();
        assert_eq!(rate.counts.len(), 0);
    }
}
