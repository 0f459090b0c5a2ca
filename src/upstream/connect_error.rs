//! Why a member could not be connected to, and whom that speaks against.

use std::rc::Rc;

use crate::net::dial::{DialError, DialReason};
use crate::net::lookup::LookupError;

/// Why no connection could be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    text: Rc<str>,
    kind: Kind,
    /// Whether there was no proof this time, and one may be had soon.
    is_passing: bool,
}

/// What kind of trouble kept us from a connection, for those who decide what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is none.
    Unreachable,
    /// There was one, and it broke before anybody had said who is there.
    Broken,
    /// This host's own, or the member was never asked.
    Ours,
    /// The member has answered, though not as it should, or its name was not found.
    SparesOpen,
    /// It answered, and did not prove that it belongs to the cluster.
    Unproved,
}

impl ConnectError {
    /// Makes one that says what `error` says.
    pub fn new(error: &impl std::fmt::Display) -> Self {
        Self { text: error.to_string().into(), kind: Kind::Unreachable, is_passing: false }
    }

    /// Makes the one for a call that waited for another call's attempt.
    pub fn after_another() -> Self {
        let text = "the connection attempt that this call waited for failed";
        Self { text: text.into(), kind: Kind::Ours, is_passing: true }
    }

    /// Says the same, with another kind of trouble.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Says whether a proof may be had soon.
    pub(super) fn passing(self, is_passing: bool) -> Self {
        Self { is_passing, ..self }
    }

    /// The kind of trouble.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the member is not to blame: it was never asked, or the trouble is this host's own.
    pub fn is_ours(&self) -> bool {
        self.kind == Kind::Ours
    }

    /// Whether it says nothing against connections that are open: the member has answered, though
    /// not as it should, or its name was not found.
    pub fn spares_open(&self) -> bool {
        matches!(self.kind, Kind::SparesOpen | Kind::Unproved)
    }

    /// Whether the address answered, and did not prove that it belongs to the cluster.
    pub fn is_unproved(&self) -> bool {
        self.kind == Kind::Unproved
    }

    /// Whether it was no answer, so that another try for a proof may soon end otherwise.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// Whether there was a connection, which broke.
    pub fn is_broken(&self) -> bool {
        self.kind == Kind::Broken
    }
}

impl From<DialError> for ConnectError {
    fn from(error: DialError) -> Self {
        let kind = match &error.reason {
            DialReason::Lookup(LookupError::NotFound) | DialReason::NoMemberAddress(..) => {
                Kind::SparesOpen
            }
            reason if reason.is_ours() => Kind::Ours,
            _ => Kind::Unreachable,
        };
        Self { text: error.to_string().into(), kind, is_passing: false }
    }
}
