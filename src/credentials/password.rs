//! Passwords: what one must be like, and the hash that is kept of it (argon2id).

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Secret;
use crate::domain::account::SecretHash;

/// In characters.
pub const MIN_CHARS: usize = 12;
pub const MAX_BYTES: usize = 1024;

/// Why a text is no password; reads as the end of a sentence that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have {MIN_CHARS} characters or more, and at most {MAX_BYTES} bytes")]
pub struct InvalidPassword;

pub fn check(password: &str) -> Result<(), InvalidPassword> {
    let fits = password.chars().count() >= MIN_CHARS && password.len() <= MAX_BYTES;
    if fits { Ok(()) } else { Err(InvalidPassword) }
}

/// A password could not be hashed: the system gives no randomness or no memory, or a stored hash is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a password could not be hashed: {0}")]
pub struct HashFailed(String);

/// Why a [`Hasher`] gives no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HasherError {
    #[error("too many passwords wait to be hashed")]
    Busy,
    #[error(transparent)]
    Failed(#[from] HashFailed),
}

/// 19 MiB, two rounds, one lane: the least of those that OWASP calls strong, some 20 ms.
const MEMORY_KIB: u32 = 19_456;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// Takes its time, and the processor's.
pub fn hash(password: &Secret) -> Result<SecretHash, HashFailed> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| HashFailed(error.to_string()))?;
    let phc = Phc {
        memory_kib: MEMORY_KIB,
        rounds: ROUNDS,
        lanes: LANES,
        salt: salt.to_vec(),
        hash: Vec::new(),
    };
    let hash = phc.hash_of(password)?;
    Ok(SecretHash::new(&Phc { hash, ..phc }.write()))
}

/// Whether it is the password of this hash.
pub fn verify(password: &Secret, expected: &SecretHash) -> Result<bool, HashFailed> {
    let phc = Phc::parse(expected.expose()).ok_or_else(|| HashFailed("a stored hash cannot be read".to_owned()))?;
    let found = blake3::hash(&phc.hash_of(password)?);
    // BLAKE3 compares its hashes in constant time.
    Ok(found == blake3::hash(&phc.hash))
}

/// A hash with what it was made from: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
struct Phc {
    memory_kib: u32,
    rounds: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Phc {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$")?;
        let (parameters, rest) = rest.split_once('$')?;
        let (salt, hash) = rest.split_once('$')?;
        let mut parameters = parameters.split(',');
        let mut number = |name: &str| parameters.next()?.strip_prefix(name)?.parse().ok();
        Some(Self {
            memory_kib: number("m=")?,
            rounds: number("t=")?,
            lanes: number("p=")?,
            salt: STANDARD_NO_PAD.decode(salt).ok()?,
            hash: STANDARD_NO_PAD
                .decode(hash)
                .ok()
                .filter(|hash| hash.len() == HASH_BYTES)?,
        })
    }

    fn write(&self) -> String {
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        let (memory_kib, rounds, lanes) = (self.memory_kib, self.rounds, self.lanes);
        format!("$argon2id$v=19$m={memory_kib},t={rounds},p={lanes}${salt}${hash}")
    }

    /// The hash of a password under the same salt and parameters.
    fn hash_of(&self, password: &Secret) -> Result<Vec<u8>, HashFailed> {
        let failed = |error: argon2::Error| HashFailed(error.to_string());
        let params = Params::new(self.memory_kib, self.rounds, self.lanes, Some(HASH_BYTES)).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = vec![0; HASH_BYTES];
        let password = password.expose().as_bytes();
        argon2
            .hash_password_into(password, &self.salt, &mut hash)
            .map_err(failed)?;
        Ok(hash)
    }
}

/// What no password hashes to, made as the others are: whom there is not takes as long as whom there is.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How many may wait for a thread; more are refused.
const MAX_WAITING: usize = 64;

/// Hashes beside the requests, on as many threads as there are cores and no more.
pub struct Hasher {
    threads: Arc<Semaphore>,
    /// Those who have a thread and those who wait for one.
    places: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            threads: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(cores + MAX_WAITING)),
        }
    }
}

impl Hasher {
    pub async fn hash(&self, password: Secret) -> Result<SecretHash, HasherError> {
        self.run(move || hash(&password)).await
    }

    /// False where there is nobody whose password it could be, after the same time.
    pub async fn verify(&self, password: Secret, expected: Option<SecretHash>) -> Result<bool, HasherError> {
        let is_somebody = expected.is_some();
        let expected = expected.unwrap_or_else(|| SecretHash::new(NOBODY));
        let is_right = self.run(move || verify(&password, &expected)).await?;
        Ok(is_right && is_somebody)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashFailed> + Send + 'static,
    ) -> Result<T, HasherError> {
        let permits = self.permits().await?;
        // They go with the work, which goes on where the request is gone.
        let work = move || {
            let _permits = permits;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.map_err(|error| HashFailed(error.to_string()))??)
    }

    async fn permits(&self) -> Result<[OwnedSemaphorePermit; 2], HasherError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| HasherError::Busy)?;
        let thread = self.threads.clone().acquire_owned().await;
        let thread = thread.map_err(|error| HashFailed(error.to_string()))?;
        Ok([thread, place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let (right, wrong) = (secret("correct horse battery"), secret("correct horse batterz"));
        let (kept, again) = (hash(&right).unwrap(), hash(&right).unwrap());
        assert_ne!(kept, again, "no salt");
        assert!(verify(&right, &kept).unwrap() && verify(&right, &again).unwrap());
        assert!(!verify(&wrong, &kept).unwrap());
    }

    #[test]
    fn a_hash_is_as_other_programs_write_it() {
        // Of the reference implementation's own tests.
        let foreign = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(&secret("password"), &SecretHash::new(foreign)).unwrap());
        assert!(!verify(&secret("passwore"), &SecretHash::new(foreign)).unwrap());
        assert!(verify(&secret("password"), &SecretHash::new("plain")).is_err());
    }

    #[test]
    fn nobody_takes_as_much_work_as_somebody() {
        let (nobody, somebody) = (
            Phc::parse(NOBODY).unwrap(),
            hash(&secret("correct horse battery")).unwrap(),
        );
        let somebody = Phc::parse(somebody.expose()).unwrap();
        let work = |phc: &Phc| (phc.memory_kib, phc.rounds, phc.lanes, phc.salt.len(), phc.hash.len());
        assert_eq!(work(&nobody), work(&somebody));
    }

    fn hasher(threads: usize, places: usize) -> Hasher {
        Hasher {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    #[tokio::test]
    async fn a_thread_is_taken_until_its_work_is_done_even_where_nobody_waits_for_it() {
        let hasher = Arc::new(hasher(1, 2));
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let asking = hasher.clone();
        let asked = tokio::spawn(async move {
            let work = move || {
                let _ = begin.send(());
                finished.recv().map_err(|error| HashFailed(error.to_string()))
            };
            asking.run(work).await
        });
        begun.recv().await.unwrap();
        asked.abort();
        assert!(asked.await.is_err());
        assert_eq!(
            (hasher.threads.available_permits(), hasher.places.available_permits()),
            (0, 1)
        );
        finish.send(()).unwrap();
        let again = hasher.run(|| Ok(())).await;
        assert!(again.is_ok(), "{again:?}");
    }

    #[tokio::test]
    async fn whoever_would_wait_behind_too_many_is_refused() {
        let hasher = hasher(1, 1);
        let _busy = hasher.permits().await.unwrap();
        assert!(matches!(hasher.run(|| Ok(())).await, Err(HasherError::Busy)));
    }

    #[test]
    fn a_password_has_twelve_characters_of_any_script() {
        assert_eq!(check("elf letters"), Err(InvalidPassword));
        assert_eq!(check("zwölf Zeiche"), Ok(()));
        assert_eq!(check(&"名".repeat(12)), Ok(()));
        assert_eq!(check(&"x".repeat(MAX_BYTES)), Ok(()));
        assert_eq!(check(&"x".repeat(MAX_BYTES + 1)), Err(InvalidPassword));
    }
}
