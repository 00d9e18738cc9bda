//! How an event is written: one line, in which nothing that a stranger has sent can begin another or move a terminal.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::fmt::Write;

use chrono::{SecondsFormat, Utc};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::context::{self, Context};
use super::sink::Queue;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Text { colours: bool },
}

/// Makes each event a line, and puts it into the queue.
pub struct Lines {
    form: Form,
    queue: Queue,
}

impl Lines {
    pub fn new(form: Form, queue: Queue) -> Self {
        Self { form, queue }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        if let Some(context) = context::current() {
            told.add_context(&context);
        }
        self.queue.put(told.line(self.form, event.metadata()));
    }
}

/// What an event says.
#[derive(Default)]
struct Told {
    message: String,
    fields: Vec<(Cow<'static, str>, Value)>,
}

impl Told {
    fn add(&mut self, field: &Field, value: Value) {
        if let ("message", Value::String(text)) = (field.name(), &value) {
            self.message = text.clone();
            return;
        }
        self.fields.push((named(field.name()), value));
    }

    /// What the event says of its request itself is not said again.
    fn add_context(&mut self, context: &Context) {
        let own = context.own();
        let (caller, by) = (context.caller.as_ref(), context.by());
        let about: [(&'static str, Option<String>); 8] = [
            ("requestId", Some(context.request_id.as_str().to_owned())),
            ("traceId", Some(own.trace_id.to_string())),
            ("spanId", Some(own.span_id.to_string())),
            ("parentSpanId", caller.map(|caller| caller.place.span_id.to_string())),
            ("traceState", caller.and_then(|caller| caller.state.clone())),
            ("by", by.map(|by| by.as_str().to_owned())),
            ("method", Some(context.method.as_str().to_owned())),
            ("path", Some(context.uri.path().to_owned())),
        ];
        for (name, value) in about {
            if let Some(value) = value
                && self.fields.iter().all(|(told, _)| told != name)
            {
                self.fields.push((name.into(), value.into()));
            }
        }
    }

    fn line(&self, form: Form, about: &Metadata<'_>) -> String {
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        match form {
            Form::Json => self.json(&time, about),
            Form::Text { colours } => self.text(&time, about, colours),
        }
    }

    fn json(&self, time: &str, about: &Metadata<'_>) -> String {
        let mut line = format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"{}\",\"target\":{},\"message\":{}",
            about.level(),
            quoted(about.target()),
            quoted(&self.message)
        );
        for (name, value) in &self.fields {
            line.push(',');
            line.push_str(&quoted(name));
            line.push(':');
            match value {
                Value::String(text) => line.push_str(&quoted(text)),
                other => line.push_str(&other.to_string()),
            }
        }
        line.push_str("}\n");
        line
    }

    fn text(&self, time: &str, about: &Metadata<'_>, colours: bool) -> String {
        let level = match colours {
            true => format!("\u{1b}[{}m{:>5}\u{1b}[0m", colour(*about.level()), about.level()),
            false => format!("{:>5}", about.level()),
        };
        let mut line = format!("{time} {level} {}: {}", about.target(), plain(&self.message));
        for (name, value) in &self.fields {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            match value {
                Value::String(text) if is_plain(text) => line.push_str(text),
                Value::String(text) => line.push_str(&quoted(text)),
                other => line.push_str(&other.to_string()),
            }
        }
        line.push('\n');
        line
    }
}

impl Visit for Told {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        let number = i64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.add(field, number);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let number = u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.add(field, number);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing to a text does not fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.add(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

/// As members of JSON are called here; never as one that every line has.
fn named(field: &'static str) -> Cow<'static, str> {
    match field {
        "timestamp" | "level" | "target" | "message" => format!("{field}_").into(),
        _ if !field.contains('_') => field.into(),
        _ => {
            let mut words = field.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            let joined = words.fold(first, |mut name, word| {
                let mut letters = word.chars();
                name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                name.extend(letters);
                name
            });
            joined.into()
        }
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// What would end a line, move a terminal, or not be seen.
fn is_hidden(c: char) -> bool {
    !c.is_ascii_graphic()
        && c != ' '
        && matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::Surrogate
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

/// Whether a text can stand as it is among others.
fn is_plain(text: &str) -> bool {
    let stands_out = |c: char| c.is_whitespace() || is_hidden(c) || ['"', '=', '\\'].contains(&c);
    !text.is_empty() && !text.contains(stands_out)
}

fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        match is_hidden(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
        line
    })
}

/// As JSON has it.
fn quoted(text: &str) -> String {
    // A text can always be written.
    let json = serde_json::to_string(text).unwrap_or_default();
    if !json.contains(is_hidden) {
        return json;
    }
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if !is_hidden(c) {
            line.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text does not fail.
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The line that is made of what is logged.
    fn line(form: Form, log: impl FnOnce()) -> String {
        let (lines, written) = mpsc::channel();
        let layer = Lines::new(form, Queue::new(lines));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let line = written.try_iter().next().flatten().unwrap();
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.ends_with('\n'));
        line
    }

    const EVIL: &str = "a\r\nERROR \"x\" \u{1b}[31m \u{9b}31m \u{202e}\u{2028} \u{e0041} = ü";

    #[test]
    fn a_json_line_is_an_object_that_says_what_was_meant() {
        let line = line(Form::Json, || {
            tracing::warn!(torn_bytes = 7_u64, level = 1, evil = EVIL, shown = %EVIL, big = u128::MAX, "{EVIL}");
        });
        let read: Value = serde_json::from_str(&line).unwrap();
        for member in ["evil", "shown", "message"] {
            assert_eq!(read[member], EVIL, "{line}");
        }
        assert_eq!(
            (&read["tornBytes"], &read["level"], &read["level_"]),
            (&7.into(), &"WARN".into(), &1.into())
        );
        assert_eq!(read["big"], u128::MAX.to_string());
        assert!(
            !line.contains(['\u{1b}', '\r', '\u{9b}', '\u{202e}', '\u{2028}', '\u{e0041}']),
            "{line:?}"
        );
        assert!(line.contains('ü'));
    }

    #[test]
    fn a_line_of_text_is_one_whatever_it_says() {
        let form = Form::Text { colours: false };
        let line = line(
            form,
            || tracing::warn!(evil = EVIL, shown = %EVIL, plain = "b", empty = "", "{EVIL}"),
        );
        assert!(!line.trim_end().contains(is_hidden), "{line:?}");
        assert!(
            line.contains(" WARN holdfast::telemetry::line::tests: a\\r\\nERROR \"x\" \\u{1b}[31m"),
            "{line}"
        );
        assert!(line.contains(" evil=\"a\\r\\nERROR \\\"x\\\" \\u001b[31m"), "{line}");
        assert!(line.ends_with(" plain=b empty=\"\"\n"), "{line}");
    }

    #[test]
    fn only_the_level_is_coloured() {
        let line = line(Form::Text { colours: true }, || tracing::error!("x"));
        assert!(line.contains(" \u{1b}[31mERROR\u{1b}[0m "), "{line:?}");
        assert_eq!(line.matches('\u{1b}').count(), 2);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = std::io::Error::other("no room");
        let error = anyhow::Error::new(cause).context("not written");
        let error: &(dyn Error + 'static) = error.as_ref();
        let line = line(Form::Json, || tracing::error!(error, "x"));
        assert!(line.contains("\"error\":\"not written: no room\""), "{line}");
    }
}
