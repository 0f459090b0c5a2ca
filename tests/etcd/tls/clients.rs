//! curl and openssl as clients: both protocols with ALPN, no ALPN, both TLS versions, and bytes
//! that are not TLS.

use std::io::Write;

use super::{TlsFixture, Way};
use crate::fixture::{on_each_generation, when_here};
use crate::support::generation::Generation;
use crate::support::http1::Connection;
use crate::support::process;
use crate::support::scratch::Scratch;
use crate::support::tls::{ClientFiles, Files};
use crate::support::{run, shared};

on_each_generation!(
    curl_speaks_both_protocols_and_both_versions,
    openssl_speaks_tls_1_2_and_1_3_with_and_without_alpn,
);

/// Returns whether a program is installed. If it is not, prints that to the real standard error, or
/// panics if `CI` is set.
fn have(program: &str) -> bool {
    let mut which = process::command("sh");
    which.args(["-c", &format!("command -v {program}")]);
    if process::output(which).status.success() {
        return true;
    }
    let text = format!("{program} is not here: `make generations` brings it");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{text}");
    let _ = writeln!(std::io::stderr(), "skipping a test: {text}");
    false
}

fn paths(files: &ClientFiles) -> (&str, &str, &str) {
    let Files { certificate, key } = files.identity.as_ref().expect("an identity");
    let text = |path: &'static std::path::Path| path.to_str().expect("a path in UTF-8");
    let leaked = |path: &std::path::Path| text(Box::leak(path.to_owned().into_boxed_path()));
    (leaked(&files.authority), leaked(certificate), leaked(key))
}

/// Fetches a path of a daemon with curl. Returns the body and `STATUS HTTP-VERSION`.
fn curl(way: &Way<'_>, arguments: &[&str], path: &str) -> String {
    let mut command = process::command("curl");
    command.args(["--silent", "--show-error", "--write-out", " %{http_code} %{http_version}"]);
    if let Some(files) = way.files {
        let (authority, certificate, key) = paths(files);
        command.args(["--cacert", authority, "--cert", certificate, "--key", key]);
    }
    let scheme = if way.files.is_some() { "https" } else { "http" };
    command.args(arguments).arg(format!("{scheme}://{}{path}", way.proxy.address));
    let output = process::output(command);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn curl_speaks_both_protocols_and_both_versions(generation: Generation) {
    let _machine = shared();
    if !have("curl") {
        return;
    }
    let range = ["--data", "{\"key\":\"YQ==\"}"];
    for way in TlsFixture::shared(generation).ways() {
        let plain = [(vec!["--http1.1"], "200 1.1"), (vec!["--http2-prior-knowledge"], "200 2")];
        let secure = [
            (vec!["--http1.1"], "200 1.1"),
            (vec!["--http2"], "200 2"),
            (vec!["--no-alpn", "--http1.1"], "200 1.1"),
            (vec!["--tlsv1.2", "--tls-max", "1.2", "--http2"], "200 2"),
            (vec!["--tlsv1.2", "--tls-max", "1.2", "--http1.1"], "200 1.1"),
            (vec!["--tlsv1.3", "--http2"], "200 2"),
        ];
        let asked = if way.files.is_some() { &secure[..] } else { &plain[..] };
        for (arguments, version) in asked {
            let what = format!("{} {arguments:?}", way.name);
            let answer = curl(&way, arguments, "/version");
            assert!(answer.ends_with(version), "{what}: {answer}");
            assert!(answer.contains("etcdserver"), "{what}: {answer}");
            let answer = curl(&way, &[&arguments[..], &range[..]].concat(), "/v3/kv/range");
            assert!(answer.ends_with(version), "{what}: {answer}");
        }
    }
}

/// Runs `openssl s_client` with an input. Returns everything it printed.
fn s_client(fixture: &TlsFixture, arguments: &[&str], input: &str) -> String {
    let (authority, certificate, key) = paths(&fixture.pki.client_files);
    let scratch = Scratch::new("s_client");
    std::fs::write(scratch.join("input"), input).expect("a file for the input");
    let mut command = process::command("openssl");
    command.args(["s_client", "-connect", &fixture.https_to_https.address, "-verify_return_error"]);
    command.args(["-CAfile", authority, "-cert", certificate, "-key", key]).args(arguments);
    command.stdin(std::fs::File::open(scratch.join("input")).expect("the input's file"));
    let output = process::output(command);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn openssl_speaks_tls_1_2_and_1_3_with_and_without_alpn(generation: Generation) {
    let _machine = shared();
    if !have("openssl") {
        return;
    }
    let fixture = TlsFixture::shared(generation);
    let request = "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        // `-ign_eof` makes it wait for the answer after the end of the input.
        let answer = s_client(fixture, &[flag, "-ign_eof"], request);
        assert!(answer.contains("etcdserver"), "{flag}: {answer}");
        assert!(answer.contains("No ALPN negotiated"), "{flag}: {answer}");
        assert!(answer.contains(version), "{flag}: {answer}");
        for alpn in ["h2", "http/1.1"] {
            let answer = s_client(fixture, &[flag, "-alpn", alpn], "");
            let agreed = format!("ALPN protocol: {alpn}");
            assert!(answer.contains(&agreed), "{flag}: {answer}");
        }
    }
    let refused = s_client(fixture, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "");
    assert!(refused.contains("Cipher is (NONE)"), "{refused}");
}

#[test]
fn plain_http_on_a_tls_port_is_told_what_is_wrong() {
    when_here(Generation::V3_5, |generation| {
        let _machine = shared();
        let fixture = TlsFixture::shared(generation);
        run(async {
            let mut plain = Connection::open(&fixture.https_to_https.address).await.expect("open");
            let answer = plain.exchange("GET", "/version", &[], "").await.expect("an answer");
            assert_eq!(answer.status, 400);
            assert!(answer.text().to_lowercase().contains("https"), "{}", answer.text());
        });
    });
}
