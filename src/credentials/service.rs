//! Service tokens: `hf_ID_SECRET`. The id finds the entry, the secret proves the token.

use super::random::is_same;
use super::{Secret, random};
use crate::domain::account::SecretHash;

const PREFIX: &str = "hf_";

/// The text of a new token, which is shown once, and the hash that is kept of it.
pub fn issue(id: &str) -> Result<(Secret, SecretHash), getrandom::Error> {
    let secret = random::secret()?;
    let token = Secret::new(format!("{PREFIX}{id}_{}", secret.expose()));
    Ok((token, hash(secret.expose())))
}

/// Id and secret of what looks like a service token. The id has no underscore; the secret may.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    token.strip_prefix(PREFIX)?.split_once('_')
}

pub fn is_right(secret: &str, expected: &SecretHash) -> bool {
    is_same(hash(secret).expose(), expected.expose())
}

/// A fast hash is enough: there are too many secrets to try them.
fn hash(secret: &str) -> SecretHash {
    SecretHash::new(&blake3::hash(secret.as_bytes()).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_id_and_proved_by_its_secret() {
        let (token, kept) = issue("0193-5f4e").unwrap();
        let (id, secret) = parse(token.expose()).unwrap();
        assert_eq!((id, secret.len()), ("0193-5f4e", 43));
        assert!(is_right(secret, &kept));
        assert!(!is_right(&secret[1..], &kept) && !is_right("", &kept) && !is_right(kept.expose(), &kept));
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let (one, other) = (issue("a").unwrap().0, issue("a").unwrap().0);
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn what_is_no_service_token_is_none() {
        for text in ["", "hf_", "hf_id", "ey.ey.x", "HF_id_secret"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
