//! A record as one line for people: time, level, message, then `name=value`.
//!
//! One record is always exactly one line: control characters are escaped, so nobody can forge a
//! second line by putting a newline into a name or a path, nor drive the terminal.

use std::io::Write;

use tracing::Level;

use super::record::Record;
use crate::telemetry::time::Utc;

/// Whether a line is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// The level in its colour and the names of fields dimmed.
    Always,
}

/// Appends the record and a newline to `line`.
pub fn write(record: &Record, colour: Colour, line: &mut Vec<u8>) -> std::io::Result<()> {
    let (level, start) = level(*record.metadata.level());
    let (start, dim, end) = match colour {
        Colour::Never => ("", "", ""),
        Colour::Always => (start, "\x1b[2m", "\x1b[0m"),
    };
    write!(line, "{dim}{}{end} {start}{level}{end} ", Utc(record.at))?;
    escape(&record.message, line);
    for (field, value) in &record.fields {
        write!(line, " {dim}{}={end}", field.name())?;
        write_value(&value.to_string(), line);
    }
    line.push(b'\n');
    Ok(())
}

/// Returns a level's name, padded, and the sequence that begins its colour.
fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("ERROR", "\x1b[31m"),
        Level::WARN => (" WARN", "\x1b[33m"),
        Level::INFO => (" INFO", "\x1b[32m"),
        Level::DEBUG => ("DEBUG", "\x1b[34m"),
        Level::TRACE => ("TRACE", "\x1b[35m"),
    }
}

/// Writes a value, in quotes when it could be mistaken for more than one.
fn write_value(value: &str, line: &mut Vec<u8>) {
    let needs_quotes =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && !value.contains(needs_quotes) {
        line.extend_from_slice(value.as_bytes());
        return;
    }
    line.push(b'"');
    for part in value.split_inclusive(['"', '\\']) {
        let (text, special) = match part.strip_suffix(['"', '\\']) {
            Some(text) => (text, part.as_bytes().last()),
            None => (part, None),
        };
        escape(text, line);
        line.extend(special.into_iter().flat_map(|byte| [b'\\', *byte]));
    }
    line.push(b'"');
}

/// Writes text with its control characters escaped.
fn escape(text: &str, line: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default().map(|c| c as u8));
        } else {
            line.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
}
