//! `etcd-proxy-reason`: the header (in gRPC also a trailer) that marks an answer as the proxy's own
//! rather than a member's, and gives the reason for it.
//!
//! The texts of some answers cannot say either: they are fixed, because clients compare them
//! (`client/v3/retry.go` at v3.5.9, isSafeRetryMutableRPC). `docs/client-texts.md` lists every
//! value; they are stable.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header's name.
pub const REASON: HeaderName = HeaderName::from_static("etcd-proxy-reason");

/// Why the proxy answered instead of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No known member may get requests.
    NoEndpoints,
    /// No address has proved that it belongs to the cluster; nothing was sent.
    Unproved,
    /// No member serves HTTP at a URL that it advertises.
    NoHttp,
    /// No member could be reached; nothing was sent.
    Unreachable,
    /// Pooled connections were closed before anything was sent.
    NotSent,
    /// Members refused the request without acting on it.
    RefusedByMember,
    /// The connection to the member was lost; it may have acted.
    ConnectionLost,
    /// The member stopped answering; it may have acted.
    MemberSilent,
    /// The member stopped answering within a stream, or is no longer listed.
    MemberUnavailable,
    /// The request did not arrive completely.
    RequestIncomplete,
    /// The client connection is at its limit of long streams, each of which takes an HTTP/1.1
    /// connection to a member.
    TooManyStreams,
    /// This proxy is stopping.
    Stopping,
    /// The request is a write, or might be one, and this proxy is readonly.
    Readonly,
    /// This proxy is readonly, and the request is too large to be inspected.
    TooLarge,
    /// The request has passed through this proxy before.
    Loop,
    /// Two parsers could disagree about the request.
    Malformed,
    /// The request names a host that is not one of this proxy's.
    HostNotAllowed,
    /// The member list in the member's reply cannot be rewritten, and `rewrite-members` is set.
    MemberList,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::NoEndpoints,
        Self::Unproved,
        Self::NoHttp,
        Self::Unreachable,
        Self::NotSent,
        Self::RefusedByMember,
        Self::ConnectionLost,
        Self::MemberSilent,
        Self::MemberUnavailable,
        Self::RequestIncomplete,
        Self::TooManyStreams,
        Self::Stopping,
        Self::Readonly,
        Self::TooLarge,
        Self::Loop,
        Self::Malformed,
        Self::HostNotAllowed,
        Self::MemberList,
    ];

    /// Returns the header's value.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoEndpoints => "no-endpoints",
            Self::Unproved => "cluster-unproved",
            Self::NoHttp => "no-http",
            Self::Unreachable => "unreachable",
            Self::NotSent => "not-sent",
            Self::RefusedByMember => "refused-by-member",
            Self::ConnectionLost => "connection-lost",
            Self::MemberSilent => "member-silent",
            Self::MemberUnavailable => "member-unavailable",
            Self::RequestIncomplete => "request-incomplete",
            Self::TooManyStreams => "too-many-streams",
            Self::Stopping => "stopping",
            Self::Readonly => "readonly",
            Self::TooLarge => "too-large",
            Self::Loop => "loop",
            Self::Malformed => "malformed",
            Self::HostNotAllowed => "host-not-allowed",
            Self::MemberList => "member-list",
        }
    }

    /// Sets the header, replacing any present value.
    pub fn set(self, headers: &mut HeaderMap) {
        headers.insert(REASON, HeaderValue::from_static(self.text()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_documented() {
        let page = include_str!("../../docs/client-texts.md");
        for reason in Reason::ALL {
            let row = format!("| `{}` |", reason.text());
            assert!(page.contains(&row), "docs/client-texts.md has no row that begins with {row}");
        }
    }
}
