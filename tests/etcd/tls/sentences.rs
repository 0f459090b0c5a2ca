//! Problems of TLS between the daemon and its members and peers, in the words of `status`.

use std::path::Path;

use super::{Pki, TlsFixture};
use crate::fixture::{Fixture, on_each_generation};
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf};
use crate::support::{PATIENCE, eventually, run, shared};

on_each_generation!(
    a_peer_that_refuses_us_or_is_refused_is_explained,
    a_member_that_cannot_be_spoken_to_is_explained,
);

/// Starts a daemon and waits until its status contains this text.
fn says(plan: Plan, wanted: &str) -> Proxy {
    let proxy = plan.spawn();
    run(eventually(wanted, PATIENCE, async || {
        let (status, _) = proxy.command(&["status"]);
        if status.contains(wanted) {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        false
    }));
    proxy
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn a_peer_that_refuses_us_or_is_refused_is_explained(generation: Generation) {
    let _machine = shared();
    let (secured, plain) =
        (&TlsFixture::shared(generation).secured, &Fixture::shared(generation).cluster);
    let (peers, plain_peers) = (secured.initial_cluster_of(&[0]), plain.initial_cluster_of(&[0]));
    let trusted = flag("peer-trusted-ca-file", &secured.client_files().authority);
    let to = |peers: &str| Proxy::with_peers(peers);

    let nothing_to_show = to(&peers).arguments(&[&trusted]);
    says(nothing_to_show, "it demands a client certificate; set peer-cert-file");

    let untrusted = Pki::new();
    let stranger = flag("peer-trusted-ca-file", &untrusted.client_files.authority);
    says(to(&peers).arguments(&[&stranger]), "is from an unknown authority, CN=cluster");

    let shown = secured.client_identity();
    let pair = [flag("peer-cert-file", &shown.certificate), flag("peer-key-file", &shown.key)];
    let pair = [&trusted, pair[0].as_str(), pair[1].as_str()];
    says(
        to(&peers.replace("https:", "http:")).arguments(&pair),
        "it speaks TLS, but the URL says http",
    );
    says(
        to(&plain_peers.replace("http:", "https:")).arguments(&pair),
        "it does not speak TLS; write http://",
    );
}

fn a_member_that_cannot_be_spoken_to_is_explained(generation: Generation) {
    let _machine = shared();
    let (authority, files) = (Authority::new("cluster"), Scratch::new("sentences"));
    let elsewhere = authority.issue(&Leaf::of(&["10.9.9.9", "etcd.example"]));
    let elsewhere = elsewhere.write(files.path(), "elsewhere");
    let cluster = Cluster::planned(generation, 1).secured(&authority);
    let cluster = cluster.with_flag(&flag("cert-file", &elsewhere.certificate));
    let cluster = cluster.with_flag(&flag("key-file", &elsewhere.key));
    cluster.start_all();
    let proxy = super::towards(&cluster, Proxy::before(&cluster));
    let reason = "is for 10.9.9.9, etcd.example, and not for 127.0.0.1";
    let proxy = says(proxy, reason);
    let told = run(crate::support::http1::get(&proxy.address, "/version"));
    assert_eq!(told.status, 502, "{}", told.text());

    // etcd's peer port compares the names in our certificate with the address that we connect from.
    let peers = cluster.initial_cluster();
    let [trusted, certificate, key] = [
        flag("peer-trusted-ca-file", &cluster.client_files().authority),
        flag("peer-cert-file", &elsewhere.certificate),
        flag("peer-key-file", &elsewhere.key),
    ];
    let misplaced = Proxy::with_peers(&peers).arguments(&[&trusted, &certificate, &key]);
    says(misplaced, "leads to this host's address: 10.9.9.9, etcd.example");

    let misled = Cluster::planned(generation, 1).secured(&authority);
    let advertised = format!("http://{}", misled.client(0));
    let misled = misled.advertising(0, &advertised);
    misled.start_all();
    says(super::towards(&misled, Proxy::before(&misled)), "it speaks TLS, but its URL says http");

    let plain = Cluster::planned(generation, 1);
    let advertised = format!("https://{}", plain.client(0));
    let plain = plain.advertising(0, &advertised);
    plain.start_all();
    says(Proxy::before(&plain), "does it speak TLS at all");
}
