//! Webhooks: who is told of events by signed requests, of which of them, and when what failed is tried again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Change, Event, EventKind, Principal, Sku, StoreId, Timestamp, is_false};

/// A subscription to events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    pub id: Arc<str>,
    pub terms: Terms,
    /// What deliveries are signed with: it is kept as it is, as no hash of it would sign.
    pub secret: SigningSecret,
    /// Signs beside it for a while, so that a receiver can take over the new one without a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// The end of the log when it was made: what comes later is delivered.
    pub begins_after: u64,
    pub created_at: Timestamp,
    pub created_by: Principal,
    pub updated_at: Timestamp,
}

/// What an admin says of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    pub url: String,
    pub events: Vec<Topic>,
    /// Only what changes this SKU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Only what changes this store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// Nothing is delivered; what happens meanwhile is, when it is enabled again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviousSecret {
    pub secret: SigningSecret,
    pub until: Timestamp,
}

/// For so long a secret that was replaced goes on signing.
pub const OVERLAP_SECONDS: u64 = 24 * 3600;

impl Webhook {
    /// The webhook as a change leaves it; without a secret it keeps the one that it has.
    pub fn changed(&self, terms: Terms, secret: Option<SigningSecret>, now: Timestamp) -> Self {
        let mut changed = Self {
            terms,
            updated_at: now,
            ..self.clone()
        };
        if let Some(secret) = secret.filter(|secret| *secret != self.secret) {
            let before = std::mem::replace(&mut changed.secret, secret);
            changed.previous = Some(PreviousSecret {
                secret: before,
                until: now.plus_seconds(OVERLAP_SECONDS),
            });
        }
        changed
    }

    /// The secrets that sign at this moment, the newest first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let previous = self.previous.as_ref().filter(|previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }

    /// As what the event is delivered, if it is. Whoever has asked for its type gets it as that, whatever else it is.
    pub fn takes(&self, event: &Event) -> Option<Topic> {
        if event.kind.is_hidden() {
            return None;
        }
        let mut changes = event.changes.iter().filter(|change| self.is_about(change)).peekable();
        changes.peek()?;
        let own = Topic::Kind(event.kind);
        let events = &self.terms.events;
        if events.iter().any(|topic| *topic == Topic::All || *topic == own) {
            return Some(own);
        }
        let is_low = events.contains(&Topic::LowStock) && changes.any(|change| change.low_stock);
        is_low.then_some(Topic::LowStock)
    }

    fn is_about(&self, change: &Change) -> bool {
        self.terms.sku.as_ref().is_none_or(|sku| *sku == change.sku)
            && self
                .terms
                .store_id
                .as_ref()
                .is_none_or(|store| *store == change.store_id)
    }
}

/// What can be subscribed to: a type of event, all that feeds show, or that stock runs low, whatever event makes it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    All,
    LowStock,
    Kind(EventKind),
}

const ALL: &str = "*";
const LOW_STOCK: &str = "stock.low";

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a type of event that feeds show, such as level.adjusted, or stock.low, or * for all of them")]
pub struct InvalidTopic;

impl Topic {
    /// Each, in the order of the types of events.
    pub fn every() -> impl Iterator<Item = Self> {
        let kinds = EventKind::SHOWN.into_iter().map(Self::Kind);
        [Self::All, Self::LowStock].into_iter().chain(kinds)
    }

    pub fn parse(text: &str) -> Result<Self, InvalidTopic> {
        let kind = |text: &str| {
            let text: StrDeserializer<serde::de::value::Error> = text.into_deserializer();
            EventKind::deserialize(text).ok().filter(|kind| !kind.is_hidden())
        };
        match text {
            ALL => Ok(Self::All),
            LOW_STOCK => Ok(Self::LowStock),
            _ => kind(text).map(Self::Kind).ok_or(InvalidTopic),
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL),
            Self::LowStock => serializer.serialize_str(LOW_STOCK),
            Self::Kind(kind) => kind.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::parsed(deserializer, "a type of event", Self::parse)
    }
}

/// What a delivery is signed with. Written only to the log; never shown, not even where a struct is printed for a
/// programmer.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Arc<[u8]>);

const PREFIX: &str = "whsec_";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and then 24 to 64 bytes in base64")]
pub struct InvalidSecret;

impl SigningSecret {
    pub fn of(bytes: &[u8]) -> Result<Self, InvalidSecret> {
        let fits = (24..=64).contains(&bytes.len());
        fits.then(|| Self(bytes.into())).ok_or(InvalidSecret)
    }

    /// As Standard Webhooks writes them.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = BASE64.decode(encoded).map_err(|_| InvalidSecret)?;
        Self::of(&bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::parsed(deserializer, "a signing secret", Self::parse)
    }
}

/// How often, and how far apart, a delivery is tried.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// In all, the first one included.
    pub attempts: u32,
}

impl Retries {
    /// How long to wait after so many failures; none where the last one was the last attempt.
    pub fn wait(&self, failures: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        (failures < self.attempts).then(|| self.pause(failures, asked, chance))
    }

    /// The same where no attempt is the last one. Each pause is twice the one before, a fifth more or less by `chance`
    /// (from 0 to 1), and no shorter than the receiver has `asked` for; but nobody may ask for more than the longest.
    pub fn pause(&self, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let wait = self.first_wait.saturating_mul(doubled).min(self.longest_wait);
        let asked = asked.unwrap_or_default().min(self.longest_wait);
        wait.mul_f64(0.8 + 0.4 * chance).max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fate, Movement, RequestId};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(events: &[&str]) -> Webhook {
        Webhook {
            id: "w".into(),
            terms: Terms {
                url: "https://example.com".to_owned(),
                events: events.iter().map(|topic| Topic::parse(topic).unwrap()).collect(),
                sku: None,
                store_id: None,
                disabled: false,
            },
            secret: SigningSecret::parse(SECRET).unwrap(),
            previous: None,
            begins_after: 0,
            created_at: Timestamp::default(),
            created_by: Principal::system(),
            updated_at: Timestamp::default(),
        }
    }

    fn change(sku: &str, store: &str, low_stock: bool) -> Change {
        Change {
            sku: Sku::parse(sku).unwrap(),
            store_id: StoreId::parse(store).unwrap(),
            movement: Some(Movement::Sale),
            delta: -1,
            quantity: 1,
            reserved: 0,
            version: 2,
            item_version: 2,
            reorder_point: None,
            low_stock,
            fate: Fate::Kept,
            moves: Box::default(),
        }
    }

    fn event(kind: EventKind, changes: Vec<Change>) -> Event {
        Event {
            kind,
            at: Timestamp::default(),
            by: Principal::system(),
            request_id: RequestId::parse("r").unwrap(),
            reservation_id: None,
            reference: None,
            note: None,
            changes,
            holds: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
        }
    }

    #[test]
    fn each_webhook_takes_what_it_has_asked_for() {
        let sold = event(EventKind::LevelAdjusted, vec![change("A", "s", false)]);
        let sold_low = event(
            EventKind::LevelAdjusted,
            vec![change("A", "s", false), change("B", "t", true)],
        );
        let own = Some(Topic::Kind(EventKind::LevelAdjusted));
        for (events, of_sold, of_low) in [
            (&["*"][..], own, own),
            (&["level.adjusted"][..], own, own),
            (&["level.adjusted", "stock.low"][..], own, own),
            (&["stock.low"][..], None, Some(Topic::LowStock)),
            (&["level.counted"][..], None, None),
        ] {
            let webhook = webhook(events);
            assert_eq!(
                (webhook.takes(&sold), webhook.takes(&sold_low)),
                (of_sold, of_low),
                "{events:?}"
            );
        }
    }

    #[test]
    fn a_webhook_of_one_sku_and_store_takes_what_changes_both_at_once() {
        let mut webhook = webhook(&["stock.low", "level.counted"]);
        webhook.terms.sku = Some(Sku::parse("A").unwrap());
        webhook.terms.store_id = Some(StoreId::parse("t").unwrap());
        let low = |changes| webhook.takes(&event(EventKind::LevelAdjusted, changes));
        assert_eq!(low(vec![change("A", "s", true), change("B", "t", true)]), None);
        assert_eq!(low(vec![change("A", "t", false), change("B", "t", true)]), None);
        assert_eq!(low(vec![change("A", "t", true)]), Some(Topic::LowStock));
    }

    #[test]
    fn what_no_feed_shows_no_webhook_takes() {
        let webhook = webhook(&["*"]);
        assert_eq!(
            webhook.takes(&event(EventKind::ProductDeleted, vec![change("A", "s", true)])),
            None
        );
        assert_eq!(webhook.takes(&event(EventKind::LevelAdjusted, Vec::new())), None);
        for text in [
            "user.created",
            "webhook.updated",
            "store.closed",
            "",
            "level.*",
            "STOCK.LOW",
        ] {
            assert_eq!(Topic::parse(text), Err(InvalidTopic), "{text}");
        }
    }

    #[test]
    fn every_topic_is_read_as_it_is_written() {
        for topic in Topic::every() {
            let text = serde_json::to_string(&topic).unwrap();
            assert_eq!(serde_json::from_str::<Topic>(&text).unwrap(), topic, "{text}");
        }
    }

    #[test]
    fn a_replaced_secret_signs_for_a_day_and_one_that_stays_replaces_nothing() {
        let (before, now) = (webhook(&["*"]), Timestamp::from_millis(1000));
        let same = before.changed(before.terms.clone(), Some(before.secret.clone()), now);
        assert_eq!((&same.secret, &same.previous), (&before.secret, &None));
        let other = SigningSecret::of(&[7; 32]).unwrap();
        let after = before.changed(before.terms.clone(), Some(other.clone()), now);
        let signing = |at: Timestamp| after.secrets(at).cloned().collect::<Vec<_>>();
        assert_eq!(signing(now), [other.clone(), before.secret.clone()]);
        assert_eq!(signing(now.plus_seconds(OVERLAP_SECONDS)), std::slice::from_ref(&other));
        let unchanged = after.changed(after.terms.clone(), None, now);
        assert_eq!((unchanged.secret, unchanged.previous.is_some()), (other, true));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_is_read_as_it_is_written() {
        let text = |bytes: &[u8]| format!("whsec_{}", BASE64.encode(bytes));
        for length in [24, 25, 32, 64] {
            let text = text(&vec![9; length]);
            assert_eq!(SigningSecret::parse(&text).unwrap().expose(), text);
            assert!(SigningSecret::parse(text.trim_end_matches('=')).is_ok());
        }
        for wrong in [
            text(&[9; 23]),
            text(&[9; 65]),
            text(&[9; 32])[6..].to_owned(),
            "whsec_?".to_owned(),
        ] {
            assert_eq!(SigningSecret::parse(&wrong), Err(InvalidSecret), "{wrong}");
        }
        assert_eq!(format!("{:?}", SigningSecret::parse(SECRET)), "Ok((secret))");
    }

    const RETRIES: Retries = Retries {
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(3600),
        attempts: 36,
    };

    #[test]
    fn waits_double_up_to_the_longest_and_end_after_the_last_attempt() {
        let wait = |failures| RETRIES.wait(failures, None, 0.5).map(|wait| wait.as_secs_f64().round());
        assert_eq!(
            [1, 2, 3, 12, 13, 35, 36, u32::MAX].map(wait),
            [
                Some(1.0),
                Some(2.0),
                Some(4.0),
                Some(2048.0),
                Some(3600.0),
                Some(3600.0),
                None,
                None
            ]
        );
        let total: f64 = (1..36).filter_map(wait).sum();
        assert!((86_000.0..88_000.0).contains(&total), "about a day, not {total} s");
        for (chance, expected) in [(0.0, 800), (1.0, 1200)] {
            assert_eq!(RETRIES.wait(1, None, chance), Some(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_more_than_the_longest() {
        let asked = |seconds| RETRIES.wait(1, Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(asked(0), Some(Duration::from_secs(1)));
        assert_eq!(asked(60), Some(Duration::from_secs(60)));
        assert_eq!(asked(1 << 40), Some(Duration::from_secs(3600)));
        assert_eq!(RETRIES.wait(36, Some(Duration::from_secs(1)), 0.5), None);
    }
}
