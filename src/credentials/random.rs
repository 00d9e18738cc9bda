//! What nobody can guess: 256 bits of the system's randomness, as text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Secret;

/// 43 letters, digits, `-` and `_`.
pub fn secret() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
pub fn is_same(one: &str, other: &str) -> bool {
    // BLAKE3 compares its hashes in constant time, and hashes of two secrets tell nothing of them.
    blake3::hash(one.as_bytes()) == blake3::hash(other.as_bytes())
}
