//! Certificates that etcd's own clients accept are accepted here too.

use super::TlsFixture;
use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf};
use crate::support::{PATIENCE, eventually, http1, run, shared};

on_each_generation!(
    members_that_call_themselves_authorities_are_spoken_to,
    members_with_auto_tls_are_spoken_to_behind_a_certificate_for_them,
);

/// Reads a key until the read succeeds, since the member may still be electing its leader.
fn reads_through(plan: Plan) -> Proxy {
    let proxy = plan.start();
    run(eventually("a read is answered", PATIENCE, async || {
        let body = "{\"key\":\"YQ==\"}";
        let Ok(mut connection) = http1::Connection::open(&proxy.address).await else {
            return false;
        };
        let answer = connection.exchange("POST", "/v3beta/kv/range", &[], body).await;
        let other = connection.exchange("POST", "/v3/kv/range", &[], body).await;
        [answer, other].into_iter().flatten().any(|answer| answer.status == 200)
    }));
    proxy
}

fn members_that_call_themselves_authorities_are_spoken_to(generation: Generation) {
    let _machine = shared();
    let (authority, files) = (Authority::new("cluster"), Scratch::new("parity"));
    let signs = authority.issue(&Leaf::loopback().authority()).write(files.path(), "signs");
    let cluster = Cluster::planned(generation, 1).secured(&authority);
    let cluster = cluster.with_flag(&format!("--cert-file={}", signs.certificate.display()));
    let cluster = cluster.with_flag(&format!("--key-file={}", signs.key.display()));
    cluster.start_all();
    // Our certificate towards members is marked as an authority as well, and etcd accepts it.
    let own = authority.issue(&Leaf::client().authority()).write(files.path(), "own");
    let own = [
        format!("--upstream-cert-file={}", own.certificate.display()),
        format!("--upstream-key-file={}", own.key.display()),
    ];
    let plan = super::towards(&cluster, Proxy::before(&cluster)).arguments(&[&own[0], &own[1]]);
    reads_through(plan);
}

/// From 3.6 on, etcd makes certificates for auto-tls that are marked as authorities.
fn members_with_auto_tls_are_spoken_to_behind_a_certificate_for_them(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::planned(generation, 1).with_flag("--auto-tls");
    let url = format!("https://{}", cluster.client(0));
    let cluster = cluster.with_flag(&format!("--listen-client-urls={url}")).advertising(0, &url);
    cluster.start_all();
    let shown = TlsFixture::shared(generation).secured.client_identity();
    let shown = [
        format!("--upstream-cert-file={}", shown.certificate.display()),
        format!("--upstream-key-file={}", shown.key.display()),
    ];
    let plan = || Proxy::with_peers(&cluster.initial_cluster()).arguments(&[&shown[0], &shown[1]]);
    let proxy = reads_through(plan().arguments(&["--auto-tls"]));
    let (said, _) = proxy.command(&["status"]);
    assert!(!said.contains("PROBLEM"), "{said}");
    let warning = "so members' certificates are not verified, as with etcd";
    assert!(proxy.process.wait_for_line(warning, PATIENCE).is_some(), "{}", proxy.story());

    // Without `auto-tls` the members are not trusted, and the status names the setting that would
    // help.
    let proxy = plan().start();
    run(eventually("the setting is named", PATIENCE, async || {
        let (said, _) = proxy.command(&["status"]);
        said.contains("set upstream-trusted-ca-file to trust others")
    }));
}
