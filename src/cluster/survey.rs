//! Asking every peer once, each for itself: what somebody wants to know who looks at settings before they are used.
//!
//! A refresh is content with the first good answer; a survey has the answer of each. It keeps nothing and writes nothing.

use tokio::task::JoinSet;

use super::fetch::{FETCH_LIMIT, FetchError, fetch};
use super::file::ClusterFile;
use super::finder::Finder;
use super::member::MemberList;
use super::pin::{ForeignCluster, Pin};
use super::source;
use super::tracker::Setup;
use crate::config::PeerUrl;
use crate::telemetry::snapshot::SourceStatus;

/// What the peers of some settings answer.
#[derive(Debug)]
pub struct Survey {
    /// The source of the peers, if it has to be asked, and what it lacks or suffers.
    pub source: Option<SourceStatus>,
    /// Each peer, in the order in which the daemon would ask them, and its answer.
    pub peers: Vec<(PeerUrl, Result<MemberList, FetchError>)>,
}

impl Survey {
    /// Asks the source, and then all of its peers at once. Takes 20 s at most.
    pub async fn take(setup: &Setup) -> Self {
        let finder = Finder::start(&setup.source, &setup.registry, Vec::new());
        let found = finder.first_word(FETCH_LIMIT).await;
        let source = source::describe(&setup.source)
            .map(|name| SourceStatus { name, trouble: found.trouble });
        let mut asking = JoinSet::new();
        for (at, peer) in found.peers.iter().cloned().enumerate() {
            let access = setup.access.clone();
            asking.spawn(async move { (at, fetch(&peer, &access).await) });
        }
        let mut answers: Vec<_> = asking.join_all().await;
        answers.sort_by_key(|(at, _)| *at);
        let mut pin = pin(setup);
        let peers = found.peers.into_iter().zip(answers);
        let peers = peers.map(|(peer, (_, answer))| (peer, admitted(answer, &mut pin))).collect();
        Self { source, peers }
    }

    /// The list that the daemon would follow: that of the first peer with a good one.
    pub fn list(&self) -> Option<&MemberList> {
        self.peers.iter().find_map(|(_, answer)| answer.as_ref().ok())
    }
}

/// What the cluster file and the settings say of the cluster that may be served.
fn pin(setup: &Setup) -> Pin {
    let file = ClusterFile::below(&setup.data_dir).read(&source::fingerprint(&setup.source));
    let pinned = file.ok().flatten().and_then(|kept| kept.cluster_id());
    Pin { pinned, accepted: setup.accept_cluster_id }
}

/// Holds an answer against the pin, which the first good one sets.
fn admitted(
    answer: Result<MemberList, FetchError>,
    pin: &mut Pin,
) -> Result<MemberList, FetchError> {
    let list = answer?;
    match pin.pinned.filter(|_| !pin.admits(list.cluster_id)) {
        Some(ours) => Err(ForeignCluster { theirs: list.cluster_id, ours }.into()),
        None => {
            pin.hold(list.cluster_id);
            Ok(list)
        }
    }
}
