//! Settings: what may be written, where it was written, and what it means.
//!
//! [`load`] reads the settings file, the `ETCD_*` variables and the flags, lays them over the
//! defaults (later wins), and returns resolved [`Settings`] with the origin of every value, or
//! every problem at once. A start, a reload and `check` all call it, so that they agree. `schema`
//! is the table of what may be written; `value` reads one value; `source` the layers; `resolve`
//! looks at settings together; `change` compares two loads.
//!
//! It opens no socket and changes nothing. Nothing that a file, a variable or a flag holds can make
//! it panic.

pub mod change;
pub mod environment_file;
mod fields;
mod inputs;
mod location;
mod mask;
mod origins;
mod problem;
pub mod regular_file;
mod resolve;
pub mod schema;
mod settings;
mod source;
mod value;

pub use inputs::Inputs;
pub use location::{Location, SourceFile, Span};
pub use mask::{known_label, masked};
pub use origins::{Effective, Origins};
pub use problem::{Problem, Problems, Severity, Style, one_lines};
pub use settings::*;
pub use source::file::LARGEST_FILE;

use std::collections::HashSet;
use std::path::PathBuf;

use schema::names;
use source::file::Choice;
use source::{Layer, RawMemberSetting, RawSetting, environment, file, flags};
use value::Shape;

/// Settings that can be used, and where they come from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What they mean.
    pub settings: Settings,
    /// What is probably not meant, errors first, in reading order.
    pub warnings: Vec<Problem>,
    /// The effective value of every setting, with its place.
    pub origins: Origins,
    /// The file to watch, absolute; it may not exist yet. Always present today.
    pub file: Option<PathBuf>,
    /// The file's content; `None` when it does not exist.
    pub text: Option<Vec<u8>>,
    /// What is written for etcd alone, what wins last; empty unless this host may become a member.
    pub member_only: Vec<MemberSetting>,
}

/// Reads everything and returns the settings, or all that is wrong with them, warnings included.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    load_seen(inputs, None)
}

/// Like [`load`], with the file's content as somebody who watches it has just seen it: read again,
/// it might be in the middle of the next write.
pub fn load_seen(inputs: &Inputs, seen: Option<Vec<u8>>) -> Result<Loaded, Problems> {
    let (loaded, problems) = draft(inputs, seen);
    if problems.errors() > 0 {
        return Err(problems);
    }
    Ok(Loaded { warnings: problems.0, ..loaded })
}

/// Like [`load_seen`], but returns what could be read of the settings also when they cannot be
/// used, and apart from it all that is wrong. With an error among that, a draft is good for finding
/// out what else is wrong, and for nothing else.
pub fn draft(inputs: &Inputs, seen: Option<Vec<u8>>) -> (Loaded, Problems) {
    let mut problems = Problems::default();
    let Gathered { mut origins, file, text, members } = gather(inputs, seen, &mut problems);
    origins.compute(names::CONFIG_FILE, file.display());
    let fields = resolve::fill(&origins);
    let settings = resolve::resolve(&fields, inputs, &mut problems);
    origins.compute_from(&fields, &settings);
    resolve::blame_directories(&mut origins, &fields, inputs);
    let mut member_only = Vec::new();
    if settings.member.is_some() {
        let what = |problem: &Problem| (problem.location.order(), problem.message.clone());
        let refused: HashSet<_> = members.iter().map(|member| what(&member.refused)).collect();
        problems.0.retain(|problem| !refused.contains(&what(problem)));
        member_only = members.into_iter().map(|member| member.setting).collect();
    }
    problems.sort();
    let warnings = Vec::new();
    (Loaded { settings, warnings, origins, file: Some(file), text, member_only }, problems)
}

/// Returns where a running daemon with these inputs has its admin socket. Mistakes in file and
/// environment do not matter: a daemon that refused a broken file must still be reachable.
///
/// # Errors
/// What is wrong on the command line: with a slip there, another daemon might be asked than the one
/// that was meant.
pub fn admin_socket(inputs: &Inputs) -> Result<PathBuf, Problems> {
    let mut problems = Problems::default();
    let gathered = gather(inputs, None, &mut problems);
    problems.0.retain(|problem| problem.location.is_flag());
    if problems.errors() > 0 {
        return Err(problems);
    }
    Ok(resolve::admin_socket(&resolve::fill(&gathered.origins), inputs))
}

/// Returns where it is unless somebody sets it.
pub fn usual_admin_socket(inputs: &Inputs) -> PathBuf {
    resolve::usual_admin_socket(inputs)
}

/// The layers, merged.
struct Gathered {
    origins: Origins,
    file: PathBuf,
    text: Option<Vec<u8>>,
    members: Vec<RawMemberSetting>,
}

fn gather(inputs: &Inputs, seen: Option<Vec<u8>>, problems: &mut Problems) -> Gathered {
    let [mut by_flag, mut by_variable, mut members] = [(); 3].map(|()| Vec::new());
    let flags = flags::read(&inputs.args, &mut by_flag, problems);
    let variables = environment::read(&inputs.env, &mut by_variable, problems);
    let choice = choose_file(inputs, &variables, &flags);
    let text = file::content(&choice, seen, problems);
    let written =
        text.as_ref().map(|bytes| file::read(&choice.path, bytes, &mut members, problems));
    members.extend(by_variable.into_iter().chain(by_flag));
    let layers = [
        Layer::defaults(&inputs.cwd, problems),
        Layer::new("file", written.unwrap_or_default(), &inputs.cwd, problems),
        Layer::new("environment", variables, &inputs.cwd, problems),
        Layer::new("command line", flags, &inputs.cwd, problems),
    ];
    let effective = source::merge(&layers, problems);
    Gathered { origins: Origins::new(effective, &layers), file: choice.path, text, members }
}

/// Returns the file that a flag names, else the one that a variable names, else the default one.
fn choose_file(inputs: &Inputs, variables: &[RawSetting], flags: &[RawSetting]) -> Choice {
    let named = variables.iter().chain(flags).rev().find_map(|given| match &given.raw.shape {
        Shape::Text(path) if given.setting.name == names::CONFIG_FILE => {
            Some((path, &given.location))
        }
        _ => None,
    });
    match named.filter(|(path, _)| !path.is_empty()) {
        Some((path, location)) => {
            Choice { path: inputs.cwd.join(path), named: Some(location.clone()) }
        }
        None => Choice { path: inputs.cwd.join(&inputs.default_file), named: None },
    }
}

#[cfg(test)]
mod tests;
