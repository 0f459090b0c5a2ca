//! Asks every peer once, each on its own, to check settings before they are used.
//!
//! A refresh stops at the first good answer; a survey has the answer of each peer. It keeps nothing
//! and writes nothing.

use tokio::task::JoinSet;

use super::agree::Agreement;
use super::fetch::{Access, FETCH_LIMIT, FetchError, fetch};
use super::file::ClusterFile;
use super::member::MemberList;
use super::peer_discovery::PeerDiscovery;
use super::pin::Pin;
use super::source;
use super::tracker::Setup;
use crate::config::PeerUrl;
use crate::telemetry::snapshot::SourceStatus;

/// A peer and its answer.
pub type Answer = (PeerUrl, Result<MemberList, FetchError>);

/// The answers of all peers of some settings.
#[derive(Debug)]
pub struct Survey {
    /// The source of the peers, if it has to be asked, and what is missing or wrong there.
    pub source: Option<SourceStatus>,
    /// The answer of each peer, in the order in which the daemon would ask them.
    pub peers: Vec<Answer>,
    /// The answers of the peers of the cluster file, which are asked when no other has a good
    /// answer.
    pub kept: Vec<Answer>,
    /// Why the cluster file cannot be used; `None` when it can, or does not exist.
    pub file_trouble: Option<String>,
}

impl Survey {
    /// Asks the source, then all of its peers at once, then those of the cluster file. Each step
    /// takes 10 s at most.
    pub async fn take(setup: &Setup) -> Self {
        let discovery = PeerDiscovery::start(&setup.source, &setup.registry, Vec::new());
        let found = discovery.first_result(FETCH_LIMIT).await;
        let trouble = match found.trouble_now() {
            Some(trouble) => Some(trouble.to_owned()),
            None => (!found.settled).then(|| format!("no answer within {FETCH_LIMIT:?}")),
        };
        let source = source::describe(&setup.source).map(|name| SourceStatus { name, trouble });
        let file = ClusterFile::below(&setup.data_dir);
        let (kept, file_trouble) = match file.read(&source::fingerprint(&setup.source)) {
            Ok(kept) => (kept, None),
            Err(reason) => (None, Some(format!("{}: {reason}", file.path().display()))),
        };
        let pinned = kept.as_ref().and_then(|kept| kept.cluster_id());
        let mut pin = Pin { pinned, accepted: setup.accept_cluster_id };
        let peers = ask_each(found.peers, &setup.access, &mut pin).await;
        let mut survey = Self { source, peers, kept: Vec::new(), file_trouble };
        if let Some(kept) = kept.filter(|_| survey.list().is_none()) {
            let mut others = kept.peers();
            others.retain(|peer| survey.peers.iter().all(|(asked, _)| asked != peer));
            survey.kept = ask_each(others, &setup.access, &mut pin).await;
        }
        survey
    }

    /// Returns the list that the daemon would follow: that of the first peer with a good one.
    pub fn list(&self) -> Option<&MemberList> {
        self.answers().find_map(|(_, answer)| answer.as_ref().ok())
    }

    /// Returns all answers, those of the cluster file's peers last.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.peers.iter().chain(&self.kept)
    }
}

/// Asks all peers at once and accepts the answers of the cluster that is meant, which is then
/// pinned.
async fn ask_each(peers: Vec<PeerUrl>, access: &Access, pin: &mut Pin) -> Vec<Answer> {
    let mut asking = JoinSet::new();
    for (at, peer) in peers.into_iter().enumerate() {
        let access = access.clone();
        asking.spawn(async move {
            let answer = fetch(&peer, &access).await;
            (at, peer, answer)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(at, ..)| *at);
    let mut answers: Vec<Answer> = answers
        .into_iter()
        .map(|(_, peer, answer)| (peer, answer.and_then(|list| Ok(pin.check(list)?))))
        .collect();
    let good = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let shown: Vec<u64> = good.map(|list| list.cluster_id).collect();
    let agreement = Agreement::of(&shown, *pin);
    for (_, answer) in &mut answers {
        let theirs = answer.as_ref().ok().map(|list| list.cluster_id);
        if let Some(objection) = theirs.and_then(|id| agreement.objection(id)) {
            *answer = Err(objection);
        }
    }
    if let Agreement::Cluster(id) = agreement {
        pin.hold(id);
    }
    answers
}
