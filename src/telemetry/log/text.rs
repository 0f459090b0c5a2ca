//! A record as one line of text: time, level, message, then `name=value` pairs.
//!
//! One record is always exactly one line. Control characters are escaped, so that a newline in a
//! name or a path cannot forge a second line, and no value can send escape sequences to the
//! terminal.

use std::io::Write;

use tracing::Level;

use super::record::Record;
use crate::telemetry::time::Utc;

/// Whether a line is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// The level in its colour; the time and the names of fields dimmed.
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

/// Returns a level's padded name and the escape sequence that starts its colour.
fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("ERROR", "\x1b[31m"),
        Level::WARN => (" WARN", "\x1b[33m"),
        Level::INFO => (" INFO", "\x1b[32m"),
        Level::DEBUG => ("DEBUG", "\x1b[34m"),
        Level::TRACE => ("TRACE", "\x1b[35m"),
    }
}

/// Writes a value, quoted if it is empty or contains whitespace, control characters, `"`, `=` or
/// `\`.
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
