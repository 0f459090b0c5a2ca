//! The command line: flags as Go reads them.
//!
//! One dash or two, `--name value` or `--name=value`. A boolean needs no value, and takes one only
//! behind `=`. Of a flag that is given twice the last one counts.

use std::ffi::OsString;
use std::iter::Peekable;
use std::slice::Iter;

use super::{RawMemberSetting, RawSetting};
use crate::config::location::{Location, short};
use crate::config::problem::{Problem, Problems};
use crate::config::schema::{self, Kind, Known, Setting};
use crate::config::settings::MemberSetting;
use crate::config::value::{Raw, Shape};

type Args<'a> = Peekable<Iter<'a, OsString>>;

/// Returns the settings of `args`, which holds nothing but flags and their values.
pub(in crate::config) fn read(
    args: &[OsString],
    members: &mut Vec<RawMemberSetting>,
    problems: &mut Problems,
) -> Vec<RawSetting> {
    let mut args = args.iter().peekable();
    let mut given = Vec::new();
    while let Some(arg) = args.next() {
        match arg.to_str().map(|arg| (arg, dashed(arg))) {
            Some((_, Some(flag))) => match read_flag(flag, &mut args, problems) {
                Ok(Flag::Setting(setting)) => given.push(setting),
                Ok(Flag::Ignored) => {}
                Ok(Flag::MemberOnly(member)) => {
                    problems.push(member.refused.clone());
                    members.push(member);
                }
                Err(problem) => problems.push(problem),
            },
            Some((arg, None)) => problems.push(unexpected(arg, given.last())),
            None => problems.push(not_utf8(&arg.to_string_lossy())),
        }
    }
    given
}

/// Returns what follows the dash or dashes.
fn dashed(arg: &str) -> Option<&str> {
    let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    (!flag.is_empty()).then_some(flag)
}

/// The effect of a flag.
enum Flag {
    Setting(RawSetting),
    MemberOnly(RawMemberSetting),
    /// Nothing, as in etcd.
    Ignored,
}

fn read_flag(flag: &str, args: &mut Args<'_>, problems: &mut Problems) -> Result<Flag, Problem> {
    let (name, inline) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (flag, None),
    };
    let location = Location::Flag(format!("--{name}"));
    if schema::is_ignored_flag(name) {
        let message = format!("`--{name}` is ignored, as etcd ignores it");
        problems.push(Problem::warning(message, location).hint("leave it out"));
        return Ok(Flag::Ignored);
    }
    let old = name;
    let name = schema::renamed(old).unwrap_or(old);
    if name != old {
        problems.push(Problem::old_name(old, name, location.clone()));
    }
    match schema::find(name) {
        Some(Known::Setting(setting)) => {
            let text = value(setting, inline, args, &location)?;
            let raw = Raw { shape: Shape::Text(text), location: location.clone() };
            Ok(Flag::Setting(RawSetting { setting, raw, location }))
        }
        known => {
            let value = inline.or_else(|| probable_value(args));
            let refused = refusal(name, known.is_some(), location);
            if known.is_none() {
                return Err(refused);
            }
            // A flag without a value is a switch.
            let value = value.unwrap_or_else(|| "true".to_owned());
            let setting = MemberSetting { name: name.to_owned(), value, is_flag: true };
            Ok(Flag::MemberOnly(RawMemberSetting { setting, refused }))
        }
    }
}

fn value(
    setting: &Setting,
    inline: Option<String>,
    args: &mut Args<'_>,
    location: &Location,
) -> Result<String, Problem> {
    match inline {
        Some(text) => Ok(text),
        None if setting.kind == Kind::Bool => Ok("true".to_owned()),
        None => match args.next_if(|next| !is_known_flag(next)) {
            Some(next) => next.to_str().map(str::to_owned).ok_or_else(|| {
                Problem::error(format!("`{}` is not valid UTF-8", setting.name), location.clone())
            }),
            None => {
                let message = format!("`--{}` has no value", setting.name);
                let hint = format!("write `--{}=VALUE`", setting.name);
                Err(Problem::error(message, location.clone()).hint(hint))
            }
        },
    }
}

/// Whether an argument is a flag that is known. Go would take it for the value of the flag before
/// it, which nobody means.
fn is_known_flag(arg: &OsString) -> bool {
    let flag = arg.to_str().and_then(dashed);
    let name = flag.map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name));
    name.is_some_and(|name| {
        let name = schema::renamed(name).unwrap_or(name);
        schema::find(name).is_some() || schema::is_ignored_flag(name)
    })
}

/// Takes the probable value of a flag whose kind is not known, so that it is not reported as well.
fn probable_value(args: &mut Args<'_>) -> Option<String> {
    let next = args.next_if(|next| !next.as_encoded_bytes().starts_with(b"-"))?;
    Some(next.to_string_lossy().into_owned())
}

fn refusal(name: &str, is_member_only: bool, location: Location) -> Problem {
    let name = short(name);
    if is_member_only {
        let message = format!("`--{name}` is for members of the cluster, not for a proxy");
        return Problem::error(message, location).hint("leave it out");
    }
    let problem = Problem::error(format!("unknown flag `--{name}`"), location);
    match schema::nearest(&name) {
        Some(nearest) => problem.hint(format!("did you mean `--{nearest}`?")),
        None => problem,
    }
}

fn unexpected(arg: &str, before: Option<&RawSetting>) -> Problem {
    let arg = short(arg);
    let problem =
        Problem::error(format!("unexpected argument `{arg}`"), Location::Flag(arg.clone()));
    match before {
        Some(RawSetting { setting, location, .. })
            if matches!(setting.kind, Kind::Secret | Kind::Login) =>
        {
            // The argument may be a part of the secret.
            let message = format!("unexpected argument after `--{}`", setting.name);
            Problem::error(message, location.clone())
                .hint(format!("write `--{}=VALUE` without blanks, or quote it", setting.name))
        }
        Some(RawSetting { setting, .. }) if setting.kind == Kind::Bool => {
            problem.hint(format!("a value for `--{0}` is written `--{0}={arg}`", setting.name))
        }
        _ => problem.hint("flags start with --, and a command comes before them"),
    }
}

fn not_utf8(arg: &str) -> Problem {
    Problem::error("an argument is not valid UTF-8", Location::Flag(arg.to_owned()))
}
