//! One row of the table of settings.

use super::kind::{Kind, Store};

/// One setting, as documented.
#[derive(Debug)]
pub struct Setting {
    /// The kebab-case name.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// The field that takes its value.
    pub(in crate::config) store: Store,
    /// The built-in default, written as a flag's value would be; empty when there is none or when
    /// it is computed.
    pub default: &'static str,
    /// Where `--help` lists it.
    pub group: Group,
    /// How far it works here.
    pub support: Support,
    /// When a change of it is in force.
    pub applies: Applies,
    /// Whether it is ours, not etcd's.
    pub ours: bool,
    /// What it does, in one sentence.
    pub doc: &'static str,
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

/// When the changed value of a setting is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// With the reload.
    Live,
    /// At a restart; a reload that changes it is refused.
    Restart,
    /// At the next start; a reload accepts it, and nothing changes until then.
    NextStart,
    /// Never: the setting has no effect here.
    Never,
}

impl Setting {
    /// Says that a running daemon cannot change it.
    pub(super) const fn fixed(self) -> Self {
        Self { applies: Applies::Restart, ..self }
    }

    /// Says that it decides at a start whether this host is a member, and is not looked at
    /// afterwards.
    pub(super) const fn at_start(self) -> Self {
        Self { applies: Applies::NextStart, ..self }
    }

    /// Returns the name of its environment variable.
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
