//! Files that cannot be used: a start is refused, and a daemon that is running goes on serving.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::refused::is_served;
use crate::fixture::when_here;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::shared;
use crate::support::tls::{Authority, Dialer, Identity, Leaf};
use crate::support::{PATIENCE, run};

/// Every setting that names a file, and the file.
const FILES: [(&str, &str); 11] = [
    ("cert-file", "server.pem"),
    ("key-file", "server.key"),
    ("trusted-ca-file", "clients.pem"),
    ("client-crl-file", "clients.crl"),
    ("upstream-cert-file", "upstream.pem"),
    ("upstream-key-file", "upstream.key"),
    ("upstream-trusted-ca-file", "members.pem"),
    ("peer-cert-file", "peer.pem"),
    ("peer-key-file", "peer.key"),
    ("peer-trusted-ca-file", "peers.pem"),
    ("peer-crl-file", "peers.crl"),
];

/// A cluster, and a daemon's files, which can be damaged in several ways and restored.
struct Fixture {
    scratch: Scratch,
    clients: Authority,
    members: Authority,
    /// The certificate of a client.
    client: Identity,
    cluster: Cluster,
    /// The usable content of each file.
    good: Vec<(&'static str, String)>,
}

/// The way in which a file is damaged.
enum Spoilt {
    /// It has this content.
    Text(String),
    /// It is replaced by a directory.
    Directory,
    /// Nobody has permission to read it.
    Unreadable,
}

/// A file that cannot be used, and words of the message about it.
struct Fault {
    file: &'static str,
    spoilt: Spoilt,
    words: [String; 2],
}

impl Fixture {
    fn new(generation: Generation) -> Self {
        let [clients, members] = ["clients", "cluster"].map(Authority::new);
        let cluster = Cluster::planned(generation, 1).secured(&members);
        cluster.start_all();
        let server = clients.issue(&Leaf::loopback());
        let [upstream, peer] = [0, 1].map(|_| members.issue(&Leaf::loopback()));
        let good = vec![
            ("server.pem", server.certificate),
            ("server.key", server.key),
            ("clients.pem", clients.pem().to_owned()),
            ("clients.crl", clients.revoke(&[])),
            ("upstream.pem", upstream.certificate),
            ("upstream.key", upstream.key),
            ("members.pem", members.pem().to_owned()),
            ("peer.pem", peer.certificate),
            ("peer.key", peer.key),
            ("peers.pem", members.pem().to_owned()),
            ("peers.crl", members.revoke(&[])),
        ];
        let (scratch, client) = (Scratch::new("faults"), clients.issue(&Leaf::client()));
        let fixture = Self { scratch, clients, members, client, cluster, good };
        FILES.iter().for_each(|(_, file)| fixture.mend(file));
        fixture
    }

    fn path(&self, file: &str) -> PathBuf {
        self.scratch.join(file)
    }

    fn good(&self, file: &str) -> &str {
        &self.good.iter().find(|(name, _)| *name == file).expect("a file").1
    }

    /// Restores the usable content of a file.
    fn mend(&self, file: &str) {
        let path = self.path(file);
        let _ = std::fs::remove_dir(&path);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, self.good(file)).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
    }

    fn spoil(&self, fault: &Fault) {
        let path = self.path(fault.file);
        match &fault.spoilt {
            Spoilt::Text(text) => std::fs::write(path, text).expect("a file"),
            Spoilt::Directory => {
                std::fs::remove_file(&path).expect("removed");
                std::fs::create_dir(path).expect("a directory");
            }
            Spoilt::Unreadable => {
                std::fs::set_permissions(path, Permissions::from_mode(0o000)).expect("a mode");
            }
        }
    }

    /// Returns every file with every way to damage it.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |file: &'static str, spoilt, what: &str| {
            let setting = FILES.iter().find(|(_, name)| *name == file).expect("a file").0;
            let words = [format!("`{setting}`: "), format!("{file}{what}")];
            faults.push(Fault { file, spoilt, words });
        };
        let text = |text: &str| Spoilt::Text(text.to_owned());
        for (_, file) in FILES {
            let whole = self.good(file);
            add(file, text(&whole[..whole.len() / 2]), ":1: the ");
            add(file, text(""), " is empty");
            add(file, Spoilt::Directory, " is a directory");
            add(file, Spoilt::Unreadable, " cannot be read: permission denied");
        }
        for (certificate, key) in [
            ("server.pem", "server.key"),
            ("upstream.pem", "upstream.key"),
            ("peer.pem", "peer.key"),
        ] {
            let old = self.members.issue(&Leaf::loopback().expired());
            let expired = ":1: the certificate O=etcd-proxy tests expired on 2001-02-03";
            add(certificate, Spoilt::Text(old.certificate), expired);
            add(key, Spoilt::Text(old.key), ":1: this is not the key of the certificate");
        }
        for (file, authority) in [
            ("clients.pem", &self.clients),
            ("members.pem", &self.members),
            ("peers.pem", &self.members),
        ] {
            let old = authority.issue(&Leaf::client().authority().expired()).certificate;
            let expired = ":1: the authority O=etcd-proxy tests expired on 2001-02-03";
            add(file, Spoilt::Text(old), expired);
            let none = authority.issue(&Leaf::client()).certificate;
            add(file, Spoilt::Text(none), " has no CA in it: O=etcd-proxy tests, in line 1");
        }
        for (file, name) in [("clients.crl", "clients"), ("peers.crl", "cluster")] {
            let other = Authority::new(name).revoke(&[]);
            let what = format!(":1: the revocation list is signed with another key of CN={name}");
            add(file, Spoilt::Text(other), &what);
        }
        faults
    }

    fn dialer(&self) -> Dialer {
        Dialer::tls(&[&self.clients], Some(&self.client))
    }

    fn plan(&self) -> Plan {
        let flags = FILES.map(|(name, file)| format!("--{name}={}", self.path(file).display()));
        Proxy::before(&self.cluster)
            .https(&self.dialer())
            .arguments(&flags.each_ref().map(String::as_str))
            .minding_modes()
    }
}

#[track_caller]
fn assert_says(fault: &Fault, said: &str) {
    let said_of_it = said.lines().any(|line| fault.words.iter().all(|word| line.contains(word)));
    assert!(said_of_it, "{:?} is not in: {said}", fault.words);
}

#[test]
fn a_start_is_refused_with_a_sentence_for_each_fault() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let fixture = Fixture::new(generation);
        for fault in fixture.faults() {
            fixture.spoil(&fault);
            // Started by hand: a service would wait for better files.
            let proxy = fixture.plan().variable("NOTIFY_SOCKET", "").spawn();
            let ended = proxy.process.wait(PATIENCE);
            let ended = ended.unwrap_or_else(|| panic!("{:?}: it runs", fault.words));
            assert_eq!(ended.code(), Some(64), "{:?}: {}", fault.words, proxy.story());
            let said = proxy.process.wait_for_line(&fault.words[1], PATIENCE);
            assert_says(&fault, &said.unwrap_or_else(|| proxy.story()));
            fixture.mend(fault.file);
        }
        fixture.plan().start();
    });
}

#[test]
fn a_reload_is_refused_with_a_sentence_for_each_fault_and_the_daemon_serves_on() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let fixture = Fixture::new(generation);
        let proxy = fixture.plan().start();
        let shown = run(fixture.dialer().fetch_certificate(&proxy.address)).expect("a certificate");
        for fault in fixture.faults() {
            let words = &fault.words;
            fixture.spoil(&fault);
            let (told, fine) = proxy.command(&["reload"]);
            assert!(!fine, "{words:?}: {told}");
            assert_says(&fault, &told);
            assert_says(&fault, &proxy.command(&["status"]).0);
            assert_says(&fault, &proxy.process.lines().join("\n"));
            let served = is_served(&proxy.address, &fixture.dialer());
            served.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            let shows =
                run(fixture.dialer().fetch_certificate(&proxy.address)).expect("a certificate");
            assert_eq!(shows, shown, "{words:?}");
            fixture.mend(fault.file);
            let (told, fine) = proxy.command(&["reload"]);
            assert!(fine, "{words:?}, mended: {told}");
        }
    });
}

/// Without a reload command, the daemon waits for a key that fits, and reports the problem when
/// none comes.
#[test]
fn a_key_that_does_not_come_is_waited_for_and_then_reported() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let fixture = Fixture::new(generation);
        let proxy = fixture.plan().start();
        let next = fixture.clients.issue(&Leaf::loopback());
        std::fs::write(fixture.path("server.pem"), &next.certificate).expect("a certificate");
        let said = proxy.process.wait_for_line("is not the key of", PATIENCE);
        assert!(said.is_some(), "{}", proxy.story());
        assert!(proxy.command(&["status"]).0.contains("is not the key of"));
        is_served(&proxy.address, &fixture.dialer()).expect("served");
        std::fs::write(fixture.path("server.key"), &next.key).expect("a key");
        let mended = proxy.process.wait_for_line("settings reloaded", PATIENCE);
        assert!(mended.is_some(), "{}", proxy.story());
        let shown = run(fixture.dialer().fetch_certificate(&proxy.address));
        assert_eq!(shown.expect("a certificate"), next.der());
    });
}
