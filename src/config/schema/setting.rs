//! One row of the table of settings.

use super::kind::{Kind, Store};

/// One setting: a row of the table.
#[derive(Debug)]
pub struct Setting {
    /// The kebab-case name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// The field that takes its value.
    pub(in crate::config) store: Store,
    /// The built-in default, written as a flag's value would be; empty when there is none or when
    /// it is computed.
    pub default: &'static str,
    /// The section of `--help` that lists it.
    pub group: Group,
    /// Whether it has an effect here.
    pub support: Support,
    /// When a change of it takes effect.
    pub applies: Applies,
    /// Whether it is this program's own, unknown to etcd.
    pub ours: bool,
    /// Its effect in one sentence.
    pub doc: &'static str,
}

/// The sections of `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Which requests pass, and how long members may take.
    Proxy,
    /// Where clients are served.
    Listening,
    /// Where the members come from, and how one is chosen.
    Members,
    /// The process itself.
    Process,
    /// Logs.
    Logging,
    /// TLS.
    Tls,
    /// Discovery.
    Discovery,
    /// Accepted from old command lines, without effect.
    Accepted,
}

/// Whether a setting has an effect here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has.
    Works,
    /// It has none: its value is checked and then ignored.
    Idle,
}

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// At the reload.
    Live,
    /// At a restart; a reload that changes it is refused.
    Restart,
    /// At the next start; a reload accepts it and changes nothing.
    NextStart,
    /// Never: the setting has no effect here.
    Never,
}

impl Setting {
    /// Marks a setting that a running daemon cannot change.
    pub(super) const fn fixed(self) -> Self {
        Self { applies: Applies::Restart, ..self }
    }

    /// Marks a setting that is read only at a start, to decide whether this host is a member.
    pub(super) const fn at_start(self) -> Self {
        Self { applies: Applies::NextStart, ..self }
    }

    /// Returns the setting's environment variable.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// Names are unique.
impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Setting {}

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
