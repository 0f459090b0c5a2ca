//! The place of a value or a problem: the default, a span of the file, a variable, or a flag.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mask::masked;

/// The settings file with its text.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Byte offset of each line, so that finding a line needs no count of those before it.
    starts: Vec<usize>,
}

/// The place of a value or a problem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: the built-in default.
    #[default]
    Default,
    /// The file as a whole.
    File(PathBuf),
    /// These bytes of the file.
    Span(Arc<SourceFile>, Range<usize>),
    /// The environment variable of this name.
    Variable(String),
    /// The variable of this name, in this line (from 1) of an environment file.
    Line(String, PathBuf, usize),
    /// The flag of this name, with its two dashes.
    Flag(String),
}

/// A line of the file with the range of characters that is meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// Line number, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The whole line, without its end.
    pub text: &'a str,
    /// Number of characters meant, at least 1; those in later lines do not count.
    pub width: usize,
}

/// The byte order mark, which some editors put before the first line.
const BOM: char = '\u{feff}';

impl SourceFile {
    /// Takes the file's absolute path and its text.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        // A byte order mark is no character of the first line.
        let first = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let starts = std::iter::once(first).chain(ends).collect();
        Self { path: path.into(), text, starts }
    }

    /// Returns the index of the line that holds this byte.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Returns the line of this byte and the lines above it, upwards to the one that names a key,
    /// since a value may stand below its key.
    fn statement(&self, at: usize) -> impl Iterator<Item = &str> {
        let mut is_over = false;
        let indices = (0..=self.line_of(at)).rev();
        indices.map_while(move |index| {
            let line = self.text.get(*self.starts.get(index)?..)?.lines().next().unwrap_or("");
            (!std::mem::replace(&mut is_over, names_key(line))).then_some(line)
        })
    }

    fn span(&self, range: &Range<usize>) -> Span<'_> {
        let start = self.text.floor_char_boundary(range.start);
        let index = self.line_of(start);
        let line_start = self.starts.get(index).copied().unwrap_or(0);
        let start = start.max(line_start);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let line_end = line_start + line.len();
        let end = self.text.floor_char_boundary(range.end).clamp(start, line_end.max(start));
        Span {
            line: index + 1,
            column: self.text[line_start..start].chars().count() + 1,
            text: line,
            width: self.text[start..end].chars().count().max(1),
        }
    }
}

/// Whether a line begins with a bare key, as `name = value` does.
fn names_key(line: &str) -> bool {
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !key.is_empty() && key.bytes().all(is_bare)
}

impl Location {
    /// Returns the file, if the place is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Line(_, path, _) => Some(path),
            Self::Span(source, _) => Some(&source.path),
            _ => None,
        }
    }

    /// Returns the line number, from 1, if the place is in a line.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Line(_, _, line) => Some(*line),
            _ => self.span().map(|span| span.line),
        }
    }

    /// Returns the line and the characters meant, if the place is a span of the settings file.
    pub fn span(&self) -> Option<Span<'_>> {
        match self {
            Self::Span(source, range) => Some(source.span(range)),
            _ => None,
        }
    }

    /// Returns the line of the place and the lines above it, upwards to the one that names a key;
    /// nothing outside of the file.
    pub(super) fn statement(&self) -> impl Iterator<Item = &str> {
        let span = match self {
            Self::Span(source, range) => Some((source, range.start)),
            _ => None,
        };
        span.into_iter().flat_map(|(source, at)| source.statement(at))
    }

    /// Whether it is on the command line.
    pub fn is_flag(&self) -> bool {
        matches!(self, Self::Flag(_))
    }

    /// Returns a sort key for reading order: file, then environment, then command line.
    pub(super) fn order(&self) -> (u8, usize) {
        match self {
            Self::Default => (0, 0),
            Self::File(_) => (1, 0),
            Self::Span(_, range) => (2, range.start),
            Self::Variable(_) | Self::Line(..) => (3, 0),
            Self::Flag(_) => (4, 0),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| masked(&path.to_string_lossy()).into_owned();
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "{}", shown(path)),
            Self::Span(source, range) => {
                let span = source.span(range);
                write!(f, "{}:{}:{}", shown(&source.path), span.line, span.column)
            }
            Self::Variable(name) => write!(f, "environment variable {}", short(name)),
            Self::Line(name, path, line) => {
                write!(f, "{}:{line} ({})", shown(path), short(name))
            }
            Self::Flag(name) => write!(f, "command line: {}", short(name)),
        }
    }
}

/// Replaces the user and password before each `@` by as many asterisks, as in
/// `http://user:password@host`.
pub(super) fn without_logins(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        // Behind a scheme, quotes and slashes may belong to a password.
        let scheme = before.rfind("://").map(|at| at + 2);
        let blank = before.rfind(char::is_whitespace);
        let quote = before.rfind(['"', '\'']).filter(|_| scheme.max(blank) == blank);
        let start = blank.max(scheme).max(quote);
        let start = start.map_or(0, |at| before.ceil_char_boundary(at + 1));
        out.push_str(&before[..start]);
        out.extend(before[start..].chars().map(|_| '*'));
        out.push('@');
        rest = after;
    }
    out + rest
}

/// Longest name or value that a message repeats, in characters.
const SHOWN: usize = 80;

/// Returns the beginning of `text`, masked, for a message.
pub(super) fn short(text: &str) -> String {
    let text = &masked(text);
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    printable(&shown) + more
}

/// Replaces control characters by U+FFFD: they could disturb a terminal or split a log line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, range: Range<usize>) -> (usize, usize, &str, usize) {
        let source = SourceFile::new("/etc/etcd-proxy.toml", text);
        let span = source.span(&range);
        let line = text.lines().find(|line| *line == span.text).unwrap_or("");
        (span.line, span.column, line, span.width)
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(at("a\nä = 1\n", 6..7), (2, 4, "ä = 1", 1));
    }

    #[test]
    fn logins_are_hidden_and_nothing_moves() {
        for (text, hidden) in [
            ("x = \"http://bob:s3cret@h:1\"", "x = \"http://**********@h:1\""),
            ("http://a:1,b=https://ü:p@h", "http://a:1,b=https://***@h"),
            ("\"bob:s3@x@h\" 'a@b'", "\"******@*@h\" '*@b'"),
            ("http://10.0.0.1:2380", "http://10.0.0.1:2380"),
        ] {
            assert_eq!(without_logins(text), hidden);
            assert_eq!(hidden.chars().count(), text.chars().count());
        }
    }

    #[test]
    fn a_mark_of_the_encoding_is_no_column() {
        assert_eq!(at("\u{feff}x = 1\ny = 2", 3..4), (1, 1, "", 1));
        assert_eq!(at("\u{feff}x = 1\ny = 2", 9..10), (2, 1, "y = 2", 1));
        assert_eq!(at("\u{feff}x", 0..3).1, 1);
    }

    #[test]
    fn a_span_over_several_lines_ends_with_its_first() {
        assert_eq!(at("x = [\n1,\n]\n", 4..10), (1, 5, "x = [", 1));
    }

    #[test]
    fn the_end_of_the_text_is_a_spot() {
        assert_eq!(at("x =", 3..3), (1, 4, "x =", 1));
        assert_eq!(at("x =\n", 4..4), (2, 1, "", 1));
        assert_eq!(at("", 9..12), (1, 1, "", 1));
    }
}
