//! Chooses a member for a request.
//!
//! Sticky is the default for two reasons. A client that hops between members can read backwards in
//! time (v2 reads and serializable v3 reads). And a simple auth token is kept alive only on the
//! member that sees it.

use std::rc::Rc;

use super::protocols::Api;
use super::worker_endpoint::WorkerEndpoint;
use crate::config::Balance;

/// Most endpoints that a request considers, far above any etcd cluster: seven members are already
/// many.
pub const MOST_CONSIDERED: usize = 64;

/// One worker's endpoints in the generation's order, and which of them this request has tried.
///
/// Only the first [`MOST_CONSIDERED`] are considered, so the control plane lists those that can
/// serve first.
pub struct Choice<'a> {
    upstreams: &'a [Rc<WorkerEndpoint>],
    api: Api,
    tried: u64,
}

impl<'a> Choice<'a> {
    /// Starts with all of `upstreams` untried, for a request by `api`.
    pub fn new(upstreams: &'a [Rc<WorkerEndpoint>], api: Api) -> Self {
        Self { upstreams: &upstreams[..upstreams.len().min(MOST_CONSIDERED)], api, tried: 0 }
    }

    /// Picks the next worker endpoint to try, or `None` when every one has been tried.
    ///
    /// Healthy worker endpoints come first, and among them those that have proved their cluster: a
    /// new one makes the request wait for its proof. When no untried one is healthy the rest are
    /// tried anyway, since a cluster whose every probe fails may still answer. Those that gave a
    /// sign of life come before silent ones, and those that did not prove their cluster come last.
    pub fn next(
        &mut self,
        balance: Balance,
        sticky: Option<&Rc<WorkerEndpoint>>,
    ) -> Option<&'a Rc<WorkerEndpoint>> {
        let index = match balance {
            Balance::Sticky => self.sticky(sticky),
            Balance::P2c => self.p2c(),
        }
        .or_else(|| self.last_resort())?;
        self.tried |= 1 << index;
        self.upstreams.get(index)
    }

    /// Takes out the untried worker endpoints that have not proved their cluster, and counts them
    /// as tried.
    pub fn take_new(&mut self) -> impl Iterator<Item = &'a Rc<WorkerEndpoint>> + use<'a> {
        let is_new = |index: &usize| !self.upstreams[*index].endpoint.is_trusted();
        let new = self.untried().filter(is_new).fold(0, |new, index| new | 1 << index);
        self.tried |= new;
        let upstreams = self.upstreams.iter().enumerate();
        upstreams.filter(move |(index, _)| new & (1 << index) != 0).map(|(_, upstream)| upstream)
    }

    /// Puts a worker endpoint back: it counts as untried again.
    pub fn put_back(&mut self, upstream: &Rc<WorkerEndpoint>) {
        let at = self.upstreams.iter().position(|other| Rc::ptr_eq(other, upstream));
        self.tried &= at.map_or(u64::MAX, |index| !(1 << index));
    }

    fn last_resort(&self) -> Option<usize> {
        let of = |index: &usize| &self.upstreams[*index].endpoint;
        let lives = |index: &usize| !of(index).is_silent() && !of(index).is_unproved();
        let ours = |index: &usize| !of(index).is_unproved();
        let mut last = self.untried().find(lives);
        last = last.or_else(|| self.untried().find(ours));
        last.or_else(|| self.untried().next())
    }

    /// Returns whether a request that fails now could go to a worker endpoint not tried yet.
    pub fn has_more(&self) -> bool {
        self.untried().next().is_some()
    }

    /// Returns how many worker endpoints there are in all, tried or not.
    pub fn count(&self) -> usize {
        self.upstreams.len()
    }

    fn untried(&self) -> impl Iterator<Item = usize> + '_ {
        let may_speak = |index: &usize| {
            // A probe's finding that a URL speaks no gRPC is no proof, so such a URL is only put
            // last.
            self.api == Api::Grpc || self.upstreams[*index].endpoint.protocols.may_speak(Api::Http)
        };
        (0..self.upstreams.len()).filter(|index| self.tried & (1 << index) == 0).filter(may_speak)
    }

    fn usable(&self) -> impl Iterator<Item = usize> + '_ {
        self.untried().filter(|index| self.upstreams[*index].endpoint.is_usable_for(self.api))
    }

    fn trusted(&self) -> impl Iterator<Item = usize> + '_ {
        self.usable().filter(|index| self.upstreams[*index].endpoint.is_trusted())
    }

    /// Returns the client's own worker endpoint while it is usable, else one of the same member
    /// that is usable and has proved its cluster, else the first such one of any member, else the
    /// first usable one.
    fn sticky(&self, sticky: Option<&Rc<WorkerEndpoint>>) -> Option<usize> {
        let own =
            |index: &usize| sticky.is_some_and(|own| Rc::ptr_eq(own, &self.upstreams[*index]));
        let of_its_member = |index: &usize| {
            sticky.is_some_and(|own| {
                own.endpoint.member_id == self.upstreams[*index].endpoint.member_id
            })
        };
        let of_own = self.usable().find(own).or_else(|| self.trusted().find(of_its_member));
        of_own.or_else(|| self.trusted().next()).or_else(|| self.usable().next())
    }

    /// Returns the less loaded of two worker endpoints picked at random among those that are usable
    /// and have proved their cluster. With fewer than two of those, returns the one, or the first
    /// usable one.
    fn p2c(&self) -> Option<usize> {
        let count = self.trusted().count();
        if count < 2 {
            return self.trusted().next().or_else(|| self.usable().next());
        }
        let first = fastrand::usize(..count);
        let second = (first + 1 + fastrand::usize(..count - 1)) % count;
        let pick = |nth: usize| self.trusted().nth(nth);
        let (first, second) = (pick(first)?, pick(second)?);
        let load = |index: usize| self.upstreams[index].load();
        Some(if load(second) < load(first) { second } else { first })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::upstream::endpoint::Endpoint;
    use crate::upstream::evidence::ProbeResult;
    use crate::upstream::proof::ProofError;
    use crate::upstream::protocols::Denial;
    use crate::upstream::worker_endpoint::Timeouts;

    fn upstreams(count: u16) -> Vec<Rc<WorkerEndpoint>> {
        let timeouts = Timeouts::default();
        (0..count)
            .map(|n| {
                let endpoint = Endpoint::new(
                    "u",
                    1,
                    "m",
                    n.into(),
                    http::uri::Scheme::HTTP,
                    "127.0.0.1",
                    2379 + n,
                    1,
                )
                .unwrap();
                endpoint.mark_proved();
                Rc::new(WorkerEndpoint::new(Arc::new(endpoint), 0, timeouts, Arc::default()))
            })
            .collect()
    }

    fn fail(upstream: &WorkerEndpoint) {
        upstream.endpoint.mark_failed("connection refused", Duration::from_secs(60));
    }

    #[test]
    fn a_client_keeps_its_member_while_that_is_healthy() {
        let upstreams = upstreams(3);
        let own = &upstreams[2];
        assert!(Rc::ptr_eq(
            Choice::new(&upstreams, Api::Grpc).next(Balance::Sticky, Some(own)).unwrap(),
            own
        ));
        fail(own);
        assert!(Rc::ptr_eq(
            Choice::new(&upstreams, Api::Grpc).next(Balance::Sticky, Some(own)).unwrap(),
            &upstreams[0]
        ));
    }

    #[test]
    fn when_all_are_unhealthy_all_are_tried_once() {
        for balance in [Balance::Sticky, Balance::P2c] {
            let upstreams = upstreams(3);
            upstreams.iter().for_each(|upstream| fail(upstream));
            let mut choice = Choice::new(&upstreams, Api::Grpc);
            let tried = std::iter::from_fn(|| choice.next(balance, None)).count();
            assert_eq!(tried, 3);
            assert!(!choice.has_more());
        }
    }

    #[test]
    fn p2c_prefers_the_less_loaded() {
        let upstreams = upstreams(2);
        let _busy = upstreams[0].begin(false);
        for _ in 0..20 {
            assert!(Rc::ptr_eq(
                Choice::new(&upstreams, Api::Grpc).next(Balance::P2c, None).unwrap(),
                &upstreams[1]
            ));
        }
    }

    #[test]
    fn healthy_members_come_before_unhealthy_ones() {
        let upstreams = upstreams(3);
        fail(&upstreams[0]);
        let mut choice = Choice::new(&upstreams, Api::Grpc);
        let order: Vec<u16> = std::iter::from_fn(|| choice.next(Balance::Sticky, None))
            .map(|upstream| upstream.endpoint.port)
            .collect();
        assert_eq!(order, [2380, 2381, 2379]);
    }

    #[test]
    fn members_that_have_proved_their_cluster_come_before_new_ones() {
        for balance in [Balance::Sticky, Balance::P2c] {
            let upstreams = upstreams(3);
            let foreign = ProofError::Foreign { theirs: 2, ours: 1 };
            upstreams[0].endpoint.mark_unproved(&foreign);
            upstreams[1].endpoint.mark_unproved(&foreign);
            upstreams[1].endpoint.mark_proved();
            upstreams[2].endpoint.mark_probed(&ProbeResult::Unresponsive("no answer".into()));
            let mut choice = Choice::new(&upstreams, Api::Grpc);
            let order: Vec<u16> = std::iter::from_fn(|| choice.next(balance, None))
                .map(|upstream| upstream.endpoint.port)
                .collect();
            assert_eq!(order, [2380, 2381, 2379]);
        }
    }

    #[test]
    fn where_http_is_only_doubted_a_request_goes_when_nothing_else_is_left() {
        let upstreams = upstreams(3);
        upstreams[0].endpoint.protocols.deny(Api::Http, Denial::Closed);
        upstreams[1].endpoint.protocols.deny(Api::Http, Denial::Answered);
        let mut choice = Choice::new(&upstreams, Api::Http);
        let order: Vec<u16> = std::iter::from_fn(|| choice.next(Balance::Sticky, None))
            .map(|upstream| upstream.endpoint.port)
            .collect();
        assert_eq!(order, [2381, 2379]);
    }

    #[test]
    fn among_the_unhealthy_a_silent_member_comes_last() {
        let upstreams = upstreams(2);
        upstreams[0].endpoint.mark_probed(&ProbeResult::Unresponsive("no answer".into()));
        upstreams[1].endpoint.mark_probed(&ProbeResult::Unhealthy("no leader".into()));
        let first = Choice::new(&upstreams, Api::Grpc).next(Balance::Sticky, None).unwrap();
        assert!(Rc::ptr_eq(first, &upstreams[1]));
    }
}
