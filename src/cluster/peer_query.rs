//! Asks all peers for the member list: in order, with staggered starts (as RFC 8305 has them for
//! addresses), until one gives a good answer.
//!
//! A peer that does not answer delays the next one only by [`STAGGER`], and one that fails not at
//! all. While a peer still hangs, those that failed are asked again every second, so that a peer
//! that comes back is not missed behind one that never answers. Dropping the future closes all
//! connections.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::agree::Agreement;
use super::fetch::{Access, FetchError, fetch};
use super::member::MemberList;
use super::pin::Pin;
use crate::config::PeerUrl;

/// The head start of each peer over the next.
pub const STAGGER: Duration = Duration::from_millis(500);

/// Time after which a failed peer is asked again, while another may still answer.
const AGAIN: Duration = Duration::from_secs(1);

/// How long to wait for the other peers once one has shown the expected cluster.
const OTHERS: Duration = Duration::from_secs(1);

/// How long to wait for the other peers once one has shown an unexpected cluster, or when none is
/// expected: those of the right cluster may be slower.
const OTHERS_UNSURE: Duration = Duration::from_secs(3);

/// The result of asking.
#[derive(Debug)]
pub struct Asked {
    /// The first good list, and the peer it is from.
    pub answer: Option<(PeerUrl, MemberList)>,
    /// Other peers with a good answer.
    pub agreeing: Vec<PeerUrl>,
    /// The errors of the other peers, without those that were not waited for.
    pub errors: Vec<(PeerUrl, FetchError)>,
}

/// Asks `peers` for a list of the cluster that `pin` admits, for at most `limit` in all.
pub async fn ask(peers: &[PeerUrl], pin: Pin, access: &Access, limit: Duration) -> Asked {
    ask_as(peers, Manner::InTurn, pin, access, limit).await
}

/// Asks all of `peers` at once, for at most `limit` in all. After the first good answer it waits
/// for the others: for [`OTHERS`] if that answer shows the cluster in force, the pinned one or the
/// accepted one, else for [`OTHERS_UNSURE`], so that a fast peer of another cluster does not take
/// everybody there. There is no answer when the peers show several clusters, and neither settings
/// nor pin decide.
pub async fn ask_all(
    peers: &[PeerUrl],
    pin: Pin,
    in_force: Option<u64>,
    access: &Access,
    limit: Duration,
) -> Asked {
    ask_as(peers, Manner::AllAtOnce { in_force }, pin, access, limit).await
}

async fn ask_as(
    peers: &[PeerUrl],
    manner: Manner,
    pin: Pin,
    access: &Access,
    limit: Duration,
) -> Asked {
    let mut asking = Asking::new(peers, manner, pin, access, limit);
    loop {
        asking.start_due();
        let wake = asking.wake();
        tokio::select! {
            Some(answer) = asking.running.join_next() => match (asking.take(answer), manner) {
                (Some((peer, list)), Manner::InTurn) => return asking.won(peer, list),
                (Some(good), Manner::AllAtOnce { in_force }) => asking.keep(good, in_force),
                (None, _) => {}
            },
            () = sleep_until(wake), if wake < asking.deadline => {}
            () = sleep_until(asking.deadline), if !asking.running.is_empty() => {
                return if asking.good.is_empty() { asking.out_of_time(limit) } else { asking.agreed() };
            }
            else => return asking.agreed(),
        }
    }
}

/// The order in which peers are asked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One after the other, until one gives a good answer.
    InTurn,
    /// All at once, until all have answered.
    AllAtOnce {
        /// The cluster that is served so far.
        in_force: Option<u64>,
    },
}

impl Asked {
    /// Adds the answer of a peer that was only looked at. Its error counts only if the peer shows
    /// another cluster.
    pub fn add(&mut self, looked: Option<(PeerUrl, Result<MemberList, FetchError>)>) {
        match looked {
            Some((peer, Ok(_))) => self.agreeing.push(peer),
            Some((peer, Err(error @ FetchError::Foreign(_))))
                if !self.errors.iter().any(|(other, _)| *other == peer) =>
            {
                self.errors.push((peer, error));
            }
            _ => {}
        }
    }

    /// Returns whether peers show several clusters, and nothing decides which one is meant.
    pub fn is_disputed(&self) -> bool {
        self.errors.iter().any(|(_, error)| matches!(error, FetchError::Disputed(_)))
    }
}

type Answer = (usize, Result<MemberList, FetchError>);

/// One round of asking. Peers are identified by their index in `peers`.
struct Asking<'a> {
    peers: &'a [PeerUrl],
    manner: Manner,
    pin: Pin,
    access: &'a Access,
    deadline: Instant,
    /// Good answers so far, while others are waited for.
    good: Vec<(usize, MemberList)>,
    /// The first peer that has not been asked yet.
    unasked: usize,
    /// When to ask that peer.
    next: Instant,
    /// Failed peers to ask again, in the order of their times.
    again: VecDeque<(Instant, usize)>,
    running: JoinSet<Answer>,
    /// When each peer was last asked; `None` when it has not been, or has answered.
    since: Vec<Option<Instant>>,
    errors: Vec<Option<FetchError>>,
}

impl<'a> Asking<'a> {
    fn new(
        peers: &'a [PeerUrl],
        manner: Manner,
        pin: Pin,
        access: &'a Access,
        limit: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            peers,
            manner,
            pin,
            access,
            deadline: now + limit,
            good: Vec::new(),
            unasked: 0,
            next: now,
            again: VecDeque::new(),
            running: JoinSet::new(),
            since: vec![None; peers.len()],
            errors: vec![None; peers.len()],
        }
    }

    /// Asks every peer whose time has come.
    fn start_due(&mut self) {
        let now = Instant::now();
        let all = self.manner != Manner::InTurn;
        while self.unasked < self.peers.len() && (self.next <= now || all) {
            self.start(self.unasked);
            self.unasked += 1;
            self.next = now + STAGGER;
        }
        while let Some(&(due, index)) = self.again.front()
            && due <= now
        {
            self.again.pop_front();
            self.start(index);
        }
    }

    fn start(&mut self, index: usize) {
        let (peer, access) = (self.peers[index].clone(), self.access.clone());
        self.since[index] = Some(Instant::now());
        self.running.spawn(async move { (index, fetch(&peer, &access).await) });
    }

    /// Returns when [`Self::start_due`] has work again; the deadline if it never has.
    fn wake(&self) -> Instant {
        let unasked = (self.unasked < self.peers.len()).then_some(self.next);
        // Failed peers are asked again only while others are still waited for.
        let again = self.again.front().map(|(due, _)| *due).filter(|_| !self.running.is_empty());
        [unasked, again].into_iter().flatten().min().unwrap_or(self.deadline)
    }

    /// Records an answer, and returns it if it is good.
    fn take(&mut self, answer: Result<Answer, JoinError>) -> Option<(usize, MemberList)> {
        let (index, result) = answer.ok()?; // A fetch does not panic, and only dropping the set cancels one.
        self.since[index] = None;
        match result.and_then(|list| Ok(self.pin.check(list)?)) {
            Ok(list) => Some((index, list)),
            Err(error) => {
                tracing::debug!(peer = %self.peers[index], %error, "no member list from this peer");
                self.errors[index] = Some(error);
                self.next = Instant::now();
                if self.good.is_empty() {
                    self.again.push_back((self.next + AGAIN, index));
                }
                None
            }
        }
    }

    /// Keeps a good answer, and limits how long the others are waited for.
    fn keep(&mut self, good: (usize, MemberList), in_force: Option<u64>) {
        self.errors[good.0] = None;
        let shown = Some(good.1.cluster_id);
        let is_expected = [in_force, self.pin.pinned, self.pin.accepted].contains(&shown);
        self.good.push(good);
        self.again.clear();
        let wait = if is_expected { OTHERS } else { OTHERS_UNSURE };
        self.deadline = self.deadline.min(Instant::now() + wait);
    }

    /// Ends the round with the list of the first peer of the cluster that is meant, if that is
    /// clear.
    fn agreed(mut self) -> Asked {
        let mut good = std::mem::take(&mut self.good);
        good.sort_by_key(|(peer, _)| *peer);
        let shown: Vec<u64> = good.iter().map(|(_, list)| list.cluster_id).collect();
        let agreement = Agreement::of(&shown, self.pin);
        let mut agreeing = Vec::new();
        let mut winner = None;
        for (peer, list) in good {
            match (agreement.objection(list.cluster_id), &winner) {
                (Some(objection), _) => self.errors[peer] = Some(objection),
                (None, None) => winner = Some((peer, list)),
                (None, Some(_)) => agreeing.push(self.peers[peer].clone()),
            }
        }
        let asked = match winner {
            Some((peer, list)) => self.won(peer, list),
            None => self.end(None),
        };
        Asked { agreeing, ..asked }
    }

    /// Ends the round with the list of `peer`. Other peers that had their head start and gave no
    /// answer are marked slow.
    fn won(mut self, peer: usize, list: MemberList) -> Asked {
        self.errors[peer] = None;
        for (since, error) in self.since.iter().zip(&mut self.errors) {
            let waited = since.map(|since| since.elapsed()).filter(|waited| *waited >= STAGGER);
            if let Some(waited) = waited {
                error.get_or_insert(FetchError::Slow(Duration::from_millis(
                    waited.as_millis() as u64
                )));
            }
        }
        let answer = Some((self.peers[peer].clone(), list));
        self.end(answer)
    }

    fn out_of_time(mut self, limit: Duration) -> Asked {
        for (since, error) in self.since.iter().zip(&mut self.errors) {
            if since.is_some() {
                error.get_or_insert(FetchError::NoAnswer(limit));
            }
        }
        self.end(None)
    }

    fn end(self, answer: Option<(PeerUrl, MemberList)>) -> Asked {
        let errors = self
            .peers
            .iter()
            .zip(self.errors)
            .filter_map(|(peer, error)| Some((peer.clone(), error?)));
        Asked { answer, agreeing: Vec::new(), errors: errors.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pin::ForeignCluster;
    use super::super::scripted::{Script, ScriptedPeer, members, refusing};
    use super::*;

    const LIST: &str = r#"[{"id":1,"peerURLs":["http://a:2380"]}]"#;
    const LIMIT: Duration = Duration::from_secs(5);

    async fn ask_all(peers: &[&PeerUrl], pin: Pin) -> Asked {
        let peers: Vec<PeerUrl> = peers.iter().map(|peer| (*peer).clone()).collect();
        ask(&peers, pin, &Access::default(), LIMIT).await
    }

    fn winner(asked: &Asked) -> &PeerUrl {
        &asked.answer.as_ref().unwrap().0
    }

    #[tokio::test]
    async fn the_first_peer_that_answers_well_wins_and_the_next_is_not_asked() {
        let (first, second) =
            (ScriptedPeer::with_list("1", LIST).await, ScriptedPeer::with_list("1", LIST).await);
        let asked = ask_all(&[&first.url, &second.url], Pin::default()).await;
        assert_eq!(winner(&asked), &first.url);
        assert!(asked.errors.is_empty());
        assert_eq!(second.asked(), 0);
    }

    #[tokio::test]
    async fn failures_hand_over_at_once_and_are_told() {
        let junk = ScriptedPeer::with_list("1", "junk").await;
        let good = ScriptedPeer::with_list("1", LIST).await;
        let refused = refusing().await;
        let before = Instant::now();
        let asked = ask_all(&[&refused, &junk.url, &good.url], Pin::default()).await;
        assert!(before.elapsed() < 2 * STAGGER, "the third peer would be asked after two of them");
        assert_eq!(winner(&asked), &good.url);
        let errors: Vec<String> =
            asked.errors.iter().map(|(peer, error)| format!("{peer} {error}")).collect();
        let junk_error =
            format!("{} its answer is not a member list: not JSON (line 1, column 1)", junk.url);
        assert_eq!(errors, [format!("{refused} connection refused"), junk_error]);
    }

    #[tokio::test]
    async fn a_peer_that_hangs_is_overtaken_and_called_slow() {
        let hung = ScriptedPeer::new(Script::Hang).await;
        let good = ScriptedPeer::with_list("1", LIST).await;
        let asked = ask_all(&[&hung.url, &good.url], Pin::default()).await;
        assert_eq!(winner(&asked), &good.url);
        assert!(matches!(asked.errors[..], [(ref peer, FetchError::Slow(_))] if *peer == hung.url));
    }

    #[tokio::test]
    async fn a_peer_of_another_cluster_is_refused_and_the_next_asked() {
        let foreign = ScriptedPeer::with_list("2", LIST).await;
        let good = ScriptedPeer::with_list("1", LIST).await;
        let pin = Pin { pinned: Some(1), accepted: None };
        let asked = ask_all(&[&foreign.url, &good.url], pin).await;
        assert_eq!(winner(&asked), &good.url);
        assert_eq!(
            asked.errors,
            [(foreign.url.clone(), ForeignCluster { theirs: 2, ours: 1 }.into())]
        );
    }

    #[tokio::test]
    async fn peers_that_disagree_are_all_named_whatever_their_order() {
        let ours =
            [ScriptedPeer::with_list("1", LIST).await, ScriptedPeer::with_list("1", LIST).await];
        let foreign = ScriptedPeer::with_list("2", LIST).await;
        for peers in
            [[&foreign.url, &ours[0].url, &ours[1].url], [&ours[0].url, &ours[1].url, &foreign.url]]
        {
            let peers = peers.map(Clone::clone);
            let asked =
                super::ask_all(&peers, Pin::default(), None, &Access::default(), LIMIT).await;
            assert!(asked.answer.is_none() && asked.is_disputed());
            assert_eq!(asked.errors.len(), 3);
            for (pinned, accepted) in [(Some(1), None), (None, Some(1)), (Some(2), Some(1))] {
                let pin = Pin { pinned, accepted };
                let asked = super::ask_all(&peers, pin, None, &Access::default(), LIMIT).await;
                assert_eq!(asked.answer.unwrap().1.cluster_id, 1, "{pin:?}");
                assert_eq!(asked.agreeing.len(), 1);
                let named = ForeignCluster { theirs: 2, ours: 1 }.into();
                assert_eq!(asked.errors, [(foreign.url.clone(), named)]);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_hangs_delays_the_others_agreement_a_moment_only() {
        let hung = ScriptedPeer::new(Script::Hang).await;
        let good = ScriptedPeer::with_list("1", LIST).await;
        let before = Instant::now();
        let (peers, pin) = ([hung.url.clone(), good.url.clone()], Pin::default());
        let asked = super::ask_all(&peers, pin, Some(1), &Access::default(), LIMIT).await;
        assert!(before.elapsed() < 2 * OTHERS, "{:?}", before.elapsed());
        assert_eq!(winner(&asked), &good.url);
    }

    #[tokio::test]
    async fn a_peer_of_another_cluster_than_the_one_in_force_does_not_win_by_being_faster() {
        let foreign = ScriptedPeer::with_list("2", LIST).await;
        let slow = ScriptedPeer::new(Script::Hang).await;
        let peers = [foreign.url.clone(), slow.url.clone()];
        let (access, limit) = (Access::default(), 2 * OTHERS);
        for (pin, in_force, waits) in [
            (Pin::default(), Some(1), true),
            (Pin::default(), None, true),
            (Pin::default(), Some(2), false),
            (Pin { pinned: None, accepted: Some(2) }, Some(1), false),
        ] {
            let before = Instant::now();
            let asked = super::ask_all(&peers, pin, in_force, &access, limit).await;
            assert_eq!(before.elapsed() >= limit, waits, "{pin:?} {in_force:?}");
            assert_eq!(winner(&asked), &foreign.url);
        }
    }

    #[tokio::test]
    async fn when_nobody_answers_well_every_error_is_told() {
        let asked = ask_all(&[&refusing().await, &refusing().await], Pin::default()).await;
        assert!(asked.answer.is_none());
        assert_eq!(asked.errors.len(), 2);
        assert!(ask_all(&[], Pin::default()).await.errors.is_empty());
    }

    #[tokio::test]
    async fn the_limit_ends_the_wait_for_peers_that_hang() {
        let hung = ScriptedPeer::new(Script::Hang).await;
        let limit = Duration::from_millis(100);
        let asked =
            ask(std::slice::from_ref(&hung.url), Pin::default(), &Access::default(), limit).await;
        assert_eq!(asked.errors, [(hung.url.clone(), FetchError::NoAnswer(limit))]);
    }

    #[tokio::test]
    async fn a_peer_that_comes_back_is_not_missed_behind_one_that_hangs() {
        let hung = ScriptedPeer::new(Script::Hang).await;
        let back = ScriptedPeer::saying("").await;
        let peers = [hung.url.clone(), back.url.clone()];
        let access = Access::default();
        let asking = ask(&peers, Pin::default(), &access, LIMIT);
        let coming_back = async {
            back.wait_asked().await;
            back.say(members("1", LIST));
        };
        let (asked, ()) = tokio::join!(asking, coming_back);
        assert_eq!(winner(&asked), &back.url);
    }
}
