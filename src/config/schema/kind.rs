//! Kinds of values, each with the type of field that takes it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::fields::{Field, Fields};
use crate::config::settings::{ListenUrl, LogLevel, PeerUrl};

/// The kind of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Go's booleans: `1 t T TRUE true True 0 f F FALSE false False`.
    Bool,
    /// Milliseconds as a bare number, or a Go duration such as `5s`; zero is allowed.
    Time,
    /// Like [`Kind::Time`], without zero.
    PositiveTime,
    /// A whole number from 0 to this one.
    Number(u64),
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// `USER` or `USER:PASSWORD`; the password is never shown.
    Login,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A path; made absolute from the working directory. Empty means none.
    Path,
    /// Texts: a comma-separated string, or an array.
    List,
    /// URLs to listen on: an IP address or localhost, with a port, without a path; or a unix
    /// socket.
    ListenUrls,
    /// URLs that others connect to: like [`Kind::ListenUrls`], with host names allowed.
    ///
    /// The number is the usual port, which hints name as an example.
    Urls(u16),
    /// Peer URLs, with or without `name=` before them, or a table of them.
    Peers,
    /// Origins of browser requests, such as `https://example.com`, or `*`.
    Origins,
    /// A cluster ID in hex.
    Id,
    /// `module=level` pairs.
    Levels,
}

/// Puts a value into its field: `|fields, it| Fields { name: it, ..fields }`. An assignment would
/// count as a use of the field, and hide that nothing else uses it.
type Put<T> = fn(Fields, Field<T>) -> Fields;

/// The field that takes a setting's value, by the field's type.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Store {
    /// None: the setting has no effect, or is read before there are fields.
    Nowhere,
    Bool(Put<bool>),
    Time(Put<Duration>),
    Number(Put<u64>),
    Text(Put<String>),
    Path(Put<Option<PathBuf>>),
    List(Put<Vec<String>>),
    Listen(Put<Vec<ListenUrl>>),
    Peers(Put<Vec<PeerUrl>>),
    Id(Put<Option<u64>>),
    Levels(Put<Vec<(String, LogLevel)>>),
}

/// What a row says of its value: the kind, and the field that takes it.
#[derive(Clone, Copy)]
pub(super) struct Typed {
    pub(super) kind: Kind,
    pub(super) store: Store,
}

pub(super) const fn boolean(put: Put<bool>) -> Typed {
    Typed { kind: Kind::Bool, store: Store::Bool(put) }
}

pub(super) const fn time(put: Put<Duration>) -> Typed {
    Typed { kind: Kind::Time, store: Store::Time(put) }
}

pub(super) const fn positive_time(put: Put<Duration>) -> Typed {
    Typed { kind: Kind::PositiveTime, store: Store::Time(put) }
}

pub(super) const fn number(max: u64, put: Put<u64>) -> Typed {
    Typed { kind: Kind::Number(max), store: Store::Number(put) }
}

pub(super) const fn text(put: Put<String>) -> Typed {
    Typed { kind: Kind::Text, store: Store::Text(put) }
}

pub(super) const fn secret(put: Put<String>) -> Typed {
    Typed { kind: Kind::Secret, store: Store::Text(put) }
}

pub(super) const fn login(put: Put<String>) -> Typed {
    Typed { kind: Kind::Login, store: Store::Text(put) }
}

pub(super) const fn word(words: &'static [&'static str], put: Put<String>) -> Typed {
    Typed { kind: Kind::Word(words), store: Store::Text(put) }
}

pub(super) const fn path(put: Put<Option<PathBuf>>) -> Typed {
    Typed { kind: Kind::Path, store: Store::Path(put) }
}

pub(super) const fn list(put: Put<Vec<String>>) -> Typed {
    Typed { kind: Kind::List, store: Store::List(put) }
}

pub(super) const fn listen_urls(put: Put<Vec<ListenUrl>>) -> Typed {
    Typed { kind: Kind::ListenUrls, store: Store::Listen(put) }
}

pub(super) const fn urls(usual_port: u16, put: Put<Vec<String>>) -> Typed {
    Typed { kind: Kind::Urls(usual_port), store: Store::List(put) }
}

pub(super) const fn peers(put: Put<Vec<PeerUrl>>) -> Typed {
    Typed { kind: Kind::Peers, store: Store::Peers(put) }
}

pub(super) const fn origins(put: Put<Vec<String>>) -> Typed {
    Typed { kind: Kind::Origins, store: Store::List(put) }
}

pub(super) const fn id(put: Put<Option<u64>>) -> Typed {
    Typed { kind: Kind::Id, store: Store::Id(put) }
}

pub(super) const fn levels(put: Put<Vec<(String, LogLevel)>>) -> Typed {
    Typed { kind: Kind::Levels, store: Store::Levels(put) }
}
