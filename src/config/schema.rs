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
mod member;
mod serving;
mod tls;

/// One setting, as documented.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The kebab-case name.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// The built-in default, written as a flag's value would be; empty when there is none or when
    /// it is computed.
    pub default: &'static str,
    /// Where `--help` lists it.
    pub group: Group,
    /// How far it works here.
    pub support: Support,
    /// Whether it is ours, not etcd's.
    pub ours: bool,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// What may be written for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Go's booleans: `1 t T TRUE true True 0 f F FALSE false False`.
    Bool,
    /// Milliseconds as a bare number, or a Go duration such as `5s`; zero is allowed.
    Time,
    /// As [`Kind::Time`], but zero is refused.
    PositiveTime,
    /// A whole number from 0 to this.
    Number(u64),
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// `USER` or `USER:PASSWORD`, of which the password is never shown.
    Login,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A path; made absolute from the working directory. Empty means none.
    Path,
    /// Texts, separated by commas or as an array.
    List,
    /// URLs to listen on: an IP address or localhost, with a port, without a path; or a unix
    /// socket.
    ListenUrls,
    /// URLs that others may use: as [`Kind::ListenUrls`], but host names are fine.
    Urls,
    /// Peer URLs, with or without `name=` before them, or a table of them.
    Peers,
    /// Origins of browser requests, such as `https://example.com`, or `*`.
    Origins,
    /// A cluster ID in hex.
    Id,
    /// `module=level` pairs.
    Levels,
}

/// The sections of `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What passes, and for how long the members are waited for.
    Proxy,
    /// Where clients are served.
    Listening,
    /// Where the members come from and which one is chosen.
    Members,
    /// The process itself.
    Process,
    /// Logs.
    Logging,
    /// TLS.
    Tls,
    /// Discovery.
    Discovery,
    /// Read for the sake of old command lines.
    Accepted,
}

/// How far a setting works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Works,
    /// It is read and checked, and changes nothing.
    Idle,
}

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

impl Setting {
    /// Returns the name of its environment variable.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

impl Group {
    /// All groups, in the order of `--help`.
    pub const ALL: [Self; 8] = [
        Self::Proxy,
        Self::Listening,
        Self::Members,
        Self::Process,
        Self::Logging,
        Self::Tls,
        Self::Discovery,
        Self::Accepted,
    ];

    /// Returns the group's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Proxy => "Proxy",
            Self::Listening => "Listening",
            Self::Members => "Members",
            Self::Process => "Process",
            Self::Logging => "Logging",
            Self::Tls => "TLS",
            Self::Discovery => "Discovery",
            Self::Accepted => "Accepted from old command lines, without effect",
        }
    }
}

#[cfg(test)]
mod tests;
