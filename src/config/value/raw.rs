//! A value as it is written, and the reader that reports its mistakes.

use std::path::Path;

use crate::config::location::{self, Location};
use crate::config::problem::Problem;

/// A value as it is written in a source.
#[derive(Debug, Clone)]
pub(in crate::config) struct Raw {
    pub(in crate::config) shape: Shape,
    pub(in crate::config) location: Location,
}

/// The types of values in sources.
#[derive(Debug, Clone)]
pub(in crate::config) enum Shape {
    Text(String),
    Bool(bool),
    Integer(i64),
    List(Vec<Raw>),
    /// The entries: each key with its place, and its value.
    Table(Vec<(String, Location, Raw)>),
    /// Any other type, as it is written.
    Other(String),
}

/// Reads one setting's value, and reports its mistakes under the setting's name.
pub(super) struct Reader<'a> {
    pub(super) name: &'static str,
    pub(super) cwd: &'a Path,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reports that the setting has this value, with `want` as the hint.
    pub(super) fn wrong(&mut self, raw: &Raw, want: impl Into<String>) {
        let message = format!("`{}` is {}", self.name, raw.shape.shown());
        self.problems.push(Problem::error(message, raw.location.clone()).hint(want));
    }

    /// Reports one piece of a list.
    pub(super) fn wrong_piece(
        &mut self,
        piece: &str,
        location: &Location,
        want: impl Into<String>,
    ) {
        let message = format!("`{}` has {}", self.name, quoted(piece));
        self.problems.push(Problem::error(message, location.clone()).hint(want));
    }
}

impl Shape {
    /// Returns the value as it would be written in a flag.
    pub(in crate::config) fn to_text(&self) -> String {
        match self {
            Self::Text(text) | Self::Other(text) => text.clone(),
            Self::Bool(on) => on.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::List(list) => {
                list.iter().map(|raw| raw.shape.to_text()).collect::<Vec<_>>().join(",")
            }
            Self::Table(entries) => entries
                .iter()
                .map(|(name, _, raw)| format!("{name}={}", raw.shape.to_text()))
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    /// Returns the value as a message shows it.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Bool(on) => on.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::List(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(written) => cut(written),
        }
    }
}

/// Returns `text` in quotes, shortened, and without passwords and control characters.
pub(in crate::config) fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text).replace('"', "\\\""))
}

pub(super) fn cut(text: &str) -> String {
    location::short(&location::without_logins(text))
}
