//! `etcd-proxy check`: everything that a start or a reload would say about the settings, without starting.

use super::{Variables, args, complain, inputs, load, say_json, style, unit, usage};
use crate::config::{Inputs, Loaded, Problems};
use crate::tls::material::Purpose;
use std::ffi::OsString;
use std::process::ExitCode;

/// The exit status for settings that cannot be used (sysexits' EX_CONFIG).
const CONFIG: u8 = 78;

/// Prints every problem and their count. Ends with 0 when the settings can be used; with `--strict` also warnings
/// make it fail. `--format json` prints the same list as JSON, on standard output.
pub(super) fn main(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let strict = args::take_switch(&mut rest, "strict");
    let format = match args::take_word(&mut rest, &["format"], &["text", "json"]) {
        Ok(format) => format,
        Err(problem) => return usage(problem, &env),
    };
    let unit = unit::meant(&rest, env);
    let inputs = inputs(rest, unit.variables.clone());
    let (mut problems, loaded) = match load(&inputs, Purpose::Check) {
        Ok((loaded, _)) => (Problems(loaded.warnings.clone()), Some(loaded)),
        Err(problems) => (problems, None),
    };
    unit.locate_problems(&mut problems);
    if format == "json" {
        say_json(&problems.to_json());
    } else {
        complain(&problems.report(style(&inputs.env), &outcome(loaded.as_ref(), &inputs)));
    }
    let status = problems.exit_status();
    let too_strict = strict && status == 0 && problems.warnings() > 0;
    ExitCode::from(if too_strict { CONFIG } else { status })
}

/// Says what was found to be usable: people often check another file than the one they edited.
fn outcome(loaded: Option<&Loaded>, inputs: &Inputs) -> String {
    let Some(loaded) = loaded else { return "nothing was changed".to_owned() };
    let file = loaded.file.as_ref().unwrap_or(&inputs.default_file);
    match loaded.text {
        Some(_) => format!("{} can be used", file.display()),
        None => format!("can be used ({} does not exist)", file.display()),
    }
}
