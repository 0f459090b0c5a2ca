//! The table of all settings: for each its name, kind, field, default, documentation, and whether
//! it has an effect here.
//!
//! The readers of file, environment and flags, `--help`, `print-config`, the suggestions of names,
//! the man pages, the completions and the example file all read this table. A name has the same
//! words in each source: key `proxy-failure-wait`, flag `--proxy-failure-wait`, variable
//! `ETCD_PROXY_FAILURE_WAIT`.
//!
//! Tested invariants: names are unique, every default is valid for its kind, and every row fills
//! the field of its name.

mod accepted;
mod discovery;
mod kind;
mod member;
pub mod names;
mod serving;
mod setting;
mod tls;

pub use kind::Kind;
pub(super) use kind::Store;
pub use setting::{Applies, Group, Setting, Support};

/// A name that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A setting of ours.
    Setting(&'static Setting),
    /// A setting of etcd that only a member of the cluster needs.
    MemberOnly,
}

const TABLES: [&[Setting]; 4] =
    [serving::SETTINGS, tls::SETTINGS, discovery::SETTINGS, accepted::SETTINGS];

/// Returns every setting, group by group.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    TABLES.into_iter().flatten()
}

/// Returns what the kebab-case `name` means, if anything.
pub fn find(name: &str) -> Option<Known> {
    if let Some(setting) = all().find(|setting| setting.name == name) {
        return Some(Known::Setting(setting));
    }
    member::is_member_only(name).then_some(Known::MemberOnly)
}

/// Returns today's name of a setting that etcd still takes by this old name.
pub fn renamed(name: &str) -> Option<&'static str> {
    (name == "log-output").then_some("log-outputs")
}

/// Whether etcd takes a flag of this name, without a value, and ignores it.
pub fn is_ignored_flag(name: &str) -> bool {
    accepted::is_ignored(name)
}

/// Longest name, in bytes, for which a suggestion is searched; longer ones are not typos.
const LONGEST_SLIP: usize = 64;

/// Returns the known name nearest to `name`, if one is near enough. Underscores and capitals count
/// as typos.
pub fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_SLIP {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_prefix("etcd-").unwrap_or(&name);
    let allowed = 1 + name.chars().count() / 5;
    all()
        .map(|setting| (strsim::damerau_levenshtein(name, setting.name), setting.name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, nearest)| nearest)
}

#[cfg(test)]
mod tests;
