//! The command line: parses it, and runs the commands other than the daemon.
//!
//! [`main`] is the whole program. A command comes first and settings follow it; with no command the
//! daemon runs. Exit status: 0 fine, 64 unusable command line, 69 the cluster is full and
//! `discovery-fallback` is "exit", or `check --connect` found no healthy member, 78 unusable
//! configuration, 1 anything else.

mod args;
pub mod ask;
mod check;
mod commands;
mod environment_files;
mod help;
mod load;
pub mod manual;
mod member_or_proxy;
mod output;
mod print_config;
mod promote;
pub mod reload;
pub mod status;
pub mod table;
mod unit;
mod wait_for_tls_files;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Inputs, Problems};
use crate::tls::configs::Purpose;
use args::Command;
use load::{Variables, inputs, load};
use output::{complain, say, style, unusable, usage};
use status::WriteOut;

/// Runs the command given by the arguments (without the program's own name) in the environment
/// `env`.
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
    wait_for_tls_files::wait(&inputs);
    if let Some(status) = run_as_member(&inputs) {
        return status;
    }
    match load(&inputs, Purpose::Use) {
        Ok((loaded, tls_configs)) => crate::daemon::run(inputs, loaded, tls_configs),
        Err(problems) => {
            complain(&problems.report(style(&inputs.env), "not started"));
            ExitCode::from(problems.exit_status())
        }
    }
}

/// Runs etcd if this host may be a member and should be one. Returns `None` when it is a proxy, and
/// when the settings cannot be used: the next load reports why.
fn run_as_member(inputs: &Inputs) -> Option<ExitCode> {
    let loaded = config::load(inputs).ok()?;
    let member = loaded.settings.member.as_ref()?;
    let (_, tls_configs) = load(inputs, Purpose::Check).ok()?;
    member_or_proxy::decide(inputs, &loaded, &tls_configs, member)
}

/// Shows the state of the running daemon.
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

/// Returns the admin socket of the daemon that these flags and this environment select.
fn socket(args: Vec<OsString>, env: Variables) -> Result<PathBuf, Problems> {
    let is_units = unit::targets_unit(&args, &env);
    let env = unit::for_command(&args, env).variables;
    unit::socket(&inputs(args, env), is_units)
}
