use super::*;

const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn lines(text: &str) -> Result<Vec<usize>, Damage> {
    Ok(sections(text.as_bytes())?.iter().map(|section| section.line).collect())
}

fn damage(text: &str) -> (usize, String) {
    let damage = lines(text).unwrap_err();
    (damage.line, damage.what)
}

#[test]
fn blocks_are_found_with_their_lines_among_other_text() {
    assert_eq!(lines(&format!("subject=x\n{BLOCK}\n{BLOCK}")), Ok(vec![2, 6]));
    assert_eq!(lines(&BLOCK.replace('\n', "\r\n")), Ok(vec![1]));
    assert_eq!(lines("nothing"), Ok(vec![]));
    let comment = "# paste what openssl prints from -----BEGIN CERTIFICATE----- on\n";
    assert_eq!(lines(&format!("{comment}{BLOCK}")), Ok(vec![2]));
}

#[test]
fn keys_are_known_by_the_end_of_their_label_as_in_go() {
    for (label, kind) in [
        ("PRIVATE KEY", Kind::Key),
        ("RSA PRIVATE KEY", Kind::Key),
        ("MY OWN PRIVATE KEY", Kind::Key),
        ("OPENSSH PRIVATE KEY", Kind::OpensshKey),
        ("EC PARAMETERS", Kind::Other),
        ("PUBLIC KEY", Kind::Other),
        ("X509 CRL", Kind::Crl),
        ("X509 CERTIFICATE", Kind::OldCertificate),
    ] {
        let sections = sections(BLOCK.replace("CERTIFICATE", label).as_bytes()).unwrap();
        assert_eq!(sections[0].kind, kind, "{label}");
    }
}

#[test]
fn a_block_without_an_end_is_half_written() {
    let text = format!("{BLOCK}-----BEGIN CERTIFICATE-----\nAAAA\n");
    let what = "the CERTIFICATE that begins here has no end, the file may be half written";
    assert_eq!(damage(&text), (4, what.to_owned()));
    assert_eq!(damage(&format!("-----BEGIN CERTIFICATE-----\nAA\n{BLOCK}")).0, 1);
}

#[test]
fn what_is_not_base64_is_damaged() {
    let what = "the CERTIFICATE that begins here is damaged".to_owned();
    assert_eq!(damage(&BLOCK.replace("AAAA", "A!AA")), (1, what));
}

#[test]
fn an_encrypted_key_is_said_to_be_one() {
    let text = BLOCK.replace("CERTIFICATE", "ENCRYPTED PRIVATE KEY");
    assert_eq!(damage(&text).1, "the private key is encrypted; want one without a passphrase");
}

#[test]
fn lost_newlines_are_said_to_be_lost() {
    let key = BLOCK.replace("CERTIFICATE", "PRIVATE KEY");
    let whole = "the whole PRIVATE KEY is on one line: its newlines were lost";
    let begin = "the newline behind -----BEGIN PRIVATE KEY----- is missing";
    let before = "other text stands before -----END PRIVATE KEY-----, a newline may be missing";
    for (text, line, what) in [
        (key.replace('\n', " "), 1, whole),
        (key.replace('\n', ""), 1, whole),
        (key.replace('\n', "\\n"), 1, whole),
        (key.replace('\n', "\r"), 1, whole),
        (format!("\"{}\"", key.replace('\n', "\\n")), 1, whole),
        (format!("{BLOCK}{}", key.replace('\n', " ")), 4, whole),
        (key.replacen('\n', "", 1), 1, begin),
        (key.replace("\n-----END", "-----END"), 2, before),
        (
            key.replace("BEGIN PRIVATE KEY-----", "BEGIN PRIVATE KEY"),
            1,
            "the five dashes behind -----BEGIN are missing",
        ),
        (
            format!("{}{key}", BLOCK.trim_end()),
            3,
            "the newline behind -----END CERTIFICATE----- is missing",
        ),
        (
            key.replace("END PRIVATE", "END RSA PRIVATE"),
            3,
            "the block that begins as PRIVATE KEY in line 1 ends as RSA PRIVATE KEY",
        ),
    ] {
        assert_eq!(damage(&text), (line, what.to_owned()), "{text}");
    }
}

#[test]
fn a_mark_of_the_encoding_is_named() {
    assert!(damage(&format!("\u{feff}{BLOCK}")).1.contains("byte order mark (BOM)"));
    let wide: Vec<u8> =
        format!("\u{feff}{BLOCK}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(sections(&wide).unwrap_err().what, "it is UTF-16; save it as ASCII or UTF-8");
}

#[test]
fn nothing_of_a_label_is_repeated() {
    for text in ["-----BEGIN s3cret-----\nAA\n", "-----END s3cret-----\n", "-----BEGIN s3cret\n"] {
        assert!(!damage(text).1.contains("s3cret"), "{text}");
    }
}
