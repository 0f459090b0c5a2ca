//! Why a member could not be connected to, and what that says about it.

use std::rc::Rc;

use crate::net::dial::{DialError, DialReason};
use crate::net::lookup::LookupError;

/// Why no connection could be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    text: Rc<str>,
    kind: Kind,
    /// Whether a proof is missing only for now, and another attempt may get one.
    is_passing: bool,
}

/// The kind of failure, from which callers decide what it means for the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No connection could be made.
    Unreachable,
    /// The connection broke before the other side had named its cluster.
    Broken,
    /// This host's own trouble, or the member was never asked.
    Ours,
    /// The member answered, though not as it should, or its name was not found. Says nothing about
    /// open connections.
    SparesOpen,
    /// It answered without proving that it belongs to the cluster.
    Unproved,
}

impl ConnectError {
    /// Creates one with the text of `error`, of the kind `Unreachable`.
    pub fn new(error: &impl std::fmt::Display) -> Self {
        Self { text: error.to_string().into(), kind: Kind::Unreachable, is_passing: false }
    }

    /// Creates the error of a call that waited for another call's attempt.
    pub fn after_another() -> Self {
        let text = "the connection attempt that this call waited for failed";
        Self { text: text.into(), kind: Kind::Ours, is_passing: true }
    }

    /// Sets the kind of failure.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Sets whether another attempt may get a proof.
    pub(super) fn passing(self, is_passing: bool) -> Self {
        Self { is_passing, ..self }
    }

    /// Returns the kind of failure.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns whether the member is not to blame: it was never asked, or the trouble is this
    /// host's own.
    pub fn is_ours(&self) -> bool {
        self.kind == Kind::Ours
    }

    /// Returns whether it says nothing about connections that are open: the member answered, though
    /// not as it should, or its name was not found.
    pub fn spares_open(&self) -> bool {
        matches!(self.kind, Kind::SparesOpen | Kind::Unproved)
    }

    /// Returns whether the address answered without proving that it belongs to the cluster.
    pub fn is_unproved(&self) -> bool {
        self.kind == Kind::Unproved
    }

    /// Returns whether another attempt may soon get a proof: the last one ended without a definite
    /// answer.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// Returns whether there was a connection, and it broke.
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
