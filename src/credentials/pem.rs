//! Ed25519 keys from PEM files, as `openssl genpkey -algorithm ed25519` writes them (RFC 8410, without attributes).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// In front of the 32 bytes of the seed.
const PRIVATE: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// In front of the 32 bytes of the public key.
const PUBLIC: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub enum Key {
    Private { seed: [u8; 32], der: Vec<u8> },
    Public([u8; 32]),
}

/// None where the text is no Ed25519 key in PEM.
pub fn parse(text: &str) -> Option<Key> {
    if let Some(der) = body(text, "PRIVATE KEY") {
        let seed = der.strip_prefix(PRIVATE)?.try_into().ok()?;
        return Some(Key::Private { seed, der });
    }
    let der = body(text, "PUBLIC KEY")?;
    Some(Key::Public(der.strip_prefix(PUBLIC)?.try_into().ok()?))
}

fn body(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let base64: String = body.split_whitespace().collect();
    STANDARD.decode(base64).ok()
}
