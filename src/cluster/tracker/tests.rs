use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::cluster::scripted::{Script, ScriptedPeer, connector, members, refusing};

const LIMIT: Duration = Duration::from_secs(5);

/// A member list of one member with this name, whose peer URL is `peer`.
fn one(name: &str, peer: &PeerUrl) -> String {
    format!(
        r#"[{{"id":1,"name":"{name}","peerURLs":["{peer}"],"clientURLs":["http://127.0.0.1:22379"]}}]"#
    )
}

fn setup(dir: &Path, peers: &[&PeerUrl]) -> Setup {
    Setup {
        source: PeerSource::Static(peers.iter().map(|peer| (*peer).clone()).collect()),
        registry: connector(),
        accept_cluster_id: None,
        access: Access { dial_timeout: Some(Duration::from_secs(1)), ..Access::default() },
        data_dir: dir.to_owned(),
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A peer of cluster `a1` that lists itself, and a tracker that has received its list.
async fn tracked(dir: &Path) -> (ScriptedPeer, Tracker) {
    let peer = ScriptedPeer::new(Script::Hang).await;
    peer.say(members("a1", &one("infra0", &peer.url)));
    let mut tracker = Tracker::new(setup(dir, &[&peer.url]));
    assert_eq!(tracker.refresh().await, Outcome::Fresh { changed: true });
    (peer, tracker)
}

fn names(tracker: &Tracker) -> Vec<&str> {
    tracker
        .list()
        .map_or(Vec::new(), |list| list.members.iter().map(|member| member.name.as_str()).collect())
}

fn kept_because(outcome: Outcome) -> String {
    match outcome {
        Outcome::CachedPeers { reason } => reason,
        Outcome::Fresh { .. } => panic!("a fresh list"),
    }
}

#[tokio::test]
async fn the_first_good_list_is_taken_and_pins_the_cluster() {
    let dir = dir();
    let (_peer, tracker) = tracked(dir.path()).await;
    assert_eq!(names(&tracker), ["infra0"]);
    assert_eq!(tracker.cluster_id(), Some(0xa1));
    let status = tracker.refresh_status();
    assert_eq!((status.succeeded, status.failed, status.last_error), (1, 0, None));
    assert!(tracker.problems().is_empty());
}

#[tokio::test]
async fn a_list_that_is_the_same_is_not_a_change() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    assert_eq!(tracker.refresh().await, Outcome::Fresh { changed: false });
    peer.say(members("a1", &one("renamed", &peer.url)));
    assert_eq!(tracker.refresh().await, Outcome::Fresh { changed: true });
    assert_eq!(names(&tracker), ["renamed"]);
}

#[tokio::test]
async fn a_good_list_is_never_lost() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    let bad = [
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n".to_owned(), "it answered status 500"),
        (members("a1", "junk"), "its answer is not a member list: not JSON (line 1, column 1)"),
        (members("a1", "[]"), "its member list is empty"),
        (
            members("b2", r#"[{"id":9,"name":"other"}]"#),
            "it belongs to cluster b2, but this proxy serves cluster a1; \
             if the cluster was rebuilt, set accept-cluster-id = \"b2\"",
        ),
    ];
    for (answer, error) in bad {
        peer.say(&answer);
        assert_eq!(kept_because(tracker.refresh().await), format!("{}: {error}", peer.url));
        assert_eq!(names(&tracker), ["infra0"], "{error}");
        assert_eq!(tracker.peer_statuses()[0].error.as_deref(), Some(error));
    }
    assert_eq!(tracker.refresh_status().failed, 4);
    assert_eq!(tracker.cluster_id(), Some(0xa1));
}

#[tokio::test]
async fn a_peer_that_never_answers_costs_its_limit_and_no_list() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    peer.set(Script::Hang);
    let outcome = tracker.learn_within(Duration::from_millis(100)).await;
    assert_eq!(
        kept_because(outcome),
        format!("{}: no answer to GET /members within 100ms", peer.url)
    );
    assert_eq!(names(&tracker), ["infra0"]);
}

#[tokio::test]
async fn trouble_is_a_problem_while_it_lasts_and_news_when_it_changes() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    peer.say(members("a1", "[]"));
    tracker.learn_within(LIMIT).await;
    tracker.learn_within(LIMIT).await;
    let reason = format!("{}: its member list is empty", peer.url);
    assert_eq!(tracker.events, [ClusterEvent::Failing { reason: reason.clone(), have_list: true }]);
    assert_eq!(tracker.problems()[0].text, format!("the member list is not fresh: {reason}"));
    tracker.events.clear();
    peer.say(members("a1", &one("infra0", &peer.url)));
    tracker.learn_within(LIMIT).await;
    assert_eq!(tracker.events, [ClusterEvent::Recovered]);
    assert!(tracker.problems().is_empty());
}

#[tokio::test]
async fn a_foreign_peer_is_refused_loudly_once_and_the_next_peer_is_asked() {
    let dir = dir();
    let (peer, _) = tracked(dir.path()).await;
    let foreign = ScriptedPeer::with_list("b2", r#"[{"id":9}]"#).await;
    let mut tracker = Tracker::new(setup(dir.path(), &[&peer.url]));
    let both = PeerSource::Static(vec![foreign.url.clone(), peer.url.clone()]);
    tracker.discovery = PeerDiscovery::start(&both, &tracker.setup.registry, Vec::new());
    tracker.learn_within(LIMIT).await;
    assert_eq!(names(&tracker), ["infra0"]);
    assert!(
        matches!(&tracker.events[0], ClusterEvent::Foreign(url, _) if *url == foreign.url),
        "{:?}",
        tracker.events
    );
    assert!(
        tracker.problems()[0]
            .text
            .starts_with(&format!("peer {}: it belongs to cluster b2", foreign.url))
    );
    tracker.events.clear();
    tracker.learn_within(LIMIT).await;
    assert_eq!(tracker.events, []);
}

#[tokio::test]
async fn peers_of_the_list_are_adopted_and_asked_when_the_configured_ones_are_gone() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    let adopted = ScriptedPeer::new(Script::Hang).await;
    peer.say(members("a1", &one("infra0", &adopted.url)));
    adopted.say(members("a1", &one("moved", &adopted.url)));
    tracker.refresh().await;
    let configured = peer.stop().await;
    assert_eq!(tracker.refresh().await, Outcome::Fresh { changed: true });
    assert_eq!(names(&tracker), ["moved"]);
    let urls: Vec<String> = tracker.peer_statuses().into_iter().map(|status| status.url).collect();
    assert_eq!(urls, [configured.to_string(), adopted.url.to_string()]);
}

#[tokio::test]
async fn after_a_restart_the_cluster_file_helps_when_no_configured_peer_answers() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    let other = ScriptedPeer::new(Script::Hang).await;
    peer.say(members("a1", &one("infra0", &other.url)));
    other.say(members("a1", &one("infra1", &other.url)));
    tracker.refresh().await;
    let gone = peer.stop().await;

    let mut restarted = Tracker::new(setup(dir.path(), &[&gone]));
    assert_eq!(restarted.cluster_id(), Some(0xa1));
    assert_eq!(restarted.refresh().await, Outcome::Fresh { changed: true });
    assert_eq!(names(&restarted), ["infra1"]);
    assert!(restarted.refresh_status().from_cluster_file);
    restarted.refresh().await;
    assert!(restarted.refresh_status().from_cluster_file, "the configured peer is still away");
}

#[tokio::test]
async fn the_cluster_file_gives_way_to_a_configured_peer() {
    let dir = dir();
    let (peer, mut tracker) = tracked(dir.path()).await;
    let other = ScriptedPeer::with_list("a1", "[]").await;
    peer.say(members("a1", &one("infra0", &other.url)));
    tracker.refresh().await;
    let mut restarted = Tracker::new(setup(dir.path(), &[&peer.url]));
    restarted.refresh().await;
    assert_eq!(other.asked(), 0);
    assert!(!restarted.refresh_status().from_cluster_file);
}

#[tokio::test]
async fn the_cluster_file_holds_the_pin_over_a_restart() {
    let dir = dir();
    let (peer, _) = tracked(dir.path()).await;
    peer.say(members("b2", &one("rebuilt", &peer.url)));
    let mut restarted = Tracker::new(setup(dir.path(), &[&peer.url]));
    assert!(kept_because(restarted.refresh().await).contains("accept-cluster-id = \"b2\""));

    let accepting = Setup { accept_cluster_id: Some(0xb2), ..setup(dir.path(), &[&peer.url]) };
    let mut restarted = Tracker::new(accepting);
    assert_eq!(restarted.refresh().await, Outcome::Fresh { changed: true });
    assert_eq!(Tracker::new(setup(dir.path(), &[&peer.url])).cluster_id(), Some(0xb2));
}

#[tokio::test]
async fn the_cluster_file_is_void_when_other_peers_are_configured_or_it_is_damaged() {
    let dir = dir();
    let (peer, tracker) = tracked(dir.path()).await;
    let path = tracker.file.path().to_owned();
    let changed = Tracker::new(setup(dir.path(), &[&peer.url, &refusing().await]));
    assert!(matches!(&changed.events[..], [ClusterEvent::FileIgnored(..)]));
    assert_eq!((changed.cluster_id(), changed.peers.cached.len()), (None, 0));

    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut damaged = Tracker::new(setup(dir.path(), &[&peer.url]));
    assert_eq!(damaged.cluster_id(), None);
    damaged.refresh().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
}

#[tokio::test]
async fn a_cluster_file_that_cannot_be_written_is_a_problem_and_no_failure() {
    let dir = dir();
    std::fs::write(dir.path().join("proxy"), "in the way").unwrap();
    let (_peer, mut tracker) = tracked(dir.path()).await;
    let path = tracker.file.path().display().to_string();
    assert!(tracker.problems()[0].text.starts_with(&format!("{path} cannot be written: ")));
    std::fs::remove_file(dir.path().join("proxy")).unwrap();
    tracker.refresh().await;
    assert!(tracker.problems().is_empty());
}

#[tokio::test]
async fn a_reload_that_leaves_the_peers_alone_asks_nobody() {
    let dir = dir();
    let (peer, tracker) = tracked(dir.path()).await;
    let mut candidate = tracker.candidate(setup(dir.path(), &[&peer.url]));
    assert_eq!(candidate.prepare(LIMIT).await, Ok(None));
    assert_eq!(peer.asked(), 1);
    assert_eq!(names(&candidate.commit().await), ["infra0"]);
}

#[tokio::test]
async fn a_reload_with_new_peers_has_their_list_before_anything_is_swapped() {
    let dir = dir();
    let (_peer, tracker) = tracked(dir.path()).await;
    let before = std::fs::read(tracker.file.path()).unwrap();
    let new = ScriptedPeer::with_list("b2", r#"[{"id":9,"name":"new","peerURLs":[]}]"#).await;
    let mut candidate = tracker.candidate(setup(dir.path(), &[&new.url]));
    assert_eq!(candidate.prepare(LIMIT).await, Ok(None));
    assert_eq!(names(candidate.tracker()), ["new"]);
    assert_eq!(names(&tracker), ["infra0"]);
    assert_eq!(
        std::fs::read(tracker.file.path()).unwrap(),
        before,
        "a dropped candidate leaves no trace"
    );
    let events = &candidate.tracker().events;
    assert!(events.contains(&ClusterEvent::Cluster { from: 0xa1, to: 0xb2 }), "{events:?}");

    let tracker = candidate.commit().await;
    assert_eq!(tracker.cluster_id(), Some(0xb2));
    assert_ne!(std::fs::read(tracker.file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_reload_whose_new_peers_do_not_answer_keeps_the_list_and_warns() {
    let dir = dir();
    let (old, tracker) = tracked(dir.path()).await;
    let new = ScriptedPeer::saying("").await;
    let mut candidate = tracker.candidate(setup(dir.path(), &[&new.url]));
    let warning = candidate.prepare(LIMIT).await.unwrap().unwrap();
    assert_eq!(
        warning,
        format!(
            "no peer of the new settings gives a member list, keeping the last one: {}: \
             it closed the connection without an answer, as a port that speaks TLS does",
            new.url
        )
    );
    let mut tracker = candidate.commit().await;
    assert_eq!(names(&tracker), ["infra0"]);
    let asked = old.asked();
    new.say(members("b2", &one("new", &new.url)));
    assert_eq!(tracker.refresh().await, Outcome::Fresh { changed: true });
    assert_eq!((names(&tracker), old.asked()), (vec!["new"], asked));
}

#[tokio::test]
async fn a_list_of_the_old_peers_is_not_kept_as_that_of_the_new_ones() {
    let dir = dir();
    let (_old, tracker) = tracked(dir.path()).await;
    let before = std::fs::read(tracker.file.path()).unwrap();
    let mut candidate = tracker.candidate(setup(dir.path(), &[&refusing().await]));
    candidate.prepare(LIMIT).await.unwrap().unwrap();
    let tracker = candidate.commit().await;
    assert_eq!(std::fs::read(tracker.file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_reload_that_accepts_the_rebuilt_cluster_finds_it_at_once() {
    let dir = dir();
    let (peer, tracker) = tracked(dir.path()).await;
    peer.say(members("b2", &one("rebuilt", &peer.url)));
    let accepting = Setup { accept_cluster_id: Some(0xb2), ..setup(dir.path(), &[&peer.url]) };
    let mut candidate = tracker.candidate(accepting.clone());
    assert_eq!(candidate.prepare(LIMIT).await, Ok(None));
    let tracker = candidate.commit().await;
    assert_eq!((names(&tracker), tracker.cluster_id()), (vec!["rebuilt"], Some(0xb2)));

    let asked = peer.asked();
    tracker.candidate(accepting).prepare(LIMIT).await.unwrap();
    assert_eq!(peer.asked(), asked, "nothing new is accepted");
}

#[tokio::test]
async fn a_reload_with_peers_of_two_clusters_is_refused_unless_the_settings_say_which() {
    let dir = dir();
    let (peer, tracker) = tracked(dir.path()).await;
    let foreign =
        ScriptedPeer::with_list("b2", r#"[{"id":9,"name":"foreign","peerURLs":[]}]"#).await;
    for peers in [[&foreign.url, &peer.url], [&peer.url, &foreign.url]] {
        let mixed = setup(dir.path(), &peers);
        let refused = tracker.candidate(mixed.clone()).prepare(LIMIT).await.unwrap_err();
        assert!(refused.contains("cluster a1") && refused.contains("cluster b2"), "{refused}");
        let accepting = Setup { accept_cluster_id: Some(0xa1), ..mixed };
        let mut candidate = tracker.candidate(accepting);
        assert_eq!(candidate.prepare(LIMIT).await, Ok(None));
        assert_eq!(names(candidate.tracker()), ["infra0"]);
        let problems = candidate.tracker().problems();
        assert!(problems[0].text.contains(&foreign.url.to_string()), "{problems:?}");
    }
}

#[tokio::test]
async fn at_a_start_peers_of_two_clusters_are_none_until_the_pin_or_the_settings_decide() {
    let dir = dir();
    let ours = ScriptedPeer::saying("").await;
    ours.say(members("a1", &one("infra0", &ours.url)));
    let foreign =
        ScriptedPeer::with_list("b2", r#"[{"id":9,"name":"foreign","peerURLs":[]}]"#).await;
    let mixed = setup(dir.path(), &[&foreign.url, &ours.url]);
    let mut tracker = Tracker::new(mixed.clone());
    let reason = kept_because(tracker.refresh().await);
    assert!(reason.contains("cluster a1") && reason.contains("cluster b2"), "{reason}");
    assert!(tracker.list().is_none() && tracker.cluster_id().is_none());
    let accepting = Setup { accept_cluster_id: Some(0xa1), ..mixed.clone() };
    let mut tracker = Tracker::new(accepting);
    tracker.refresh().await;
    assert_eq!(names(&tracker), ["infra0"]);
    // The cluster file holds the pin now.
    let mut tracker = Tracker::new(mixed);
    tracker.refresh().await;
    assert_eq!(names(&tracker), ["infra0"]);
    assert!(tracker.problems()[0].text.contains("cluster b2"), "{:?}", tracker.problems());
}

#[tokio::test]
async fn a_peer_that_becomes_another_clusters_is_noticed_though_it_need_not_be_asked() {
    let dir = dir();
    let first = ScriptedPeer::saying("").await;
    let list = one("infra0", &first.url);
    first.say(members("a1", &list));
    let (second, third) =
        (ScriptedPeer::with_list("a1", &list).await, ScriptedPeer::with_list("a1", &list).await);
    let mut tracker = Tracker::new(setup(dir.path(), &[&first.url, &second.url, &third.url]));
    tracker.refresh().await;
    assert!(tracker.problems().is_empty());
    third.say(members("b2", &list));
    for _ in 0..2 {
        tracker.refresh().await;
    }
    assert!(tracker.problems()[0].text.contains("cluster b2"), "{:?}", tracker.problems());
    third.say(members("a1", &list));
    for _ in 0..2 {
        tracker.refresh().await;
    }
    assert!(tracker.problems().is_empty(), "{:?}", tracker.problems());
}

#[tokio::test]
async fn once_another_cluster_is_accepted_nobody_complains_of_it_any_more() {
    let dir = dir();
    let first = ScriptedPeer::saying("").await;
    let second = ScriptedPeer::saying("").await;
    let list = one("infra0", &first.url);
    first.say(members("a1", &list));
    second.say(members("a1", &list));
    let peers = [&first.url, &second.url];
    let mut tracker = Tracker::new(setup(dir.path(), &peers));
    tracker.refresh().await;
    first.say(members("b2", &list));
    second.say(members("b2", &list));
    tracker.refresh().await;
    assert_eq!(tracker.problems().len(), 3, "{:?}", tracker.problems());
    let accepting = Setup { accept_cluster_id: Some(0xb2), ..setup(dir.path(), &peers) };
    let mut candidate = tracker.candidate(accepting);
    assert_eq!(candidate.prepare(LIMIT).await, Ok(None));
    let tracker = candidate.commit().await;
    assert_eq!((tracker.problems(), tracker.cluster_id()), (Vec::new(), Some(0xb2)));
}

#[tokio::test]
async fn before_the_first_list_the_reasons_are_told() {
    let dir = dir();
    let gone = refusing().await;
    let mut tracker = Tracker::new(setup(dir.path(), &[&gone]));
    let reason = kept_because(tracker.refresh().await);
    assert_eq!(reason, format!("{gone}: connection refused"));
    assert_eq!(tracker.problems()[0].text, format!("no member list yet: {reason}"));
    assert_eq!(tracker.refresh_status().last_error, Some(reason));
    assert!(tracker.list().is_none() && tracker.cluster_id().is_none());
}

#[test]
fn refreshes_can_run_on_any_thread() {
    fn is_send(_: impl Send) {}
    let dir = dir();
    let mut tracker = Tracker::new(setup(dir.path(), &[]));
    is_send(tracker.refresh());
}
