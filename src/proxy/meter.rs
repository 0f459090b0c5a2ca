//! Measures one request, from its head to the last byte of its answer or until the client leaves.

use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Uri};

use super::classify::{Protocol, Route};
use super::client::Client;
use super::failure::Failure;
use super::waiting;
use crate::message::grpc;
use crate::message::rpc::Rpc;
use crate::telemetry::counters::{Dropped, HttpMethod};
use crate::upstream::http1::ChunkBudget;

/// `INTERNAL`: how most clients read a reset.
const INTERNAL: u8 = 13;
/// `CANCELLED`: the status of a call whose client left before the real one was known.
const CANCELLED: u8 = 1;

/// The measurement of one request; recorded when dropped.
pub struct Meter {
    client: Rc<Client>,
    kind: MeterKind,
    /// Whether the exchange may last for ever, so that draining does not wait for it: streams,
    /// locks, v2 watches.
    long: bool,
    /// Whether it holds one of the client's slots, which is returned on drop.
    has_slot: bool,
    since: Instant,
}

enum MeterKind {
    /// HTTP/1.1 to the member; the status is known once a member has answered.
    Http {
        method: HttpMethod,
        /// The member's status, and when its response head arrived.
        answered: Option<(StatusCode, Instant)>,
        dropped: bool,
    },
    Rpc {
        rpc: usize,
        code: u8,
    },
}

impl Meter {
    /// Starts the measurement of a request.
    pub fn start(client: &Rc<Client>, route: &Route, method: &Method, uri: &Uri) -> Self {
        let waits = *method == Method::GET && uri.query().is_some_and(asks_to_wait);
        let counters = &client.worker.counters;
        let kind = match route.protocol {
            Protocol::Grpc(rpc) => {
                counters.rpc_started(rpc as usize);
                MeterKind::Rpc { rpc: rpc as usize, code: CANCELLED }
            }
            Protocol::Json(_) | Protocol::Http => {
                let method = HttpMethod::from(method);
                counters.http_started(method);
                MeterKind::Http { method, answered: None, dropped: false }
            }
        };
        client.begin();
        let long = route.long || route.rpc().is_some_and(Rpc::may_wait) || waits;
        if !long {
            client.worker.begin_drainable();
        }
        Self { client: client.clone(), kind, long, has_slot: false, since: Instant::now() }
    }

    /// Returns whether the exchange may last for ever, v2 watches included. Such an exchange is
    /// ended when its member goes silent or the proxy stops; nothing else would end it.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// Takes one of the client's slots if the exchange needs one. Returns `false` when none is
    /// free, and the exchange must wait.
    pub fn try_take_slot(&mut self) -> bool {
        if let MeterKind::Rpc { .. } = self.kind {
            return true;
        }
        self.has_slot = self.client.try_take_slot(self.long);
        self.has_slot
    }

    /// Waits for a slot and takes it.
    ///
    /// # Errors
    /// [`Failure::TooMany`] at once for a long exchange, [`Failure::Stopping`] when the proxy must
    /// stop.
    pub async fn wait_for_slot(&mut self) -> Result<(), Failure> {
        if self.long {
            return Err(Failure::TooMany);
        }
        waiting::for_slot(pin!(self.client.wait_for_slot()), &self.client.worker).await?;
        self.has_slot = true;
        Ok(())
    }

    /// Returns the budget for chunks that are held for the client.
    pub fn chunk_budget(&self) -> &ChunkBudget {
        self.client.chunk_budget()
    }

    /// Records the head of a member's answer, or of a gRPC answer of our own.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        match &mut self.kind {
            MeterKind::Http { answered, .. } => *answered = Some((status, Instant::now())),
            MeterKind::Rpc { .. } => self.trailers(headers),
        }
    }

    /// Records a gRPC call's status, if `trailers` has one.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if let (MeterKind::Rpc { code, .. }, Some(status)) =
            (&mut self.kind, grpc::status(trailers))
        {
            *code = status;
        }
    }

    /// Records that a gRPC call ends with a reset of its stream.
    pub fn was_reset(&mut self) {
        if let MeterKind::Rpc { code, .. } = &mut self.kind {
            *code = INTERNAL;
        }
    }

    /// Records that an attempt has failed. Any reason other than [`Dropped::FailedSendingRequest`]
    /// means that it was the last attempt.
    pub fn dropped(&mut self, reason: Dropped) {
        if let MeterKind::Http { method, dropped, .. } = &mut self.kind {
            self.client.worker.counters.http_dropped(*method, reason);
            *dropped = reason != Dropped::FailedSendingRequest;
        }
    }
}

/// Returns whether a query makes a v2 GET a watch: its first `wait` is one of Go's spellings of
/// true (etcd v3.4.23 etcdserver/api/v2http/client.go, parseKeyRequest).
fn asks_to_wait(query: &str) -> bool {
    let wait = query.split('&').find_map(|pair| pair.strip_prefix("wait="));
    matches!(wait, Some("1" | "t" | "T" | "TRUE" | "true" | "True"))
}

impl Drop for Meter {
    fn drop(&mut self) {
        let counters = &self.client.worker.counters;
        let now = Instant::now();
        match self.kind {
            MeterKind::Http { method, answered: Some((status, at)), dropped: false } => {
                let took = at.saturating_duration_since(self.since);
                counters.http_finished(method, status.as_u16(), took)
            }
            MeterKind::Http { dropped: true, .. } => {}
            MeterKind::Http { answered: None, .. } => counters.http_abandoned(),
            MeterKind::Rpc { rpc, code } => {
                counters.rpc_finished(rpc, code, now.saturating_duration_since(self.since))
            }
        }
        if self.has_slot {
            self.client.release_slot(self.long);
        }
        if !self.long {
            self.client.worker.end_drainable();
        }
        self.client.end(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v2_watch_is_known_by_the_words_that_etcd_knows() {
        for query in ["wait=true", "recursive=true&wait=1", "wait=T&waitIndex=7"] {
            assert!(asks_to_wait(query), "{query}");
        }
        for query in ["", "wait", "wait=", "wait=false&wait=true", "await=true", "x=wait=true"] {
            assert!(!asks_to_wait(query), "{query}");
        }
    }
}
