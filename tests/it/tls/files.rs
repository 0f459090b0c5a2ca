//! The messages about TLS files that cannot be used: each fault has its own sentence, with the
//! file, the line and the reason.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::process;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf};

/// A directory with an authority, a certificate signed by it, and settings that name both.
struct Fixture {
    scratch: Scratch,
    authority: Authority,
}

const SETTINGS: &str = "listen-client-urls = \"https://127.0.0.1:0\"\n\
                        cert-file = \"DIR/server.pem\"\n\
                        key-file = \"DIR/server.key\"\n";

impl Fixture {
    fn new() -> Self {
        let fixture = Self { scratch: Scratch::new("tls-files"), authority: Authority::new("ca") };
        fixture.authority.issue(&Leaf::loopback()).write(fixture.scratch.path(), "server");
        fixture.put("ca.pem", fixture.authority.pem());
        fixture
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

    /// Runs `check` on [`SETTINGS`] and these. Returns its messages, with DIR for the directory,
    /// and its exit status.
    fn check(&self, more: &str) -> (String, i32) {
        self.check_alone(&format!("{SETTINGS}{more}"))
    }

    /// Runs `check` on these settings alone.
    fn check_alone(&self, settings: &str) -> (String, i32) {
        let directory = self.scratch.path().display().to_string();
        let text = settings.replace("DIR", &directory);
        std::fs::write(self.path("p.toml"), text).unwrap();
        let mut command = process::command("setpriv");
        if nix::unistd::geteuid().is_root() {
            // Without the capabilities that let root read every file.
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
    let fixture = Fixture::new();
    fixture.put("crl.pem", &fixture.authority.revoke(&[]));
    let (said, status) = fixture.check(LISTS);
    assert_eq!((said.as_str(), status), ("0 errors, 0 warnings; DIR/p.toml can be used\n", 0));
}

#[test]
fn a_problem_with_a_file_is_shown_where_the_file_is_named() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path("server.key")).unwrap();
    let (said, _) = fixture.check("");
    let start = "error: `key-file`: DIR/server.key does not exist\n  --> DIR/p.toml:3:1\n";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn missing_empty_and_unreadable_files_and_directories_are_told_apart() {
    let fixture = Fixture::new();
    fixture.put("server.pem", "");
    fixture.refuses("", "`cert-file`: DIR/server.pem is empty");
    std::fs::remove_file(fixture.path("server.pem")).unwrap();
    fixture.refuses("", "`cert-file`: DIR/server.pem does not exist");
    std::fs::create_dir(fixture.path("server.pem")).unwrap();
    fixture.refuses("", "`cert-file`: DIR/server.pem is a directory");
    std::fs::remove_dir(fixture.path("server.pem")).unwrap();
    std::os::unix::fs::symlink("server.key/x", fixture.path("server.pem")).unwrap();
    fixture.refuses("", "`cert-file`: DIR/server.pem does not exist: a part of its path is a file");
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    let fixture = Fixture::new();
    fixture.mode("server.key", 0o000);
    fixture.refuses("", "`key-file`: DIR/server.key cannot be read: permission denied");
}

#[test]
fn a_half_written_file_is_refused_with_the_line_where_it_breaks_off() {
    let fixture = Fixture::new();
    let whole = std::fs::read_to_string(fixture.path("server.pem")).unwrap();
    fixture.put("server.pem", &format!("{whole}{}", &whole[..whole.len() / 2]));
    let line = whole.lines().count() + 1;
    let sentence = format!(
        "`cert-file`: DIR/server.pem:{line}: the CERTIFICATE that begins here has no end, the file may be half written"
    );
    fixture.refuses("", &sentence);
}

#[test]
fn the_key_of_another_certificate_is_refused_by_its_subject() {
    let fixture = Fixture::new();
    let other = fixture.authority.issue(&Leaf::loopback());
    fixture.put("server.key", &other.key);
    fixture.refuses(
        "",
        "`key-file`: DIR/server.key:1: this is not the key of the certificate O=etcd-proxy tests in DIR/server.pem:1",
    );
}

#[test]
fn certificate_and_key_that_changed_places_are_recognised() {
    let fixture = Fixture::new();
    std::fs::rename(fixture.path("server.pem"), fixture.path("x")).unwrap();
    std::fs::rename(fixture.path("server.key"), fixture.path("server.pem")).unwrap();
    std::fs::rename(fixture.path("x"), fixture.path("server.key")).unwrap();
    fixture.refuses("", "`cert-file`: DIR/server.pem has no certificate in it");
    fixture.refuses("", "`key-file`: DIR/server.key has no private key in it");
}

#[test]
fn an_expired_certificate_is_refused_with_its_day() {
    let fixture = Fixture::new();
    let expired = fixture.authority.issue(&Leaf::loopback().common_name("old").expired());
    expired.write(fixture.scratch.path(), "server");
    fixture.refuses(
        "",
        "`cert-file`: DIR/server.pem:1: the certificate O=etcd-proxy tests, CN=old expired on 2001-02-03",
    );
}

#[test]
fn a_ca_file_without_a_ca_is_refused() {
    let fixture = Fixture::new();
    fixture.put("ca.pem", &fixture.authority.issue(&Leaf::client().common_name("me")).certificate);
    fixture.refuses(
        CLIENTS,
        "`trusted-ca-file`: DIR/ca.pem has no CA in it: O=etcd-proxy tests, CN=me, in line 1, is an ordinary certificate from CN=ca",
    );
    fixture.put("ca.pem", "not PEM at all\n");
    fixture.refuses(CLIENTS, "`trusted-ca-file`: DIR/ca.pem has no PEM block in it");
}

#[test]
fn a_revocation_list_of_another_key_is_refused_and_of_another_issuer_warned_about() {
    let fixture = Fixture::new();
    fixture.put("crl.pem", &Authority::new("other").revoke(&[]));
    // It may be that of an intermediate, which clients send with their certificates.
    fixture.warns(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list is from CN=other, which is not among the authorities",
    );
    fixture.put("crl.pem", &Authority::new("ca").revoke(&[]));
    fixture.refuses(LISTS, "the revocation list is signed with another key of CN=ca");
    let both = fixture.authority.revoke(&[]) + &Authority::new("old").revoke(&[]);
    fixture.put("crl.pem", &both);
    fixture.warns(LISTS, "the revocation list is from CN=old, which is not among the authorities");
    fixture.put("crl.pem", fixture.authority.pem());
    fixture.refuses(LISTS, "`client-crl-file`: DIR/crl.pem has no revocation list in it");
}

/// Lists that openssl can make and rcgen cannot.
#[test]
fn revocation_lists_that_would_be_misread_are_refused_by_what_they_are() {
    let fixture = Fixture::new();
    fixture.put("crl.pem", include_str!("files_of_openssl/delta.pem"));
    fixture.refuses(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list of CN=ca has only the changes since another (a delta)",
    );
    fixture.put("crl.pem", include_str!("files_of_openssl/sha1.pem"));
    fixture.refuses(
        LISTS,
        "`client-crl-file`: DIR/crl.pem:1: the revocation list of CN=ca is signed in a way that is not supported, 1.2.840.10045.4.1",
    );
}

#[test]
fn a_certificate_of_version_1_is_refused_as_one() {
    let fixture = Fixture::new();
    fixture.put("server.pem", include_str!("files_of_openssl/v1.pem"));
    fixture.put("server.key", include_str!("files_of_openssl/v1.key"));
    fixture.refuses(
        "allow-upstream-cn = true\n",
        "`cert-file`: DIR/server.pem:1: the certificate CN=old-style is not of version 3",
    );
}

#[test]
fn a_key_of_an_unsupported_kind_is_refused_with_its_line() {
    let fixture = Fixture::new();
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nMAAwADAA\n-----END PRIVATE KEY-----\n";
    fixture.put("server.key", &format!("{parameters}{key}"));
    fixture.refuses(
        "",
        "`key-file`: DIR/server.key:4: the private key is of a kind that is not supported",
    );
}

/// The line tells which certificate of a bundle it is.
#[test]
fn an_expired_authority_is_warned_about_with_its_line() {
    let fixture = Fixture::new();
    let old = fixture.authority.issue(&Leaf::client().authority().common_name("old").expired());
    fixture.put("ca.pem", &format!("{}{}", fixture.authority.pem(), old.certificate));
    let line = fixture.authority.pem().lines().count() + 1;
    fixture.warns(
        CLIENTS,
        &format!(
            "`trusted-ca-file`: DIR/ca.pem:{line}: the authority O=etcd-proxy tests, CN=old expired on 2001-02-03"
        ),
    );
    fixture.put("ca.pem", &old.certificate);
    fixture.refuses(
        CLIENTS,
        "`trusted-ca-file`: DIR/ca.pem:1: the authority O=etcd-proxy tests, CN=old expired",
    );
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    let fixture = Fixture::new();
    fixture.mode("server.key", 0o644);
    fixture.warns(
        "",
        "`key-file`: DIR/server.key: every user of this machine can read the private key",
    );
}

#[test]
fn unknown_cipher_suites_are_refused_with_the_known_ones() {
    let fixture = Fixture::new();
    fixture
        .refuses("cipher-suites = \"TLS_NULL\"\n", "known are TLS_AES_128_GCM_SHA256, TLS_AES_256");
    // A Go name and an IANA name.
    let known = "cipher-suites = [\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]\n";
    assert_eq!(fixture.check(known).1, 0);
    let outdated = "cipher-suites = \"TLS_RSA_WITH_AES_128_CBC_SHA,TLS_AES_128_GCM_SHA256\"\n";
    fixture.warns(outdated, "has TLS_RSA_WITH_AES_128_CBC_SHA, which is too weak to be offered");
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    let fixture = Fixture::new();
    fixture.refuses(
        "tls-min-version = \"TLS1.3\"\ntls-max-version = \"TLS1.2\"\n",
        "`tls-min-version` is TLS1.3 and `tls-max-version` is TLS1.2",
    );
    fixture.refuses(
        "client-cert-auth = true\n",
        "`client-cert-auth` is set, and `trusted-ca-file` is not",
    );
    fixture.refuses(
        "peer-cert-file = \"DIR/server.pem\"\n",
        "`peer-cert-file` is set and `peer-key-file` is not",
    );
}

/// etcd then asks clients for no certificate and never reads the list.
#[test]
fn what_narrows_clients_has_no_effect_without_an_authority() {
    let fixture = Fixture::new();
    for (setting, value, ca) in [
        ("client-crl-file", "DIR/none.pem", "trusted-ca-file"),
        ("client-cert-allowed-hostname", "a.example", "trusted-ca-file"),
        ("peer-crl-file", "DIR/none.pem", "peer-trusted-ca-file"),
    ] {
        let sentence = format!("`{setting}` has no effect without `{ca}`");
        fixture.warns(&format!("{setting} = \"{value}\"\n"), &sentence);
    }
}

/// The label that openssl gave it does not matter, as in Go.
#[test]
fn a_key_is_taken_in_each_form_under_each_label() {
    let fixture = Fixture::new();
    fixture.put("server.pem", include_str!("files_of_openssl/rsa.pem"));
    let key = include_str!("files_of_openssl/rsa.key");
    for label in ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "ANY PRIVATE KEY"] {
        fixture.put("server.key", &key.replace("RSA PRIVATE KEY", label));
        let (said, status) = fixture.check("");
        assert_eq!(status, 0, "{label}: {said}");
    }
    fixture.put("server.key", &key.replace("RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"));
    fixture.refuses("", "it has one in OpenSSH's form");
}

#[test]
fn an_rsa_key_that_is_too_short_is_said_to_be_that() {
    let fixture = Fixture::new();
    fixture.put("server.pem", include_str!("files_of_openssl/rsa1024.pem"));
    fixture.put("server.key", include_str!("files_of_openssl/rsa1024.key"));
    fixture.refuses("", "the RSA key has 1024 bits, and the certificate's too");
    fixture.refuses("", "want RSA of 2048 to 8192 bits");
    fixture.authority.issue(&Leaf::loopback()).write(fixture.scratch.path(), "server");
    fixture.put("ca.pem", include_str!("files_of_openssl/rsa1024.pem"));
    fixture.warns(
        CLIENTS,
        "has an RSA key of 1024 bits, and certificates signed by it are not trusted",
    );
}

#[test]
fn a_byte_order_mark_and_a_lost_newline_are_named() {
    let fixture = Fixture::new();
    let certificate = std::fs::read_to_string(fixture.path("server.pem")).unwrap();
    fixture.put("server.pem", &format!("\u{feff}{certificate}"));
    fixture.refuses("", "`cert-file`: DIR/server.pem:1: it begins with a byte order mark (BOM)");
    let glued = certificate.trim_end().to_owned() + fixture.authority.pem();
    fixture.put("server.pem", &glued);
    let sentence = "the newline behind -----END CERTIFICATE----- is missing";
    fixture.refuses("", sentence);
    fixture.put("server.pem", &certificate);
    fixture.put("ca.pem", &glued);
    fixture.refuses(CLIENTS, sentence);
}

/// Members with auth take the CN of a certificate as the user's name, so a client without a
/// certificate must not act with that of the proxy.
#[test]
fn a_common_name_is_not_lent_to_clients_that_show_nothing() {
    let fixture = Fixture::new();
    fixture
        .authority
        .issue(&Leaf::loopback().common_name("root"))
        .write(fixture.scratch.path(), "server");
    let sentence = "`cert-file`: members are not shown this certificate";
    fixture.warns("", sentence);
    let (said, _) = fixture.check("listen-client-http-urls = \"http://127.0.0.1:0\"\n");
    assert_eq!(said.matches(sentence).count(), 1, "{said}");
    for more in [CLIENTS, "allow-upstream-cn = true\n"] {
        let (said, status) = fixture.check(more);
        assert!(status == 0 && said.starts_with("0 errors, 0 warnings"), "{said}");
    }
    let named = "upstream-cert-file = \"DIR/server.pem\"\nupstream-key-file = \"DIR/server.key\"\n";
    fixture.refuses(named, "treat whoever shows this certificate as the user \"root\" (its CN)");
    let peers = "peer-cert-file = \"DIR/server.pem\"\npeer-key-file = \"DIR/server.key\"\n";
    let plain = "listen-client-urls = \"http://127.0.0.1:0\"\n";
    let (said, status) = fixture.check_alone(&format!("{plain}{peers}"));
    assert!(status == 0 && said.contains("`peer-cert-file`: members are not shown"), "{said}");
    fixture.authority.issue(&Leaf::client()).write(fixture.scratch.path(), "nobody");
    let other = "upstream-cert-file = \"DIR/nobody.pem\"\nupstream-key-file = \"DIR/nobody.key\"\n";
    assert_eq!(fixture.check(other).1, 0, "members are shown another certificate");
}

#[test]
fn checking_auto_tls_makes_nothing() {
    let fixture = Fixture::new();
    let (said, status) = fixture.check("auto-tls = true\n");
    assert!(said.contains("`auto-tls` is ignored, because `cert-file` is set"), "{said}");
    assert_eq!(status, 0);
    assert!(!fixture.path("data").exists());
}
