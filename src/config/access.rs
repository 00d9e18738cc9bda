//! Settings of who may call: keys that sign and verify tokens, and what stays open without them.

use std::env::VarError;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::credentials::Secret;
use crate::credentials::keys::{Keys, Signer, Terms, Verifier};

#[derive(clap::Args, Clone, Debug)]
pub struct AccessArgs {
    /// The secret that signs tokens, 32 bytes or more: with it callers must log in. Set the variable (JWT_SECRET is
    /// taken as well) rather than the flag, which everybody on the machine can read
    #[arg(long, env = "HOLDFAST_JWT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub jwt_secret: Option<Secret>,

    /// In place of a secret: an Ed25519 private key in PEM that signs tokens
    #[arg(long, env = "HOLDFAST_JWT_KEY", value_name = "FILE")]
    pub jwt_key: Option<PathBuf>,

    /// The secret before this one: its tokens are good until they end
    #[arg(
        long,
        env = "HOLDFAST_JWT_PREVIOUS_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub jwt_previous_secret: Option<Secret>,

    /// The key before this one, public or private
    #[arg(long, env = "HOLDFAST_JWT_PREVIOUS_KEY", value_name = "FILE")]
    pub jwt_previous_key: Option<PathBuf>,

    /// The issuer that tokens name and must name
    #[arg(long, env = "HOLDFAST_JWT_ISSUER", default_value = "holdfast")]
    pub jwt_issuer: String,

    /// The audience that tokens name and must name
    #[arg(long, env = "HOLDFAST_JWT_AUDIENCE", default_value = "holdfast")]
    pub jwt_audience: String,

    /// Minutes for which a login is good
    #[arg(long, env = "HOLDFAST_TOKEN_MINUTES", default_value_t = 720, value_parser = clap::value_parser!(u32).range(1..=525_600))]
    pub token_minutes: u32,

    /// Anyone may register, and becomes a viewer
    #[arg(long, env = "HOLDFAST_OPEN_REGISTRATION")]
    pub open_registration: bool,

    /// Lets everybody do everything on any address, without authentication
    #[arg(long, env = "HOLDFAST_INSECURE_OPEN")]
    pub insecure_open: bool,
}

impl AccessArgs {
    /// The keys of tokens; none where callers need not log in.
    pub fn keys(&self) -> anyhow::Result<Option<Keys>> {
        let signer = match (self.secret()?, &self.jwt_key) {
            (Some(_), Some(_)) => bail!(
                "there is both a secret and --jwt-key; keep the one that is to sign, and name the other as \
                 --jwt-previous-secret or --jwt-previous-key for as long as its tokens live"
            ),
            (Some((name, secret)), None) => {
                Signer::of_secret(&secret).map_err(|fault| anyhow!("the secret in {name} {fault}"))?
            }
            (None, Some(file)) => {
                Signer::of_pem(&read(file)?).map_err(|fault| anyhow!("{} {fault}", file.display()))?
            }
            (None, None) => return self.without().map(|()| None),
        };
        let terms = Terms {
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            lifetime_seconds: u64::from(self.token_minutes) * 60,
        };
        Ok(Some(Keys::new(signer, self.older()?, terms)))
    }

    /// With the name of where it comes from. An empty one is one too: somebody meant to set it.
    fn secret(&self) -> anyhow::Result<Option<(&'static str, Secret)>> {
        if let Some(secret) = &self.jwt_secret {
            return Ok(Some(("HOLDFAST_JWT_SECRET", secret.clone())));
        }
        match std::env::var("JWT_SECRET") {
            Ok(secret) => Ok(Some(("JWT_SECRET", Secret::new(secret)))),
            Err(VarError::NotPresent) => Ok(None),
            // The error itself would show it.
            Err(VarError::NotUnicode(_)) => {
                bail!("the secret in JWT_SECRET is not UTF-8; set one that is, or unset it")
            }
        }
    }

    fn older(&self) -> anyhow::Result<Vec<Verifier>> {
        let secret = self.jwt_previous_secret.as_ref().map(|secret| {
            Verifier::of_secret(secret).map_err(|fault| anyhow!("the secret in HOLDFAST_JWT_PREVIOUS_SECRET {fault}"))
        });
        let key = self
            .jwt_previous_key
            .as_ref()
            .map(|file| Verifier::of_pem(&read(file)?).map_err(|fault| anyhow!("{} {fault}", file.display())));
        secret.into_iter().chain(key).collect()
    }

    /// What would be a lock without a door.
    fn without(&self) -> anyhow::Result<()> {
        if self.jwt_previous_secret.is_some() || self.jwt_previous_key.is_some() {
            bail!("there is an older key but none that signs; set HOLDFAST_JWT_SECRET or --jwt-key");
        }
        if self.open_registration {
            bail!("--open-registration needs authentication; set HOLDFAST_JWT_SECRET or --jwt-key");
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))
}
