//! The settings: their table, the sources they are read from, and the resolved values.
//!
//! [`load`] reads the settings file, the `ETCD_*` variables and the flags, lays them over the
//! defaults (later wins), and returns resolved [`Settings`] with the origin of every value, or
//! every problem at once. A start, a reload and `check` all call it, so that they agree. `schema`
//! is the table of settings; `value` parses one value; `source` reads the layers; `fields` holds
//! the effective values by type; `resolve` checks them together and builds [`Settings`]; `change`
//! compares two loads.
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
pub(crate) use location::printable;
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

/// Valid settings, and where each was written.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The resolved settings.
    pub settings: Settings,
    /// Problems that are no errors: warnings first, then notices, each in reading order.
    pub warnings: Vec<Problem>,
    /// The effective value of every setting, with its place.
    pub origins: Origins,
    /// The absolute path of the file to watch, which may not exist yet. Always `Some` today.
    pub file: Option<PathBuf>,
    /// The file's content; `None` when it does not exist.
    pub text: Option<Vec<u8>>,
    /// Settings that only etcd has, in rising precedence; empty unless this host may become a
    /// member.
    pub member_only: Vec<MemberSetting>,
}

/// Loads the settings; returns every problem, warnings included, when one of them is an error.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    load_seen(inputs, None)
}

/// Loads the settings with the file's content as a watcher has just read it. A second read might
/// fall into the middle of the next write.
pub fn load_seen(inputs: &Inputs, seen: Option<Vec<u8>>) -> Result<Loaded, Problems> {
    let (loaded, problems) = draft(inputs, seen);
    if problems.errors() > 0 {
        return Err(problems);
    }
    Ok(Loaded { warnings: problems.0, ..loaded })
}

/// Loads the settings like [`load_seen`], and returns them beside the problems even when there are
/// errors. Such a draft only serves to look for further problems; nothing may be started with it.
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

/// Returns the path of the admin socket of a daemon that runs with these inputs. Mistakes in the
/// file and the environment are ignored: a daemon that refused a broken file must stay reachable.
///
/// # Errors
/// Returns the mistakes on the command line, since a slip there might lead to the wrong daemon.
pub fn admin_socket(inputs: &Inputs) -> Result<PathBuf, Problems> {
    let mut problems = Problems::default();
    let gathered = gather(inputs, None, &mut problems);
    problems.0.retain(|problem| problem.location.is_flag());
    if problems.errors() > 0 {
        return Err(problems);
    }
    Ok(resolve::admin_socket(&resolve::fill(&gathered.origins), inputs))
}

/// Returns the path of the admin socket when no setting names one.
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

/// Returns the settings file: named by a flag, else by a variable, else the default one.
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
