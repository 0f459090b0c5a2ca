//! Reads single values: booleans by Go's rules, numbers, words, texts, paths, cluster IDs.

use std::path::PathBuf;

use super::raw::{Raw, Reader, Shape};
use crate::config::mask::pem_label;
use crate::config::problem::Problem;
use crate::config::schema::names;

impl Reader<'_> {
    /// Reads a boolean by the rules of Go's `strconv.ParseBool`.
    pub(super) fn boolean(&mut self, raw: &Raw) -> Option<bool> {
        let text = match &raw.shape {
            Shape::Bool(on) => return Some(*on),
            Shape::Integer(number) => number.to_string(),
            Shape::Text(text) => text.clone(),
            _ => String::new(),
        };
        match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => {
                self.wrong(raw, "want true or false");
                None
            }
        }
    }

    /// Reads a whole number up to `max`.
    pub(super) fn number(&mut self, raw: &Raw, max: u64) -> Option<u64> {
        let number = match &raw.shape {
            Shape::Integer(number) => u64::try_from(*number).ok(),
            Shape::Text(text) => digits(text).and_then(|text| text.parse().ok()),
            _ => None,
        };
        let number = number.filter(|number| *number <= max);
        if number.is_none() {
            self.wrong(raw, format!("want a whole number from 0 to {max}"));
        }
        number
    }

    /// Reads a text without control characters.
    pub(super) fn text(&mut self, raw: &Raw, want: &str) -> Option<String> {
        match &raw.shape {
            Shape::Text(text) if pem_label(text).is_some() => {
                let label = pem_label(text).unwrap_or_default();
                let message = format!("`{}` holds PEM ({label}) itself", self.name);
                let hint = if want.contains("path") {
                    "want the path of the file that it is in"
                } else {
                    "keys and certificates belong into files that settings name"
                };
                self.problems.push(Problem::error(message, raw.location.clone()).hint(hint));
                None
            }
            Shape::Text(text) if !text.chars().any(char::is_control) => Some(text.clone()),
            Shape::Text(_) => {
                self.wrong(raw, "want text without control characters");
                None
            }
            _ => {
                self.wrong(raw, format!("want {want}"));
                None
            }
        }
    }

    /// Reads a text that must not be repeated in a message.
    pub(super) fn secret(&mut self, raw: &Raw) -> Option<String> {
        if let Shape::Text(text) = &raw.shape {
            return Some(text.clone());
        }
        let hidden =
            Raw { shape: Shape::Other("not text".to_owned()), location: raw.location.clone() };
        self.wrong(&hidden, "want text in quotes");
        None
    }

    /// Reads one of `words`. Levels may be written in capitals, as etcd allows.
    pub(super) fn word(&mut self, raw: &Raw, words: &[&str]) -> Option<String> {
        let text = match &raw.shape {
            Shape::Text(text) => text.as_str(),
            _ => "\0",
        };
        let levels = self.name == names::LOG_LEVEL;
        let same = |word: &&&str| **word == text || levels && word.eq_ignore_ascii_case(text);
        if let Some(word) = words.iter().find(same) {
            return Some((*word).to_owned());
        }
        let written = words.iter().filter(|word| !word.is_empty());
        self.wrong(
            raw,
            format!("want {}", alternatives(written.map(|word| format!("\"{word}\"")))),
        );
        None
    }

    /// Reads a path and makes it absolute; an empty one stays empty.
    pub(super) fn path(&mut self, raw: &Raw) -> Option<PathBuf> {
        let text = self.text(raw, "a path in quotes")?;
        Some(if text.is_empty() { PathBuf::new() } else { self.cwd.join(text) })
    }

    /// Reads a cluster ID in hex, as etcdctl prints it; empty means none.
    pub(super) fn id(&mut self, raw: &Raw) -> Option<Option<u64>> {
        let text = match &raw.shape {
            Shape::Text(text) if text.is_empty() => return Some(None),
            Shape::Text(text) => text.strip_prefix("0x").unwrap_or(text),
            _ => "",
        };
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| hex);
        if id.is_none() {
            self.wrong(raw, "want a cluster ID in hex, in quotes, such as \"cdf818194e3a8c32\"");
        }
        id.map(Some)
    }
}

/// Returns `text` if it is all digits. Rust's `parse` would also take a plus sign.
pub(super) fn digits(text: &str) -> Option<&str> {
    let only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    only.then_some(text)
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}
