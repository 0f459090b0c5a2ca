//! A PEM reader with line numbers, whose errors tell a half-written file from a wrong one.
//!
//! Errors name known labels only and quote nothing else from a file: a key whose newlines were lost
//! is one long line that begins like a label.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::known_label;

/// One PEM block of a file.
#[derive(Debug)]
pub(super) struct Section {
    /// The line of its `BEGIN`, from 1.
    pub(super) line: usize,
    /// Its kind, by its label.
    pub(super) kind: Kind,
    /// Its content in DER; may be empty for [`Kind::Other`].
    pub(super) der: Vec<u8>,
}

/// The kind of a block, by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `CERTIFICATE`.
    Certificate,
    /// `X509 CERTIFICATE`, which etcd accepts in CA files, because it ignores labels there.
    OldCertificate,
    /// `PRIVATE KEY`, or any label that ends in ` PRIVATE KEY`, as in Go. The label does not tell
    /// the format of the key.
    Key,
    /// `OPENSSH PRIVATE KEY`, which no TLS library loads.
    OpensshKey,
    /// `X509 CRL`.
    Crl,
    /// Any other label, such as the parameters that precede old EC keys.
    Other,
}

/// Where and how a file is not valid PEM.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The line, from 1.
    pub(super) line: usize,
    /// What is wrong, as the end of a sentence.
    pub(super) what: String,
}

/// A block whose end has not been seen yet.
struct Open<'a> {
    line: usize,
    /// The offset of its body.
    body: usize,
    label: &'a str,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// Returns the blocks of a file. Text between blocks is ignored, as in other PEM readers.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section>, Damage> {
    if let Some(what) = encoding(text) {
        return Err(Damage { line: 1, what: what.to_owned() });
    }
    let mut found = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut misplaced = None;
    let mut start = 0;
    for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (number, end) = (at + 1, start + line.len());
        let damage = |what: String| Damage { line: number, what };
        match marker(line).map_err(damage)? {
            Some(Marker::Begin(label)) => {
                if let Some(open) = &open {
                    return Err(endless(open));
                }
                open = Some(Open { line: number, body: end, label });
            }
            Some(Marker::End(label)) => {
                let ended = known_label(label);
                let Some(open) = open.take() else {
                    return Err(damage(format!("the end of a {ended} has no beginning")));
                };
                if open.label != label {
                    let begun = known_label(open.label);
                    let begun = format!("the block that begins as {begun} in line {}", open.line);
                    return Err(damage(format!("{begun} ends as {ended}")));
                }
                found.push(section(&open, &text[open.body..start])?);
            }
            Some(Marker::Misplaced(what)) if open.is_some() => return Err(damage(what)),
            Some(Marker::Misplaced(what)) => misplaced = misplaced.or(Some(damage(what))),
            None => {}
        }
        start = end;
    }
    let is_of_use = |section: &Section| section.kind != Kind::Other;
    match (open, misplaced) {
        (Some(open), _) => Err(endless(&open)),
        (None, Some(misplaced)) if !found.iter().any(is_of_use) => Err(misplaced),
        (None, _) => Ok(found),
    }
}

/// Returns what is wrong with the encoding of a file, if it is one in which programs find no PEM.
fn encoding(text: &[u8]) -> Option<&'static str> {
    match text {
        [0xef, 0xbb, 0xbf, ..] => Some(
            "it begins with a byte order mark (BOM), after which other programs, such as etcd, see no PEM; save it without one",
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("it is UTF-16; save it as ASCII or UTF-8"),
        _ => None,
    }
}

fn endless(open: &Open<'_>) -> Damage {
    let label = known_label(open.label);
    let what = format!("the {label} that begins here has no end, the file may be half written");
    Damage { line: open.line, what }
}

fn section(open: &Open<'_>, body: &[u8]) -> Result<Section, Damage> {
    let damage = |what: String| Damage { line: open.line, what };
    if contains(body, b"Proc-Type: 4,ENCR") || open.label == "ENCRYPTED PRIVATE KEY" {
        return Err(damage(
            "the private key is encrypted; want one without a passphrase".to_owned(),
        ));
    }
    let kind = match open.label {
        "CERTIFICATE" => Kind::Certificate,
        "X509 CERTIFICATE" => Kind::OldCertificate,
        "X509 CRL" => Kind::Crl,
        "OPENSSH PRIVATE KEY" => Kind::OpensshKey,
        label if label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY") => Kind::Key,
        _ => Kind::Other,
    };
    // The parser only knows some labels, so it gets every block as a certificate.
    let block = [b"-----BEGIN CERTIFICATE-----\n", body, b"-----END CERTIFICATE-----\n"].concat();
    match CertificateDer::from_pem_slice(&block) {
        Ok(der) => Ok(Section { line: open.line, kind, der: der.to_vec() }),
        // It is not used, so it may be damaged.
        Err(_) if kind == Kind::Other => Ok(Section { line: open.line, kind, der: Vec::new() }),
        Err(_) => {
            Err(damage(format!("the {} that begins here is damaged", known_label(open.label))))
        }
    }
}

#[derive(Debug)]
enum Marker<'a> {
    Begin(&'a str),
    End(&'a str),
    /// A marker with other text before it on its line: in a comment, or because a newline is
    /// missing.
    Misplaced(String),
}

/// Parses a line as the first or last of a block; `None` if it is neither. A marker with more on
/// its line is reported here, whereas Go silently ignores the block.
fn marker(line: &[u8]) -> Result<Option<Marker<'_>>, String> {
    let line = line.trim_ascii();
    let (begin, end) = (position(line, BEGIN), position(line, END));
    let Some(first) = begin.into_iter().chain(end).min() else { return Ok(None) };
    let is_begin = begin == Some(first);
    let (word, rest) = match is_begin {
        true => ("BEGIN", &line[first + BEGIN.len()..]),
        false => ("END", &line[first + END.len()..]),
    };
    let closed = position(rest, DASHES);
    let label = str::from_utf8(&rest[..closed.unwrap_or(rest.len())]).unwrap_or_default();
    let name = known_label(label);
    let what = match closed.map(|at| rest.len() - at - DASHES.len()) {
        _ if is_begin && end.is_some() => {
            let what = if name == "block" { "PEM" } else { name };
            format!("the whole {what} is on one line: its newlines were lost")
        }
        None => format!("the five dashes behind -----{word} are missing"),
        Some(1..) => format!("the newline behind -----{word} {name}----- is missing"),
        Some(0) if first > 0 => {
            format!("other text stands before -----{word} {name}-----, a newline may be missing")
        }
        Some(0) if is_begin => return Ok(Some(Marker::Begin(label))),
        Some(0) => return Ok(Some(Marker::End(label))),
    };
    if first > 0 { Ok(Some(Marker::Misplaced(what))) } else { Err(what) }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    position(text, part).is_some()
}

#[cfg(test)]
mod tests;
