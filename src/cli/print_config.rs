//! `etcd-proxy print-config`: every effective setting, and where it was written.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::load::{Variables, inputs};
use super::output::{complain, say, say_json, style, usage};
use super::{args, unit};
use crate::config::schema::Standing;
use crate::config::{self, Effective, Loaded, Place, masked};

/// Prints the settings as columns, or with `-w json` as JSON (`"version": 1`). Settings that cannot
/// be used are reported as `check` does.
pub(super) fn main(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let form = match args::take_word(&mut rest, &["w", "write-out"], &["table", "json"]) {
        Ok(form) => form,
        Err(problem) => return usage(problem, &env),
    };
    let unit = unit::meant(&rest, env);
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
    for [name, value, place] in &rows {
        let _ = writeln!(out, "{name:names$}  {value:values$}  {place}");
    }
    out
}

fn cells(row: &Effective<'_>) -> [String; 3] {
    let value =
        if row.value.is_empty() { "\"\"".to_owned() } else { masked(&row.value).into_owned() };
    let idle = row.setting.standing == Standing::Idle && *row.place != Place::Default;
    let note = if idle { " (without effect)" } else { "" };
    [row.setting.name.to_owned(), value, format!("{}{note}", row.place)]
}

fn to_json(loaded: &Loaded) -> Value {
    let settings: Vec<Value> = loaded.origins.iter().map(|row| row_json(&row)).collect();
    let file = loaded.file.as_ref().map(|file| masked(&file.to_string_lossy()).into_owned());
    json!({ "version": 1, "file": file, "settings": settings })
}

fn row_json(row: &Effective<'_>) -> Value {
    let (kind, name) = match row.place {
        Place::Default => ("default", None),
        Place::File(_) | Place::Span(..) => ("file", None),
        Place::Variable(name) | Place::Line(name, ..) => ("variable", Some(name)),
        Place::Flag(name) => ("flag", Some(name)),
    };
    let spot = row.place.spot();
    json!({
        "name": row.setting.name,
        "value": masked(&row.value),
        "origin": kind,
        "origin_name": name,
        "line": row.place.line(),
        "column": spot.as_ref().map(|spot| spot.column),
        "effect": row.setting.standing != Standing::Idle,
    })
}
