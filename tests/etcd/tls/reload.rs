//! Certificates, authorities and revocation lists that change under load.
//!
//! Four loads run at the same time: clients with and without a certificate, on kept connections
//! (with watches) and on new ones.

use std::path::PathBuf;
use std::time::Duration;

use super::refused::is_served;
use super::{TlsFixture, towards};
use crate::fixture::when_here;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::http1::Connection;
use crate::support::load::{Load, Plan};
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Dialer, Files, Identity, Leaf, replace};
use crate::support::{PATIENCE, eventually, exclusive, run, shared};

const CHANGES: usize = 50;

/// A cluster with TLS, a daemon that asks clients for certificates and one that does not, and loads
/// on both.
struct Fixture {
    with: Proxy,
    without: Proxy,
    /// The dialers for each daemon. The loads use them too, so they follow a change.
    dialers: [Dialer; 2],
    loads: Vec<Load>,
    files: Scratch,
    _cluster: Cluster,
}

impl Fixture {
    fn start(generation: Generation, authority: &Authority) -> Self {
        let cluster = Cluster::planned(generation, 3).secured(&Authority::new("cluster"));
        cluster.start_all();
        cluster.etcdctl().run(&["put", "load/r", "v"]);
        let files = Scratch::new("changing");
        authority.issue(&Leaf::loopback()).write(files.path(), "server");
        let client = authority.issue(&Leaf::client());
        replace(&files.join("trusted.pem"), authority.pem());
        replace(&files.join("revoked.pem"), &authority.revoke(&[]));
        let flag = |name: &str, file: &str| format!("--{name}={}", files.join(file).display());
        let pair = [flag("cert-file", "server.pem"), flag("key-file", "server.key")];
        let demand =
            [flag("trusted-ca-file", "trusted.pem"), flag("client-crl-file", "revoked.pem")];
        let dialers = [Some(&client), None].map(|identity| Dialer::tls(&[authority], identity));
        let flags = [[&pair[..], &demand[..]].concat(), pair.to_vec()];
        let [with, without] = [0, 1].map(|which| {
            let flags: Vec<_> = flags[which].iter().map(String::as_str).collect();
            let plan = towards(&cluster, Proxy::before(&cluster)).https(&dialers[which]);
            plan.arguments(&flags).start()
        });
        let mut fixture =
            Self { with, without, dialers, loads: Vec::new(), files, _cluster: cluster };
        fixture.load();
        fixture
    }

    fn load(&mut self) {
        for (proxy, dialer) in [&self.with, &self.without].into_iter().zip(&self.dialers) {
            for fresh in [false, true] {
                self.loads.push(Load::start(Plan {
                    dialer: dialer.clone(),
                    fresh,
                    json_readers: 1,
                    grpc_readers: 1,
                    watchers: usize::from(!fresh),
                    pause: Duration::from_millis(5),
                    ..Plan::new(&proxy.address, "load")
                }));
            }
        }
        self.loads.iter().for_each(|load| load.wait_for_reads(5));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Replaces the certificate and waits until both daemons show it.
    fn show(&self, identity: &Identity) {
        identity.write_to(&Files {
            certificate: self.file("server.pem"),
            key: self.file("server.key"),
        });
        for (proxy, dialer) in [&self.with, &self.without].into_iter().zip(&self.dialers) {
            run(eventually("the new certificate is shown", PATIENCE, async || {
                dialer
                    .fetch_certificate(&proxy.address)
                    .await
                    .is_ok_and(|shown| shown == identity.der())
            }));
        }
    }

    /// Waits until a client is served, or is refused, on its next connection.
    fn wait_until(&self, served: bool, dialer: &Dialer) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let told = is_served(&self.with.address, dialer);
            if told.is_ok() == served {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{told:?}; {}", self.with.story());
        }
    }

    /// Ends the loads and asserts that nothing failed.
    fn finish(self) {
        self.loads.into_iter().for_each(finish);
    }
}

/// Ends a load and asserts that no request failed and no watch ended.
pub fn finish(load: Load) {
    load.wait_for_reads(5);
    load.wait_for_writes(5);
    let report = load.finish();
    let (reads, writes) = (report.reads, report.written.len());
    println!("{reads} reads, slowest {:?}, {writes} writes", report.slowest_read);
    assert_eq!(report.failed_reads, [], "of {reads} reads");
    assert_eq!(report.failed_writes, [], "of {writes} writes");
    assert!(report.resumed.iter().all(|ends| *ends == 0), "a watch ended: {:?}", report.resumed);
    // The events of the last five writes may not have arrived yet.
    let sure = &report.written[..writes - 5];
    for seen in &report.seen {
        let missed = sure.iter().find(|key| !seen.contains_key(*key));
        assert_eq!(missed, None, "of {writes} writes, {} seen", seen.len());
    }
}

/// At first the daemon shows a stranger's certificates to members and peers. The right files come
/// while it runs.
#[test]
fn the_certificates_shown_to_members_and_peers_are_renewed_too() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let secured = &TlsFixture::shared(generation).secured;
        let files = Scratch::new("renewed");
        let stranger = Authority::new("stranger").issue(&Leaf::loopback());
        let mut flags = Vec::new();
        let mut shown = Vec::new();
        for side in ["peer", "upstream"] {
            let pair = stranger.write(files.path(), side);
            let trusted = &secured.client_files().authority;
            flags.push(format!("--{side}-cert-file={}", pair.certificate.display()));
            flags.push(format!("--{side}-key-file={}", pair.key.display()));
            flags.push(format!("--{side}-trusted-ca-file={}", trusted.display()));
            shown.push(pair);
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let proxy = Proxy::before(secured).arguments(&flags).spawn();
        let good = secured.client_identity();
        let renew = |pair: &Files| {
            std::fs::copy(&good.certificate, &pair.certificate).expect("a certificate");
            std::fs::copy(&good.key, &pair.key).expect("a key");
        };
        let refused = "no peer gives a member list yet";
        assert!(proxy.process.wait_for_line(refused, PATIENCE).is_some(), "{}", proxy.story());
        renew(&shown[0]);
        proxy.wait_until_ready();
        let told = run(crate::support::http1::get(&proxy.address, "/version"));
        assert_eq!(told.status, 502, "{}", told.text());
        renew(&shown[1]);
        run(eventually("members are reached", PATIENCE, async || {
            crate::support::http1::get(&proxy.address, "/version").await.status == 200
        }));
    });
}

#[test]
fn fifty_changes_of_the_certificate_fail_no_request() {
    when_here(Generation::V3_4, |generation| {
        let _machine = exclusive();
        let authority = Authority::new("clients");
        let fixture = Fixture::start(generation, &authority);
        for _ in 0..CHANGES {
            fixture.show(&authority.issue(&Leaf::loopback()));
        }
        fixture.finish();
    });
}

/// In each round both authorities are trusted first. Then all certificates are replaced by those of
/// the new one, and then only the new one is trusted. In every other round the new authority has
/// the old one's name and differs only in its key.
#[test]
fn fifty_changes_of_the_authority_fail_no_request() {
    when_here(Generation::V3_5, |generation| {
        let _machine = exclusive();
        let mut old = Authority::new("clients 0");
        let fixture = Fixture::start(generation, &old);
        let mut left = old.issue(&Leaf::client());
        // Each round changes the file twice.
        for number in 1..=CHANGES / 2 {
            let new = Authority::new(&format!("clients {}", number / 2));
            let client = new.issue(&Leaf::client());
            let empty = [old.revoke(&[]), new.revoke(&[])].concat();
            replace(&fixture.file("revoked.pem"), &empty);
            replace(&fixture.file("trusted.pem"), &[old.pem(), new.pem()].concat());
            fixture.wait_until(true, &Dialer::tls(&[&old], Some(&client)));
            for (dialer, identity) in fixture.dialers.iter().zip([Some(&client), None]) {
                dialer.become_like(&Dialer::tls(&[&old, &new], identity));
            }
            fixture.show(&new.issue(&Leaf::loopback()));
            replace(&fixture.file("revoked.pem"), &new.revoke(&[]));
            replace(&fixture.file("trusted.pem"), new.pem());
            fixture.wait_until(false, &Dialer::tls(&[&new], Some(&left)));
            left = client;
            old = new;
        }
        fixture.finish();
    });
}

#[test]
fn fifty_changes_of_the_revocation_list_fail_no_request_but_those_of_the_revoked() {
    when_here(Generation::V3_7, |generation| {
        let _machine = exclusive();
        let authority = Authority::new("clients");
        let fixture = Fixture::start(generation, &authority);
        let mut revoked: Vec<Identity> = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        for _ in 0..CHANGES {
            let client = authority.issue(&Leaf::client());
            // The same dialer is used again, so that a session could be resumed.
            let dialer = Dialer::tls(&[&authority], Some(&client));
            is_served(&fixture.with.address, &dialer).expect("a client that is not revoked yet");
            let open = Connection::open_by(&dialer, &fixture.with.address);
            let mut open = runtime.block_on(open).expect("a connection");
            revoked.push(client);
            let all: Vec<&Identity> = revoked.iter().collect();
            let mark = fixture.with.process.mark();
            replace(&fixture.file("revoked.pem"), &authority.revoke(&all));
            let said =
                fixture.with.process.wait_for_line_after(mark, "settings reloaded", PATIENCE);
            assert!(said.is_some(), "{}", fixture.with.story());
            // The client has a session ticket and is refused all the same, on its very next
            // connection.
            is_served(&fixture.with.address, &dialer).expect_err("a client that is revoked");
            // Open connections stay open.
            let answer = runtime.block_on(open.exchange("GET", "/version", &[], ""));
            assert_eq!(answer.expect("an answer").status, 200);
        }
        fixture.finish();
    });
}
