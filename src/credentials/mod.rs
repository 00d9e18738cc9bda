//! What proves who calls: passwords, signed tokens, service tokens; and, where we call, that it is us: signatures. It knows
//! `domain`, and neither storage nor HTTP.

pub mod keys;
pub mod password;
mod pem;
pub mod random;
pub mod service;
pub mod signature;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What nobody may see: it is never printed, not even for a programmer.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}
