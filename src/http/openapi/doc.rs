//! What the document says of one operation: made by its function in `docs/`, hung into `routes.rs`.

use schemars::JsonSchema;
use serde_json::Value;

use super::examples;
use super::schemas::Schemas;
use crate::http::csv::{self, Listed};
use crate::http::legacy::refusal;
use crate::http::lists::PageForm;
use crate::http::problem::Code;
use crate::http::query::Parameter;
use crate::http::routes::Right;

/// Makes a reference to a schema, which is thereby in the document.
type Reference = fn(&mut Schemas) -> Value;

pub struct Doc {
    /// What generated clients call it.
    pub id: &'static str,
    pub tag: &'static str,
    /// What a newcomer needs to know.
    pub about: &'static str,
    pub query: &'static [Parameter],
    /// Names of `components/parameters`.
    pub headers: Vec<&'static str>,
    /// In each form that is taken.
    pub body: Vec<Content>,
    pub is_body_optional: bool,
    pub answers: Vec<Answer>,
    pub codes: Vec<Code>,
    /// Where refusals have the form of the Node services: what else than by its code they call a malformed request.
    pub node: Option<&'static [&'static str]>,
}

pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    /// Names of `components/headers`.
    pub headers: &'static [&'static str],
    pub content: Vec<Content>,
}

pub struct Content {
    pub media_type: &'static str,
    pub schema: Reference,
    pub example: Value,
}

pub const JSON: &str = "application/json";
/// Headers of a page of a list.
pub const LISTED: &[&str] = &["Content-Disposition", "Link", "Vary"];
pub const HTML: &str = "text/html; charset=utf-8";

impl Doc {
    /// An operation that asks nothing of the stock.
    pub fn new(id: &'static str, tag: &'static str, about: &'static str) -> Self {
        Self {
            id,
            tag,
            about,
            query: &[],
            headers: vec!["X-Request-Id"],
            body: Vec::new(),
            is_body_optional: false,
            answers: Vec::new(),
            codes: vec![Code::InvalidRequest, Code::Internal],
            node: None,
        }
    }

    /// One that reads stock.
    pub fn read(id: &'static str, tag: &'static str, about: &'static str) -> Self {
        Self::new(id, tag, about).refuses(&[Code::RateLimited, Code::StorageUnavailable])
    }

    /// One that changes stock.
    pub fn write(id: &'static str, tag: &'static str, about: &'static str) -> Self {
        let mut doc = Self::new(id, tag, about).refuses(&[
            Code::RequestTimeout,
            Code::RequestInFlight,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::IdempotencyKeyReused,
            Code::RateLimited,
            Code::Overloaded,
            Code::StorageUnavailable,
            Code::OutcomeUnknown,
        ]);
        doc.headers.extend(["Idempotency-Key", "Prefer"]);
        doc
    }

    /// One that changes something, and puts nothing in the log: its key is taken, and no receipt is kept of it.
    pub fn unrecorded(id: &'static str, tag: &'static str, about: &'static str) -> Self {
        let mut doc = Self::read(id, tag, about).refuses(&[
            Code::RequestTimeout,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
        ]);
        doc.headers.push("Idempotency-Key");
        doc
    }

    pub fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    pub fn takes<T: JsonSchema>(self, example: Value) -> Self {
        self.takes_json(Schemas::body::<T>, example)
    }

    /// The body of an item route without its store, which on a level route is in the path.
    pub fn takes_in_store<T: JsonSchema>(self, example: Value) -> Self {
        self.takes_json(Schemas::body_in_store::<T>, example)
    }

    fn takes_json(self, schema: Reference, example: Value) -> Self {
        self.takes_content(Content {
            media_type: JSON,
            schema,
            example,
        })
    }

    pub fn takes_content(mut self, content: Content) -> Self {
        self.body.push(content);
        self
    }

    /// Nothing said is the same as `{}`.
    pub fn or_nothing(self) -> Self {
        let is_body_optional = true;
        Self {
            is_body_optional,
            ..self
        }
    }

    /// The write heeds `If-Match` and `If-None-Match`.
    pub fn conditional(mut self) -> Self {
        self.headers.extend(["If-Match", "If-None-Match"]);
        self.refuses(&[Code::PreconditionFailed])
    }

    pub fn answers<T: JsonSchema>(
        self,
        status: u16,
        about: &'static str,
        headers: &'static [&'static str],
        example: Value,
    ) -> Self {
        let content = Content {
            media_type: JSON,
            schema: Schemas::form::<T>,
            example,
        };
        self.answers_with(status, about, headers, vec![content])
    }

    /// A page of a list, as JSON or as CSV; `row` is an example.
    pub fn lists<T: JsonSchema + Listed>(self, about: &'static str, row: Value) -> Self {
        let csv = Content::csv::<T>(&row);
        let json = Content {
            media_type: JSON,
            schema: Schemas::form::<PageForm<T>>,
            example: examples::page(row),
        };
        self.answers_with(200, about, LISTED, vec![json, csv])
    }

    /// An answer that is no form of ours: text of some type, or nothing at all.
    pub fn answers_with(
        mut self,
        status: u16,
        about: &'static str,
        headers: &'static [&'static str],
        content: Vec<Content>,
    ) -> Self {
        self.answers.push(Answer {
            status,
            about,
            headers,
            content,
        });
        self
    }

    /// `Prefer: return=minimal` gets 204.
    pub fn minimal(self, headers: &'static [&'static str]) -> Self {
        let about = "Done, and nothing more is said, as `Prefer: return=minimal` asked.";
        self.answers_with(204, about, headers, Vec::new())
    }

    /// `If-None-Match` with the current version gets 304.
    pub fn not_modified(mut self) -> Self {
        self.headers.push("If-None-Match");
        let about = "You have this version already.";
        self.answers_with(304, about, &["ETag"], Vec::new())
    }

    /// Refusals have the form of the Node services, in which a malformed request is also called so.
    pub fn of_node(self, names: &'static [&'static str]) -> Self {
        let node = Some(names);
        Self { node, ..self }
    }

    /// The status of a refusal.
    pub fn status(&self, code: Code) -> u16 {
        match self.node {
            None => code.status(),
            Some(_) => refusal::status(code),
        }
        .as_u16()
    }

    /// What every operation refuses that asks who calls. Reads show each caller what it may see, and nothing of the rest.
    pub fn needing(self, right: Right) -> Self {
        match right {
            Right::Open => self,
            Right::Read => self.refuses(&[Code::Unauthenticated]),
            Right::Move | Right::Operate | Right::Administer => self.refuses(&[Code::Unauthenticated, Code::Forbidden]),
        }
    }

    pub fn refuses(mut self, codes: &[Code]) -> Self {
        for code in codes {
            if !self.codes.contains(code) {
                self.codes.push(*code);
            }
        }
        self
    }
}

impl Content {
    pub fn csv<T: Listed>(row: &Value) -> Self {
        Self::text("text/csv", &csv::table::<T>(std::slice::from_ref(row)))
    }

    pub fn text(media_type: &'static str, example: &str) -> Self {
        Self {
            media_type,
            schema: |_| serde_json::json!({"type": "string"}),
            example: example.into(),
        }
    }
}
