//! Files that cannot be used: at the start they are refused, and a daemon that serves already serves on.

use super::refused::is_served;
use super::{TlsStage, towards};
use crate::stage::when_here;
use crate::support::beside_others;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Dialer, Files, Leaf};
use crate::support::{PATIENCE, run};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The listener's certificate and key, which can be spoilt in several ways and mended again.
struct Desk {
    _scratch: Scratch,
    authority: Authority,
    files: Files,
    /// What is good: the certificate and the key.
    good: [String; 2],
}

/// A way to spoil them, and words of the sentence that must be said of it.
type Fault = (&'static str, fn(&Desk), &'static [&'static str]);

const FAULTS: [Fault; 6] = [
    (
        "expired",
        |desk| desk.put_pair(&desk.authority, Leaf::loopback().expired()),
        &["expired on 2001-02-03", "server.pem:1"],
    ),
    (
        "mismatched",
        |desk| {
            let other = desk.authority.issue(&Leaf::loopback());
            std::fs::write(&desk.files.key, other.key).expect("a key");
        },
        &["server.key:1: this is not the key of"],
    ),
    (
        "half-written",
        |desk| {
            let half = &desk.good[0][..desk.good[0].len() / 2];
            std::fs::write(&desk.files.certificate, half).expect("half a file");
        },
        &["server.pem:1", "has no end, the file may be half written"],
    ),
    (
        "empty",
        |desk| std::fs::write(&desk.files.certificate, "").expect("an empty file"),
        &["server.pem", "empty"],
    ),
    (
        "a directory",
        |desk| {
            std::fs::remove_file(&desk.files.certificate).expect("removed");
            std::fs::create_dir(&desk.files.certificate).expect("a directory");
        },
        &["server.pem", "directory"],
    ),
    (
        "unreadable",
        |desk| {
            let none = Permissions::from_mode(0o000);
            std::fs::set_permissions(&desk.files.key, none).expect("a mode");
        },
        &["server.key", "permission"],
    ),
];

impl Desk {
    fn new() -> Self {
        let (scratch, authority) = (Scratch::new("faults"), Authority::new("clients"));
        let identity = authority.issue(&Leaf::loopback());
        let files = identity.write(scratch.path(), "server");
        Self { _scratch: scratch, authority, files, good: [identity.certificate, identity.key] }
    }

    fn put_pair(&self, authority: &Authority, leaf: Leaf) {
        let identity = authority.issue(&leaf);
        std::fs::write(&self.files.certificate, identity.certificate).expect("a certificate");
        std::fs::write(&self.files.key, identity.key).expect("a key");
    }

    /// Puts back what is good.
    fn mend(&self) {
        let _ = std::fs::remove_dir(&self.files.certificate);
        let _ = std::fs::remove_file(&self.files.key);
        for (path, text) in self.pair().iter().zip(&self.good) {
            std::fs::write(path, text).expect("a file");
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a mode");
        }
    }

    fn pair(&self) -> [PathBuf; 2] {
        [self.files.certificate.clone(), self.files.key.clone()]
    }

    fn plan(&self, stage: &TlsStage) -> Plan {
        let [certificate, key] = self.pair().map(|path| path.display().to_string());
        towards(&stage.secured, Proxy::before(&stage.secured))
            .https(&Dialer::tls(&[&self.authority], None))
            .arguments(&["--cert-file", &certificate, "--key-file", &key])
            .minding_modes()
    }
}

#[track_caller]
fn assert_says(what: &str, said: &str, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(*word)).collect();
    assert!(missing.is_empty(), "{what}: {missing:?} is not in: {said}");
}

#[test]
fn a_start_is_refused_with_a_sentence_for_each_fault() {
    when_here(Generation::V3_5, |generation| {
        let _floor = beside_others();
        let stage = TlsStage::shared(generation);
        let desk = Desk::new();
        for (what, spoil, words) in FAULTS {
            spoil(&desk);
            let proxy = desk.plan(stage).spawn();
            let ended = proxy.process.wait(PATIENCE).unwrap_or_else(|| panic!("{what}: it runs"));
            assert_eq!(ended.code(), Some(64), "{what}: {}", proxy.story());
            assert_says(what, &proxy.process.lines().join("\n"), words);
            desk.mend();
        }
        desk.plan(stage).start();
    });
}

#[test]
fn a_reload_is_refused_with_a_sentence_for_each_fault_and_the_daemon_serves_on() {
    when_here(Generation::V3_5, |generation| {
        let _floor = beside_others();
        let stage = TlsStage::shared(generation);
        let desk = Desk::new();
        let proxy = desk.plan(stage).start();
        let client = || Dialer::tls(&[&desk.authority], None);
        let shown = run(client().look(&proxy.address)).expect("a certificate");
        for (what, spoil, words) in FAULTS {
            spoil(&desk);
            let (told, fine) = proxy.command(&["reload"]);
            assert!(!fine, "{what}: {told}");
            assert_says(what, &told, words);
            assert_says(what, &proxy.command(&["status"]).0, words);
            let journal = proxy.process.lines().join("\n");
            assert_says(what, &journal, words);
            is_served(&proxy.address, &client()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(run(client().look(&proxy.address)).expect("a certificate"), shown, "{what}");
            desk.mend();
            let (told, fine) = proxy.command(&["reload"]);
            assert!(fine, "{what}, mended: {told}");
        }
    });
}

/// Nobody asks for a reload here: the key that does not fit is waited for, and reported when it does not come.
#[test]
fn a_key_that_does_not_come_is_waited_for_and_then_reported() {
    when_here(Generation::V3_5, |generation| {
        let _floor = beside_others();
        let stage = TlsStage::shared(generation);
        let desk = Desk::new();
        let proxy = desk.plan(stage).start();
        let next = desk.authority.issue(&Leaf::loopback());
        std::fs::write(&desk.files.certificate, &next.certificate).expect("a certificate");
        let said = proxy.process.wait_for_line("is not the key of", PATIENCE);
        assert!(said.is_some(), "{}", proxy.story());
        assert!(proxy.command(&["status"]).0.contains("is not the key of"));
        is_served(&proxy.address, &Dialer::tls(&[&desk.authority], None)).expect("served");
        std::fs::write(&desk.files.key, &next.key).expect("a key");
        let mended = proxy.process.wait_for_line("settings reloaded", PATIENCE);
        assert!(mended.is_some(), "{}", proxy.story());
        let shown = run(Dialer::tls(&[&desk.authority], None).look(&proxy.address));
        assert_eq!(shown.expect("a certificate"), next.der());
    });
}
