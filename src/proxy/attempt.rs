//! One attempt: sends one request to one member, up to the point where its response can be passed
//! on.

use std::pin::pin;
use std::rc::Rc;

use http::Response;

use super::classify::{Protocol, Route};
use super::client::Client;
use super::failure::Failure;
use super::hung::Carrier;
use super::member_body::MemberBody;
use super::outgoing::Outgoing;
use super::retry::may_retry;
use super::waiting;
use crate::message::headers::remove_hop_by_hop;
use crate::message::rpc::RpcKind;
use crate::tls::HandshakeError;
use crate::upstream::connect_error::ConnectError;
use crate::upstream::http1::ask::{self, Unanswered};
use crate::upstream::http2::{self, PoolKind};
use crate::upstream::protocols::{Api, Denial};
use crate::upstream::silence::HUNG_AFTER;
use crate::upstream::worker_endpoint::WorkerEndpoint;
use crate::upstream::{http1, http2::Connection};

/// Why an attempt failed.
pub struct Failed {
    /// Decides on a retry and on the answer to the client.
    pub failure: Failure,
    /// The blame that it puts on the member.
    pub blame: Blame,
}

/// The blame that a failed attempt puts on its member.
#[derive(PartialEq, Eq)]
pub enum Blame {
    /// No blame: the cause is this host or the client, or the proxy is stopping.
    Nothing,
    /// No request could be sent on its HTTP/2 connection.
    Stuck,
    /// The member failed, with the reason for the log.
    Because(String),
}

impl Blame {
    /// Returns the reason for the log; `None` when the member is not to blame.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Stuck => Some(STUCK),
            Self::Because(text) => Some(text),
        }
    }
}

impl Failed {
    /// Describes a member that could not be reached; nothing was sent. The member is not blamed
    /// when it was never asked, or when the trouble is this host's own.
    pub fn unreachable(error: &ConnectError) -> Self {
        let failure = if error.is_unproved() { Failure::Unproved } else { Failure::Unreachable };
        if error.is_ours() { Self::blameless(failure) } else { Self::because(failure, error) }
    }

    /// Describes a member that rejected the TLS handshake. TLS 1.3 reports that only after the
    /// request was sent; the member has not looked at the request.
    fn refused(upstream: &WorkerEndpoint, why: &HandshakeError) -> Self {
        Self::unreachable(&upstream.connect_error(why))
    }

    /// Describes a request that was given up while it waited. A member that stays silent until a
    /// write is given up has hung, so it is avoided even when nothing probes it.
    fn while_waiting(failure: Failure, kind: RpcKind) -> Self {
        match (failure, kind) {
            (Failure::Silent, RpcKind::Write) => {
                Self::because(failure, format_args!("no sign of life for {HUNG_AFTER:?}"))
            }
            _ => Self::blameless(failure),
        }
    }

    /// Describes a failure that the member is not blamed for.
    pub fn blameless(failure: Failure) -> Self {
        Self { failure, blame: Blame::Nothing }
    }

    /// Describes a failure that the member is blamed for, with `text` as the reason.
    pub fn because(failure: Failure, text: impl std::fmt::Display) -> Self {
        Self { failure, blame: Blame::Because(text.to_string()) }
    }

    /// Returns whether nothing could be sent on the connection, so that a new one is worth a try.
    fn is_stuck(&self) -> bool {
        self.blame == Blame::Stuck && self.failure.nothing_was_done()
    }
}

/// Sends a request to `upstream`'s member and waits for the head of its response. For gRPC reads it
/// also buffers short bodies: while nothing was forwarded, they can be retried on another member.
/// An HTTP/2 connection on which nothing could be sent is replaced, unless it already replaced a
/// stuck one.
///
/// # Errors
/// [`Failed`]; [`Outgoing::is_ready`] tells whether the request can be sent again.
pub async fn attempt(
    client: &Client,
    upstream: &Rc<WorkerEndpoint>,
    route: &Route,
    outgoing: &mut Outgoing,
) -> Result<Response<MemberBody>, Failed> {
    let kind = route.kind;
    let carrier = Carrier::default();
    let sent = pin!(async {
        match route.protocol {
            Protocol::Grpc(_) => {
                let failed = match over_http2(client, upstream, kind, outgoing, &carrier).await {
                    Err(failed) if failed.is_stuck() => failed,
                    answer => return answer.map(|response| response.map(MemberBody::Http2)),
                };
                let is_stuck_again =
                    carrier.take().is_some_and(|connection| upstream.note_stuck(&connection));
                if is_stuck_again || !outgoing.is_ready() {
                    return Err(failed);
                }
                drop(failed);
                // Boxed, so that the future of every request does not carry what few need.
                Box::pin(over_http2(client, upstream, kind, outgoing, &carrier))
                    .await
                    .map(|response| response.map(MemberBody::Http2))
            }
            Protocol::Json(_) | Protocol::Http => over_http1(client, upstream, kind, outgoing)
                .await
                .map(|response| response.map(MemberBody::Http1)),
        }
    });
    waiting::await_or_abort(sent, &client.worker, upstream, kind, &carrier)
        .await
        .unwrap_or_else(|failure| Err(Failed::while_waiting(failure, kind)))
}

/// Sends a request over HTTP/1.1. A kept connection may turn out to be closed by the member; then,
/// if the retry rules allow it, a new connection is tried before the member is given up.
async fn over_http1(
    client: &Client,
    upstream: &Rc<WorkerEndpoint>,
    kind: RpcKind,
    outgoing: &mut Outgoing,
) -> Result<Response<http1::ResponseBody>, Failed> {
    let protocols = &upstream.endpoint.protocols;
    if kind != RpcKind::Read && protocols.speaks(Api::Http) != Some(true) {
        // A gRPC-only listener may swallow the request, and only a read could be retried then.
        // Probe first.
        Box::pin(find_out(upstream)).await?;
    }
    let mut connection = upstream.http1().await.map_err(|error| Failed::unreachable(&error))?;
    loop {
        let was_kept = connection.was_kept();
        let Some((head, body)) = outgoing.for_http1(client, &upstream.endpoint) else {
            return Err(Failed::blameless(Failure::Lost));
        };
        let send_error = match connection.send(&head, body, upstream.idle().clone()).await {
            Ok(response) => {
                protocols.confirm(Api::Http);
                return Ok(response);
            }
            Err(send_error) => send_error,
        };
        if matches!(send_error.error, http1::Error::Http2) {
            ask::deny(upstream, Denial::Answered);
            return Err(Failed::blameless(Failure::NoHttp));
        }
        if send_error.error.is_clients() {
            return Err(Failed::blameless(Failure::Incomplete));
        }
        if let Some(why) = &send_error.refusal {
            return Err(Failed::refused(upstream, why));
        }
        let failure = if send_error.unsent { Failure::NotSent } else { Failure::Lost };
        if !(was_kept && may_retry(kind, failure) && outgoing.is_ready()) {
            let never_spoke = !was_kept && matches!(send_error.error, http1::Error::Closed);
            if never_spoke {
                protocols.forget(Api::Http);
            }
            if never_spoke && kind == RpcKind::Read && upstream.endpoint.is_tls() {
                Box::pin(find_out(upstream)).await?;
            }
            let likely_cause = upstream.explain_silent_close().filter(|_| never_spoke);
            return Err(Failed::because(failure, describe(&send_error.error, likely_cause)));
        }
        connection =
            Box::pin(upstream.new_http1()).await.map_err(|error| Failed::unreachable(&error))?;
    }
}

/// Reason in the log for [`Blame::Stuck`].
const STUCK: &str = "no request could be sent on its connection (HTTP/2 window or stream limit)";

/// Sends a request over HTTP/2. A kept connection that is closing before anything was sent is
/// replaced once.
async fn over_http2(
    client: &Client,
    upstream: &Rc<WorkerEndpoint>,
    kind: RpcKind,
    outgoing: &mut Outgoing,
    carrier: &Carrier,
) -> Result<Response<Box<http2::ResponseBody>>, Failed> {
    let pool_kind = match kind {
        RpcKind::Read | RpcKind::Write => PoolKind::Unary,
        RpcKind::Stream => PoolKind::Streams,
        RpcKind::Bulk => PoolKind::Bulk,
    };
    let connection = ready_http2(client, upstream, pool_kind).await?;
    carrier.set(Some(connection.clone()));
    let Some((head, body)) = outgoing.for_http2(client, &upstream.endpoint) else {
        return Err(Failed::blameless(Failure::Lost));
    };
    let mut answer = connection.send(head, body).await;
    if kind == RpcKind::Read
        && let Ok(response) = &mut answer
        && let Err(error) = response.body_mut().hold().await
    {
        answer = Err(error);
    }
    match answer {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            Ok(response)
        }
        Err(error) if let Some(unsent) = http2::was_stuck(&error) => {
            let failure = if unsent { Failure::NotSent } else { Failure::Lost };
            Err(Failed { failure, blame: Blame::Stuck })
        }
        Err(error) if http2::was_refused(&error) => Err(Failed::blameless(Failure::Refused)),
        Err(error) if http2::was_reset_by_us(&error) => Err(Failed::blameless(Failure::Incomplete)),
        Err(error) if error.is_reset() => {
            let reason = error.reason().filter(|_| error.is_remote());
            Err(Failed::blameless(reason.map_or(Failure::Lost, Failure::Reset)))
        }
        Err(_) if let Some(why) = connection.refusal() => Err(Failed::refused(upstream, why)),
        Err(error) => {
            let likely_cause = upstream.explain_silent_close().filter(|_| connection.is_mute());
            Err(Failed::because(Failure::Lost, describe(&error, likely_cause)))
        }
    }
}

/// Probes whether the member's URL speaks HTTP, before any part of a request is sent there.
pub async fn find_out(upstream: &Rc<WorkerEndpoint>) -> Result<(), Failed> {
    ask::find_out(upstream).await.map_err(|unanswered| match unanswered {
        _ if upstream.endpoint.protocols.speaks(Api::Http) == Some(false) => {
            Failed::blameless(Failure::NoHttp)
        }
        Unanswered::Connect(error) => Failed::unreachable(&error),
        Unanswered::Failed(error) => Failed::because(Failure::NotSent, error),
        Unanswered::Late => {
            Failed::because(Failure::NotSent, "it does not say its version over HTTP")
        }
    })
}

async fn ready_http2(
    client: &Client,
    upstream: &Rc<WorkerEndpoint>,
    pool_kind: PoolKind,
) -> Result<Rc<Connection>, Failed> {
    for _ in 0..2 {
        let connection = client.connection(upstream, pool_kind).await.map_err(|error| {
            match upstream.endpoint.protocols.speaks(Api::Grpc) {
                Some(false) => Failed::blameless(Failure::Unreachable),
                _ => Failed::unreachable(&error),
            }
        })?;
        if connection.is_ready().await {
            return Ok(connection);
        }
        if let Some(why) = connection.refusal() {
            return Err(Failed::refused(upstream, why));
        }
    }
    Err(Failed::because(Failure::NotSent, "connections close as soon as they are made"))
}

/// Formats an error with its causes on one line, or `better` instead when a likelier cause is
/// known.
fn describe(error: &dyn std::error::Error, better: Option<ConnectError>) -> String {
    if let Some(better) = better {
        return better.to_string();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let detail = error.to_string();
        if !text.contains(&detail) {
            text.push_str(": ");
            text.push_str(&detail);
        }
        cause = error.source();
    }
    text
}
