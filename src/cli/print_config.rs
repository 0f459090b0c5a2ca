//! `etcd-proxy print-config`: shows every effective setting and where it was written.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::load::{Variables, inputs};
use super::output::{complain, say, say_json, style, usage};
use super::{args, unit};
use crate::config::schema::Support;
use crate::config::{self, Effective, Loaded, Location, masked};

/// Prints the settings as columns, or with `-w json` as JSON (`"version": 1`). Unusable settings
/// are reported as by `check`.
pub(super) fn main(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let form = match args::take_word(&mut rest, &["w", "write-out"], &["table", "json"]) {
        Ok(form) => form,
        Err(problem) => return usage(problem, &env),
    };
    let unit = unit::for_command(&rest, env);
    let inputs = inputs(rest, unit.variables.clone());
    let found = config::load(&inputs).map(|mut loaded| {
        unit.locate(&mut loaded);
        loaded
    });
    match found {
        Ok(loaded) if form == "json" => say_json(&to_json(&loaded)),
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(|warning| warning.long(style(&inputs.env)));
            complain(&warnings.collect::<String>());
            say(&table(&loaded));
        }
        Err(mut problems) => {
            unit.locate_problems(&mut problems);
            complain(&problems.report(style(&inputs.env), "nothing was changed"));
            return ExitCode::from(problems.exit_status());
        }
    }
    ExitCode::SUCCESS
}

fn table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 3]> = loaded.origins.iter().map(|row| cells(&row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (names, values) = (width(0).unwrap_or(0), width(1).unwrap_or(0).min(60));
    let mut out = format!("{:names$}  {:values$}  FROM\n", "SETTING", "VALUE");
    for [name, value, location] in &rows {
        let _ = writeln!(out, "{name:names$}  {value:values$}  {location}");
    }
    out
}

fn cells(row: &Effective<'_>) -> [String; 3] {
    let value =
        if row.value.is_empty() { "\"\"".to_owned() } else { masked(&row.value).into_owned() };
    let idle = row.setting.support == Support::Idle && *row.location != Location::Default;
    let note = if idle { " (without effect)" } else { "" };
    [row.setting.name.to_owned(), value, format!("{}{note}", row.location)]
}

fn to_json(loaded: &Loaded) -> Value {
    let settings: Vec<Value> = loaded.origins.iter().map(|row| row_json(&row)).collect();
    let file = loaded.file.as_ref().map(|file| masked(&file.to_string_lossy()).into_owned());
    json!({ "version": 1, "file": file, "settings": settings })
}

fn row_json(row: &Effective<'_>) -> Value {
    let (kind, name) = match row.location {
        Location::Default => ("default", None),
        Location::File(_) | Location::Span(..) => ("file", None),
        Location::Variable(name) | Location::Line(name, ..) => ("variable", Some(name)),
        Location::Flag(name) => ("flag", Some(name)),
    };
    let span = row.location.span();
    json!({
        "name": row.setting.name,
        "value": masked(&row.value),
        "origin": kind,
        "origin_name": name,
        "line": row.location.line(),
        "column": span.as_ref().map(|span| span.column),
        "effect": row.setting.support != Support::Idle,
    })
}
