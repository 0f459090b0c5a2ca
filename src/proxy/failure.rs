//! Every reason why no member answers a request, and what the client is told.

use bytes::Bytes;
use h2::Reason as ResetReason;
use http::{Response, StatusCode};

use crate::message::reason::Reason;
use crate::message::reply::{self, Code, Dialect};

/// Why an attempt, or the whole request, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No member is known at all.
    NoEndpoints,
    /// The member could not be reached; nothing was sent.
    Unreachable,
    /// The member's address did not prove that it belongs to the cluster that is served; nothing
    /// was sent.
    Unproved,
    /// No URL of a usable member speaks HTTP; nothing was sent.
    NoHttp,
    /// The connection was gone before anything was sent on it.
    NotSent,
    /// The member refused the stream or was shutting down (GOAWAY); it is sure not to have acted.
    Refused,
    /// The connection ended after the request was sent and before its answer came.
    Lost,
    /// The member reset the stream and sent nothing else; gRPC clients get the same reset.
    Reset(ResetReason),
    /// The client broke off its request's body; no member is to blame, and no other could do
    /// better.
    Incomplete,
    /// The member gave no sign of life while the request waited.
    Silent,
    /// The client has reached its limit of long streams over HTTP/1.1.
    TooMany,
    /// The proxy is stopping and the time for draining is over.
    Stopping,
}

/// Message for a client when no member can answer over HTTP.
const NO_HTTP: &str = "etcd-proxy: no member speaks HTTP at a client URL that it advertises; with listen-client-http-urls \
                       members speak gRPC alone at the others";

impl Failure {
    /// Returns whether the member is sure not to have acted on the request.
    pub fn nothing_was_done(self) -> bool {
        match self {
            Self::NoEndpoints
            | Self::NoHttp
            | Self::Unreachable
            | Self::Unproved
            | Self::NotSent
            | Self::Refused
            | Self::TooMany => true,
            Self::Lost | Self::Reset(_) | Self::Incomplete | Self::Silent | Self::Stopping => false,
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::NoEndpoints => Reason::NoEndpoints,
            Self::Unproved => Reason::Unproved,
            Self::NoHttp => Reason::NoHttp,
            Self::Unreachable => Reason::Unreachable,
            Self::NotSent => Reason::NotSent,
            Self::Refused => Reason::RefusedByMember,
            Self::Lost | Self::Reset(_) => Reason::ConnectionLost,
            Self::Incomplete => Reason::RequestIncomplete,
            Self::Silent => Reason::MemberSilent,
            Self::TooMany => Reason::TooManyStreams,
            Self::Stopping => Reason::Stopping,
        }
    }

    /// Builds the answer to the client; `endpoints` is how many members there were to try.
    ///
    /// Go's client resends a write only on the exact text that says nothing was sent
    /// (`client/v3/retry.go`, isSafeRetryMutableRPC), so that text is used only when that is true.
    pub fn reply(self, dialect: Dialect, endpoints: usize) -> Response<Bytes> {
        let status = match self {
            Self::NoEndpoints | Self::Unproved | Self::TooMany | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Incomplete => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        };
        let message = match (dialect, self) {
            (Dialect::Grpc, _) if self.nothing_was_done() => {
                "there is no connection available".into()
            }
            (Dialect::Grpc, Self::Silent) => "etcd-proxy: the member stopped answering".into(),
            (Dialect::Grpc, Self::Lost | Self::Reset(_)) => {
                "etcd-proxy: the connection to the member was lost".into()
            }
            (_, Self::Incomplete) => "etcd-proxy: the request did not arrive whole".into(),
            (_, Self::TooMany) => "etcd-proxy: too many streams on one connection".into(),
            (_, Self::Stopping) => "etcd-proxy: stopping".into(),
            (_, Self::NoEndpoints | Self::Unproved) => {
                "httpproxy: zero endpoints currently available".into()
            }
            (_, Self::NoHttp) => NO_HTTP.into(),
            _ => format!("httpproxy: unable to get response from {endpoints} endpoint(s)"),
        };
        let code = match self {
            Self::Incomplete => Code::InvalidArgument,
            _ => Code::Unavailable,
        };
        reply::refusal(dialect, status, code, self.reason(), &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_clients_may_resend_a_write_only_when_nothing_was_done() {
        let all = [
            Failure::NoEndpoints,
            Failure::NoHttp,
            Failure::Unreachable,
            Failure::Unproved,
            Failure::NotSent,
            Failure::Refused,
            Failure::Lost,
            Failure::Incomplete,
            Failure::Silent,
            Failure::TooMany,
            Failure::Stopping,
        ];
        for failure in all {
            let reply = failure.reply(Dialect::Grpc, 3);
            let safe = reply.headers()["grpc-message"] == "there is no connection available";
            assert_eq!(safe, failure.nothing_was_done(), "{failure:?}");
            let status = if failure == Failure::Incomplete { "3" } else { "14" };
            assert_eq!(reply.headers()["grpc-status"], status);
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(reply.headers()["etcd-proxy-reason"], failure.reason().text());
        }
    }

    #[test]
    fn plain_http_gets_the_words_of_etcds_proxy() {
        let reply = Failure::NoEndpoints.reply(Dialect::Http, 0);
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.body(), "{\"message\":\"httpproxy: zero endpoints currently available\"}");
        let reply = Failure::Lost.reply(Dialect::Http, 3);
        assert_eq!(reply.status(), 502);
        assert_eq!(
            reply.body(),
            "{\"message\":\"httpproxy: unable to get response from 3 endpoint(s)\"}"
        );
    }
}
