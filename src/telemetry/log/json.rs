//! A record as one line of JSON, with the keys that etcd itself uses: `level`, `ts`, `caller`,
//! `msg`, then the fields. Numbers and booleans keep their types.

use std::path::Path;

use serde::ser::{SerializeMap, Serializer};
use serde_json::Error;
use tracing::{Level, Metadata};

use super::record::{Record, Value};
use crate::telemetry::time::Utc;

/// Appends the record and a newline to `line`.
pub fn write(record: &Record, line: &mut Vec<u8>) -> Result<(), Error> {
    let mut json = serde_json::Serializer::new(&mut *line);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry("level", level(*record.metadata.level()))?;
    map.serialize_entry("ts", &Utc(record.at).to_string())?;
    map.serialize_entry("caller", &caller(record.metadata))?;
    map.serialize_entry("msg", &record.message)?;
    for (field, value) in &record.fields {
        let name = name(field.name());
        match value {
            Value::Text(text) => map.serialize_entry(name, text)?,
            Value::Int(number) => map.serialize_entry(name, number)?,
            Value::Uint(number) => map.serialize_entry(name, number)?,
            Value::Float(number) => map.serialize_entry(name, number)?,
            Value::Bool(value) => map.serialize_entry(name, value)?,
        }
    }
    if record.repeated > 0 {
        map.serialize_entry("repeated", &record.repeated)?;
    }
    map.end()?;
    line.push(b'\n');
    Ok(())
}

/// Renames a library's field that would collide with one of our own keys.
fn name(name: &'static str) -> &'static str {
    match name {
        "level" => "field_level",
        "ts" => "field_ts",
        "caller" => "field_caller",
        "msg" => "field_msg",
        "repeated" => "field_repeated",
        name => name,
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// Returns the callsite as etcd writes it: directory, file and line.
fn caller(metadata: &Metadata<'_>) -> String {
    let path = Path::new(metadata.file().unwrap_or_else(|| metadata.target()));
    let mut parts: Vec<_> = path.iter().rev().take(2).collect();
    parts.reverse();
    let short: std::path::PathBuf = parts.into_iter().collect();
    format!("{}:{}", short.display(), metadata.line().unwrap_or_default())
}
