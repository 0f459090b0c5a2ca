//! The enums of a snapshot, each variant one word in its JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Mode;

/// Declares an enum whose variants are serialised as words. `Unknown` stands for a missing field
/// and for a word that only a newer daemon knows.
macro_rules! states {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $state:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            /// None of the others.
            #[default]
            Unknown,
            $($(#[$doc])* $state,)*
        }

        impl $name {
            /// Returns its word in JSON; empty for `Unknown`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Unknown => "",
                    $(Self::$state => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(match &*String::deserialize(deserializer)? {
                    $($word => Self::$state,)*
                    _ => Self::Unknown,
                })
            }
        }
    };
}

states! {
    /// What last showed that an endpoint's member lives.
    EvidenceKind {
        /// It answered a request.
        Answered = "answered",
        /// It answered a probe, which asks a quorum.
        Probed = "probed",
        /// It answered by itself, and no quorum was asked or answered.
        Checked = "checked",
    }
}

states! {
    /// Whether writes are forwarded.
    ServingMode {
        /// Reads and writes are forwarded.
        Readwrite = "readwrite",
        /// Only requests known to be reads are forwarded.
        Readonly = "readonly",
    }
}

impl From<Mode> for ServingMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Readwrite => Self::Readwrite,
            Mode::Readonly => Self::Readonly,
        }
    }
}

states! {
    /// The kind of object in a TLS file that expires.
    CertificateKind {
        /// A certificate of our own.
        Certificate = "certificate",
        /// The authority of a CA file that expires first.
        Authority = "authority",
        /// A revocation list.
        RevocationList = "revocation list",
    }
}

states! {
    /// Whether an endpoint has proved that it belongs to the cluster.
    Proof {
        /// It has proved it.
        Proved = "proved",
        /// It belongs to another cluster, or gave no proof although one is required; it gets no
        /// requests.
        Failed = "failed",
        /// It has not been asked or has not answered yet.
        NotYet = "not yet",
        /// No proof can be had, and `require-cluster-proof = false` lets requests go there.
        None = "none",
    }
}

states! {
    /// The result of a reload.
    ReloadResult {
        /// A new generation is in force.
        Applied = "applied",
        /// The settings were already in force.
        Unchanged = "unchanged",
        /// The settings cannot be used; nothing changed.
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_word_in_json_and_a_word_of_a_newer_daemon_is_none_of_them() {
        let written = serde_json::to_string(&Proof::NotYet).unwrap();
        assert_eq!(written, "\"not yet\"");
        assert_eq!(serde_json::from_str::<Proof>(&written).unwrap(), Proof::NotYet);
        assert_eq!(serde_json::from_str::<Proof>("\"sworn\"").unwrap(), Proof::Unknown);
        assert_eq!(serde_json::to_string(&Proof::Unknown).unwrap(), "\"\"");
    }
}
