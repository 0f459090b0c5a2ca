//! `/members` answers that must not harm a running service, and members that must get no requests.

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::http1;
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, run, shared};

on_each_generation!(
    a_bad_answer_from_the_only_peer_harms_no_request,
    a_peer_of_another_cluster_is_refused_from_the_start,
    a_bad_peer_before_a_good_one_is_passed_over,
    a_learner_gets_no_traffic,
);

/// A cluster ID that no cluster here has.
const ID: &str = "cafe0000000000a1";

/// Returns a list with one member: this client URL, and the scripted peer as its only peer.
fn list(client: &str, peer: &str) -> String {
    format!(
        "[{{\"id\":10276657743932975437,\"peerURLs\":[\"{peer}\"],\"name\":\"m0\",\
         \"clientURLs\":[\"http://{client}\"]}}]\n"
    )
}

fn a_bad_answer_from_the_only_peer_harms_no_request(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 1);
    let other = Cluster::start(generation, 1);
    let peer = Peer::start(Reply::Never);
    let id = cluster.id();
    let good = Reply::members(&id, &list(&cluster.client(0), &peer.url));
    peer.set(good.clone());
    let plan = Proxy::with_peers(&format!("m0={}", peer.url));
    let proxy = plan.arguments(&["--proxy-refresh-interval", "200"]).start();
    let foreign = list(&other.client(0), &peer.url);
    let unstarted = format!("[{{\"id\":1,\"peerURLs\":[\"{}\"]}}]", peer.url);
    let answer = |status: u16, id: &str, body: &str| Reply::Answer {
        status,
        cluster_id: id.to_owned(),
        body: body.to_owned(),
    };
    let bad = [
        answer(500, &id, "internal server error"),
        answer(500, &id, &foreign),
        answer(404, "", "404 page not found"),
        Reply::members(&id, "<html>hello</html>"),
        Reply::members(&id, "[{\"id\":"),
        Reply::members(&id, "[]"),
        Reply::members(&id, "null"),
        Reply::members(&id, "{}"),
        Reply::members(&id, &unstarted),
        Reply::members("", &foreign),
        Reply::members("not hex", &foreign),
        Reply::members("beef", &foreign),
        Reply::Hangup,
        Reply::Never,
    ];
    let etcdctl = proxy.etcdctl(generation);
    for reply in bad {
        let asked = peer.asked();
        peer.set(reply.clone());
        // A peer that never answers is asked only once within the time limit of one attempt.
        let enough = if reply == Reply::Never { 1 } else { 3 };
        let wait =
            eventually("the peer is asked", PATIENCE, async || peer.asked() >= asked + enough);
        run(wait);
        etcdctl.run(&["put", "fault", &format!("{reply:?}")]);
        let known = run(http1::get(&proxy.address, "/v2/config/local/proxy")).text();
        assert!(known.contains(&cluster.client(0)), "after {reply:?}: {known}");
        assert!(!known.contains(&other.client(0)), "after {reply:?}: {known}");
    }
    peer.set(good);
    let succeeded = proxy.status()["refresh"]["succeeded"].as_u64();
    let wait = eventually("the list is refreshed again", PATIENCE, async || {
        let status = http1::get(&proxy.address, "/proxy/status").await.json();
        status["refresh"]["succeeded"].as_u64() > succeeded
    });
    run(wait);
}

fn a_peer_of_another_cluster_is_refused_from_the_start(generation: Generation) {
    let _machine = shared();
    let (ours, foreign) = (Cluster::start(generation, 1), Cluster::start(generation, 1));
    let peers = format!("a={},b={}", ours.peer_url(0), foreign.peer_url(0));
    let accept = ["--accept-cluster-id", &ours.id(), "--proxy-refresh-interval", "200"];
    let proxy = Proxy::with_peers(&peers).arguments(&accept).start();
    ours.etcdctl().run(&["put", "mine", "yes"]);
    let etcdctl = proxy.etcdctl(generation);
    assert_eq!(etcdctl.run(&["get", "--print-value-only", "mine"]), "yes\n");
    // The pinned cluster is gone; the other one answers and is not accepted in its place.
    ours.kill(0);
    let refused = proxy.process.wait_for_line("cluster", PATIENCE);
    assert!(refused.is_some(), "{}", proxy.story());
    for _ in 0..10 {
        assert!(etcdctl.try_run(&["--command-timeout=1s", "get", "mine"]).is_err());
    }
    ours.restart(0);
    run(eventually("our cluster is back", PATIENCE, async || {
        etcdctl.try_run(&["get", "--print-value-only", "mine"]).is_ok_and(|value| value == "yes\n")
    }));
}

fn a_bad_peer_before_a_good_one_is_passed_over(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 1);
    for reply in [Reply::Hangup, Reply::members(ID, "junk"), Reply::members(ID, "[]")] {
        let bad = Peer::start(reply);
        let peers = format!("bad={},good={}", bad.url, cluster.peer_url(0));
        let proxy = Proxy::with_peers(&peers).start();
        proxy.etcdctl(generation).run(&["put", "fault", "passed over"]);
        assert!(bad.asked() > 0);
    }
}

fn a_learner_gets_no_traffic(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 1);
    let learner = cluster.add_learner();
    let plan = Proxy::with_peers(&cluster.initial_cluster_of(&[0]));
    let proxy = plan.arguments(&["--balance", "p2c"]).start();
    let members = proxy.status()["members"].clone();
    let listed =
        members.as_array().expect("members").iter().find(|member| member["learner"] == true);
    assert!(listed.is_some_and(|member| member["left_out"].is_string()), "{members}");
    run(async {
        // A learner would refuse a linearizable read.
        for number in 0..100 {
            let answer = http1::post(&proxy.address, "/v3/kv/range", "{\"key\":\"YQ==\"}").await;
            assert_eq!(answer.status, 200, "read {number}: {answer:?}");
        }
        let known = http1::get(&proxy.address, "/v2/config/local/proxy").await.text();
        assert!(!known.contains(&cluster.client(learner)), "{known}");
    });
}
