//! Counters of the data plane: one [`WorkerCounters`] per worker, written by that worker alone.
//!
//! A counter with a single writer needs no locked instruction: the worker loads, adds and stores,
//! all relaxed, and the control plane may read at any time. Two writers would lose counts (nothing
//! worse), so each worker has its own. Everything is an array indexed by a small number: counting
//! neither allocates nor hashes nor locks. Counters never go down; numbers in flight are the
//! difference of two of them.

mod buckets;
mod count;
mod methods;
mod rpc;

use std::time::Duration;

pub use buckets::{HTTP_BOUNDS, RPC_BOUNDS};
pub use count::Count;
pub use methods::{Dropped, HttpMethod, MethodCounters};
pub use rpc::{CODE_NAMES, RpcCounters};

use super::snapshot::TrafficStatus;

/// Why a request was retried on another connection or member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// No connection to the member could be made.
    ConnectFailed,
    /// A kept connection was closed before the request went out on it.
    NotSent,
    /// The member refused the stream or was going away, and has certainly not acted on it.
    StreamRefused,
    /// The connection was lost before the response head, and the request was a read.
    ConnectionLost,
    /// The member became unhealthy while a read waited for it.
    MemberUnhealthy,
}

impl RetryReason {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 5] = [
        Self::ConnectFailed,
        Self::NotSent,
        Self::StreamRefused,
        Self::ConnectionLost,
        Self::MemberUnhealthy,
    ];

    /// Returns the value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::NotSent => "not_sent",
            Self::StreamRefused => "stream_refused",
            Self::ConnectionLost => "connection_lost",
            Self::MemberUnhealthy => "member_unhealthy",
        }
    }
}

/// Why it is unknown whether a write was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnansweredWrite {
    /// The connection was lost, or `proxy-read-timeout` or `proxy-write-timeout` expired, after the
    /// write was sent.
    ConnectionLost,
    /// The member showed no sign of life for 5 s.
    MemberSilent,
}

impl UnansweredWrite {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 2] = [Self::ConnectionLost, Self::MemberSilent];

    /// Returns the value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection_lost",
            Self::MemberSilent => "member_silent",
        }
    }

    /// Returns a description for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::ConnectionLost => "the connection to the member was lost",
            Self::MemberSilent => "the member stopped answering",
        }
    }
}

/// Why a client connection failed because of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTlsError {
    /// The client sent TLS to a listener without TLS.
    TlsToPlain,
    /// The client sent plain HTTP to a listener with TLS.
    PlainToTls,
    /// The handshake failed.
    Handshake,
}

impl ClientTlsError {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 3] = [Self::TlsToPlain, Self::PlainToTls, Self::Handshake];

    /// Returns the value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::TlsToPlain => "tls_to_plain",
            Self::PlainToTls => "plain_to_tls",
            Self::Handshake => "handshake",
        }
    }
}

/// All counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    methods: [MethodCounters; HttpMethod::ALL.len()],
    /// HTTP requests that are over, however they ended.
    http_ended: Count,
    rpcs: Box<[RpcCounters]>,
    retries: [Count; RetryReason::ALL.len()],
    writes_refused: Count,
    loops_refused: Count,
    malformed: Count,
    connections_shed: Count,
    writes_unanswered: [Count; UnansweredWrite::ALL.len()],
    client_tls_errors: [Count; ClientTlsError::ALL.len()],
    connections_opened: Count,
    connections_closed: Count,
}

impl WorkerCounters {
    /// Creates counters at zero, with one set for each of `rpcs` kinds of gRPC call.
    pub fn new(rpcs: usize) -> Self {
        Self {
            methods: [const { MethodCounters::new() }; HttpMethod::ALL.len()],
            http_ended: Count::new(),
            rpcs: (0..rpcs).map(|_| RpcCounters::new()).collect(),
            retries: [const { Count::new() }; RetryReason::ALL.len()],
            writes_refused: Count::new(),
            loops_refused: Count::new(),
            malformed: Count::new(),
            connections_shed: Count::new(),
            writes_unanswered: [const { Count::new() }; UnansweredWrite::ALL.len()],
            client_tls_errors: [const { Count::new() }; ClientTlsError::ALL.len()],
            connections_opened: Count::new(),
            connections_closed: Count::new(),
        }
    }

    /// Counts an incoming HTTP request. It must be followed by exactly one of
    /// [`Self::http_finished`], [`Self::http_abandoned`], and [`Self::http_dropped`] with a reason
    /// that ends the request.
    #[inline]
    pub fn http_started(&self, method: HttpMethod) {
        self.methods[method as usize].started.add(1);
    }

    /// Counts an HTTP request that a member answered with `status`, when it is over. `took` is the
    /// time from the request head to the response head, as etcd's proxy measured it.
    #[inline]
    pub fn http_finished(&self, method: HttpMethod, status: u16, took: Duration) {
        self.methods[method as usize].finished(status, took);
        self.http_ended.add(1);
    }

    /// Counts a failure to serve an HTTP request. [`Dropped::FailedSendingRequest`] is one failed
    /// attempt and leaves the request in flight; the other reasons end it.
    #[inline]
    pub fn http_dropped(&self, method: HttpMethod, reason: Dropped) {
        self.methods[method as usize].dropped[reason as usize].add(1);
        if reason != Dropped::FailedSendingRequest {
            self.http_ended.add(1);
        }
    }

    /// Counts the end of an HTTP request that was neither answered by a member nor dropped: the
    /// client left, or we answered it ourselves (a refused write, a loop).
    #[inline]
    pub fn http_abandoned(&self) {
        self.http_ended.add(1);
    }

    /// Counts an incoming gRPC call. `rpc` is its index in the table of names; an index beyond the
    /// table is not counted. Exactly one [`Self::rpc_finished`] must follow.
    #[inline]
    pub fn rpc_started(&self, rpc: usize) {
        if let Some(rpc) = self.rpcs.get(rpc) {
            rpc.started.add(1);
        }
    }

    /// Counts a gRPC call that ended with the gRPC status `code`, set by the member or by us (1,
    /// Canceled, if the client left). `took` is the time from the request head to the end of the
    /// call: the whole life of a stream.
    #[inline]
    pub fn rpc_finished(&self, rpc: usize, code: u8, took: Duration) {
        if let Some(rpc) = self.rpcs.get(rpc) {
            rpc.finished(code, took);
        }
    }

    /// Counts a retry of a request.
    #[inline]
    pub fn retried(&self, reason: RetryReason) {
        self.retries[reason as usize].add(1);
    }

    /// Counts a write that was refused because the proxy is readonly.
    #[inline]
    pub fn write_refused(&self) {
        self.writes_refused.add(1);
    }

    /// Counts a request that was refused because it had already passed through this proxy.
    #[inline]
    pub fn loop_refused(&self) {
        self.loops_refused.add(1);
    }

    /// Counts an idle client connection that is closed because memory is short.
    pub fn connection_shed(&self) {
        self.connections_shed.add(1);
    }

    /// Counts a malformed request, or bytes sent in place of one, that was refused.
    pub fn malformed_refused(&self) {
        self.malformed.add(1);
    }

    /// Counts a write that was not answered but may have been carried out.
    pub fn write_unanswered(&self, reason: UnansweredWrite) {
        self.writes_unanswered[reason as usize].add(1);
    }

    /// Counts a client connection that failed because of TLS.
    pub fn client_tls_failed(&self, error: ClientTlsError) {
        self.client_tls_errors[error as usize].add(1);
    }

    /// Counts a client connection that was accepted.
    #[inline]
    pub fn connection_opened(&self) {
        self.connections_opened.add(1);
    }

    /// Counts a client connection that is gone.
    #[inline]
    pub fn connection_closed(&self) {
        self.connections_closed.add(1);
    }

    /// Returns the counts of one HTTP method.
    pub fn method(&self, method: HttpMethod) -> &MethodCounters {
        &self.methods[method as usize]
    }

    /// Returns the counts of one kind of gRPC call; `None` if the index is beyond the table.
    pub fn rpc(&self, rpc: usize) -> Option<&RpcCounters> {
        self.rpcs.get(rpc)
    }

    /// Returns the number of retries for `reason`.
    pub fn retries(&self, reason: RetryReason) -> u64 {
        self.retries[reason as usize].value()
    }

    /// Returns how many writes were refused in readonly mode.
    pub fn writes_refused(&self) -> u64 {
        self.writes_refused.value()
    }

    /// Returns how many requests were refused as loops.
    pub fn loops_refused(&self) -> u64 {
        self.loops_refused.value()
    }

    /// Returns how many idle connections were closed because memory was short.
    pub fn shed(&self) -> u64 {
        self.connections_shed.value()
    }

    /// Returns how many requests were refused as malformed.
    pub fn malformed(&self) -> u64 {
        self.malformed.value()
    }

    /// Returns how many writes were not answered for `reason`.
    pub fn writes_unanswered(&self, reason: UnansweredWrite) -> u64 {
        self.writes_unanswered[reason as usize].value()
    }

    /// Returns how many client connections failed because of TLS, for `error`.
    pub fn client_tls_errors(&self, error: ClientTlsError) -> u64 {
        self.client_tls_errors[error as usize].value()
    }

    /// Returns the current traffic of this worker.
    pub fn traffic(&self) -> TrafficStatus {
        // Ends are read before starts, so that a request which begins in between can only make the
        // difference larger. The relaxed loads may still be reordered, so the subtraction saturates
        // at zero.
        let requests_ended = self.http_ended.value();
        let rpcs_ended: u64 = self.rpcs.iter().map(RpcCounters::ended).sum();
        let closed = self.connections_closed.value();
        let requests: u64 = self.methods.iter().map(|m| m.started.value()).sum();
        let rpcs: u64 = self.rpcs.iter().map(|r| r.started.value()).sum();
        TrafficStatus {
            connections: self.connections_opened.value().saturating_sub(closed),
            connections_limit: 0,
            requests_in_flight: requests.saturating_sub(requests_ended),
            rpcs_in_flight: rpcs.saturating_sub(rpcs_ended),
        }
    }
}

/// Adds up the current traffic of all workers, for [`super::snapshot::Snapshot::traffic`].
pub fn traffic<T: AsRef<WorkerCounters>>(counters: &[T]) -> TrafficStatus {
    counters.iter().map(|t| t.as_ref().traffic()).fold(TrafficStatus::default(), |sum, one| {
        TrafficStatus {
            connections: sum.connections + one.connections,
            connections_limit: 0,
            requests_in_flight: sum.requests_in_flight + one.requests_in_flight,
            rpcs_in_flight: sum.rpcs_in_flight + one.rpcs_in_flight,
        }
    })
}

#[cfg(test)]
mod tests;
