//! What a command writes to the terminal, and how it ends.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::load::Variables;
use crate::config::{self, Problem, Problems, Style};

/// What a command line is called that cannot be used (sysexits' EX_USAGE).
const USAGE: u8 = 64;

/// Reports a command line that cannot be used.
pub(super) fn usage(problem: Problem, env: &Variables) -> ExitCode {
    unusable(&Problems(vec![problem]), env)
}

pub(super) fn unusable(problems: &Problems, env: &Variables) -> ExitCode {
    complain(&problems.report(style(env), "see `etcd-proxy help`"));
    ExitCode::from(USAGE)
}

/// Returns the style for standard error: coloured on a terminal unless `NO_COLOR` is set.
pub(super) fn style(env: &Variables) -> Style {
    let no_colour = env.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    if io::stderr().is_terminal() && !no_colour { Style::Coloured } else { Style::Plain }
}

/// Writes to standard output; a reader that has gone away is no error.
pub(super) fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Writes to standard error, without anything that looks like a secret.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(config::masked(text).as_bytes());
}

/// Writes JSON to standard output, indented for people.
pub(super) fn say_json(value: &serde_json::Value) {
    say(&format!("{value:#}\n"));
}
