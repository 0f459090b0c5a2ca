//! Carries one request through the proxy: what it is, whether it may pass, which member gets it,
//! and what the client gets.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::advertised::Advertised;
use super::attempt::{Failed, attempt};
use super::classify::{Protocol, Route, classify};
use super::client::Client;
use super::failure::Failure;
use super::first_proof::first_proof;
use super::inspect::{self, Rejected};
use super::member_body::MemberBody;
use super::member_list::Listing;
use super::meter::Meter;
use super::outgoing::Outgoing;
use super::readonly::{InspectedRpc, Verdict, verdict};
use super::reply_body::{Interrupts, ReplyBody};
use super::retry::may_retry;
use super::websocket::Handshake;
use super::worker::WorkerGeneration;
use crate::config::Mode;
use crate::message::discard::discard_rest;
use crate::message::headers::{HOP, PROOF_HOP};
use crate::message::owed::Debt;
use crate::message::reason::Reason;
use crate::message::reply::{self, Code, Dialect, GRPC_MESSAGE, GRPC_STATUS};
use crate::message::rpc::{Rpc, RpcKind};
use crate::telemetry::counters::{Dropped, RetryReason, UnansweredWrite};
use crate::upstream::balance::Choice;
use crate::upstream::protocols::Api;
use crate::upstream::worker_endpoint::{InFlight, WorkerEndpoint};

/// A request on its way, with everything known about it.
struct Exchange<'a> {
    client: &'a Rc<Client>,
    current: &'a WorkerGeneration,
    route: Route,
    meter: Meter,
    /// Whether the request is another proxy's probe for the cluster that it would reach through
    /// this one.
    is_proof: bool,
}

/// Answers a client's request from a member, or with the reason why no member did.
///
/// The request is boxed, since each of the nested futures would otherwise reserve room for it
/// twice. Paths that few requests take are boxed too.
pub async fn forward(
    client: &Rc<Client>,
    current: &WorkerGeneration,
    request: Box<Request<Incoming>>,
) -> Response<ReplyBody> {
    let route =
        classify(request.version(), request.method(), request.uri().path(), request.headers());
    let meter = Meter::start(client, &route, request.method(), request.uri());
    let mut exchange = Exchange { client, current, route, meter, is_proof: false };
    for hop in request.headers().get_all(HOP) {
        if hop == client.worker.hop {
            return Box::pin(exchange.refuse(request, Exchange::refuse_loop)).await;
        }
        exchange.is_proof |= hop == PROOF_HOP;
    }
    let judged = match current.generation.mode {
        Mode::Readwrite => Verdict::Pass,
        Mode::Readonly => verdict(&route, request.method(), request.uri(), request.headers()),
    };
    match judged {
        Verdict::Refuse => Box::pin(exchange.refuse(request, Exchange::refuse_write)).await,
        Verdict::Pass if route.websocket => {
            let handshake = Handshake::new(client, request);
            Box::pin(exchange.upgrade(handshake)).await
        }
        Verdict::Pass => {
            if let Some(advertised) = &current.generation.advertised
                && let Some(listing) = Listing::wanted(&exchange.route, &request)
            {
                return Box::pin(exchange.list_members(listing, advertised, request)).await;
            }
            let mut outgoing = exchange.prepare(request);
            exchange.send(&mut outgoing).await
        }
        Verdict::InspectGrpc(rpc) => Box::pin(exchange.inspect_grpc(rpc, request)).await,
        Verdict::InspectJson(rpc) => Box::pin(exchange.inspect_json(rpc, request)).await,
    }
}

impl Exchange<'_> {
    fn prepare(&self, request: Box<Request<Incoming>>) -> Outgoing {
        let is_grpc = matches!(self.route.protocol, Protocol::Grpc(_));
        // A stream's client may pause between two messages, and an unknown RPC may be a stream. A
        // client that has announced its body's length sends it without a pause.
        let may_pause = (self.is_stream() || self.route.protocol == Protocol::Grpc(Rpc::Other))
            && request.body().size_hint().exact().is_none();
        let debt = (!may_pause).then(|| Debt::new(self.client.owed().clone()));
        Outgoing::new(*request, is_grpc || self.route.kind == RpcKind::Read, debt)
    }

    /// Answers a request that goes to no member. The rest of its body is read first, except for a
    /// stream, whose client may wait for the answer before it sends more.
    async fn refuse(
        self,
        request: Box<Request<Incoming>>,
        answer: fn(Self) -> Response<ReplyBody>,
    ) -> Response<ReplyBody> {
        if !self.is_stream() {
            discard_rest(request).await;
        }
        answer(self)
    }

    fn is_stream(&self) -> bool {
        self.route.kind == RpcKind::Stream
    }

    /// Sends a request for a member list, and answers with this proxy's URLs in it.
    async fn list_members(
        self,
        listing: Listing,
        advertised: &Advertised,
        mut request: Box<Request<Incoming>>,
    ) -> Response<ReplyBody> {
        Listing::ask_plainly(request.headers_mut());
        let mut outgoing = self.prepare(request);
        let response = self.send(&mut outgoing).await;
        listing.rewrite(response, advertised).await
    }

    async fn inspect_grpc(
        self,
        rpc: InspectedRpc,
        request: Box<Request<Incoming>>,
    ) -> Response<ReplyBody> {
        let headers = request.headers().clone();
        let mut outgoing = self.prepare(request);
        match inspect::grpc(self.client, rpc, &headers, outgoing.take_body()).await {
            Ok(message) => self.send_inspected(outgoing, message).await,
            Err(rejected) => {
                Box::pin(outgoing.discard()).await;
                self.reject(rejected)
            }
        }
    }

    async fn inspect_json(
        self,
        rpc: InspectedRpc,
        request: Box<Request<Incoming>>,
    ) -> Response<ReplyBody> {
        let mut outgoing = self.prepare(request);
        match inspect::json(self.client, rpc, outgoing.take_body()).await {
            Ok(body) => self.send_inspected(outgoing, body).await,
            Err(rejected) => {
                Box::pin(outgoing.discard()).await;
                self.reject(rejected)
            }
        }
    }

    async fn send_inspected(mut self, mut outgoing: Outgoing, body: Bytes) -> Response<ReplyBody> {
        // An inspected message is a read, whatever else its path allows.
        self.route.kind = RpcKind::Read;
        outgoing.set_body(body);
        self.send(&mut outgoing).await
    }

    /// Tries one member after another, as far as the retry rules allow.
    async fn send(mut self, outgoing: &mut Outgoing) -> Response<ReplyBody> {
        if !self.meter.try_take_slot()
            && let Err(failure) = Box::pin(self.meter.wait_for_slot()).await
        {
            if self.reads_on(failure) {
                Box::pin(outgoing.discard()).await;
            }
            return self.fail(failure, 0);
        }
        let mut choice = Choice::new(&self.current.upstreams, self.api());
        let own = self.client.own_upstream();
        let mut failure = match choice.count() {
            0 => Failure::NoEndpoints,
            _ => Failure::NoHttp,
        };
        let mut proof = None;
        let mut leader_changed = false;
        while let Some(upstream) = choice.next(self.current.generation.balance, own.as_ref()) {
            if !upstream.endpoint.is_trusted() {
                failure = Box::pin(self.wait_for_proof(&mut choice, upstream, &mut proof)).await;
                continue;
            }
            let in_flight = upstream.begin(self.meter.is_long());
            match attempt(self.client, upstream, &self.route, outgoing).await {
                Ok(response)
                    if !leader_changed
                        && self.route.kind == RpcKind::Read
                        && says_leader_changed(&response)
                        && outgoing.is_ready()
                        && choice.has_more() =>
                {
                    // Nothing was forwarded yet, and the next member may know the new leader. Once
                    // is enough.
                    leader_changed = true;
                    self.count_retry(Failure::Refused);
                    continue;
                }
                Ok(response) => {
                    outgoing.commit();
                    self.client.keep_upstream(upstream);
                    return self.respond(response, upstream, in_flight);
                }
                Err(failed) => {
                    failure = failed.failure;
                    self.record_failure(upstream, &failed);
                    if self.route.kind == RpcKind::Write {
                        self.record_unanswered_write(upstream, failure);
                    }
                }
            }
            if !(may_retry(self.route.kind, failure) && outgoing.is_ready() && choice.has_more()) {
                break;
            }
            self.count_retry(failure);
        }
        if self.reads_on(failure) {
            Box::pin(outgoing.discard()).await;
        }
        self.fail(failure, choice.count())
    }

    /// Waits until one of the remaining new members, `upstream`'s included, has proved its cluster,
    /// and puts them back to be chosen from. If none does before `deadline`, which the first wait
    /// sets, they count as tried. Returns the failure to report if no member is left.
    ///
    /// Only a request that would otherwise go to a new member comes here.
    async fn wait_for_proof(
        &self,
        choice: &mut Choice<'_>,
        upstream: &Rc<WorkerEndpoint>,
        deadline: &mut Option<Instant>,
    ) -> Failure {
        choice.put_back(upstream);
        let upstreams: Vec<_> = choice.take_new().cloned().collect();
        if self.is_proof {
            // Proxies that lead to each other in a circle would wait for each other.
            return Failure::Unproved;
        }
        let limit = self.current.generation.timeouts.proof;
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let mut failure = Failure::Unreachable;
        match first_proof(&upstreams, deadline).await {
            Ok(()) => upstreams.iter().for_each(|upstream| choice.put_back(upstream)),
            Err(errors) => {
                for (upstream, error) in &errors {
                    let failed = Failed::unreachable(error);
                    self.record_failure(upstream, &failed);
                    failure = failed.failure;
                }
            }
        }
        failure
    }

    fn respond(
        mut self,
        response: Response<MemberBody>,
        upstream: &Rc<WorkerEndpoint>,
        mut in_flight: InFlight,
    ) -> Response<ReplyBody> {
        let (head, body) = response.into_parts();
        // Locks, v2 watches and the like wait for events, as streams do.
        let kind = match self.route.kind {
            RpcKind::Bulk => RpcKind::Bulk,
            _ => RpcKind::Stream,
        };
        in_flight.answered();
        self.meter.answered(head.status, &head.headers);
        let interrupts =
            self.meter.is_long().then(|| Interrupts::new(&self.client.worker, upstream, kind));
        Response::from_parts(head, ReplyBody::of_member(body, self.meter, in_flight, interrupts))
    }

    /// Sends a WebSocket handshake, and relays between the two sides if a member agrees.
    async fn upgrade(mut self, mut handshake: Handshake) -> Response<ReplyBody> {
        let mut choice = Choice::new(&self.current.upstreams, self.api());
        let own = self.client.own_upstream();
        let mut failure = match choice.count() {
            0 => Failure::NoEndpoints,
            _ => Failure::NoHttp,
        };
        let mut proof = None;
        while let Some(upstream) = choice.next(self.current.generation.balance, own.as_ref()) {
            if !upstream.endpoint.is_trusted() {
                failure = Box::pin(self.wait_for_proof(&mut choice, upstream, &mut proof)).await;
                continue;
            }
            let mut in_flight = upstream.begin(true);
            match handshake.attempt(self.client, upstream).await {
                Ok(mut response) => {
                    in_flight.answered();
                    self.client.keep_upstream(upstream);
                    self.meter.answered(response.status(), response.headers());
                    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                        return self.own_reply(response);
                    }
                    handshake.join(self.client, upstream, &mut response, (self.meter, in_flight));
                    return response.map(|empty| ReplyBody::whole(empty, None));
                }
                Err(failed) => {
                    failure = failed.failure;
                    self.record_failure(upstream, &failed);
                }
            }
            if !failure.nothing_was_done() {
                break;
            }
        }
        self.fail(failure, choice.count())
    }

    /// Records a failure that the member is to blame for, and logs when it was usable until now.
    fn record_failure(&self, upstream: &WorkerEndpoint, failed: &Failed) {
        let Some(why) = failed.blame.text() else { return };
        let wait = self.current.generation.failure_wait;
        let endpoint = &upstream.endpoint;
        let was_usable = match failed.failure {
            // A failed exchange says nothing about the other protocol, which may even have a
            // listener of its own.
            Failure::Lost | Failure::Reset(_) | Failure::NotSent => {
                endpoint.mark_failed_for(self.api(), why, wait)
            }
            _ => endpoint.mark_failed(why, wait),
        };
        if was_usable {
            tracing::warn!(
                member = %endpoint.member, endpoint = %endpoint.url, error = %why,
                "member failed, avoiding it for {wait:?}"
            );
        }
    }

    /// Counts and logs a write that the member may have carried out although no answer came: its
    /// sender must check what became of it.
    fn record_unanswered_write(&self, upstream: &WorkerEndpoint, failure: Failure) {
        let unanswered = match failure {
            Failure::Lost | Failure::Reset(_) => UnansweredWrite::ConnectionLost,
            Failure::Silent => UnansweredWrite::MemberSilent,
            _ => return,
        };
        self.client.worker.counters.write_unanswered(unanswered);
        tracing::warn!(
            member = %upstream.endpoint.member, endpoint = %upstream.endpoint.url,
            "a write was not answered and may have been done: {}", unanswered.text()
        );
    }

    fn count_retry(&mut self, failure: Failure) {
        let reason = match failure {
            Failure::Unreachable | Failure::Unproved => RetryReason::ConnectFailed,
            Failure::Refused => RetryReason::StreamRefused,
            Failure::Lost | Failure::Reset(_) => RetryReason::ConnectionLost,
            Failure::Silent => RetryReason::MemberUnhealthy,
            Failure::NotSent
            | Failure::NoHttp
            | Failure::NoEndpoints
            | Failure::Incomplete
            | Failure::TooMany
            | Failure::Stopping => RetryReason::NotSent,
        };
        self.client.worker.counters.retried(reason);
        self.meter.dropped(Dropped::FailedSendingRequest);
    }

    /// Returns whether the rest of the request should be read before we answer it ourselves.
    fn reads_on(&self, failure: Failure) -> bool {
        !self.is_stream() && !matches!(failure, Failure::Incomplete | Failure::Stopping)
    }

    fn fail(mut self, failure: Failure, endpoints: usize) -> Response<ReplyBody> {
        self.meter.dropped(match failure {
            Failure::NoEndpoints | Failure::Unproved => Dropped::ZeroEndpoints,
            _ => Dropped::FailedGettingResponse,
        });
        let reply = failure.reply(self.dialect(), endpoints);
        if let (Failure::Reset(reason), Dialect::Grpc) = (failure, self.dialect()) {
            // Forwarded as a reset, since after a lost connection some clients would resend.
            let mut head = Response::new(ReplyBody::reset(reason, self.meter));
            head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            return head;
        }
        self.own_reply(reply)
    }

    fn refuse_loop(self) -> Response<ReplyBody> {
        self.client.worker.counters.loop_refused();
        tracing::warn!(
            "refused a request that had passed here before: a member's client URL leads back to this proxy"
        );
        let message = "etcd-proxy: loop detected, a member's client URL leads back to this proxy";
        let reply = reply::refusal(
            self.dialect(),
            StatusCode::LOOP_DETECTED,
            Code::FailedPrecondition,
            Reason::Loop,
            message,
        );
        self.own_reply(reply)
    }

    /// Refuses a write in readonly. v2 gets a bare 501, as from etcd's own proxy; gRPC and the
    /// gateway get the reason in their own form.
    fn refuse_write(self) -> Response<ReplyBody> {
        self.client.worker.counters.write_refused();
        let reply = match self.dialect() {
            Dialect::Http => {
                let mut bare = reply::bare(StatusCode::NOT_IMPLEMENTED);
                Reason::Readonly.set(bare.headers_mut());
                bare
            }
            dialect => reply::refusal(
                dialect,
                StatusCode::NOT_IMPLEMENTED,
                Code::Unimplemented,
                Reason::Readonly,
                "etcd-proxy: not a read, and this proxy is readonly",
            ),
        };
        self.own_reply(reply)
    }

    fn reject(self, rejected: Rejected) -> Response<ReplyBody> {
        let (status, code, reason, message) = match rejected {
            Rejected::Write => return self.refuse_write(),
            Rejected::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::ResourceExhausted,
                Reason::TooLarge,
                "etcd-proxy: too large to be inspected, and this proxy is readonly",
            ),
            Rejected::Broken => (
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                Reason::RequestIncomplete,
                "etcd-proxy: the request did not arrive whole",
            ),
        };
        let reply = reply::refusal(self.dialect(), status, code, reason, message);
        self.own_reply(reply)
    }

    /// Wraps an answer of our own, which is not counted as a member's.
    fn own_reply(mut self, response: Response<Bytes>) -> Response<ReplyBody> {
        self.meter.trailers(response.headers());
        response.map(|bytes| ReplyBody::whole(bytes, Some(self.meter)))
    }

    fn api(&self) -> Api {
        match self.route.protocol {
            Protocol::Grpc(_) => Api::Grpc,
            Protocol::Json(_) | Protocol::Http => Api::Http,
        }
    }

    fn dialect(&self) -> Dialect {
        match self.route.protocol {
            Protocol::Grpc(_) => Dialect::Grpc,
            Protocol::Json(_) => Dialect::Gateway,
            Protocol::Http => Dialect::Http,
        }
    }
}

/// Returns whether a short gRPC answer is only the error with which a member aborts reads when its
/// leader changes (etcd server/etcdserver/errors, ErrLeaderChanged).
fn says_leader_changed(response: &Response<MemberBody>) -> bool {
    let MemberBody::Http2(body) = response.body() else { return false };
    let Some(trailers) = body.error_held() else { return false };
    let trailers = if trailers.is_empty() { response.headers() } else { trailers };
    let text = |name| trailers.get(name).map(HeaderValue::as_bytes);
    text(GRPC_STATUS) == Some(b"14") && text(GRPC_MESSAGE) == Some(b"etcdserver: leader changed")
}
