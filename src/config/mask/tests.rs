use rcgen::KeyPair;

use super::*;

/// Longest piece of a key that may be left.
const LEFT: usize = 12;

fn assert_hides(key: &str, text: &str) {
    let told = masked(text);
    let base64: String =
        key.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().concat();
    for at in 0..base64.len() - LEFT {
        let piece = &base64[at..at + LEFT];
        assert!(!told.contains(piece), "{piece} of\n{text}\nis in\n{told}");
    }
}

/// Makes the PEM of a private key, with the head of a real one and the rest from `random`.
fn pem_of(random: &mut fastrand::Rng, head: &str, length: usize) -> String {
    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let rest = (head.len()..length - 1).map(|_| char::from(*random.choice(BASE64).unwrap()));
    let body: Vec<char> = head.chars().chain(rest).chain(['=']).collect();
    let lines: Vec<String> = body.chunks(64).map(|line| line.iter().collect()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[test]
fn no_piece_of_a_key_is_left_however_it_is_broken() {
    const P256: (&str, usize) = ("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg", 184);
    const ED25519: (&str, usize) = ("MFECAQEwBQYDK2VwBCIEI", 112);
    // The same keys in every run: a rare one that slips through must not fail somebody else's
    // change.
    let mut random = fastrand::Rng::with_seed(9);
    for round in 0..2000 {
        let (head, length) = if round % 2 == 0 { P256 } else { ED25519 };
        let pem = pem_of(&mut random, head, length);
        let lines: Vec<&str> = pem.lines().collect();
        let body = lines[1..lines.len() - 1].concat();
        for broken in [
            pem.clone(),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\u{fffd}"),
            pem.replace("PRIVATE KEY", "SOMETHING"),
            pem.replace("-----BEGIN PRIVATE KEY-----\n", ""),
            pem.replace("-----BEGIN", "---BEGIN"),
            format!("\u{feff}{pem}"),
            pem[..pem.len() / 2].to_owned(),
            pem[..80].to_owned(),
            pem[..45].to_owned(),
            body.clone(),
            body.replace('+', "-").replace('/', "_"),
            lines[1..lines.len() - 1].join(" = "),
            lines[1..lines.len() - 1].join(" + "),
            lines[1..lines.len() - 1].join(" | "),
            format!("[\"{}\"]", lines.join("\", \"")),
        ] {
            assert_hides(&pem, &format!("`key-file`: /etc/{broken} does not exist"));
            assert_hides(&pem, &broken);
        }
    }
}

#[test]
fn the_sentence_around_a_key_is_left() {
    let pem = KeyPair::generate().unwrap().serialize_pem().replace('\n', " ");
    let told = masked(&format!("`key-file`: /etc/{pem} does not exist")).into_owned();
    assert!(told.starts_with("`key-file`: /etc/-----BEGIN PRIVATE KEY----- (hidden)"), "{told}");
    assert!(told.ends_with("does not exist"), "{told}");
}

#[test]
fn what_is_no_secret_is_left() {
    for text in [
        "want -----BEGIN PRIVATE KEY-----; is it the certificate?",
        "want -----BEGIN ...----- and what follows",
        "`key-file`: /etc/kubernetes/pki/etcd/Healthcheck2/server-2.key does not exist",
        "/nix/store/0c5k3qc3f5b5b4g9hbjwd9k4xb6kcjnn-etcd-3.5.24/bin/etcd",
        "certificate CN=infra0.example.com, O=Example2 is from an unknown authority, CN=ISRG Root X1",
        "member cdf818194e3a8c32 at https://infra0.example.com:2379: no answer since 23:13:05",
        "unknown key `initial-clutser`; did you mean `initial-cluster`?",
        "known are TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "InvalidCertificate(CaUsedAsEndEntity) /etcdserverpb.Maintenance/DefragmentX 2026-11-27T23:13:05.123456Z",
        "/var/run/secrets/kubernetes.io/serviceaccount/..2026_11_27_23_13_05.1234567890/ca.crt",
        "mail ops@example.com about e7f9c1d2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e",
        "/usr/share/perl/5.36.0/ExtUtils/CBuilder/Platform/Windows/MSVC.pm",
        "https://10.0.0.1:2379, http://[::1]:2379",
    ] {
        assert_eq!(masked(text), text);
    }
}

#[test]
fn users_and_passwords_of_urls_are_hidden() {
    for (text, told) in [
        ("asking http://bob:s3cret@h:1/x", "asking http://(hidden)@h:1/x"),
        ("a=http://h:1,b=https://u:a//b@c@h:2", "a=http://h:1,b=https://(hidden)@h:2"),
        ("\"https://u:p\"'@h\" failed", "\"https://(hidden)@h\" failed"),
    ] {
        assert_eq!(masked(text), told);
    }
}

#[test]
fn labels_are_known_words_or_none() {
    assert_eq!(pem_label("x -----BEGIN EC PRIVATE KEY-----\n"), Some("EC PRIVATE KEY"));
    assert_eq!(pem_label("-----BEGIN MIIEvQIBADANBg\n"), Some("block"));
    assert_eq!(pem_label("----- BEGIN"), None);
}
