//! `etcd-proxy-reason`: the header (in gRPC also a trailer) by which a client tells an answer of
//! the proxy from a member's, and that says why there is one.
//!
//! The texts of some answers are fixed by the clients that compare them (`client/v3/retry.go` at
//! v3.5.9, isSafeRetryMutableRPC) and say neither. `docs/client-texts.md` lists every value; they
//! are stable.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header's name.
pub const REASON: HeaderName = HeaderName::from_static("etcd-proxy-reason");

/// Why the proxy answered in a member's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No member is known that may get requests.
    NoEndpoints,
    /// No address proved that it belongs to the cluster; nothing was sent.
    Unproved,
    /// No member speaks HTTP at a URL that it advertises.
    NoHttp,
    /// No member could be reached; nothing was sent.
    Unreachable,
    /// Kept connections were gone before anything was sent.
    NotSent,
    /// Members refused the request without acting on it.
    RefusedByMember,
    /// The connection to the member was lost; it may have acted.
    ConnectionLost,
    /// The member stopped answering; it may have acted.
    MemberSilent,
    /// The member stopped answering within a stream, or is no longer listed.
    MemberUnavailable,
    /// The request did not arrive whole.
    RequestIncomplete,
    /// The client connection has as many long streams open as it may, each on an HTTP/1.1
    /// connection to a member.
    TooManyStreams,
    /// This proxy is stopping.
    Stopping,
    /// A write, or what might be one, and this proxy is readonly.
    Readonly,
    /// Readonly, and too large to be looked into.
    TooLarge,
    /// The request had passed through this proxy before.
    Loop,
    /// Two parsers could read the request in two ways.
    Malformed,
    /// The host that was named is not one of this proxy's.
    HostNotAllowed,
    /// The member's list cannot be rewritten, and `rewrite-members` is set.
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

    /// Sets the header, in place of any that is there.
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
