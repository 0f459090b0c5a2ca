use super::*;
use crate::cluster::fetch::FetchError;
use crate::cluster::member::MemberList;
use crate::config::PeerUrl;
use crate::telemetry::snapshot::{EndpointStatus, MemberStatus, ServingMode};

fn found(cluster: Option<u64>, members: Vec<Probed>) -> Found {
    let peer = PeerUrl { tls: false, host: "peer".to_owned(), port: 2380 };
    let answer = match cluster {
        Some(id) => Ok(MemberList::parse(id, br#"[{"id":1}]"#).unwrap()),
        None => Err(FetchError::ClientPort),
    };
    let survey =
        Survey { source: None, peers: vec![(peer, answer)], kept: Vec::new(), file_trouble: None };
    Found { survey, members, changes: Vec::new(), daemon_trouble: None, may_become_member: false }
}

fn probed(id: u64, url: &str, state: State) -> Probed {
    Probed { id, name: format!("m{id}"), url: url.to_owned(), state }
}

fn running(cluster: &str, urls: &[&str]) -> Snapshot {
    let endpoint =
        |url: &&str| EndpointStatus { url: (*url).to_owned(), usable: true, ..Default::default() };
    let member =
        MemberStatus { endpoints: urls.iter().map(endpoint).collect(), ..Default::default() };
    Snapshot {
        mode: ServingMode::Readwrite,
        cluster_id: Some(cluster.to_owned()),
        members: vec![member],
        ..Default::default()
    }
}

fn bad(reason: &str) -> State {
    State::Unusable(reason.to_owned())
}

#[test]
fn what_would_change_is_mode_cluster_and_urls() {
    let new = found(Some(0xb), vec![probed(1, "http://b", State::Healthy)]);
    let changes = new.compare(Mode::Readonly, &running("a", &["http://a"]));
    assert_eq!(
        changes,
        [
            "mode would change from readwrite to readonly",
            "cluster would change from a to b",
            "http://b would be added",
            "http://a would get no requests any more",
        ]
    );
    let same = found(Some(0xa), vec![probed(1, "http://a", State::Unhealthy("slow".to_owned()))]);
    assert!(same.compare(Mode::Readwrite, &running("a", &["http://a"])).is_empty());
}

#[test]
fn nobody_is_dropped_for_nobody_of_the_same_cluster() {
    for new in [found(None, Vec::new()), found(Some(0xa), vec![probed(1, "unix://a", bad("?"))])] {
        assert!(new.compare(Mode::Readwrite, &running("a", &["http://a"])).is_empty());
    }
    let other = found(Some(0xb), Vec::new()).compare(Mode::Readwrite, &running("a", &["http://a"]));
    assert_eq!(other.len(), 2, "{other:?}");
}

#[test]
fn a_learner_is_no_blemish_and_a_member_without_a_way_to_it_is_one() {
    let learner = || probed(2, "http://b", State::LeftOut("learner".to_owned()));
    let well = || probed(1, "http://a", State::Healthy);
    assert!(found(Some(1), vec![well(), learner()]).is_perfect());
    assert!(found(Some(1), vec![well(), probed(1, "unix://a", bad("?"))]).is_perfect());
    assert!(!found(Some(1), vec![well(), probed(2, "unix://b", bad("?"))]).is_perfect());
    assert!(!found(Some(1), vec![learner()]).is_usable());
    let mut host = found(None, Vec::new());
    assert!(!host.is_usable());
    host.may_become_member = true;
    assert!(host.is_usable() && !host.is_perfect());
}

#[test]
fn what_stands_in_the_way_is_told_once() {
    let mut new = found(None, Vec::new());
    let source = |trouble: Option<&str>| {
        Some(SourceStatus {
            name: "discovery at X".to_owned(),
            trouble: trouble.map(str::to_owned),
        })
    };
    for (trouble, line) in [
        (None, "discovery at X: answers"),
        (Some("discovery at X: refused"), "discovery at X: refused"),
        (Some("refused"), "discovery at X: refused"),
    ] {
        new.survey.source = source(trouble);
        assert_eq!(new.remarks(), [line]);
    }
    assert_eq!(new.verdict(), "would wait: no peer gives a member list");
    new.survey.peers.clear();
    assert_eq!(new.verdict(), "would wait: no peer is known");
}
