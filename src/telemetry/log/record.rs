//! An owned copy of one log event, for the log thread.
//!
//! A record owns its text, so that the log thread can format it later in any form. The text is
//! bounded, whatever a member or a client sent that ended up in it, and anything that looks like a
//! secret is masked.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::SystemTime;

use tracing::callsite::Callsite;
use tracing::field::{Field, Visit};
use tracing::metadata::Kind;
use tracing::{Event, Level, Metadata};

use crate::config::masked;
use crate::telemetry::repeat_filter::Key;
use crate::telemetry::time::Utc;

/// Maximum length in bytes of a record's text, message and values together; the rest is cut off.
const MAX_TEXT: usize = 8 * 1024;

/// The field that exempts a line from the rate limit. It is not printed.
const EVERY: &str = "every";

/// The field that names a state. Lines about its changes are limited together, even from several
/// callsites, so that the last line written is true. It is not printed.
const STATE: &str = "state";

/// Fields that name the subject of a line: lines that differ in one of these do not repeat each
/// other.
const SUBJECTS: [&str; 6] = ["member", "endpoint", "peer", "listener", "url", "generation"];

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string, or a value that was formatted to one.
    Text(String),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => number.fmt(f),
            Self::Uint(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

/// One log line.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the event happened.
    pub at: SystemTime,
    /// Level, module and callsite.
    pub metadata: &'static Metadata<'static>,
    /// The message.
    pub message: String,
    /// The other fields, in the order of the code.
    pub fields: Vec<(Field, Value)>,
    /// Number of lines that were held back and that this one sums up; 0 for an ordinary line.
    pub repeated: u64,
    /// Whether it is exempt from the rate limit.
    pub every: bool,
    /// Name of the state whose change it reports, if any.
    pub state: Option<String>,
}

impl Record {
    /// Copies an event, with the current time.
    pub fn new(event: &Event<'_>) -> Self {
        let record = Self {
            at: SystemTime::now(),
            metadata: event.metadata(),
            message: String::new(),
            fields: Vec::new(),
            repeated: 0,
            every: false,
            state: None,
        };
        let mut collector = Collector { record, left: MAX_TEXT };
        event.record(&mut collector);
        collector.record
    }

    /// Builds the line that reports `count` lost lines. It does not come from an event, because the
    /// log thread itself writes it, at a moment when the queue may be full.
    pub fn lost(count: u64) -> Self {
        let place = tracing::callsite! {
            name: "lost",
            kind: Kind::EVENT,
            level: Level::WARN,
            fields: message, lost
        };
        let metadata = place.metadata();
        let fields = metadata.fields().field("lost");
        Self {
            at: SystemTime::now(),
            metadata,
            message: "log lines were lost: the outputs did not keep up".to_owned(),
            fields: fields.into_iter().map(|lost| (lost, Value::Uint(count))).collect(),
            repeated: 0,
            every: true,
            state: None,
        }
    }

    /// Returns the line's key for the rate limit. `hashes` must be the same at each call.
    pub fn key(&self, hashes: &impl BuildHasher) -> Key {
        let mut hasher = hashes.build_hasher();
        self.state.as_ref().unwrap_or(&self.message).hash(&mut hasher);
        for (field, value) in &self.fields {
            if SUBJECTS.contains(&field.name()) {
                value.to_string().hash(&mut hasher);
            }
        }
        let callsite = self.state.is_none().then(|| self.metadata.callsite());
        Key { callsite, subject: hasher.finish() }
    }

    /// Turns the last of `count` lines that were held back into their summary. The message names
    /// the time of the event, because it is written later and the journal only records when it was
    /// written.
    pub fn into_summary(mut self, count: u64) -> Self {
        let at = Utc(self.at);
        // Writing to a string cannot fail.
        let _ = write!(self.message, " … and {count} more in the last minute, the last at {at}");
        self.repeated = count;
        self
    }
}

struct Collector {
    record: Record,
    left: usize,
}

impl Collector {
    fn text(&mut self, value: &dyn fmt::Display) -> String {
        let mut text = Bounded { text: String::new(), left: self.left };
        // An error means that the bound was reached; the text up to there is kept.
        let _ = write!(text, "{value}");
        self.left -= text.text.len();
        match masked(&text.text) {
            Cow::Borrowed(_) => text.text,
            Cow::Owned(masked) => masked,
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", value) => self.record.message = value.to_string(),
            (STATE, value) => self.record.state = Some(value.to_string()),
            (EVERY, value) => self.record.every = value == Value::Bool(true),
            (_, value) => self.record.fields.push((field.clone(), value)),
        }
    }
}

impl Visit for Collector {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.text(&format_args!("{value:?}"));
        self.put(field, Value::Text(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.text(&value);
        self.put(field, Value::Text(text));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let text = self.text(&Chain(value));
        self.put(field, Value::Text(text));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Uint(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }
}

/// Displays an error with its causes: `error: cause: cause`.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A string that takes `left` more bytes and fails beyond that.
struct Bounded {
    text: String,
    left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.left);
        self.text.push_str(&text[..fits]);
        self.left -= fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
