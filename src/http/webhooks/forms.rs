//! How webhooks and their deliveries are shown, and what is asked of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::post::{Attempt, Verdict};
use super::standing::{DeadLetter, LastFailure, Standing};
use super::target::{MAX_URL, Target};
use crate::domain::webhook::{SigningSecret, Terms, Topic};
use crate::domain::{MAX_QUANTITY, Principal, Sku, StoreId, Timestamp, Webhook};
use crate::http::bodies::present;
use crate::http::csv::Listed;
use crate::http::entries::Hidden;
use crate::http::idempotency::KEY_PATTERN;
use crate::http::problem::Problem;

/// A subscription to events. What signs its deliveries is not shown.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Webhook")]
pub struct WebhookForm<'a> {
    id: &'a str,
    url: &'a str,
    events: &'a [Topic],
    /// Only what changes this SKU is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a Sku>,
    /// Only what changes this store is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_id: Option<&'a StoreId>,
    /// Nothing is delivered until it is enabled again; then also what happened meanwhile.
    disabled: bool,
    /// Until then the secret before this one signs as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<Timestamp>,
    /// Rises by one with every change of the webhook.
    version: u64,
    created_at: Timestamp,
    created_by: &'a Principal,
    updated_at: Timestamp,
}

/// A webhook with the secret that the service has made for it, if it has.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewWebhook")]
pub struct NewWebhookForm<'a> {
    #[serde(flatten)]
    pub about: WebhookForm<'a>,
    /// Signs the deliveries. Only this answer has it, and only where the service has made it; a repeat of the request
    /// under its key does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A webhook, and how its deliveries stand.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookWithDelivery")]
pub struct ShownWebhookForm<'a> {
    #[serde(flatten)]
    pub about: WebhookForm<'a>,
    pub delivery: DeliveryForm,
}

impl Listed for ShownWebhookForm<'_> {
    const NAME: &'static str = "webhooks";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "url",
        "events",
        "sku",
        "storeId",
        "disabled",
        "previousSecretUntil",
        "version",
        "createdAt",
        "createdBy",
        "updatedAt",
        "delivery.status",
        "delivery.seq",
        "delivery.lag",
        "delivery.delivered",
        "delivery.failedAttempts",
        "delivery.consecutiveFailures",
        "delivery.nextAttemptAt",
        "delivery.lastSuccessAt",
        "delivery.lastError.at as lastErrorAt",
        "delivery.lastError.message as lastError",
        "delivery.deadLetters",
        "delivery.droppedDeadLetters",
        "delivery.nextRedeliveryAt",
    ];
}

/// How the deliveries of a webhook stand.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Delivery")]
pub struct DeliveryForm {
    status: Status,
    /// Each event up to here was delivered, was not asked for, or is a dead letter.
    seq: u64,
    /// How many events of the log come after that.
    lag: u64,
    /// Since the webhook was made.
    delivered: u64,
    /// The same.
    failed_attempts: u64,
    /// How often in a row the next delivery has failed.
    consecutive_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<FailureForm>,
    /// How many dead letters there are.
    dead_letters: usize,
    /// How many had to make room for newer ones: no more than 1000 are kept.
    dropped_dead_letters: u64,
    /// When the next of the dead letters that are to be sent once more is sent, where one of them has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_redelivery_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DeliveryStatus")]
pub enum Status {
    Delivering,
    /// The last attempt has failed, and another one follows.
    Retrying,
    Disabled,
}

impl Status {
    pub fn of(webhook: &Webhook, standing: &Standing) -> Self {
        match (webhook.terms.disabled, standing.failures) {
            (true, _) => Self::Disabled,
            (false, 0) => Self::Delivering,
            (false, _) => Self::Retrying,
        }
    }
}

/// An attempt that failed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeliveryError")]
pub struct FailureForm {
    at: Timestamp,
    /// For a person.
    message: String,
}

/// An event that is not tried any more, unless somebody asks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetter")]
pub struct DeadLetterForm {
    /// Of the event.
    seq: u64,
    /// As what it was to be delivered.
    #[serde(rename = "type")]
    topic: Topic,
    attempts: u32,
    last_error: FailureForm,
    /// It is about to be sent once more.
    redelivering: bool,
}

impl Listed for DeadLetterForm {
    const NAME: &'static str = "dead-letters";
    const COLUMNS: &'static [&'static str] = &[
        "seq",
        "type",
        "attempts",
        "lastError.at as lastErrorAt",
        "lastError.message as lastError",
        "redelivering",
    ];
}

/// What became of a test delivery.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TestDelivery")]
pub struct TestForm {
    /// The receiver has answered 2xx.
    delivered: bool,
    /// What it has answered, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Until the head of its answer, or until it was given up.
    duration_ms: u64,
    /// Why it counts as failed, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How many dead letters are sent once more.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Redelivery")]
pub struct RedeliveryForm {
    pub redelivering: usize,
}

pub fn form(webhook: &Webhook, version: u64) -> WebhookForm<'_> {
    let terms = &webhook.terms;
    WebhookForm {
        id: &webhook.id,
        url: &terms.url,
        events: &terms.events,
        sku: terms.sku.as_ref(),
        store_id: terms.store_id.as_ref(),
        disabled: terms.disabled,
        previous_secret_until: webhook.previous.as_ref().map(|previous| previous.until),
        version,
        created_at: webhook.created_at,
        created_by: &webhook.created_by,
        updated_at: webhook.updated_at,
    }
}

pub fn shown<'a>(webhook: &'a Webhook, version: u64, standing: Standing, end: u64) -> ShownWebhookForm<'a> {
    let is_enabled = !webhook.terms.disabled;
    ShownWebhookForm {
        about: form(webhook, version),
        delivery: DeliveryForm {
            status: Status::of(webhook, &standing),
            seq: standing.seq,
            lag: end.saturating_sub(standing.seq),
            delivered: standing.delivered,
            failed_attempts: standing.failed_attempts,
            consecutive_failures: standing.failures,
            next_attempt_at: standing.next_attempt_at.filter(|_| is_enabled),
            last_success_at: standing.last_success_at,
            last_error: standing.last_failure.clone().map(failure),
            dead_letters: standing.dead_letters.len(),
            dropped_dead_letters: standing.dropped,
            next_redelivery_at: standing
                .next_redelivery_at
                .filter(|_| is_enabled && standing.asked().is_some()),
        },
    }
}

pub fn dead_letter(letter: &DeadLetter) -> DeadLetterForm {
    DeadLetterForm {
        seq: letter.seq,
        topic: letter.topic,
        attempts: letter.attempts,
        last_error: failure(letter.failure.clone()),
        redelivering: letter.is_asked,
    }
}

fn failure(LastFailure { at, message }: LastFailure) -> FailureForm {
    FailureForm { at, message }
}

pub fn tested(attempt: Attempt) -> TestForm {
    let error = match attempt.verdict {
        Verdict::Delivered => None,
        Verdict::Gone => Some("answered 410: the receiver is gone".to_owned()),
        Verdict::Failed { message, .. } => Some(message),
    };
    TestForm {
        delivered: error.is_none(),
        status: attempt.status,
        duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

/// A webhook that is to be made.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWebhookBody {
    /// Where deliveries go: `https` or `http`, without a user and without a fragment. Not to an address to which nothing is
    /// delivered (`--webhook-networks`), unless it is disabled.
    #[validate(custom(function = check_url))]
    #[schemars(length(min = 1, max = MAX_URL), regex(pattern = URL_PATTERN))]
    pub url: String,
    /// Types of events as `/api/events` shows them, `*` for all of those, `stock.low` for those by which stock runs low.
    #[validate(length(min = 1, max = MAX_TOPICS, message = "must have 1 to 20 types of events"))]
    pub events: Vec<Topic>,
    /// Only what changes this SKU is delivered.
    #[serde(default, deserialize_with = "present")]
    pub sku: Option<Sku>,
    /// Only what changes this store is delivered.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// Nothing is delivered until it is enabled; then also what happened meanwhile.
    #[serde(default)]
    pub disabled: bool,
    /// `whsec_` and then 24 to 64 bytes in base64; where it is left out the service makes one, and shows it once.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>", regex(pattern = SECRET_PATTERN))]
    pub secret: Option<Hidden>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// All that a webhook is to have: what is left out, it has no longer; but its secret stays.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookBody {
    /// Where deliveries go: `https` or `http`, without a user and without a fragment. Not to an address to which nothing is
    /// delivered (`--webhook-networks`), unless it is disabled.
    #[validate(custom(function = check_url))]
    #[schemars(length(min = 1, max = MAX_URL), regex(pattern = URL_PATTERN))]
    pub url: String,
    /// Types of events as `/api/events` shows them, `*` for all of those, `stock.low` for those by which stock runs low.
    #[validate(length(min = 1, max = MAX_TOPICS, message = "must have 1 to 20 types of events"))]
    pub events: Vec<Topic>,
    /// Only what changes this SKU is delivered.
    #[serde(default, deserialize_with = "present")]
    pub sku: Option<Sku>,
    /// Only what changes this store is delivered.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// Nothing is delivered until it is enabled; then also what happened meanwhile.
    #[serde(default)]
    pub disabled: bool,
    /// A new secret: `whsec_` and then 24 to 64 bytes in base64. The one before it signs beside it for 24 hours.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>", regex(pattern = SECRET_PATTERN))]
    pub secret: Option<Hidden>,
    /// The service makes a new secret, and shows it once. Not together with `secret`.
    #[serde(default)]
    pub rotate_secret: bool,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// Which dead letters are to be sent once more; said nothing, all of them.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedeliverBody {
    /// The `seq` of each.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(min = 1, max = 1000, message = "must have 1 to 1000 sequences"))]
    pub seqs: Option<Vec<u64>>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

const MAX_TOPICS: u64 = 20;

/// Of the rules of `target.rs` those that every dialect of patterns can say.
const URL_PATTERN: &str = r"^https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?$";
const SECRET_PATTERN: &str = "^whsec_([A-Za-z0-9+/]{4}){8,21}$";

fn check_url(url: &str) -> Result<(), ValidationError> {
    let checked = Target::parse(url);
    checked
        .map(drop)
        .map_err(|fault| ValidationError::new("url").with_message(fault.into()))
}

fn secret(text: &Hidden) -> Result<SigningSecret, Problem> {
    SigningSecret::parse(text.expose()).map_err(|fault| Problem::invalid("secret", fault))
}

/// Each once, in the order in which they were given.
fn each_once(events: &[Topic]) -> Vec<Topic> {
    let firsts = events
        .iter()
        .enumerate()
        .filter(|(i, topic)| !events[..*i].contains(topic));
    firsts.map(|(_, topic)| *topic).collect()
}

impl NewWebhookBody {
    pub fn secret(&self) -> Result<Option<SigningSecret>, Problem> {
        self.secret.as_ref().map(secret).transpose()
    }

    pub fn terms(&self) -> Terms {
        Terms {
            url: self.url.clone(),
            events: each_once(&self.events),
            sku: self.sku.clone(),
            store_id: self.store_id.clone(),
            disabled: self.disabled,
        }
    }
}

impl WebhookBody {
    pub fn secret(&self) -> Result<Option<SigningSecret>, Problem> {
        if self.secret.is_some() && self.rotate_secret {
            return Err(Problem::invalid("rotateSecret", "a new secret is given already"));
        }
        self.secret.as_ref().map(secret).transpose()
    }

    pub fn terms(&self) -> Terms {
        Terms {
            url: self.url.clone(),
            events: each_once(&self.events),
            sku: self.sku.clone(),
            store_id: self.store_id.clone(),
            disabled: self.disabled,
        }
    }
}
