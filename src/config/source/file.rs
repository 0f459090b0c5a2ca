//! Reads the settings file, with the place of every key and value.
//!
//! The TOML parser recovers from errors, so that one load reports all mistakes of a file.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{RawMemberSetting, RawSetting};
use crate::config::location::{Location, SourceFile, short};
use crate::config::mask::{is_base64_line, pem_label};
use crate::config::problem::{Problem, Problems};
use crate::config::regular_file;
use crate::config::schema::{self, Kind, Known, names};
use crate::config::settings::MemberSetting;
use crate::config::value::{Raw, Shape};

/// Largest settings file in bytes: 1 MiB. Such a file is a page of text, so a larger one is
/// something else.
pub const LARGEST_FILE: u64 = 1 << 20;

/// Number of problems up to which unknown keys get a suggestion. The search takes time, and further
/// problems are not shown.
const HINTED: usize = Problems::SHOWN;

/// The settings file, and where it was named; `None` for the default one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Choice {
    pub(in crate::config) path: PathBuf,
    pub(in crate::config) named: Option<Location>,
}

/// Returns the file's content, without reading it when a watcher has `seen` it. Returns `None` with
/// a problem when it cannot be read, and without one when it is the default file and does not
/// exist.
pub(in crate::config) fn content(
    choice: &Choice,
    seen: Option<Vec<u8>>,
    problems: &mut Problems,
) -> Option<Vec<u8>> {
    let message = match seen.map_or_else(|| regular_file::read(&choice.path, LARGEST_FILE), Ok) {
        Ok(bytes) if bytes.len() as u64 <= LARGEST_FILE => return Some(bytes),
        Ok(_) => "the settings file is larger than 1 MiB".to_owned(),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound if choice.named.is_none() => return None,
            io::ErrorKind::NotFound => "the settings file does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "the settings file cannot be read: permission denied".to_owned()
            }
            io::ErrorKind::IsADirectory => "the settings file is a directory".to_owned(),
            io::ErrorKind::InvalidInput => "the settings file is not a regular file".to_owned(),
            _ => format!("the settings file cannot be read: {error}"),
        },
    };
    let problem = Problem::error(message, Location::File(choice.path.clone()));
    problems.push(match &choice.named {
        Some(Location::Flag(name) | Location::Variable(name)) => {
            problem.hint(format!("`{name}` names it"))
        }
        _ => problem,
    });
    None
}

/// Returns the settings written in `bytes`, the content of the file at `path`.
pub(in crate::config) fn read(
    path: &Path,
    bytes: &[u8],
    members: &mut Vec<RawMemberSetting>,
    problems: &mut Problems,
) -> Vec<RawSetting> {
    if bytes.contains(&0) {
        let message = "the settings file is no text, but binary (DER?)";
        problems.push(Problem::error(message, Location::File(path.to_owned())).hint("want TOML"));
        return Vec::new();
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.push(not_utf8(path, bytes, error.valid_up_to()));
            return Vec::new();
        }
    };
    let source = Arc::new(SourceFile::new(path, text));
    if let Some(problem) = not_settings(&source) {
        problems.push(problem);
        return Vec::new();
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() && is_yaml(path) {
        let message = "the settings file is YAML by its name, and etcd-proxy reads TOML";
        let hint = "write `key = \"value\"` in place of `key: value`";
        problems.push(Problem::error(message, Location::File(path.to_owned())).hint(hint));
        return Vec::new();
    }
    let broken = syntax(&source, &errors, problems);
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let sound = entries.into_iter();
    let sound = sound.filter(|(key, value)| is_sound(&source, &broken, key.span(), value));
    sound.filter_map(|(key, value)| entry(&source, &key, value, members, problems)).collect()
}

/// Reports the first error of each line, and returns these lines. The parser only guesses the rest
/// of such a line.
fn syntax(
    source: &Arc<SourceFile>,
    errors: &[toml::de::Error],
    problems: &mut Problems,
) -> BTreeSet<usize> {
    let mut broken = BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if broken.insert(source.line_of(span.start)) {
            let location = Location::Span(source.clone(), span);
            problems
                .push(Problem::error(format!("not TOML: {}", short(error.message())), location));
        }
    }
    broken
}

/// Whether an entry can be trusted beside syntax errors: it touches no broken line, and it is no
/// table, whose extent would be a guess.
fn is_sound(
    source: &SourceFile,
    broken: &BTreeSet<usize>,
    key: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> bool {
    let first = source.line_of(key.start);
    let last = source.line_of(value.span().end).max(first);
    broken.is_empty() || !value.get_ref().is_table() && broken.range(first..=last).next().is_none()
}

/// Reports a file with a key or a certificate in it. Nothing more is read of such a file, since the
/// parser's errors would repeat its lines.
fn not_settings(source: &Arc<SourceFile>) -> Option<Problem> {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let what = match pem_label(line).filter(|_| !line.trim_start().starts_with('#')) {
            Some(label) => Some(format!("PEM ({label})")),
            None => is_base64_line(line).then(|| "what looks like a part of a key".to_owned()),
        };
        if let Some(what) = what {
            let message = format!("the settings file has {what} in it");
            let location = Location::Span(source.clone(), start..start + line.len());
            let hint = "want TOML that names the files of keys and certificates";
            return Some(Problem::error(message, location).hint(hint));
        }
        start += line.len();
    }
    None
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yml" || end == "yaml")
}

fn not_utf8(path: &Path, bytes: &[u8], valid: usize) -> Problem {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let source = Arc::new(SourceFile::new(path, text));
    let location = Location::Span(source, valid..valid + '\u{fffd}'.len_utf8());
    Problem::error("the settings file is not valid UTF-8", location)
}

fn entry(
    source: &Arc<SourceFile>,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: Spanned<DeValue<'_>>,
    members: &mut Vec<RawMemberSetting>,
    problems: &mut Problems,
) -> Option<RawSetting> {
    let name = key.get_ref().as_ref();
    let location = Location::Span(source.clone(), key.span());
    let old = name;
    let name = schema::renamed(old).unwrap_or(old);
    if name != old {
        problems.push(Problem::old_name(old, name, location.clone()));
    }
    let refused = match schema::find(name) {
        Some(Known::Setting(setting)) if setting.name != names::CONFIG_FILE => {
            let mut raw = raw(source, value);
            if matches!(raw.shape, Shape::Table(_)) && setting.kind != Kind::Peers {
                raw.location = location.clone();
            }
            return Some(RawSetting { setting, raw, location });
        }
        Some(Known::Setting(_)) => Problem::error("the file cannot name another file", location)
            .hint("use `--config-file` or ETCD_CONFIG_FILE"),
        Some(Known::MemberOnly) => {
            let message =
                format!("`{}` is for members of the cluster, not for a proxy", short(name));
            let refused = Problem::error(message, location).hint("leave it out");
            let value = raw(source, value).shape.to_text();
            let setting = MemberSetting { name: name.to_owned(), value, is_flag: false };
            members.push(RawMemberSetting { setting, refused: refused.clone() });
            refused
        }
        None => unknown(name, location, problems.0.len() < HINTED),
    };
    problems.push(refused);
    None
}

fn unknown(name: &str, location: Location, hinted: bool) -> Problem {
    let problem = Problem::error(format!("unknown key `{}`", short(name)), location);
    match hinted.then(|| schema::nearest(name)).flatten() {
        Some(nearest) => problem.hint(format!("did you mean `{nearest}`?")),
        None => problem,
    }
}

fn raw(source: &Arc<SourceFile>, value: Spanned<DeValue<'_>>) -> Raw {
    let span = value.span();
    let location = Location::Span(source.clone(), span.clone());
    Raw { shape: shape(source, value.into_inner(), span), location }
}

fn shape(source: &Arc<SourceFile>, value: DeValue<'_>, span: Range<usize>) -> Shape {
    match value {
        DeValue::String(text) => Shape::Text(text.into_owned()),
        DeValue::Boolean(on) => Shape::Bool(on),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Shape::Integer(number),
            Err(_) => Shape::Other(number.to_string()),
        },
        DeValue::Array(list) => {
            Shape::List(list.into_iter().map(|item| raw(source, item)).collect())
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.into_iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let named = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, _)| {
                let location = Location::Span(source.clone(), key.span());
                (key.into_inner().into_owned(), location, raw(source, value))
            };
            Shape::Table(entries.into_iter().map(named).collect())
        }
        DeValue::Float(_) | DeValue::Datetime(_) => {
            Shape::Other(source.text.get(span).unwrap_or("not text").to_owned())
        }
    }
}
