//! What proves that a webhook's delivery comes from here: signatures as Standard Webhooks 1.0 makes them.

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::webhook::SigningSecret;

/// A secret that nobody can guess.
pub fn new_secret() -> Result<SigningSecret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    // 32 bytes are a secret in any case.
    SigningSecret::of(&bytes).map_err(|_| getrandom::Error::UNEXPECTED)
}

/// The value of `webhook-signature`: one signature per secret.
pub fn sign<'a>(secrets: impl Iterator<Item = &'a SigningSecret>, id: &str, seconds: i64, body: &[u8]) -> String {
    let signatures = secrets.map(|secret| {
        let mut context = Context::with_key(&Key::new(HMAC_SHA256, secret.bytes()));
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_signed_as_the_standard_says() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, seconds, body) = (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign([&secret].into_iter(), id, seconds, body), signature);
        let two = sign([&new_secret().unwrap(), &secret].into_iter(), id, seconds, body);
        assert!(
            two.ends_with(&format!(" {signature}")) && two.starts_with("v1,"),
            "{two}"
        );
    }

    #[test]
    fn no_two_secrets_are_alike() {
        assert_ne!(new_secret().unwrap(), new_secret().unwrap());
    }
}
