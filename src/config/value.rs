//! Parses one value of one setting.
//!
//! [`Raw`] is a value as it is written (text, or one of TOML's types) with the place of every
//! piece. [`parse`] turns it into a [`Value`] by the setting's kind, and reports every mistake in
//! it. `resolve` checks settings against each other.

mod cluster;
mod duration;
mod list;
mod raw;
mod scalar;
mod time;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Problem, Severity};
use super::schema::{Kind, Setting};
use super::settings::{ListenUrl, LogLevel, PeerUrl};
use raw::Reader;

pub(super) use raw::{Raw, Shape, quoted};

/// A parsed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Time(Duration),
    Number(u64),
    Text(String),
    Secret(String),
    Login(String),
    /// Empty when there is none.
    Path(PathBuf),
    List(Vec<String>),
    Listen(Vec<ListenUrl>),
    Peers(Vec<PeerUrl>),
    Id(Option<u64>),
    Levels(Vec<(String, LogLevel)>),
}

/// Parses `raw` as the value of `setting`; returns `None` after adding an error to `problems`.
/// Warnings may be added beside a value. Relative paths start at `cwd`.
pub(super) fn parse(
    setting: &Setting,
    raw: &Raw,
    cwd: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let before = problems.len();
    let mut reader = Reader { name: setting.name, cwd, problems };
    let value = reader.read(setting.kind, raw);
    let errors = |problem: &Problem| problem.severity == Severity::Error;
    value.filter(|_| !problems[before..].iter().any(errors))
}

impl Reader<'_> {
    fn read(&mut self, kind: Kind, raw: &Raw) -> Option<Value> {
        match kind {
            Kind::Bool => self.boolean(raw).map(Value::Bool),
            Kind::Time => self.time(raw, true).map(Value::Time),
            Kind::PositiveTime => self.time(raw, false).map(Value::Time),
            Kind::Number(max) => self.number(raw, max).map(Value::Number),
            Kind::Text => self.text(raw, "text in quotes").map(Value::Text),
            Kind::Secret => self.secret(raw).map(Value::Secret),
            Kind::Login => self.secret(raw).map(Value::Login),
            Kind::Word(words) => self.word(raw, words).map(Value::Text),
            Kind::Path => self.path(raw).map(Value::Path),
            Kind::Id => self.id(raw).map(Value::Id),
            Kind::List => self.list(raw).map(Value::List),
            Kind::Levels => self.levels(raw).map(Value::Levels),
            Kind::ListenUrls => self.listen_urls(raw).map(Value::Listen),
            Kind::Urls(usual_port) => self.urls(raw, usual_port).map(Value::List),
            Kind::Origins => self.origins(raw).map(Value::List),
            Kind::Peers => self.peers(raw).map(Value::Peers),
        }
    }
}

impl Value {
    /// Returns the value as text that has the same meaning as a flag's value. Secrets are hidden.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Bool(on) => on.to_string(),
            Self::Time(time) => duration::written(*time),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Secret(text) if text.is_empty() => String::new(),
            Self::Secret(_) => "(hidden)".to_owned(),
            Self::Login(text) => match text.split_once(':') {
                Some((user, _)) => format!("{user}:(hidden)"),
                None => text.clone(),
            },
            Self::Path(path) => path.display().to_string(),
            Self::List(list) => list.join(","),
            Self::Listen(urls) => joined(urls),
            Self::Peers(urls) => joined(urls),
            Self::Id(id) => id.map(|id| format!("{id:x}")).unwrap_or_default(),
            Self::Levels(levels) => {
                let pairs = levels.iter().map(|(module, level)| format!("{module}={level}"));
                pairs.collect::<Vec<_>>().join(",")
            }
        }
    }
}

fn joined<T: ToString>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
