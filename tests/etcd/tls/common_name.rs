//! An ordinary certificate with a CN on the listeners: clients are served with it, and members are
//! never shown it.

use super::TlsFixture;
use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Dialer, Leaf};
use crate::support::{PATIENCE, eventually, http1, run, shared};

on_each_generation!(a_certificate_with_a_cn_serves_clients_and_is_not_shown_to_members);

fn a_certificate_with_a_cn_serves_clients_and_is_not_shown_to_members(generation: Generation) {
    let _machine = shared();
    let (authority, directory) = (Authority::new("kubernetes"), Scratch::new("common-name"));
    let files = authority.issue(&Leaf::loopback().common_name("kube-etcd"));
    let files = files.write(directory.path(), "server");
    let dialer = Dialer::tls(&[&authority], None);
    let shown = [
        format!("--cert-file={}", files.certificate.display()),
        format!("--key-file={}", files.key.display()),
    ];
    let shown = [shown[0].as_str(), shown[1].as_str()];
    let ask = async |proxy: &Proxy| {
        let mut connection = http1::Connection::open_by(&dialer, &proxy.address).await?;
        connection.exchange("GET", "/version", &[], "").await
    };

    let plain = &Fixture::shared(generation).cluster;
    let proxy = Proxy::before(plain).https(&dialer).arguments(&shown).start();
    let answer = run(ask(&proxy)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (said, fine) = proxy.command(&["reload"]);
    assert!(fine, "{said}");
    let warning = "`cert-file`: members are not shown this certificate";
    let count = || proxy.process.lines().iter().filter(|line| line.contains(warning)).count();
    assert_eq!(count(), 1, "{}", proxy.process.tail());

    // Members that demand a certificate are not shown it either, and the status names the settings
    // that would help.
    let secured = &TlsFixture::shared(generation).secured;
    let (trusted, peer) = (&secured.client_files().authority, secured.client_identity());
    let towards = [
        format!("--upstream-trusted-ca-file={}", trusted.display()),
        format!("--peer-trusted-ca-file={}", trusted.display()),
        format!("--peer-cert-file={}", peer.certificate.display()),
        format!("--peer-key-file={}", peer.key.display()),
    ];
    let towards: Vec<_> = towards.iter().map(String::as_str).chain(shown).collect();
    let plan = Proxy::before(secured).https(&dialer).arguments(&towards);
    let proxy = plan.start();
    let advice = "it demands a client certificate; the one in cert-file is not shown, since it has a CN (\"kube-etcd\"): \
                  set upstream-cert-file to one without, or allow-upstream-cn = true";
    run(eventually(advice, PATIENCE, async || {
        let answer = ask(&proxy).await.expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.text());
        proxy.command(&["status"]).0.contains(advice)
    }));
}
