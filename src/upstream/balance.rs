//! The choice of a member for a request.
//!
//! Sticky is the default because a client that hops between members can read backwards in time (v2
//! reads and serializable v3 reads), and because simple auth tokens are kept alive only on the
//! member that sees them.

use std::rc::Rc;

use super::link::Link;
use super::protocols::Api;
use crate::config::Balance;

/// Links that a request considers: far above any etcd cluster, where seven members are already
/// many.
pub const MOST_CONSIDERED: usize = 64;

/// The links of one worker, in the generation's order, and which of them this request has tried.
///
/// Only the first [`MOST_CONSIDERED`] are looked at, so the control plane puts those that can serve
/// first.
pub struct Choice<'a> {
    links: &'a [Rc<Link>],
    api: Api,
    tried: u64,
}

impl<'a> Choice<'a> {
    /// Starts with all of `links` untried, for a request by `api`.
    pub fn new(links: &'a [Rc<Link>], api: Api) -> Self {
        Self { links: &links[..links.len().min(MOST_CONSIDERED)], api, tried: 0 }
    }

    /// Picks the next link to try, or `None` when every one has been tried.
    ///
    /// Healthy links come first. When no untried one is healthy the rest are tried all the same: a
    /// cluster whose every probe fails may still answer, and a refusal certainly would not. Those
    /// that gave a sign of life come before those that gave none, and those that did not prove
    /// their cluster come last. Of the healthy ones those that have proved it are preferred: a new
    /// one makes a request wait.
    pub fn next(&mut self, balance: Balance, sticky: Option<&Rc<Link>>) -> Option<&'a Rc<Link>> {
        let index = match balance {
            Balance::Sticky => self.sticky(sticky),
            Balance::P2c => self.p2c(),
        }
        .or_else(|| self.last_resort())?;
        self.tried |= 1 << index;
        self.links.get(index)
    }

    /// Takes out the links that were not tried yet and whose members have not proved their cluster.
    pub fn take_new(&mut self) -> impl Iterator<Item = &'a Rc<Link>> + use<'a> {
        let is_new = |index: &usize| !self.links[*index].endpoint.is_trusted();
        let new = self.untried().filter(is_new).fold(0, |new, index| new | 1 << index);
        self.tried |= new;
        let links = self.links.iter().enumerate();
        links.filter(move |(index, _)| new & (1 << index) != 0).map(|(_, link)| link)
    }

    /// Counts a link that was taken out as not tried.
    pub fn put_back(&mut self, link: &Rc<Link>) {
        let at = self.links.iter().position(|other| Rc::ptr_eq(other, link));
        self.tried &= at.map_or(u64::MAX, |index| !(1 << index));
    }

    fn last_resort(&self) -> Option<usize> {
        let of = |index: &usize| &self.links[*index].endpoint;
        let lives = |index: &usize| !of(index).is_silent() && !of(index).is_unproved();
        let ours = |index: &usize| !of(index).is_unproved();
        let mut last = self.untried().find(lives);
        last = last.or_else(|| self.untried().find(ours));
        last.or_else(|| self.untried().next())
    }

    /// Whether a request that fails now could go to a link not tried yet.
    pub fn has_more(&self) -> bool {
        self.untried().next().is_some()
    }

    /// How many links there are to try in all.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    fn untried(&self) -> impl Iterator<Item = usize> + '_ {
        let may_speak = |index: &usize| {
            // That no gRPC is spoken is a probe's finding and no proof, so such a URL comes last.
            self.api == Api::Grpc || self.links[*index].endpoint.protocols.may_speak(Api::Http)
        };
        (0..self.links.len()).filter(|index| self.tried & (1 << index) == 0).filter(may_speak)
    }

    fn usable(&self) -> impl Iterator<Item = usize> + '_ {
        self.untried().filter(|index| self.links[*index].endpoint.is_usable_for(self.api))
    }

    fn trusted(&self) -> impl Iterator<Item = usize> + '_ {
        self.usable().filter(|index| self.links[*index].endpoint.is_trusted())
    }

    /// The client's own link while it is usable, else another one of the same member, else the
    /// first that is usable and has proved its cluster, else the first usable one.
    fn sticky(&self, sticky: Option<&Rc<Link>>) -> Option<usize> {
        let own = |index: &usize| sticky.is_some_and(|own| Rc::ptr_eq(own, &self.links[*index]));
        let of_its_member = |index: &usize| {
            sticky
                .is_some_and(|own| own.endpoint.member_id == self.links[*index].endpoint.member_id)
        };
        let of_own = self.usable().find(own).or_else(|| self.trusted().find(of_its_member));
        of_own.or_else(|| self.trusted().next()).or_else(|| self.usable().next())
    }

    /// The less loaded of two links picked at random, which are usable and have proved their
    /// cluster.
    fn p2c(&self) -> Option<usize> {
        let count = self.trusted().count();
        if count < 2 {
            return self.trusted().next().or_else(|| self.usable().next());
        }
        let first = fastrand::usize(..count);
        let second = (first + 1 + fastrand::usize(..count - 1)) % count;
        let pick = |nth: usize| self.trusted().nth(nth);
        let (first, second) = (pick(first)?, pick(second)?);
        let load = |index: usize| self.links[index].load();
        Some(if load(second) < load(first) { second } else { first })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::upstream::endpoint::{Endpoint, Finding};
    use crate::upstream::link::Timeouts;
    use crate::upstream::proof::ProofError;
    use crate::upstream::protocols::Denial;

    fn links(count: u16) -> Vec<Rc<Link>> {
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
                Rc::new(Link::new(Arc::new(endpoint), 0, timeouts, Arc::default()))
            })
            .collect()
    }

    fn fail(link: &Link) {
        link.endpoint.mark_failed("connection refused", Duration::from_secs(60));
    }

    #[test]
    fn a_client_keeps_its_member_while_that_is_healthy() {
        let links = links(3);
        let own = &links[2];
        assert!(Rc::ptr_eq(
            Choice::new(&links, Api::Grpc).next(Balance::Sticky, Some(own)).unwrap(),
            own
        ));
        fail(own);
        assert!(Rc::ptr_eq(
            Choice::new(&links, Api::Grpc).next(Balance::Sticky, Some(own)).unwrap(),
            &links[0]
        ));
    }

    #[test]
    fn when_all_are_unhealthy_all_are_tried_once() {
        for balance in [Balance::Sticky, Balance::P2c] {
            let links = links(3);
            links.iter().for_each(|link| fail(link));
            let mut choice = Choice::new(&links, Api::Grpc);
            let tried = std::iter::from_fn(|| choice.next(balance, None)).count();
            assert_eq!(tried, 3);
            assert!(!choice.has_more());
        }
    }

    #[test]
    fn p2c_prefers_the_less_loaded() {
        let links = links(2);
        let _busy = links[0].begin();
        for _ in 0..20 {
            assert!(Rc::ptr_eq(
                Choice::new(&links, Api::Grpc).next(Balance::P2c, None).unwrap(),
                &links[1]
            ));
        }
    }

    #[test]
    fn healthy_members_come_before_unhealthy_ones() {
        let links = links(3);
        fail(&links[0]);
        let mut choice = Choice::new(&links, Api::Grpc);
        let order: Vec<u16> = std::iter::from_fn(|| choice.next(Balance::Sticky, None))
            .map(|link| link.endpoint.port)
            .collect();
        assert_eq!(order, [2380, 2381, 2379]);
    }

    #[test]
    fn members_that_have_proved_their_cluster_come_before_new_ones() {
        for balance in [Balance::Sticky, Balance::P2c] {
            let links = links(3);
            let foreign = ProofError::Foreign { theirs: 2, ours: 1 };
            links[0].endpoint.mark_unproved(&foreign);
            links[1].endpoint.mark_unproved(&foreign);
            links[1].endpoint.mark_proved();
            links[2].endpoint.mark_probed(&Finding::Silent("no answer".into()));
            let mut choice = Choice::new(&links, Api::Grpc);
            let order: Vec<u16> = std::iter::from_fn(|| choice.next(balance, None))
                .map(|link| link.endpoint.port)
                .collect();
            assert_eq!(order, [2380, 2381, 2379]);
        }
    }

    #[test]
    fn where_http_is_only_doubted_a_request_goes_when_nothing_else_is_left() {
        let links = links(3);
        links[0].endpoint.protocols.deny(Api::Http, Denial::Closed);
        links[1].endpoint.protocols.deny(Api::Http, Denial::Answered);
        let mut choice = Choice::new(&links, Api::Http);
        let order: Vec<u16> = std::iter::from_fn(|| choice.next(Balance::Sticky, None))
            .map(|link| link.endpoint.port)
            .collect();
        assert_eq!(order, [2381, 2379]);
    }

    #[test]
    fn among_the_unhealthy_a_silent_member_comes_last() {
        let links = links(2);
        links[0].endpoint.mark_probed(&Finding::Silent("no answer".into()));
        links[1].endpoint.mark_probed(&Finding::Unwell("no leader".into()));
        let first = Choice::new(&links, Api::Grpc).next(Balance::Sticky, None).unwrap();
        assert!(Rc::ptr_eq(first, &links[1]));
    }
}
