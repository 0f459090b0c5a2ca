//! `etcd-proxy check`: reports everything that a start or a reload would say about the settings,
//! without starting. With `--connect` it also reports the peers and members that a start would
//! find.

mod connect;
mod taken;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use super::load::{Variables, inputs, load};
use super::output::{complain, say_json, style, usage};
use super::{args, unit};
use crate::config::{Inputs, Loaded, Problems};
use crate::tls::configs::Purpose;

/// Exit status for settings that cannot be used (sysexits' EX_CONFIG).
const CONFIG: u8 = 78;

/// Exit status of `--connect` when no member is healthy, or with `--strict` when any peer or member
/// is not (sysexits' EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

/// Prints every problem and their count. Returns 0 when the settings can be used; with `--strict`,
/// warnings fail too. `--format json` prints the same list as JSON on standard output.
///
/// `--connect` queries the peers and probes the members if the settings can be used. It returns 69
/// when no member is healthy; with `--strict`, when any peer or member is unhealthy.
pub(super) fn main(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let strict = args::take_switch(&mut rest, "strict");
    let connects = args::take_switch(&mut rest, "connect");
    let format = match args::take_word(&mut rest, &["format"], &["text", "json"]) {
        Ok(format) => format,
        Err(problem) => return usage(problem, &env),
    };
    let is_units = unit::targets_unit(&rest, &env);
    let unit = unit::for_command(&rest, env);
    let inputs = inputs(rest, unit.variables.clone());
    let daemon = || unit::socket(&inputs, is_units);
    let (mut problems, usable) = match load(&inputs, Purpose::Check) {
        Ok((loaded, tls_configs)) => {
            let mut problems = Problems(loaded.warnings.clone());
            problems.0.extend(taken::addresses(&loaded, daemon));
            problems.sort();
            (problems, Some((loaded, tls_configs)))
        }
        Err(problems) => (problems, None),
    };
    // The settings and the command line are valid, so the only errors are addresses in use.
    let is_taken = usable.is_some() && problems.errors() > 0;
    unit.locate_problems(&mut problems);
    let loaded = usable.as_ref().map(|(loaded, _)| loaded).filter(|_| problems.errors() == 0);
    if format == "text" {
        complain(&problems.report(style(&inputs.env), &outcome(loaded, &inputs)));
    }
    let found = match usable.as_ref().filter(|_| connects) {
        Some((loaded, tls_configs)) => {
            let daemon = daemon().unwrap_or_else(|_| loaded.settings.admin_socket.clone());
            match connect::run(&loaded.settings, tls_configs, &daemon) {
                Ok(found) => Some(found),
                Err(error) => {
                    complain(&format!("error: cannot start the connection check: {error}\n"));
                    return ExitCode::FAILURE;
                }
            }
        }
        None => None,
    };
    if format == "json" {
        let mut json = problems.to_json();
        if let Some(found) = &found {
            json["connect"] = found.to_json();
        }
        say_json(&json);
    } else if let Some(found) = &found
        && found.show(&mut io::stdout()).is_err()
    {
        return ExitCode::FAILURE;
    }
    ExitCode::from(if is_taken { CONFIG } else { status(&problems, found.as_ref(), strict) })
}

fn status(problems: &Problems, found: Option<&connect::Found>, strict: bool) -> u8 {
    match problems.exit_status() {
        0 if strict && problems.warnings() > 0 => CONFIG,
        0 if found.is_some_and(|found| !found.is_usable()) => UNAVAILABLE,
        0 if strict && found.is_some_and(|found| !found.is_perfect()) => UNAVAILABLE,
        status => status,
    }
}

/// Returns the closing line. It names the checked file, because people often check another file
/// than the one they edited.
fn outcome(loaded: Option<&Loaded>, inputs: &Inputs) -> String {
    let Some(loaded) = loaded else { return "nothing was changed".to_owned() };
    let file = loaded.file.as_ref().unwrap_or(&inputs.default_file);
    match loaded.text {
        Some(_) => format!("{} can be used", file.display()),
        None => format!("can be used ({} does not exist)", file.display()),
    }
}
