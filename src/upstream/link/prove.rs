//! Connections to addresses that have proved that they belong to the pinned cluster: the only ones
//! that requests get.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Link, Proving};
use crate::tls::Alpn;
use crate::upstream::connect_error::{ConnectError, Kind};
use crate::upstream::http2::{self, Connection, Use};
use crate::upstream::io::{MemberIo, Signs};
use crate::upstream::proof::{Admission, Attempt, ProofError, grpc, http};
use crate::upstream::protocols::{Api, Denial};

/// Times that a name may lead to an address without a proof before its member is given up.
const DIALS_MOST: usize = 4;

/// What an address said about its cluster, and over which connection.
struct Said {
    cluster: Result<u64, ProofError>,
    /// What is seen of the connection that the answer came over; `None` when there was none.
    signs: Option<Arc<Signs>>,
    /// That connection, if it speaks gRPC.
    grpc: Option<Rc<Connection>>,
    /// That connection, if it speaks HTTP/1.1.
    _http: Option<http::Asked>,
}

impl Link {
    /// Connects to the member's client port for HTTP/1.1, once the address has proved its cluster.
    ///
    /// # Errors
    /// When the member cannot be reached within `proxy-dial-timeout`, the handshake included, or
    /// gives no proof within `health-timeout`. Nothing was sent then.
    pub async fn dial_http1(&self) -> Result<MemberIo, ConnectError> {
        let mut _keeps_proof = None;
        for _ in 0..DIALS_MOST {
            let io = self.dial(Alpn::Http1, None).await?;
            let Some(attempt) = self.admit(&io.signs()).await? else { return Ok(io) };
            // Connected before the proof, it may still lead to whoever was there before.
            drop(io);
            _keeps_proof = Some(Box::pin(self.prove(attempt, None, Use::Unary)).await?);
        }
        Err(self.blame(&"its name leads to another address with each connection"))
    }

    /// Connects to the member's client port and speaks HTTP/2, once the address has proved its
    /// cluster: over this very connection, unless another one keeps a proof.
    ///
    /// # Errors
    /// As [`Link::dial_http1`].
    pub async fn http2(&self, carries: Use) -> Result<Rc<Connection>, ConnectError> {
        let io = self.dial(Alpn::H2, None).await?;
        match self.admit(&io.signs()).await? {
            None => http2::handshake(io, carries)
                .await
                .map_err(|error| ConnectError::new(&error).of_kind(Kind::Broken)),
            Some(attempt) => {
                let said = Box::pin(self.prove(attempt, Some(io), carries)).await?;
                said.grpc.ok_or_else(|| {
                    self.endpoint.protocols.confirm(Api::Http);
                    self.endpoint.protocols.deny(Api::Grpc, Denial::Closed);
                    let why = self.blame(&"it speaks no gRPC here");
                    why.of_kind(Kind::Broken)
                })
            }
        }
    }

    /// Has an endpoint that is new prove its cluster, over a new connection, which stays open for
    /// unary calls. One attempt of the link serves all who wait, and goes on when they give up:
    /// else a member that takes longer than they wait would never be proved.
    ///
    /// # Errors
    /// When it has no proof; never returns `Ok` for an endpoint that is still new.
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
            let link = self.clone();
            tokio::task::spawn_local(async move {
                ended.send_replace(Some(link.prove_over_new().await));
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
        // What is open may have been made before the doubt, and proves nothing.
        let connected = self.unary.add(self).await;
        match connected {
            _ if self.endpoint.is_trusted() => Ok(()),
            Ok(()) => Err(ConnectError::after_another()),
            Err(error) => Err(error),
        }
    }

    /// Asks for admission of a connection, and waits for a proof that is under way. Returns what
    /// the caller must end, when it is for the caller to have the proof.
    async fn admit(&self, signs: &Signs) -> Result<Option<Attempt>, ConnectError> {
        let limit = self.timeouts.get().proof;
        let deadline = Instant::now() + limit;
        let proofs = self.endpoint.proofs();
        loop {
            let mut other = None;
            let is_open = signs.keep_proof(|socket| match proofs.admit(signs.address(), socket) {
                Admission::Admitted(witness) => witness,
                admission => {
                    other = Some(admission);
                    None
                }
            });
            match other {
                _ if !is_open => return Err(self.blame(&"it closed the connection at once")),
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

    /// Has the proof of an address, over `io` if that is given and speaks gRPC.
    async fn prove(
        &self,
        attempt: Attempt,
        io: Option<MemberIo>,
        carries: Use,
    ) -> Result<Said, ConnectError> {
        let said = self.ask(attempt.address(), io, carries).await;
        self.conclude(attempt, said)
    }

    /// Asks an address for its cluster, by gRPC and then, where that is not spoken, by HTTP/1.1.
    /// Connecting has the limit that it always has, and each answer `health-timeout`.
    async fn ask(&self, address: SocketAddr, io: Option<MemberIo>, carries: Use) -> Said {
        let speaks_http = io.is_none();
        let mut said = match io {
            Some(io) => self.ask_grpc(io, carries).await,
            None => self.ask_grpc_anew(address, carries).await,
        };
        if matches!(said.cluster, Err(ProofError::Broken(_))) {
            // Once more, since a connection may break for many reasons.
            said = self.ask_grpc_anew(address, carries).await;
        }
        let may_speak_http = match &said.signs {
            // A port for HTTP/1.1 alone may close without a word; behind TLS it speaks HTTP/2,
            // without gRPC.
            Some(signs) => speaks_http || signs.reads() > 0 || !self.endpoint.is_tls(),
            None => speaks_http,
        };
        match said.cluster {
            Err(ProofError::Broken(_)) if may_speak_http => {
                self.ask_http(address).await.unwrap_or(said)
            }
            // What speaks gRPC is left for HTTP only if that tells more.
            Err(ProofError::Nameless(_)) if may_speak_http => {
                self.ask_http(address).await.filter(|http| http.cluster.is_ok()).unwrap_or(said)
            }
            _ => said,
        }
    }

    async fn ask_grpc_anew(&self, address: SocketAddr, carries: Use) -> Said {
        match self.dial(Alpn::H2, Some(address)).await {
            Ok(io) => self.ask_grpc(io, carries).await,
            // A port that speaks HTTP/1.1 alone says so in the TLS handshake.
            Err(error) => Said::nothing(ProofError::Broken(error.to_string())),
        }
    }

    async fn ask_grpc(&self, io: MemberIo, carries: Use) -> Said {
        let signs = io.signs();
        let connection = match http2::handshake(io, carries).await {
            Ok(connection) => connection,
            Err(error) => return Said::nothing(ProofError::Broken(error.to_string())),
        };
        let limit = self.timeouts.get().proof;
        let cluster = grpc::cluster_id(&connection, &self.endpoint, limit).await;
        let cluster = cluster.map_err(|why| match (why, signs.refusal()) {
            (ProofError::Broken(_), Some(refusal)) => {
                ProofError::TurnedAway(self.blame(refusal).to_string())
            }
            (ProofError::Broken(reason), None) => {
                let mute = self.mute().filter(|_| signs.reads() == 0);
                ProofError::Broken(mute.map_or(reason, |mute| mute.to_string()))
            }
            (why, _) => why,
        });
        Said { cluster, signs: Some(signs), grpc: Some(connection), _http: None }
    }

    /// Returns `None` when the address speaks no HTTP/1.1 either.
    async fn ask_http(&self, address: SocketAddr) -> Option<Said> {
        let mut answered = None;
        for question in &http::QUESTIONS {
            let io = self.dial(Alpn::Http1, Some(address)).await.ok()?;
            let limit = self.timeouts.get().proof;
            let Ok(asked) = timeout(limit, http::ask(io, question, &self.endpoint)).await else {
                return Some(Said::nothing(ProofError::NoAnswer(limit)));
            };
            let asked = asked.ok()?;
            let signs = Some(asked.signs.clone());
            let cluster = asked.cluster.ok_or_else(|| asked.complaint());
            let is_proof = cluster.is_ok();
            answered = Some(Said { cluster, signs, grpc: None, _http: Some(asked) });
            if is_proof {
                break;
            }
        }
        answered
    }

    /// Notes what came of a proof, for all who wait for it and those who come after them.
    fn conclude(&self, attempt: Attempt, said: Said) -> Result<Said, ConnectError> {
        let endpoint = &self.endpoint;
        let ours = endpoint.proofs().cluster();
        let why = match &said.cluster {
            Ok(theirs) if *theirs == ours => None,
            Ok(theirs) => Some(ProofError::Foreign { theirs: *theirs, ours }),
            Err(ProofError::Nameless(_)) if !self.timeouts.get().proof_required => None,
            Err(why) => Some(why.clone()),
        };
        if let Some(why) = why {
            // Another address of its name may have proved itself, and goes on to serve.
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
        if !said.signs.as_ref().is_some_and(|signs| signs.keep_proof(succeed)) {
            return Err(self.blame(&"it closed the connection at once"));
        }
        match &said.cluster {
            Err(why) if endpoint.mark_assumed() => {
                let (member, url) = (&endpoint.member, &endpoint.url);
                tracing::warn!(
                    state = "proof", %member, endpoint = %url, reason = %why.detail(),
                    "member gets requests although it cannot be told which cluster it belongs to"
                );
            }
            Err(_) => {}
            Ok(_) => endpoint.mark_proved(),
        }
        Ok(said)
    }

    fn without_proof(&self, why: &ProofError) -> ConnectError {
        let kind = match why {
            ProofError::TurnedAway(_) => Kind::SparesOpen,
            ProofError::Broken(_) => Kind::Broken,
            ProofError::NoAnswer(_) => Kind::Unreachable,
            _ => Kind::Unproved,
        };
        match why {
            // These say already where it was.
            ProofError::TurnedAway(_) | ProofError::Broken(_) => {
                ConnectError::new(why).of_kind(kind).passing(true)
            }
            why => self.blame(why).of_kind(kind).passing(!why.is_answer()),
        }
    }
}

impl Said {
    fn nothing(why: ProofError) -> Self {
        Self { cluster: Err(why), signs: None, grpc: None, _http: None }
    }
}

#[cfg(test)]
mod tests;
