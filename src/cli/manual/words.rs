//! Wording and line wrapping for the manual and the help.

use crate::cli::commands::Value;
use crate::config::schema::{self, Group, Kind, Setting};

/// Returns the settings of a group.
pub(super) fn settings(group: Group) -> impl Iterator<Item = &'static Setting> {
    schema::all().filter(move |setting| setting.group == group)
}

/// Returns the value of a setting's flag.
pub(super) fn value(setting: &Setting) -> Value {
    match setting.kind {
        Kind::Bool => Value::Words(&["true", "false"]),
        Kind::Word(words) => Value::Words(words),
        Kind::Path => Value::Path,
        kind => Value::Text(noun(kind)),
    }
}

/// Returns a short description of the values of a kind.
pub(super) fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Time => "milliseconds or a duration",
        Kind::PositiveTime => "milliseconds or a duration, more than 0",
        Kind::Number(_) => "number",
        Kind::Text | Kind::Login => "text",
        Kind::Secret => "text, never shown",
        Kind::Word(_) => "word",
        Kind::Path => "path",
        Kind::List => "list",
        Kind::ListenUrls => "URLs to listen on",
        Kind::Urls(_) => "URLs",
        Kind::Peers => "peer URLs, with or without NAME= before each",
        Kind::Origins => "origins",
        Kind::Id => "ID in hex",
        Kind::Levels => "MODULE=LEVEL pairs",
    }
}

/// Returns the anchor that Markdown renderers give a heading.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Wraps `text` into lines of at most `width` bytes.
pub(in crate::cli) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
