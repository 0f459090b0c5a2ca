//! Terminal output of the commands, and the exit status of a usage error.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::load::Variables;
use crate::config::{self, Problem, Problems, Style};

/// Exit status for a command line that cannot be used (sysexits' EX_USAGE).
const USAGE: u8 = 64;

/// Reports a problem with the command line. Returns status 64.
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

/// Writes to standard output. A closed pipe is not an error.
pub(super) fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Writes to standard error, with secrets masked.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(config::masked(text).as_bytes());
}

/// Writes indented JSON to standard output.
pub(super) fn say_json(value: &serde_json::Value) {
    say(&format!("{value:#}\n"));
}
