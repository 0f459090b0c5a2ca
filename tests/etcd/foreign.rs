//! A foreign cluster at the address of a member gets no request, and the status names it.

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::proxy::{Plan, Proxy, settings};
use crate::support::rpc::{self, Done, PutRequest};
use crate::support::settings_file::Way;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually, http1, run, shared};
use crate::tls::towards;

on_each_generation!(
    an_advertised_address_of_another_cluster_gets_no_request_with_auth_or_without,
    an_advertised_address_of_another_cluster_gets_no_request_under_tls,
    a_stranger_on_the_port_of_a_dead_member_gets_no_request,
    peers_of_two_clusters_are_refused_unless_the_settings_decide,
    a_cluster_rebuilt_in_place_serves_once_it_is_accepted_and_not_before,
);

/// Writes through the daemon with both protocols, each time on a new connection. Returns the number
/// of acknowledged writes.
fn write(proxy: &Proxy, rounds: usize) -> usize {
    run(async {
        let mut acknowledged = 0;
        for round in 0..rounds {
            let body = "{\"key\":\"YQ==\",\"value\":\"Yg==\"}";
            acknowledged +=
                usize::from(http1::post(&proxy.address, "/v3/kv/put", body).await.status == 200);
            let channel = Channel::open(&proxy.address).await.expect("a connection");
            let put = PutRequest::new("foreign", &round.to_string());
            acknowledged += usize::from(channel.unary::<Done>(rpc::PUT, &put).await.is_ok());
        }
        acknowledged
    })
}

#[track_caller]
fn has_no_key(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.run(&["get", "--prefix", "", "--keys-only"]), "");
}

/// Waits until the status names this cluster as the wrong one at an address.
fn until_named(proxy: &Proxy, id: &str) {
    let named = format!("cluster {id}");
    run(eventually("the other cluster is named", PATIENCE, async || {
        let status = http1::get(&proxy.address, "/proxy/status").await.json();
        status["problems"].to_string().contains(&named)
    }));
}

fn with_auth(etcdctl: &Etcdctl) {
    etcdctl.run(&["user", "add", "root:secret"]);
    etcdctl.run(&["user", "grant-role", "root", "root"]);
    etcdctl.run(&["auth", "enable"]);
}

/// Starts two clusters. A member of one advertises an address of the other.
fn astray(generation: Generation, make: impl Fn(Cluster) -> Cluster) -> (Cluster, Cluster) {
    let token = "--initial-cluster-token=foreign";
    let foreign = make(Cluster::planned(generation, 1)).with_flag(token);
    foreign.start_all();
    let ours = make(Cluster::planned(generation, 2));
    let scheme = ours.peer_url(0).split(':').next().unwrap().to_owned();
    let ours = ours.advertising(0, &format!("{scheme}://{}", foreign.client(0)));
    ours.start_all();
    (ours, foreign)
}

fn balanced(plan: Plan) -> Plan {
    plan.arguments(&["--balance", "p2c"])
}

fn an_advertised_address_of_another_cluster_gets_no_request_with_auth_or_without(
    generation: Generation,
) {
    let _machine = shared();
    let (ours, foreign) = astray(generation, |cluster| cluster);
    let proxy = balanced(Proxy::before(&ours)).start();
    assert_eq!(write(&proxy, 20), 40);
    until_named(&proxy, &foreign.id());
    has_no_key(&foreign.etcdctl());
    let (shown, fine) = proxy.command(&["status"]);
    assert!(!fine && shown.contains(&foreign.id()), "{shown}");

    let id = foreign.id();
    for cluster in [&ours, &foreign] {
        with_auth(&cluster.etcdctl());
    }
    let proxy = balanced(Proxy::before(&ours)).start();
    let root = proxy.etcdctl(generation).with("--user=root:secret");
    for _ in 0..5 {
        root.run(&["put", "foreign", "secret"]);
    }
    until_named(&proxy, &id);
    has_no_key(&foreign.etcdctl().with("--user=root:secret"));
}

fn an_advertised_address_of_another_cluster_gets_no_request_under_tls(generation: Generation) {
    let _machine = shared();
    let authority = Authority::new("both");
    let (ours, foreign) = astray(generation, |cluster| cluster.secured(&authority));
    let proxy = balanced(towards(&ours, Proxy::before(&ours))).start();
    assert_eq!(write(&proxy, 20), 40);
    until_named(&proxy, &foreign.id());
    has_no_key(&foreign.etcdctl());
}

fn a_stranger_on_the_port_of_a_dead_member_gets_no_request(generation: Generation) {
    let _machine = shared();
    let ours = Cluster::start(generation, 3);
    for probes in ["0", "200ms"] {
        let arguments = ["--health-interval", probes, "--proxy-failure-wait", "0"];
        let proxy = balanced(Proxy::before(&ours)).arguments(&arguments).start();
        assert_eq!(write(&proxy, 10), 20);
        ours.kill(0);
        let token = "--initial-cluster-token=foreign";
        let foreign = Cluster::planned(generation, 1).with_flag(token).with_client(&ours.client(0));
        foreign.start_all();
        // Without a leader the members themselves would refuse writes.
        ours.leader();
        assert_eq!(write(&proxy, 50), 100, "{}", proxy.story());
        until_named(&proxy, &foreign.id());
        has_no_key(&foreign.etcdctl());
        drop(foreign);
        ours.restart(0);
        run(eventually("our member is back", PATIENCE, async || {
            let status = http1::get(&proxy.address, "/proxy/status").await.json();
            status["problems"].as_array().is_some_and(Vec::is_empty)
        }));
    }
}

fn peers_of_two_clusters_are_refused_unless_the_settings_decide(generation: Generation) {
    let _machine = shared();
    let token = "--initial-cluster-token=foreign";
    let foreign = Cluster::planned(generation, 1).with_flag(token);
    foreign.start_all();
    let ours = Cluster::start(generation, 2);
    let proxy = Proxy::before(&ours).file(&settings("on", &ours.initial_cluster())).start();
    let peer = format!("stranger={}", foreign.peer_url(0));
    let first = format!("{peer},{}", ours.initial_cluster());
    let last = format!("{},{peer}", ours.initial_cluster());
    for peers in [&first, &last] {
        proxy.edit(Way::Rename, &settings("on", peers));
        let status = proxy.status();
        let said = status["settings_refused"]["messages"].to_string();
        assert!(said.contains("etcd-proxy.toml:2:1"), "{status}");
        assert!(said.contains(&ours.id()) && said.contains(&foreign.id()), "{status}");
        assert!(!proxy.command(&["status"]).1);
        assert_eq!(write(&proxy, 5), 10);
    }
    has_no_key(&foreign.etcdctl());
    let decided = format!("accept-cluster-id = \"{}\"\n", ours.id());
    proxy.edit(Way::Rename, &(settings("on", &first) + &decided));
    let status = proxy.status();
    assert!(status["settings_refused"].is_null(), "{status}");
    assert!(status["problems"].to_string().contains(&foreign.peer_url(0)), "{status}");
    assert_eq!(write(&proxy, 5), 10);
    has_no_key(&foreign.etcdctl());

    // A start without a pinned cluster cannot tell which one is meant.
    let new = Proxy::with_peers(&last).spawn();
    let line = new.process.wait_for_line("other peers belong to others", PATIENCE);
    assert!(line.is_some(), "{}", new.story());
    assert_eq!(write(&new, 1), 0);
    assert_eq!(new.status()["ready"], false);
    // If all peers move to another cluster, that is accepted.
    proxy.edit(Way::Rename, &settings("on", &foreign.initial_cluster()));
    assert_eq!(write(&proxy, 1), 2);
    assert_ne!(foreign.etcdctl().run(&["get", "--prefix", "", "--keys-only"]), "");
}

fn a_cluster_rebuilt_in_place_serves_once_it_is_accepted_and_not_before(generation: Generation) {
    let _machine = shared();
    let ours = Cluster::start(generation, 2);
    let text = settings("on", &ours.initial_cluster());
    let refresh = ["--proxy-refresh-interval", "200"];
    let proxy = Proxy::before(&ours).file(&text).arguments(&refresh).start();
    assert_eq!(write(&proxy, 5), 10);
    (0..2).for_each(|member| ours.kill(member));
    let token = "--initial-cluster-token=rebuilt";
    let rebuilt = Cluster::planned(generation, 2).with_flag(token).in_place_of(&ours);
    rebuilt.start_all();
    until_named(&proxy, &rebuilt.id());
    assert_eq!(write(&proxy, 5), 0);
    // On a busy machine a proof may also time out, which is reported as another failure.
    run(eventually("the proxy says why", PATIENCE, async || {
        let refused = http1::post(&proxy.address, "/v3/kv/put", "{}").await;
        let reason = refused.header("etcd-proxy-reason");
        (refused.status, reason) == (503, Some("cluster-unproved"))
    }));
    has_no_key(&rebuilt.etcdctl());
    let (shown, fine) = proxy.command(&["status"]);
    assert!(
        !fine && shown.contains(&format!("accept-cluster-id = \"{}\"", rebuilt.id())),
        "{shown}"
    );
    let accepted = format!("accept-cluster-id = \"{}\"\n", rebuilt.id());
    proxy.edit(Way::Rename, &(text + &accepted));
    assert_eq!(write(&proxy, 5), 10, "{}", proxy.story());
    let (shown, fine) = proxy.command(&["status"]);
    assert!(fine, "{shown}");
}
