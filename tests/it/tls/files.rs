//! What is said of files for TLS that cannot be used: each has its own sentence, with the file, the
//! line and the reason.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::process;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf};

/// A directory with an authority, a certificate of it, and settings that name both.
struct Desk {
    scratch: Scratch,
    authority: Authority,
}

const SETTINGS: &str = "listen-client-urls = \"https://127.0.0.1:0\"\n\
                        cert-file = \"DIR/server.pem\"\n\
                        key-file = \"DIR/server.key\"\n";

impl Desk {
    fn new() -> Self {
        let desk = Self { scratch: Scratch::new("tls-files"), authority: Authority::new("ca") };
        desk.authority.issue(&Leaf::loopback()).write(desk.scratch.path(), "server");
        desk.put("ca.pem", desk.authority.pem());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What `check` says to these settings beside [`SETTINGS`]: the lines that are no count, with
    /// the directory as DIR, and how it ends.
    fn check(&self, more: &str) -> (String, i32) {
        self.check_alone(&format!("{SETTINGS}{more}"))
    }

    /// The same without [`SETTINGS`].
    fn check_alone(&self, settings: &str) -> (String, i32) {
        let directory = self.scratch.path().display().to_string();
        let text = settings.replace("DIR", &directory);
        std::fs::write(self.path("p.toml"), text).unwrap();
        let mut command = process::command("setpriv");
        if nix::unistd::geteuid().is_root() {
            // Without the capabilities by which root may read everything.
            command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        }
        command.arg("--").arg(env!("CARGO_BIN_EXE_etcd-proxy")).arg("check");
        command.arg("--config-file").arg(self.path("p.toml"));
        command.arg("--data-dir").arg(self.path("data"));
        let output = process::output(command);
        let said = String::from_utf8(output.stderr).unwrap().replace(&directory, "DIR");
        (said, output.status.code().unwrap())
    }

    /// Asserts that these settings are refused with this sentence.
    #[track_caller]
    fn refuses(&self, more: &str, sentence: &str) {
        let (said, status) = self.check(more);
        assert!(said.contains(sentence), "--- said\n{said}--- expected in it\n{sentence}");
        assert_eq!(status, 78, "{said}");
    }

    /// Asserts that these settings can be used, with this warning.
    #[track_caller]
    fn warns(&self, more: &str, sentence: &str) {
        let (said, status) = self.check(more);
        assert!(said.contains(sentence), "--- said\n{said}--- expected in it\n{sentence}");
        assert_eq!(status, 0, "{said}");
    }
}

const CLIENTS: &str = "trusted-ca-file = \"DIR/ca.pem\"\n";
const LISTS: &str = "trusted-ca-file = \"DIR/ca.pem\"\nclient-crl-file = \"DIR/crl.pem\"\n";

#[test]
fn good_files_are_said_to_be_usable() {
    let desk = Desk::new();
    desk.put("crl.pem", &desk.authority.revoke(&[]));
    let (said, status) = desk.check(LISTS);
    assert_eq!((said.as_str(), status), ("0 errors, 0 warnings; DIR/p.toml can be used\n", 0));
}

#[test]
fn a_problem_with_a_file_is_shown_where_the_file_is_named() {
    let desk = Desk::new();
    std::fs::remove_file(desk.path("server.key")).unwrap();
    let (said, _) = desk.check("");
    let start = "error: `key-file`: DIR/server.key does not exist\n  --> DIR/p.toml:3:1\n";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn missing_empty_and_unreadable_files_and_directories_are_told_apart() {
    let desk = Desk::new();
    desk.put("server.pem", "");
    desk.refuses("", "`cert-file`: DIR/server.pem is empty");
    std::fs::remove_file(desk.path("server.pem")).unwrap();
    desk.refuses("", "`cert-file`: DIR/server.pem does not exist");
    std::fs::create_dir(desk.path("server.pem")).unwrap();
    desk.refuses("", "`cert-file`: DIR/server.pem is a directory");
    std::fs::remove_dir(desk.path("server.pem")).unwrap();
    std::os::unix::fs::symlink("server.key/x", desk.path("server.pem")).unwrap();
    desk.refuses("", "`cert-file`: DIR/server.pem does not exist: a part of its path is a file");
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    let desk = Desk::new();
    desk.mode("server.key", 0o000);
    desk.refuses("", "`key-file`: DIR/server.key cannot be read: permission denied");
}

#[test]
fn a_half_written_file_is_refused_with_the_line_where_it_breaks_off() {
    let desk = Desk::new();
    let whole = std::fs::read_to_string(desk.path("server.pem")).unwrap();
    desk.put("server.pem", &format!("{whole}{}", &whole[..whole.len() / 2]));
    let line = whole.lines().count() + 1;
    let sentence = format!(
        "`cert-file`: DIR/server.pem:{line}: the CERTIFICATE that begins here has no end, the file may be half written"
    );
    desk.refuses("", &sentence);
}

#[test]
fn the_key_of_another_certificate_is_refused_by_its_subject() {
    let desk = Desk::new();
    let other = desk.authority.issue(&Leaf::loopback());
    desk.put("server.key", &other.key);
    desk.refuses(
        "",
        "`key-file`: DIR/server.key:1: this is not the key of the certificate O=etcd-proxy tests in DIR/server.pem:1",
    );
}

#[test]
fn certificate_and_key_that_changed_places_are_recognised() {
    let desk = Desk::new();
    std::fs::rename(desk.path("server.pem"), desk.path("x")).unwrap();
    std::fs::rename(desk.path("server.key"), desk.path("server.pem")).unwrap();
    std::fs::rename(desk.path("x"), desk.path("server.key")).unwrap();
    desk.refuses("", "`cert-file`: DIR/server.pem has no certificate in it");
    desk.refuses("", "`key-file`: DIR/server.key has no private key in it");
}

#[test]
fn an_expired_certificate_is_refused_with_its_day() {
    let desk = Desk::new();
    let expired = desk.authority.issue(&Leaf::loopback().common_name("old").expired());
    expired.write(desk.scratch.path(), "server");
    desk.refuses(
        "",
        "`cert-file`: DIR/server.pem:1: the certificate O=etcd-proxy tests, CN=old expired on 2001-02-03",
    );
}

#[test]
fn a_ca_file_without_a_ca_is_refused() {
    let desk = Desk::new();
    desk.put("ca.pem", &desk.authority.issue(&Leaf::client().common_name("me")).certificate);
    desk.refuses(
        CLIENTS,
        "`trusted-ca-file`: DIR/ca.pem has no CA in it: O=etcd-proxy tests, CN=me, in line 1, is an ordinary certificate from CN=ca",
    );
    desk.put("ca.pem", "not PEM at all\n");
    desk.refuses(CLIENTS, "`trusted-ca-file`: DIR/ca.pem has no PEM block in it");
}

#[test]
fn a_revocation_list_of_another_key_is_refused_and_of_another_issuer_warned_about() {
    let desk = Desk::new();
    desk.put("crl.pem", &Authority::new("other").revoke(&[]));
    // An intermediate's, perhaps: those come with what clients show.
    desk.warns(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list is from CN=other, which is not among the authorities",
    );
    desk.put("crl.pem", &Authority::new("ca").revoke(&[]));
    desk.refuses(LISTS, "the revocation list is signed with another key of CN=ca");
    let both = desk.authority.revoke(&[]) + &Authority::new("old").revoke(&[]);
    desk.put("crl.pem", &both);
    desk.warns(LISTS, "the revocation list is from CN=old, which is not among the authorities");
    desk.put("crl.pem", desk.authority.pem());
    desk.refuses(LISTS, "`client-crl-file`: DIR/crl.pem has no revocation list in it");
}

/// What openssl makes and rcgen does not.
#[test]
fn revocation_lists_that_would_be_misread_are_refused_by_what_they_are() {
    let desk = Desk::new();
    desk.put("crl.pem", include_str!("files_of_openssl/delta.pem"));
    desk.refuses(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list of CN=ca has only the changes since another (a delta)",
    );
    desk.put("crl.pem", include_str!("files_of_openssl/sha1.pem"));
    desk.refuses(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list of CN=ca is signed in a way that is not supported, 1.2.840.10045.4.1",
    );
}

#[test]
fn a_certificate_of_version_1_is_refused_as_one() {
    let desk = Desk::new();
    desk.put("server.pem", include_str!("files_of_openssl/v1.pem"));
    desk.put("server.key", include_str!("files_of_openssl/v1.key"));
    desk.refuses(
        "allow-upstream-cn = true\n",
        "`cert-file`: DIR/server.pem:1: the certificate CN=old-style is not of version 3",
    );
}

#[test]
fn a_key_of_an_unsupported_kind_is_refused_with_its_line() {
    let desk = Desk::new();
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nMAAwADAA\n-----END PRIVATE KEY-----\n";
    desk.put("server.key", &format!("{parameters}{key}"));
    desk.refuses(
        "",
        "`key-file`: DIR/server.key:4: the private key is of a kind that is not supported",
    );
}

/// In a bundle one has to know which one it is.
#[test]
fn an_expired_authority_is_warned_about_with_its_line() {
    let desk = Desk::new();
    let old = desk.authority.issue(&Leaf::client().authority().common_name("old").expired());
    desk.put("ca.pem", &format!("{}{}", desk.authority.pem(), old.certificate));
    let line = desk.authority.pem().lines().count() + 1;
    desk.warns(
        CLIENTS,
        &format!(
            "`trusted-ca-file`: DIR/ca.pem:{line}: the authority O=etcd-proxy tests, CN=old expired on 2001-02-03"
        ),
    );
    desk.put("ca.pem", &old.certificate);
    desk.refuses(
        CLIENTS,
        "`trusted-ca-file`: DIR/ca.pem:1: the authority O=etcd-proxy tests, CN=old expired",
    );
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    let desk = Desk::new();
    desk.mode("server.key", 0o644);
    desk.warns(
        "",
        "`key-file`: DIR/server.key: every user of this machine can read the private key",
    );
}

#[test]
fn unknown_cipher_suites_are_refused_with_the_known_ones() {
    let desk = Desk::new();
    desk.refuses("cipher-suites = \"TLS_NULL\"\n", "known are TLS_AES_128_GCM_SHA256, TLS_AES_256");
    // Go's name, and IANA's.
    let known = "cipher-suites = [\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]\n";
    assert_eq!(desk.check(known).1, 0);
    let outdated = "cipher-suites = \"TLS_RSA_WITH_AES_128_CBC_SHA,TLS_AES_128_GCM_SHA256\"\n";
    desk.warns(outdated, "has TLS_RSA_WITH_AES_128_CBC_SHA, which is too weak to be offered");
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    let desk = Desk::new();
    desk.refuses(
        "tls-min-version = \"TLS1.3\"\ntls-max-version = \"TLS1.2\"\n",
        "`tls-min-version` is TLS1.3 and `tls-max-version` is TLS1.2",
    );
    desk.refuses("client-cert-auth = true\n", "`client-cert-auth` is set, and no authority");
    desk.refuses(
        "peer-cert-file = \"DIR/server.pem\"\n",
        "`peer-cert-file` is set and `peer-key-file` is not",
    );
}

/// etcd asks clients for no certificate then, and never reads the list.
#[test]
fn what_narrows_clients_has_no_effect_without_an_authority() {
    let desk = Desk::new();
    for (setting, value, ca) in [
        ("client-crl-file", "DIR/none.pem", "trusted-ca-file"),
        ("client-cert-allowed-hostname", "a.example", "trusted-ca-file"),
        ("peer-crl-file", "DIR/none.pem", "peer-trusted-ca-file"),
    ] {
        let sentence = format!("`{setting}` has no effect without `{ca}`");
        desk.warns(&format!("{setting} = \"{value}\"\n"), &sentence);
    }
}

/// Whatever openssl calls it, as Go does.
#[test]
fn a_key_is_taken_in_each_form_under_each_label() {
    let desk = Desk::new();
    desk.put("server.pem", include_str!("files_of_openssl/rsa.pem"));
    let key = include_str!("files_of_openssl/rsa.key");
    for label in ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "ANY PRIVATE KEY"] {
        desk.put("server.key", &key.replace("RSA PRIVATE KEY", label));
        let (said, status) = desk.check("");
        assert_eq!(status, 0, "{label}: {said}");
    }
    desk.put("server.key", &key.replace("RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"));
    desk.refuses("", "it has one in OpenSSH's form");
}

#[test]
fn an_rsa_key_that_is_too_short_is_said_to_be_that() {
    let desk = Desk::new();
    desk.put("server.pem", include_str!("files_of_openssl/rsa1024.pem"));
    desk.put("server.key", include_str!("files_of_openssl/rsa1024.key"));
    desk.refuses("", "the RSA key has 1024 bits, and the certificate's too");
    desk.refuses("", "want RSA of 2048 to 8192 bits");
    desk.authority.issue(&Leaf::loopback()).write(desk.scratch.path(), "server");
    desk.put("ca.pem", include_str!("files_of_openssl/rsa1024.pem"));
    desk.warns(CLIENTS, "has an RSA key of 1024 bits, and nothing that it has signed counts");
}

#[test]
fn a_byte_order_mark_and_a_lost_newline_are_named() {
    let desk = Desk::new();
    let certificate = std::fs::read_to_string(desk.path("server.pem")).unwrap();
    desk.put("server.pem", &format!("\u{feff}{certificate}"));
    desk.refuses("", "`cert-file`: DIR/server.pem:1: it begins with a byte order mark (BOM)");
    let glued = certificate.trim_end().to_owned() + desk.authority.pem();
    desk.put("server.pem", &glued);
    let sentence = "the newline behind -----END CERTIFICATE----- is missing";
    desk.refuses("", sentence);
    desk.put("server.pem", &certificate);
    desk.put("ca.pem", &glued);
    desk.refuses(CLIENTS, sentence);
}

/// Members whose auth is on take whoever shows a certificate for the user that its CN names.
#[test]
fn a_common_name_is_not_lent_to_clients_that_show_nothing() {
    let desk = Desk::new();
    desk.authority
        .issue(&Leaf::loopback().common_name("root"))
        .write(desk.scratch.path(), "server");
    let sentence = "`cert-file`: members are not shown this certificate";
    desk.warns("", sentence);
    let (said, _) = desk.check("listen-client-http-urls = \"http://127.0.0.1:0\"\n");
    assert_eq!(said.matches(sentence).count(), 1, "{said}");
    for more in [CLIENTS, "allow-upstream-cn = true\n"] {
        let (said, status) = desk.check(more);
        assert!(status == 0 && said.starts_with("0 errors, 0 warnings"), "{said}");
    }
    let named = "upstream-cert-file = \"DIR/server.pem\"\nupstream-key-file = \"DIR/server.key\"\n";
    desk.refuses(named, "take whoever shows this certificate for the user \"root\" (its CN)");
    let peers = "peer-cert-file = \"DIR/server.pem\"\npeer-key-file = \"DIR/server.key\"\n";
    let plain = "listen-client-urls = \"http://127.0.0.1:0\"\n";
    let (said, status) = desk.check_alone(&format!("{plain}{peers}"));
    assert!(status == 0 && said.contains("`peer-cert-file`: members are not shown"), "{said}");
    desk.authority.issue(&Leaf::client()).write(desk.scratch.path(), "nobody");
    let other = "upstream-cert-file = \"DIR/nobody.pem\"\nupstream-key-file = \"DIR/nobody.key\"\n";
    assert_eq!(desk.check(other).1, 0, "members are shown another certificate");
}

#[test]
fn checking_auto_tls_makes_nothing() {
    let desk = Desk::new();
    let (said, status) = desk.check("auto-tls = true\n");
    assert!(said.contains("`auto-tls` is ignored, because `cert-file` is set"), "{said}");
    assert_eq!(status, 0);
    assert!(!desk.path("data").exists());
}
