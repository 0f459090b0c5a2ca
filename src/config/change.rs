//! The difference between two loads: what a reload changes, and what it must refuse.

use std::fmt;

use super::Loaded;
use super::location::Location;
use super::mask::masked;
use super::problem::Problem;
use super::schema::{Applies, Setting, names};

/// One setting whose effective value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value before, as text.
    pub old: String,
    /// Its value after, as text.
    pub new: String,
    /// Where the new value is written, or [`Location::Default`] when the setting was taken out.
    pub location: Location,
}

/// Returns every setting whose effective value differs, in the order of the table.
pub fn changes(old: &Loaded, new: &Loaded) -> Vec<Change> {
    let differs =
        new.origins.iter().filter(|now| !new.origins.is_same(&old.origins, now.setting.name));
    differs
        .map(|now| Change {
            setting: now.setting,
            old: old.origins.text(now.setting.name),
            new: now.value,
            location: blamed(new, now.setting.name),
        })
        .collect()
}

/// Keeps the number of workers that was computed at the start, unless the setting itself changed:
/// each load computes it anew from the machine.
pub fn keep_running(old: &Loaded, new: &mut Loaded) {
    if new.origins.is_same(&old.origins, names::WORKERS) {
        new.settings.workers = old.settings.workers;
        new.origins.compute(names::WORKERS, old.settings.workers);
    }
}

/// Returns where the change was written. The default data directory changes with the name.
fn blamed(new: &Loaded, key: &str) -> Location {
    match new.origins.location(key) {
        Location::Default if key == names::DATA_DIR => new.origins.location(names::NAME).clone(),
        location => location.clone(),
    }
}

/// Returns an error for every change that needs a restart; a reload with one is refused whole.
pub fn needs_restart(changes: &[Change]) -> Vec<Problem> {
    // A member is another program.
    let becomes_member =
        |change: &Change| change.setting.name == names::PROXY && change.new == "off";
    let fixed = changes
        .iter()
        .filter(|change| change.setting.applies == Applies::Restart || becomes_member(change));
    fixed
        .map(|Change { setting, old, new, location }| {
            let key = setting.name;
            let message =
                format!("`{key}` cannot change in a running daemon (from \"{old}\" to \"{new}\")");
            Problem::error(message, location.clone()).hint("put it back, or restart")
        })
        .collect()
}

/// Returns a notice for every key that changed in the file while a variable or a flag overrides it.
pub fn overridden(old: &Loaded, new: &Loaded) -> Vec<Problem> {
    let written = new.origins.file.iter();
    let changed = written.filter(|(key, entry)| {
        let before = old.origins.file.get(*key);
        before.is_none_or(|before| before.value != entry.value)
    });
    changed
        .filter(|(key, entry)| *new.origins.location(key) != entry.location)
        .map(|(key, entry)| {
            let message = match new.origins.location(key) {
                Location::Flag(name) | Location::Variable(name) => {
                    format!("`{key}` was changed here, but `{name}` overrides it")
                }
                location => format!("`{key}` was changed here, but {location} overrides it"),
            };
            Problem::notice(message, entry.location.clone())
        })
        .collect()
}

/// Returns an error when the file had settings before and is now missing or empty. A file looks
/// like that in the middle of a replacement or after an accident; it is not taken for a wish for
/// all defaults.
pub fn vanished(old: &Loaded, new: &Loaded) -> Option<Problem> {
    let is_blank =
        |loaded: &Loaded| loaded.text.as_ref().is_none_or(|text| text.trim_ascii().is_empty());
    if is_blank(old) || !is_blank(new) {
        return None;
    }
    let what = if new.text.is_none() { "is gone" } else { "is empty" };
    let location = new.file.clone().map_or(Location::Default, Location::File);
    Some(
        Problem::error(format!("the settings file {what}"), location)
            .hint("the settings in force stay"),
    )
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.setting.name, shown(&self.old), shown(&self.new))
    }
}

/// Longest value shown, in characters; a list of peers may be as long as the file.
const SHOWN: usize = 500;

fn shown(text: &str) -> String {
    let text = masked(text);
    match text.char_indices().nth(SHOWN) {
        _ if text.is_empty() => "\"\"".to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests;
