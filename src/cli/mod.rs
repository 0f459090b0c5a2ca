//! The command line: what was typed, and the commands that are not the daemon.
//!
//! [`main`] is the whole program. A command comes first and settings follow it; with no command the daemon runs. Exit
//! status: 0 fine, 64 unusable command line, 69 the cluster is full and `discovery-fallback` is "exit", or
//! `check --connect` found no healthy member, 78 unusable configuration, 1 anything else.

mod args;
pub mod ask;
mod check;
mod commands;
mod environment_files;
mod fallback;
mod help;
pub mod manual;
mod patience;
mod print_config;
mod promote;
pub mod reload;
pub mod status;
pub mod table;
mod unit;

use crate::config::{self, Inputs, Loaded, Problem, Problems, Style};
use crate::daemon::obstacles::of_log;
use crate::telemetry::log::OpenLog;
use crate::tls::material::{self, Material, Purpose};
use args::Command;
use status::WriteOut;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The settings file when none is named.
const DEFAULT_FILE: &str = "/etc/etcd-proxy.toml";

/// What a command line is called that cannot be used (sysexits' EX_USAGE).
const USAGE: u8 = 64;

type Variables = Vec<(OsString, OsString)>;

/// Runs what the arguments (without the program's own name) ask for, in the environment `env`.
pub fn main(args: Vec<OsString>, env: Variables) -> ExitCode {
    let line = match args::parse(args) {
        Ok(line) => line,
        Err(problem) => return usage(problem, &env),
    };
    match line.command {
        Command::Run => run(inputs(line.rest, env)),
        Command::Check => check::main(line.rest, env),
        Command::PrintConfig => print_config::main(line.rest, env),
        Command::Status => show_status(line.rest, env),
        Command::Reload => match socket(line.rest, env.clone()) {
            Ok(socket) => {
                ExitCode::from(reload::run(&socket, &mut io::stdout(), &mut io::stderr()))
            }
            Err(problems) => unusable(&problems, &env),
        },
        Command::Promote => promote::main(line.rest, env),
        Command::Version => say(&format!("etcd-proxy {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Help => say(&help::text()),
    }
}

/// Loads the settings and runs the daemon with them.
fn run(inputs: Inputs) -> ExitCode {
    patience::wait_for_files(&inputs);
    if let Some(status) = run_as_member(&inputs) {
        return status;
    }
    match load(&inputs, Purpose::Use) {
        Ok((loaded, material)) => crate::daemon::run(inputs, loaded, material),
        Err(problems) => {
            complain(&problems.report(style(&inputs.env), "not started"));
            ExitCode::from(problems.exit_status())
        }
    }
}

/// Lets a host that may be a member become one. Returns `None` when it is a proxy, also when the settings cannot be used:
/// whoever loads them next says why.
fn run_as_member(inputs: &Inputs) -> Option<ExitCode> {
    let loaded = config::load(inputs).ok()?;
    let member = loaded.settings.member.as_ref()?;
    let (_, material) = load(inputs, Purpose::Check).ok()?;
    fallback::decide(inputs, &loaded, &material, member)
}

/// Loads the settings and the TLS material that they name; warnings of both are in the first. Everything that is wrong is
/// found at once: files for TLS and the log are looked at also when other settings cannot be used.
fn load(inputs: &Inputs, purpose: Purpose) -> Result<(Loaded, Material), Problems> {
    let (mut loaded, mut problems) = config::draft(inputs, None);
    let purpose = if problems.errors() > 0 { Purpose::Check } else { purpose };
    let material = match material::load(&loaded.settings, &loaded.origins, None, purpose) {
        Ok((material, warnings)) => {
            problems.0.extend(warnings);
            Some(material)
        }
        Err(more) => {
            problems.0.extend(more.0);
            None
        }
    };
    // A daemon that is to run opens its log itself.
    if purpose == Purpose::Check || material.is_none() {
        let errors = OpenLog::check(&loaded.settings.log);
        problems.0.extend(of_log(&errors, &loaded));
    }
    problems.sort();
    match material.filter(|_| problems.errors() == 0) {
        Some(material) => {
            loaded.warnings = problems.0;
            Ok((loaded, material))
        }
        None => Err(problems),
    }
}

/// Asks the running daemon what it does.
fn show_status(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let form = match args::take_word(&mut rest, &["w", "write-out"], &["table", "simple", "json"]) {
        Ok(form) => WriteOut::named(form),
        Err(problem) => return usage(problem, &env),
    };
    let quiet = args::take_switch(&mut rest, "quiet");
    let socket = match socket(rest, env.clone()) {
        Ok(socket) => socket,
        Err(problems) => return unusable(&problems, &env),
    };
    ExitCode::from(status::run(&socket, form, quiet, &mut io::stdout(), &mut io::stderr()))
}

/// Returns where the daemon is asked that these flags and this environment mean.
fn socket(args: Vec<OsString>, env: Variables) -> Result<PathBuf, Problems> {
    let is_units = unit::is_meant(&args, &env);
    let env = unit::meant(&args, env).variables;
    unit::socket(&inputs(args, env), is_units)
}

/// Returns what settings are made from: these flags, this environment, the default file.
fn inputs(args: Vec<OsString>, env: Variables) -> Inputs {
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    Inputs { args, env, cwd, default_file: Path::new(DEFAULT_FILE).to_owned() }
}

/// Reports a command line that cannot be used.
fn usage(problem: Problem, env: &Variables) -> ExitCode {
    unusable(&Problems(vec![problem]), env)
}

fn unusable(problems: &Problems, env: &Variables) -> ExitCode {
    complain(&problems.report(style(env), "see `etcd-proxy help`"));
    ExitCode::from(USAGE)
}

/// Returns the style for standard error: coloured on a terminal unless `NO_COLOR` is set.
fn style(env: &Variables) -> Style {
    let no_colour = env.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    if io::stderr().is_terminal() && !no_colour { Style::Coloured } else { Style::Plain }
}

/// Writes to standard output; a reader that has gone away is no error.
fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Writes to standard error, without anything that looks like a secret.
fn complain(text: &str) {
    let _ = io::stderr().write_all(config::masked(text).as_bytes());
}

/// Writes JSON to standard output, indented for people.
fn say_json(value: &serde_json::Value) {
    say(&format!("{value:#}\n"));
}
