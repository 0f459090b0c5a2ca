//! The JSON side of inspection: is this body of the gateway a read, and what goes to the member in
//! its place?
//!
//! Members have parsed these bodies with three generations of decoders that differ on duplicate
//! keys, on both spellings of a key side by side, on nulls, on unknown keys and on what follows the
//! document. So the body that was judged is never sent on. A new one is written from tables that
//! hold every field a read may have, under etcd's snake_case names, with the text of each scalar
//! kept as it came (64-bit numbers survive as number or string). A write cannot be expressed in it.
//! Whatever the tables lack, and every body that could be read in two ways, is refused.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::wire::DEPTH_LIMIT;

/// The reason why a body is not a read, with line and column where known: one short line that is
/// safe to log, whatever the body holds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// Limit of a reason, in characters; it may quote what the client sent.
const REASON_LIMIT: usize = 160;

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        let tame =
            |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        let text = error.to_string();
        let (reason, place) =
            text.rfind(" at line ").map_or((&text[..], ""), |at| text.split_at(at));
        Self(
            reason
                .chars()
                .take(REASON_LIMIT)
                .map(tame)
                .chain(place.chars().take(40).map(tame))
                .collect(),
        )
    }
}

/// Returns the body to forward for a Txn that holds only ranges.
pub(super) fn txn(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    rewrite(body, &TXN)
}

/// Returns the body to forward for an Alarm request that only reads (GET).
pub(super) fn alarm(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    rewrite(body, &ALARM)
}

fn rewrite(body: &[u8], message: &'static Message) -> Result<Vec<u8>, Refusal> {
    let text = str::from_utf8(body).map_err(serde_json::Error::custom)?;
    let mut input = serde_json::Deserializer::from_str(text);
    let mut output = String::with_capacity(text.len() + 64);
    input.deserialize_map(Rewrite { message, depth: 0, output: &mut output })?;
    input.end()?;
    Ok(output.into_bytes())
}

/// The fields a message may have when it is part of a read.
struct Message {
    name: &'static str,
    fields: &'static [Field],
    /// Whether one field of the oneof must be present.
    choice_required: bool,
}

struct Field {
    /// The proto name, under which the field is written.
    name: &'static str,
    /// protobuf's JSON name; equal to `name` for single words.
    camel: &'static str,
    kind: Kind,
    /// Whether the field belongs to the message's oneof: at most one of these, and never null.
    choice: bool,
}

enum Kind {
    /// A string, number or boolean, passed on as its text.
    Scalar,
    /// An enum that must be its zero value, by name or by number.
    Zero(&'static str),
    One(&'static Message),
    Many(&'static Message),
}

const fn field(name: &'static str, camel: &'static str, kind: Kind) -> Field {
    Field { name, camel, kind, choice: false }
}

const fn choice(name: &'static str, camel: &'static str, kind: Kind) -> Field {
    Field { name, camel, kind, choice: true }
}

static TXN: Message = Message {
    name: "TxnRequest",
    fields: &[
        field("compare", "compare", Kind::Many(&COMPARE)),
        field("success", "success", Kind::Many(&OP)),
        field("failure", "failure", Kind::Many(&OP)),
    ],
    choice_required: false,
};

static OP: Message = Message {
    name: "read-only RequestOp",
    fields: &[
        choice("request_range", "requestRange", Kind::One(&RANGE)),
        choice("request_txn", "requestTxn", Kind::One(&TXN)),
    ],
    choice_required: true,
};

static RANGE: Message = Message {
    name: "RangeRequest",
    fields: &[
        field("key", "key", Kind::Scalar),
        field("range_end", "rangeEnd", Kind::Scalar),
        field("limit", "limit", Kind::Scalar),
        field("revision", "revision", Kind::Scalar),
        field("sort_order", "sortOrder", Kind::Scalar),
        field("sort_target", "sortTarget", Kind::Scalar),
        field("serializable", "serializable", Kind::Scalar),
        field("keys_only", "keysOnly", Kind::Scalar),
        field("count_only", "countOnly", Kind::Scalar),
        field("min_mod_revision", "minModRevision", Kind::Scalar),
        field("max_mod_revision", "maxModRevision", Kind::Scalar),
        field("min_create_revision", "minCreateRevision", Kind::Scalar),
        field("max_create_revision", "maxCreateRevision", Kind::Scalar),
    ],
    choice_required: false,
};

static COMPARE: Message = Message {
    name: "Compare",
    fields: &[
        field("result", "result", Kind::Scalar),
        field("target", "target", Kind::Scalar),
        field("key", "key", Kind::Scalar),
        choice("version", "version", Kind::Scalar),
        choice("create_revision", "createRevision", Kind::Scalar),
        choice("mod_revision", "modRevision", Kind::Scalar),
        choice("value", "value", Kind::Scalar),
        choice("lease", "lease", Kind::Scalar),
        field("range_end", "rangeEnd", Kind::Scalar),
    ],
    choice_required: false,
};

static ALARM: Message = Message {
    name: "read-only AlarmRequest",
    fields: &[
        field("action", "action", Kind::Zero("GET")),
        field("memberID", "memberID", Kind::Scalar),
        field("alarm", "alarm", Kind::Scalar),
    ],
    choice_required: false,
};

/// Reads one message and writes it anew.
struct Rewrite<'o> {
    message: &'static Message,
    /// Number of Txns around this one.
    depth: usize,
    output: &'o mut String,
}

impl Message {
    /// Returns the field that `key` names and its index; only the two spellings match.
    fn find(&self, key: &str) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| key == field.name || key == field.camel)
    }
}

/// The fields of a message seen so far.
#[derive(Default)]
struct Seen {
    fields: u32,
    choice: bool,
}

impl Seen {
    /// Records a field.
    ///
    /// # Errors
    /// The reason, when the field may not appear here.
    fn note(&mut self, index: usize, field: &Field) -> Result<(), &'static str> {
        if self.fields >> index & 1 == 1 {
            return Err("appears twice");
        }
        if field.choice && self.choice {
            return Err("excludes a field before it");
        }
        self.fields |= 1 << index;
        self.choice |= field.choice;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Rewrite<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Rewrite<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} object", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        self.output.push('{');
        while let Some(Key(key)) = input.next_key()? {
            let (index, field) = self.message.find(&key).ok_or_else(|| {
                A::Error::custom(format_args!("`{key}` does not belong in a {}", self.message.name))
            })?;
            seen.note(index, field)
                .map_err(|wrong| A::Error::custom(format_args!("`{key}` {wrong}")))?;
            input.next_value_seed(Value { field, depth: self.depth, output: self.output })?;
        }
        if self.message.choice_required && !seen.choice {
            return Err(A::Error::custom(format_args!("an empty {}", self.message.name)));
        }
        self.output.push('}');
        Ok(())
    }
}

/// An object's key with its escapes resolved, borrowed where there are none.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        input.deserialize_str(Text)
    }
}

/// Reads the value of one field and writes the field, or nothing if the value means that the field
/// is absent.
struct Value<'o> {
    field: &'static Field,
    depth: usize,
    output: &'o mut String,
}

impl Value<'_> {
    /// Writes the field's name, after a comma unless it is the first.
    fn begin(&mut self) {
        if !self.output.ends_with('{') {
            self.output.push(',');
        }
        self.output.push('"');
        self.output.push_str(self.field.name);
        self.output.push_str("\":");
    }

    fn scalar<E: Error>(mut self, text: &str) -> Result<(), E> {
        match text.as_bytes().first() {
            Some(b'{' | b'[') => {
                Err(E::custom(format_args!("`{}` must be a scalar", self.field.name)))
            }
            Some(b'n') if self.field.choice => {
                Err(E::custom(format_args!("`{}` must not be null", self.field.name)))
            }
            Some(b'n') | None => Ok(()),
            Some(_) => {
                self.begin();
                self.output.push_str(text);
                Ok(())
            }
        }
    }

    fn zero<E: Error>(self, name: &str, text: &str) -> Result<(), E> {
        let named = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(name);
        if named || matches!(text, "0" | "null") {
            return Ok(());
        }
        Err(E::custom(format_args!("`{}` is not {name}", self.field.name)))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(mut self, input: D) -> Result<(), D::Error> {
        match self.field.kind {
            Kind::Scalar => self.scalar(raw(input)?.get()),
            Kind::Zero(name) => self.zero(name, raw(input)?.get()),
            Kind::One(message) => {
                self.begin();
                let depth = self.depth + usize::from(std::ptr::eq(message, &TXN));
                if depth > DEPTH_LIMIT {
                    return Err(D::Error::custom("Txns are nested too deeply"));
                }
                Rewrite { message, depth, output: self.output }.deserialize(input)
            }
            Kind::Many(_) => input.deserialize_option(self),
        }
    }
}

fn raw<'de, D: serde::Deserializer<'de>>(input: D) -> Result<&'de RawValue, D::Error> {
    serde::Deserialize::deserialize(input)
}

/// A repeated field: a list, or null for none.
impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for `{}`", self.field.name)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut input: A) -> Result<(), A::Error> {
        let Kind::Many(message) = self.field.kind else {
            return Err(A::Error::custom(format_args!("`{}` is not a list", self.field.name)));
        };
        self.begin();
        self.output.push('[');
        while input
            .next_element_seed(Element { message, depth: self.depth, output: self.output })?
            .is_some()
        {}
        self.output.push(']');
        Ok(())
    }
}

/// Reads one element of a repeated field.
struct Element<'o> {
    message: &'static Message,
    depth: usize,
    output: &'o mut String,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        if !self.output.ends_with('[') {
            self.output.push(',');
        }
        Rewrite { message: self.message, depth: self.depth, output: self.output }.deserialize(input)
    }
}

#[cfg(test)]
mod tests;
