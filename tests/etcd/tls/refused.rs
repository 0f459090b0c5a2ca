//! Clients that are accepted and clients that are refused.

use super::{Pki, TlsFixture, towards};
use crate::fixture::{on_each_generation, when_here};
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::http1::Connection;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, ClientFiles, Dialer, Identity, Leaf};
use crate::support::{PATIENCE, run, shared};

/// Returns whether a client is served; the error is the reason that it gets.
pub fn is_served(address: &str, dialer: &Dialer) -> Result<(), String> {
    run(async {
        let text = |error: std::io::Error| error.to_string();
        let mut connection = Connection::open_by(dialer, address).await.map_err(text)?;
        let answer = connection.exchange("GET", "/version", &[], "").await.map_err(text)?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok(())
    })
}

on_each_generation!(revoked_and_nameless_clients_are_refused_and_the_others_served);

fn revoked_and_nameless_clients_are_refused_and_the_others_served(generation: Generation) {
    let _machine = shared();
    let fixture = TlsFixture::shared(generation);
    let pki = Pki::new();
    let named = |name: &str| pki.authority.issue(&Leaf::of(&[name]));
    let (good, revoked) = (named("app.example"), named("app.example"));
    let other = named("other.example");
    let list = pki.directory().join("revoked.pem");
    std::fs::write(&list, pki.authority.revoke(&[&revoked])).expect("a list");
    let proxy = pki
        .listening(towards(&fixture.secured, Proxy::before(&fixture.secured)))
        .arguments(&["--client-crl-file", list.to_str().expect("UTF-8")])
        .arguments(&["--client-cert-allowed-hostname", "else.example,app.example"]);
    let address = proxy.address();
    let by = |identity| Dialer::tls(&[&pki.authority], identity);
    // The client of the shared fixture has no name in its certificate.
    let proxy = proxy.https(&by(Some(&good))).start();
    is_served(&address, &by(Some(&good))).expect("a good client");
    for (what, identity) in [
        ("revoked", Some(&revoked)),
        ("with another name", Some(&other)),
        ("without a name", Some(&pki.client)),
        ("without a certificate", None),
    ] {
        let told = is_served(&address, &by(identity)).expect_err(what);
        println!("{what}: {told}");
    }
    let stranger = Authority::new("stranger").issue(&Leaf::of(&["app.example"]));
    is_served(&address, &by(Some(&stranger))).expect_err("a stranger");
    etcdctl_is_refused(&proxy, &pki, &revoked, generation);
}

fn etcdctl_is_refused(proxy: &Proxy, pki: &Pki, revoked: &Identity, generation: Generation) {
    let files = ClientFiles {
        authority: pki.client_files.authority.clone(),
        identity: Some(revoked.write(pki.directory(), "revoked")),
    };
    let etcdctl = proxy.etcdctl(generation).secured(&files).with("--command-timeout=2s");
    etcdctl.try_run(&["get", "a"]).expect_err("a revoked client");
}

/// The cluster has revoked the daemon's certificate: no request gets through, and the status gives
/// the reason.
#[test]
fn members_that_refuse_our_certificate_are_named_with_the_reason() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let authority = Authority::new("cluster");
        let cluster = Cluster::planned(generation, 1).secured(&authority);
        let directory = crate::support::scratch::Scratch::new("revoked");
        let shown = authority.issue(&Leaf::loopback());
        let files = shown.write(directory.path(), "shown");
        let list = directory.join("revoked.pem");
        std::fs::write(&list, authority.revoke(&[&shown])).expect("a list");
        let cluster = cluster.with_flag(&format!("--client-crl-file={}", list.display()));
        cluster.start_all();
        // The peers still accept it, so the member list is known, but no member takes requests.
        let proxy = towards(&cluster, Proxy::before(&cluster))
            .arguments(&["--upstream-cert-file", files.certificate.to_str().expect("UTF-8")])
            .arguments(&["--upstream-key-file", files.key.to_str().expect("UTF-8")])
            .start();
        let told = crate::support::run(crate::support::http1::get(&proxy.address, "/version"));
        assert_eq!(told.status, 502, "{}", told.text());
        let reason = "is revoked or has names that it does not allow";
        let said = proxy.process.wait_for_line(reason, PATIENCE);
        assert!(said.is_some(), "{}", proxy.story());
        let (status, _) = proxy.command(&["status"]);
        assert!(status.contains(reason), "{status}");
    });
}
