//! The one table of all settings: names, kinds, defaults, what each does, and how far it works
//! here.
//!
//! Everything that knows a setting by name reads this table: the file, environment and flag
//! readers, `--help`, `print-config`, the nearest-name suggestions, and later the man pages and
//! completions. A name is written the same in all three places: key `proxy-failure-wait`, flag
//! `--proxy-failure-wait`, variable `ETCD_PROXY_FAILURE_WAIT`.
//!
//! Invariants (tested): names are unique, and every default is valid for its kind.

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

/// What a name means.
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

/// Returns what a setting is called today that etcd still takes by this old name.
pub fn renamed(name: &str) -> Option<&'static str> {
    (name == "log-output").then_some("log-outputs")
}

/// Whether etcd takes a flag of this name and ignores it; it has no value then.
pub fn is_ignored_flag(name: &str) -> bool {
    accepted::is_ignored(name)
}

/// Longer names are no slips.
const LONGEST_SLIP: usize = 64;

/// Returns the known name that `name` was probably meant to be; underscores and capitals count as
/// slips.
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
