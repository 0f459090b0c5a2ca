//! A problem of the settings: severity, message, place, and a hint.
//!
//! All problems of a load are collected and shown together. A problem has two forms: the long one
//! for a terminal, with the line of the file and a marker below it, and one line (`PLACE: MESSAGE`)
//! for the journal, STATUS and `status`. Neither shows key material or a password, whatever the
//! message contains.

use std::fmt::{self, Write as _};

use serde_json::{Value as Json, json};

use super::location::{Location, Span, printable, without_logins};
use super::mask::{holds_key_material, is_base64_line, masked};
use super::schema::{self, Kind};

/// How bad a problem is; errors sort first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The daemon does not start, or the reload changes nothing.
    Error,
    /// The settings work, but probably not as meant.
    Warning,
    /// Worth knowing.
    Notice,
}

/// Whether severities and markers are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Plain text, for logs.
    Plain,
    /// With ANSI colours, for a terminal.
    Coloured,
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its severity.
    pub severity: Severity,
    /// The message, without place and hint.
    pub message: String,
    /// What to write or do instead, if that is known.
    pub hint: Option<String>,
    /// Where it is.
    pub location: Location,
}

/// The problems of one load. [`Problems::sort`] puts errors first, and then sorts in reading order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// Makes an error.
    pub fn error(message: impl Into<String>, location: Location) -> Self {
        let message = masked(&message.into()).into_owned();
        Self { severity: Severity::Error, message, hint: None, location }
    }

    /// Makes a warning.
    pub fn warning(message: impl Into<String>, location: Location) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, location) }
    }

    /// Makes a notice.
    pub fn notice(message: impl Into<String>, location: Location) -> Self {
        Self { severity: Severity::Notice, ..Self::error(message, location) }
    }

    /// Makes the warning that a setting has a new name.
    pub(super) fn old_name(old: &str, new: &str, location: Location) -> Self {
        Self::warning(format!("`{old}` is an old name"), location).hint(format!("write `{new}`"))
    }

    /// Adds a hint: what to write or do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(masked(&hint.into()).into_owned());
        self
    }

    /// Returns the message followed by the hint.
    pub fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// Returns the one-line form without the severity: `PLACE: MESSAGE`, or the message alone if
    /// the place is the default.
    pub fn one_line(&self) -> String {
        match self.location {
            Location::Default => printable(&self.sentence()),
            _ => printable(&format!("{}: {}", self.location, self.sentence())),
        }
    }

    /// Returns the form for a terminal, ending with a newline.
    pub fn long(&self, style: Style) -> String {
        let severity = self.severity.label(style);
        match self.location.span().filter(|span| !holds_secret(&self.location, span)) {
            Some(span) => {
                let number = span.line.to_string();
                let message = printable(&self.message);
                let indent = " ".repeat(number.len());
                let source = snippet(&span, &number, self.hint.as_deref());
                format!("{severity}: {message}\n{indent} --> {}\n{source}", self.location)
            }
            None => {
                let message = printable(&self.sentence());
                format!("{severity}: {message}\n  --> {}\n", self.location)
            }
        }
    }

    fn to_json(&self) -> Json {
        let span = self.location.span();
        json!({
            "severity": self.severity.word(),
            "message": self.message,
            "hint": self.hint,
            "place": self.location.to_string(),
            "file": self.location.file().map(|path| masked(&path.to_string_lossy()).into_owned()),
            "line": self.location.line(),
            "column": span.as_ref().map(|span| span.column),
        })
    }
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }

    fn label(self, style: Style) -> String {
        let colour = match (style, self) {
            (Style::Plain, _) => return self.word().to_owned(),
            (_, Self::Error) => "1;31",
            (_, Self::Warning) => "1;33",
            (_, Self::Notice) => "1;36",
        };
        format!("\x1b[{colour}m{}\x1b[0m", self.word())
    }
}

/// Longest part of a line that is shown, in characters; the line is cut around the marker.
const WINDOW: usize = 120;

/// Draws the line with the marker and the hint below it.
fn snippet(span: &Span<'_>, number: &str, hint: Option<&str>) -> String {
    let gutter = " ".repeat(number.len());
    let before = span.column - 1;
    let skipped = if before + span.width > WINDOW { before.saturating_sub(WINDOW / 3) } else { 0 };
    let text = without_logins(span.text);
    let shown: Vec<char> = text.chars().skip(skipped).take(WINDOW).collect();
    let line: String = shown.iter().map(drawn).collect();
    let indent: String = shown.iter().take(before - skipped).map(|c| blank(*c)).collect();
    let width = span.width.min(shown.len().saturating_sub(before - skipped)).max(1);
    let marker = "^".repeat(width);
    let lead = if skipped > 0 { "..." } else { "" };
    let tail = if span.text.chars().count() > skipped + WINDOW { "..." } else { "" };
    let mut out = format!(" {gutter} |\n {number} | {lead}{line}{tail}\n");
    let _ = write!(out, " {gutter} | {}{indent}{marker}", " ".repeat(lead.len()));
    if let Some(hint) = hint {
        let _ = write!(out, " {}", printable(hint));
    }
    out.push('\n');
    out
}

/// Whether a line, TOML or not, may hold a secret; such a line is not shown. Logins in URLs do not
/// count, since they are drawn as asterisks.
fn holds_secret(location: &Location, span: &Span<'_>) -> bool {
    let is_secret = |kind| matches!(kind, Kind::Secret | Kind::Login);
    let names_secret = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        let meant = schema::nearest(&key);
        SECRET_WORDS.iter().any(|word| key.contains(word))
            || schema::all().any(|setting| {
                let name = setting.name;
                is_secret(setting.kind) && (line.contains(name) || meant == Some(name))
            })
    };
    holds_key_material(span.text)
        || is_base64_line(span.text)
        || location.statement().any(names_secret)
}

/// Parts of key names that suggest a secret, in other programs' files too.
const SECRET_WORDS: [&str; 6] = ["passw", "pasw", "passphrase", "pwd", "secret", "credential"];

fn drawn(c: &char) -> String {
    if *c == '\t' { blank(*c) } else { printable(&c.to_string()) }
}

/// Returns blanks as wide as `c` is drawn.
fn blank(c: char) -> String {
    if c == '\t' { "    ".to_owned() } else { " ".to_owned() }
}

impl Problems {
    /// Number of problems shown before "and N more". A person reads them, and the history of
    /// reloads keeps them.
    pub const SHOWN: usize = 20;

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Returns the number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Returns the number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|problem| problem.severity == severity).count()
    }

    /// Sorts by severity, errors first, and then in reading order.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|problem| (problem.severity, problem.location.order()));
    }

    /// Returns the exit status of a command with these problems: 64 for an error on the command
    /// line, 78 for any other error, 0 without errors.
    pub fn exit_status(&self) -> u8 {
        let mut errors = self.0.iter().filter(|problem| problem.severity == Severity::Error);
        match (errors.clone().next(), errors.any(|problem| problem.location.is_flag())) {
            (None, _) => 0,
            (_, true) => 64,
            (_, false) => 78,
        }
    }

    /// Returns the problems in their long form, and a last line with their number and `outcome`.
    pub fn report(&self, style: Style, outcome: &str) -> String {
        let shown = self.0.iter().take(Self::SHOWN);
        let mut out: String = shown.map(|problem| problem.long(style)).collect();
        if let Some(more) = more(self.0.len()) {
            let _ = writeln!(out, "{more}");
        }
        let _ = writeln!(out, "{self}; {outcome}");
        out
    }

    /// Returns the documented JSON form (`"version": 1`).
    pub fn to_json(&self) -> Json {
        json!({
            "version": 1,
            "errors": self.errors(),
            "warnings": self.warnings(),
            "problems": self.0.iter().map(Problem::to_json).collect::<Vec<_>>(),
        })
    }
}

/// Returns problems in their one-line form: the first [`Problems::SHOWN`], and then the number of
/// the rest.
pub fn one_lines(problems: &[Problem]) -> Vec<String> {
    let shown = problems.iter().take(Problems::SHOWN).map(Problem::one_line);
    shown.chain(more(problems.len())).collect()
}

fn more(all: usize) -> Option<String> {
    all.checked_sub(Problems::SHOWN).filter(|more| *more > 0).map(|more| format!("and {more} more"))
}

/// The count: `2 errors, 0 warnings`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let (errors, warnings) = (self.errors(), self.warnings());
        write!(f, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests;
