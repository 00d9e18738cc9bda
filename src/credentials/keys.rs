//! Signed tokens (JWT): who logged in, until when, and by which version of the password.
//!
//! One key signs; it and those before it verify. Each key takes its own algorithm only, whatever a token says of itself,
//! and every token must name issuer, audience, subject and end.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Secret;
use super::pem::{self, Key};
use crate::domain::Timestamp;
use crate::domain::account::{AccountName, User};

/// The shortest secret that tokens may be signed with, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// Why a key cannot be one; reads as the end of a sentence that begins with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error(
        "has {0} bytes, and must have {MIN_SECRET_BYTES} or more that nobody can guess, such as those of \
         `openssl rand -base64 48`"
    )]
    Short(usize),
    #[error(
        "is one that everybody tries first; take one that nobody can guess, such as that of `openssl rand -base64 48`"
    )]
    Obvious,
    #[error("holds no Ed25519 key in PEM; `openssl genpkey -algorithm ed25519` makes a private one")]
    NoKey,
    #[error("holds a public key, which can sign nothing; `openssl genpkey -algorithm ed25519` makes a private one")]
    NotPrivate,
}

/// What tokens must say beside who calls.
#[derive(Clone, Debug)]
pub struct Terms {
    pub issuer: String,
    pub audience: String,
    pub lifetime_seconds: u64,
}

pub struct Keys {
    header: Header,
    signing: EncodingKey,
    verifying: Vec<Verifier>,
    terms: Terms,
}

/// A key, and the one algorithm that it takes.
pub struct Verifier {
    key: DecodingKey,
    algorithm: Algorithm,
}

/// What signs tokens, and verifies its own.
pub struct Signer {
    key: EncodingKey,
    verifier: Verifier,
}

/// What a token has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub username: AccountName,
    pub password_version: u64,
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: AccountName,
    /// The version of the password that it was given for.
    pwv: u64,
    /// In seconds, as all of the kind.
    iat: i64,
    exp: i64,
}

impl Signer {
    pub fn of_secret(secret: &Secret) -> Result<Self, InvalidKey> {
        let verifier = Verifier::of_secret(secret)?;
        let key = EncodingKey::from_secret(secret.expose().as_bytes());
        Ok(Self { key, verifier })
    }

    pub fn of_pem(text: &str) -> Result<Self, InvalidKey> {
        match pem::parse(text) {
            Some(Key::Private { seed, der }) => Ok(Self {
                key: EncodingKey::from_ed_der(&der),
                verifier: Verifier::of_public(&public(&seed).ok_or(InvalidKey::NoKey)?),
            }),
            Some(Key::Public(_)) => Err(InvalidKey::NotPrivate),
            None => Err(InvalidKey::NoKey),
        }
    }
}

impl Verifier {
    pub fn of_secret(secret: &Secret) -> Result<Self, InvalidKey> {
        check_secret(secret.expose())?;
        Ok(Self {
            key: DecodingKey::from_secret(secret.expose().as_bytes()),
            algorithm: Algorithm::HS256,
        })
    }

    /// Of a public key, or of a private one.
    pub fn of_pem(text: &str) -> Result<Self, InvalidKey> {
        let public = match pem::parse(text) {
            Some(Key::Private { seed, .. }) => public(&seed),
            Some(Key::Public(key)) => Some(key),
            None => None,
        };
        public.map(|key| Self::of_public(&key)).ok_or(InvalidKey::NoKey)
    }

    fn of_public(key: &[u8; 32]) -> Self {
        Self {
            key: DecodingKey::from_ed_der(key),
            algorithm: Algorithm::EdDSA,
        }
    }
}

impl Keys {
    pub fn new(signer: Signer, older: Vec<Verifier>, terms: Terms) -> Self {
        let Signer { key, verifier } = signer;
        Self {
            header: Header::new(verifier.algorithm),
            signing: key,
            verifying: std::iter::once(verifier).chain(older).collect(),
            terms,
        }
    }

    /// A token for a user, and when it ends.
    pub fn sign(&self, user: &User, now: Timestamp) -> Result<(Secret, Timestamp), jsonwebtoken::errors::Error> {
        let issued = Timestamp::from_millis(now.as_millis().div_euclid(1000) * 1000);
        let expires_at = issued.plus_seconds(self.terms.lifetime_seconds);
        let claims = Claims {
            iss: self.terms.issuer.clone(),
            aud: self.terms.audience.clone(),
            sub: user.username.clone(),
            pwv: user.password_version,
            iat: issued.as_millis() / 1000,
            exp: expires_at.as_millis() / 1000,
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.signing)?;
        Ok((Secret::new(token), expires_at))
    }

    /// None for every token that is not one of ours, or is over.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Proof> {
        let proved = self
            .verifying
            .iter()
            .find_map(|verifier| self.verify_by(verifier, token));
        let Claims { sub, pwv, exp, .. } = proved?;
        let expires_at = Timestamp::from_millis(exp.checked_mul(1000)?);
        (expires_at > now).then_some(Proof {
            username: sub,
            password_version: pwv,
            expires_at,
        })
    }

    fn verify_by(&self, verifier: &Verifier, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(verifier.algorithm);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.terms.issuer]);
        validation.set_audience(&[&self.terms.audience]);
        let decoded = jsonwebtoken::decode::<Claims>(token, &verifier.key, &validation);
        decoded.ok().map(|decoded| decoded.claims)
    }
}

fn public(seed: &[u8; 32]) -> Option<[u8; 32]> {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    pair.public_key().as_ref().try_into().ok()
}

/// How defaults of examples and frameworks begin, without what is no letter and no digit.
const OBVIOUS: [&str; 14] = [
    "changeme",
    "changethis",
    "default",
    "devsecret",
    "example",
    "insecure",
    "jwtsecret",
    "mysecret",
    "password",
    "placeholder",
    "replaceme",
    "secret",
    "supersecret",
    "yoursecret",
];
/// A secret that somebody has made by chance has more different bytes than this.
const FEW_BYTES: usize = 7;

fn check_secret(secret: &str) -> Result<(), InvalidKey> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(InvalidKey::Short(secret.len()));
    }
    let letters = secret.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    let different: std::collections::BTreeSet<u8> = secret.bytes().collect();
    if OBVIOUS.iter().any(|default| plain.starts_with(default)) || different.len() <= FEW_BYTES {
        return Err(InvalidKey::Obvious);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::{Role, SecretHash};

    const SECRET: &str = "b7Vq0s1y4mXk9Zt2Lw8NfRc6HjPd3GeA";
    const OTHER: &str = "Q2wE5rT8yU1iO4pA7sD0fG3hJ6kL9zXc";
    /// Made for these tests by openssl.
    const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIB9bbnhP4ROGUC3qqnLEeBNtEEWvbY52RHSdYZddNRjR\n-----END PRIVATE KEY-----\n";
    const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFa15uahFLjV5NoTjrZP/3gNeIebFvSearUDHukdKgr4=\n-----END PUBLIC KEY-----\n";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn keys(signer: Signer, older: Vec<Verifier>) -> Keys {
        let terms = Terms {
            issuer: "holdfast".to_owned(),
            audience: "holdfast".to_owned(),
            lifetime_seconds: 60,
        };
        Keys::new(signer, older, terms)
    }

    fn now() -> Timestamp {
        chrono::Utc::now().into()
    }

    fn user() -> User {
        let name = AccountName::parse("anna").unwrap();
        User::new(name, SecretHash::new("hash"), Role::Admin, None, now()).unwrap()
    }

    #[test]
    fn a_token_proves_its_user_until_it_ends() {
        for signer in [Signer::of_secret(&secret(SECRET)), Signer::of_pem(PRIVATE_PEM)] {
            let (keys, user) = (keys(signer.unwrap(), Vec::new()), user());
            let (token, expires_at) = keys.sign(&user, now()).unwrap();
            let proof = keys.verify(token.expose(), now()).unwrap();
            assert_eq!(
                (&proof.username, proof.password_version),
                (&user.username, user.password_version)
            );
            assert_eq!(proof.expires_at, expires_at);
            assert_eq!(keys.verify(token.expose(), expires_at), None);
        }
    }

    #[test]
    fn an_older_key_verifies_and_a_strange_one_does_not() {
        let user = user();
        let sign = |signer: Signer| keys(signer, Vec::new()).sign(&user, now()).unwrap().0;
        let by_secret = sign(Signer::of_secret(&secret(SECRET)).unwrap());
        let by_key = sign(Signer::of_pem(PRIVATE_PEM).unwrap());
        let new = || Signer::of_secret(&secret(OTHER)).unwrap();
        let both = vec![
            Verifier::of_secret(&secret(SECRET)).unwrap(),
            Verifier::of_pem(PUBLIC_PEM).unwrap(),
        ];
        let rotating = keys(new(), both);
        let rotated = keys(new(), Vec::new());
        for token in [by_secret, by_key] {
            assert!(rotating.verify(token.expose(), now()).is_some());
            assert!(rotated.verify(token.expose(), now()).is_none());
        }
    }

    #[test]
    fn a_secret_that_is_short_or_obvious_is_none() {
        let repeated = "ab".repeat(32);
        for (text, fault) in [
            ("", InvalidKey::Short(0)),
            (&SECRET[1..], InvalidKey::Short(31)),
            ("change-me-change-me-change-me-change-me", InvalidKey::Obvious),
            ("SECRET_that_is_long_enough_to_be_one_0123", InvalidKey::Obvious),
            ("your-secret-key-here-please-change-0123456", InvalidKey::Obvious),
            (&repeated, InvalidKey::Obvious),
        ] {
            assert_eq!(check_secret(text), Err(fault), "{text}");
        }
        assert_eq!(check_secret(SECRET), Ok(()));
    }

    #[test]
    fn a_public_key_signs_nothing_and_text_is_no_key() {
        assert_eq!(Signer::of_pem(PUBLIC_PEM).err(), Some(InvalidKey::NotPrivate));
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert_eq!(Signer::of_pem(text).err(), Some(InvalidKey::NoKey));
            assert_eq!(Verifier::of_pem(text).err(), Some(InvalidKey::NoKey));
        }
    }
}
