//! Makes connections to addresses that have proved that they belong to the pinned cluster, which
//! are the only ones that carry requests.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Proving, WorkerEndpoint};
use crate::tls::Alpn;
use crate::upstream::connect_error::{ConnectError, Kind};
use crate::upstream::http2::{self, Connection, PoolKind};
use crate::upstream::io::{MemberIo, MemberIoState};
use crate::upstream::proof::{Admission, Attempt, ProofError, grpc, http};
use crate::upstream::protocols::{Api, Denial};

/// How often in a row a name may lead to an address without a proof before its member is given up.
const DIALS_MOST: usize = 4;

/// An address's answer about its cluster, and the connection it came over.
struct ClusterClaim {
    cluster: Result<u64, ProofError>,
    /// The state of the connection that the answer came over; `None` when there was no connection.
    io_state: Option<Arc<MemberIoState>>,
    /// That connection, if it speaks gRPC.
    grpc: Option<Rc<Connection>>,
    /// That connection, if it speaks HTTP/1.1.
    _http: Option<http::Asked>,
}

impl WorkerEndpoint {
    /// Connects to the member's client port for HTTP/1.1, once the address has proved its cluster.
    ///
    /// # Errors
    /// When the member cannot be reached within `proxy-dial-timeout`, the handshake included, or
    /// gives no proof within `health-timeout`. Nothing was sent then.
    pub async fn dial_http1(&self) -> Result<MemberIo, ConnectError> {
        let mut _keeps_proof = None;
        for _ in 0..DIALS_MOST {
            let io = self.dial(Alpn::Http1, None).await?;
            let Some(attempt) = self.admit(&io.state()).await? else { return Ok(io) };
            // It was connected before the proof, so it may still lead to an earlier listener.
            drop(io);
            _keeps_proof = Some(Box::pin(self.prove(attempt, None, PoolKind::Unary)).await?);
        }
        Err(self.connect_error(&"its name leads to a different address on every connection"))
    }

    /// Connects to the member's client port and speaks HTTP/2, once the address has proved its
    /// cluster. The proof comes over this very connection, unless another one already keeps a
    /// proof.
    ///
    /// # Errors
    /// As [`WorkerEndpoint::dial_http1`].
    pub async fn http2(&self, pool_kind: PoolKind) -> Result<Rc<Connection>, ConnectError> {
        let io = self.dial(Alpn::H2, None).await?;
        match self.admit(&io.state()).await? {
            None => http2::handshake(io, pool_kind)
                .await
                .map_err(|error| ConnectError::new(&error).of_kind(Kind::Broken)),
            Some(attempt) => {
                let claim = Box::pin(self.prove(attempt, Some(io), pool_kind)).await?;
                if claim.grpc.is_some() && claim.cluster.is_ok() {
                    self.endpoint.protocols.confirm(Api::Grpc);
                }
                claim.grpc.ok_or_else(|| {
                    self.endpoint.protocols.confirm(Api::Http);
                    self.endpoint.protocols.deny(Api::Grpc, Denial::Answered);
                    let why = self.connect_error(&"it speaks no gRPC here");
                    why.of_kind(Kind::Broken)
                })
            }
        }
    }

    /// Gets the proof of a new endpoint over a new connection, which stays open for unary calls.
    /// All callers share one attempt, and it goes on when they give up: otherwise a member that
    /// takes longer than they wait would never be proved.
    ///
    /// # Errors
    /// When there is no proof. Never returns `Ok` for an endpoint that is still new.
    pub async fn prove_new(self: &Rc<Self>) -> Result<(), ConnectError> {
        if let Some(why) = self.endpoint.proofs().recent_failure() {
            return Err(self.without_proof(&why));
        }
        let mut proving = self.proving.borrow().clone();
        let is_under_way = |proving: &Proving| matches!(proving.has_changed(), Ok(false));
        if !proving.as_ref().is_some_and(is_under_way) {
            let (ended, begun) = watch::channel(None);
            self.proving.replace(Some(begun.clone()));
            proving = Some(begun);
            let upstream = self.clone();
            tokio::task::spawn_local(async move {
                ended.send_replace(Some(upstream.prove_over_new().await));
            });
        }
        let Some(mut proving) = proving else { return Err(ConnectError::after_another()) };
        match proving.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            // The worker is ending.
            Ok(None) | Err(_) => Err(ConnectError::after_another()),
        }
    }

    async fn prove_over_new(&self) -> Result<(), ConnectError> {
        // Connections that are open may date from before the trust was lost, and prove nothing.
        let connected = self.unary.add(self).await;
        self.note_dialled();
        match connected {
            _ if self.endpoint.is_trusted() => Ok(()),
            Ok(()) => Err(ConnectError::after_another()),
            Err(error) => Err(error),
        }
    }

    /// Asks for a connection's admission, and waits while another proof is under way. Returns an
    /// attempt when the caller must get the proof itself, and then end that attempt.
    async fn admit(&self, io_state: &MemberIoState) -> Result<Option<Attempt>, ConnectError> {
        let limit = self.timeouts.get().proof;
        let deadline = Instant::now() + limit;
        let proofs = self.endpoint.proofs();
        loop {
            let mut other = None;
            let is_open =
                io_state.keep_proof(|socket| match proofs.admit(io_state.address(), socket) {
                    Admission::Admitted(witness) => witness,
                    admission => {
                        other = Some(admission);
                        None
                    }
                });
            match other {
                _ if !is_open => {
                    return Err(self.connect_error(&"it closed the connection at once"));
                }
                None | Some(Admission::Admitted(_)) => {
                    self.endpoint.mark_admitted(self.timeouts.get().proof_required);
                    return Ok(None);
                }
                Some(Admission::Prove(attempt)) => return Ok(Some(attempt)),
                Some(Admission::Refused(why)) => return Err(self.without_proof(&why)),
                Some(Admission::Wait(settled)) => {
                    if timeout_at(deadline, settled).await.is_err() {
                        return Err(self.without_proof(&ProofError::NoAnswer(limit)));
                    }
                }
            }
        }
    }

    /// Gets the proof of an address, over `io` if that is given and speaks gRPC.
    async fn prove(
        &self,
        attempt: Attempt,
        io: Option<MemberIo>,
        pool_kind: PoolKind,
    ) -> Result<ClusterClaim, ConnectError> {
        let claim = self.ask(attempt.address(), io, pool_kind).await;
        self.conclude(attempt, claim)
    }

    /// Asks an address for its cluster, by gRPC, and by HTTP/1.1 where gRPC is not spoken.
    /// Connecting has its usual limit; each answer has `health-timeout`.
    async fn ask(
        &self,
        address: SocketAddr,
        io: Option<MemberIo>,
        pool_kind: PoolKind,
    ) -> ClusterClaim {
        let speaks_http = io.is_none();
        let mut claim = match io {
            Some(io) => self.ask_grpc(io, pool_kind).await,
            None => self.ask_grpc_anew(address, pool_kind).await,
        };
        if matches!(claim.cluster, Err(ProofError::Broken(_))) {
            // Ask once more: a connection may break for many reasons.
            claim = self.ask_grpc_anew(address, pool_kind).await;
        }
        let may_speak_http = match &claim.io_state {
            // A plaintext port that speaks only HTTP/1.1 may close without a reply. With TLS it
            // answers in HTTP/2, but not in gRPC.
            Some(io_state) => speaks_http || io_state.reads() > 0 || !self.endpoint.is_tls(),
            None => speaks_http,
        };
        match claim.cluster {
            Err(ProofError::Broken(_)) if may_speak_http => {
                self.ask_http(address).await.unwrap_or(claim)
            }
            // A gRPC connection is given up for HTTP only if HTTP names the cluster.
            Err(ProofError::Nameless(_)) if may_speak_http => {
                self.ask_http(address).await.filter(|http| http.cluster.is_ok()).unwrap_or(claim)
            }
            _ => claim,
        }
    }

    async fn ask_grpc_anew(&self, address: SocketAddr, pool_kind: PoolKind) -> ClusterClaim {
        match self.dial(Alpn::H2, Some(address)).await {
            Ok(io) => self.ask_grpc(io, pool_kind).await,
            // A port that speaks only HTTP/1.1 says so in the TLS handshake.
            Err(error) => ClusterClaim::nothing(ProofError::Broken(error.to_string())),
        }
    }

    async fn ask_grpc(&self, io: MemberIo, pool_kind: PoolKind) -> ClusterClaim {
        let io_state = io.state();
        let connection = match http2::handshake(io, pool_kind).await {
            Ok(connection) => connection,
            Err(error) => return ClusterClaim::nothing(ProofError::Broken(error.to_string())),
        };
        let limit = self.timeouts.get().proof;
        let cluster = grpc::cluster_id(&connection, &self.endpoint, limit).await;
        let cluster = cluster.map_err(|why| match (why, io_state.refusal()) {
            (ProofError::Broken(_), Some(refusal)) => {
                ProofError::TurnedAway(self.connect_error(refusal).to_string())
            }
            (ProofError::Broken(reason), None) => {
                let likely_cause = self.explain_silent_close().filter(|_| io_state.reads() == 0);
                ProofError::Broken(
                    likely_cause.map_or(reason, |likely_cause| likely_cause.to_string()),
                )
            }
            (why, _) => why,
        });
        ClusterClaim { cluster, io_state: Some(io_state), grpc: Some(connection), _http: None }
    }

    /// Asks an address for its cluster over HTTP/1.1. Returns `None` when it does not speak that
    /// either.
    async fn ask_http(&self, address: SocketAddr) -> Option<ClusterClaim> {
        let mut answered = None;
        for question in &http::QUESTIONS {
            let io = self.dial(Alpn::Http1, Some(address)).await.ok()?;
            let limit = self.timeouts.get().proof;
            let Ok(asked) = timeout(limit, http::ask(io, question, &self.endpoint)).await else {
                return Some(ClusterClaim::nothing(ProofError::NoAnswer(limit)));
            };
            let asked = asked.ok()?;
            let io_state = Some(asked.io_state.clone());
            let cluster = asked.cluster.ok_or_else(|| asked.complaint());
            let is_proof = cluster.is_ok();
            answered = Some(ClusterClaim { cluster, io_state, grpc: None, _http: Some(asked) });
            if is_proof {
                break;
            }
        }
        answered
    }

    /// Records the outcome of a proof, for all callers that wait for it and for later ones.
    fn conclude(
        &self,
        attempt: Attempt,
        claim: ClusterClaim,
    ) -> Result<ClusterClaim, ConnectError> {
        let endpoint = &self.endpoint;
        let ours = endpoint.proofs().cluster();
        let why = match &claim.cluster {
            Ok(theirs) if *theirs == ours => None,
            Ok(theirs) => Some(ProofError::Foreign { theirs: *theirs, ours }),
            Err(ProofError::Nameless(_)) if !self.timeouts.get().proof_required => None,
            Err(why) => Some(why.clone()),
        };
        if let Some(why) = why {
            // Another address of its name may have proved itself, and goes on serving.
            let serves = endpoint.proofs().other_is_proved(attempt.address());
            if why.is_answer() && !serves && endpoint.mark_unproved(&why) {
                let (member, url) = (&endpoint.member, &endpoint.url);
                tracing::error!(
                    state = "proof", %member, endpoint = %url, at = %attempt.address(), reason = %why,
                    "member gets no requests"
                );
            }
            attempt.fail(why.clone());
            return Err(self.without_proof(&why));
        }
        let succeed = |socket| Some(attempt.succeed(socket));
        if !claim.io_state.as_ref().is_some_and(|io_state| io_state.keep_proof(succeed)) {
            return Err(self.connect_error(&"it closed the connection at once"));
        }
        match &claim.cluster {
            Err(why) if endpoint.mark_assumed() => {
                let (member, url) = (&endpoint.member, &endpoint.url);
                tracing::warn!(
                    state = "proof", %member, endpoint = %url, reason = %why.detail(),
                    "member gets requests although its answers do not name its cluster"
                );
            }
            Err(_) => {}
            Ok(_) => endpoint.mark_proved(),
        }
        Ok(claim)
    }

    fn without_proof(&self, why: &ProofError) -> ConnectError {
        let kind = match why {
            ProofError::TurnedAway(_) => Kind::SparesOpen,
            ProofError::Broken(_) => Kind::Broken,
            ProofError::NoAnswer(_) => Kind::Unreachable,
            _ => Kind::Unproved,
        };
        match why {
            // These texts already name the address.
            ProofError::TurnedAway(_) | ProofError::Broken(_) => {
                ConnectError::new(why).of_kind(kind).passing(true)
            }
            why => self.connect_error(why).of_kind(kind).passing(!why.is_answer()),
        }
    }
}

impl ClusterClaim {
    fn nothing(why: ProofError) -> Self {
        Self { cluster: Err(why), io_state: None, grpc: None, _http: None }
    }
}

#[cfg(test)]
mod tests;
