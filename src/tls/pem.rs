//! PEM, read with line numbers: a file that is half written must be told from one that is wrong.

use rustls_pki_types::pem::{PemObject, SectionKind};

/// One block of a file.
#[derive(Debug)]
pub(super) struct Section {
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    /// What it holds.
    pub(super) kind: SectionKind,
    /// The DER within.
    pub(super) der: Vec<u8>,
}

/// Where a file is not PEM, and in which way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The line, from 1.
    pub(super) line: usize,
    /// What is wrong, as the end of a sentence.
    pub(super) what: String,
}

/// A block whose end was not seen yet.
struct Open<'a> {
    line: usize,
    start: usize,
    label: &'a str,
}

/// Returns the blocks of a file; those of a kind that nobody here wants are left out. Text between blocks is ignored, as
/// everywhere.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section>, Damage> {
    let mut found = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut start = 0;
    for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = start + line.len();
        match marker(line) {
            Some(Marker::Begin(label)) => {
                if let Some(open) = &open {
                    return Err(endless(open));
                }
                open = Some(Open { line: at + 1, start, label });
            }
            Some(Marker::End(label)) => {
                let Some(open) = open.take().filter(|open| open.label == label) else {
                    let what = format!("the end of a {label} has no beginning");
                    return Err(Damage { line: at + 1, what });
                };
                found.extend(section(&open, &text[open.start..end])?);
            }
            None => {}
        }
        start = end;
    }
    match open {
        Some(open) => Err(endless(&open)),
        None => Ok(found),
    }
}

fn endless(open: &Open<'_>) -> Damage {
    let what =
        format!("the {} that begins here has no end, the file may be half written", open.label);
    Damage { line: open.line, what }
}

fn section(open: &Open<'_>, block: &[u8]) -> Result<Option<Section>, Damage> {
    let damage = |what: String| Damage { line: open.line, what };
    if block.windows(17).any(|window| window == b"Proc-Type: 4,ENCR")
        || open.label == "ENCRYPTED PRIVATE KEY"
    {
        return Err(damage(
            "the private key is encrypted; want one without a passphrase".to_owned(),
        ));
    }
    match <(SectionKind, Vec<u8>)>::from_pem_slice(block) {
        Ok((kind, der)) => Ok(Some(Section { line: open.line, kind, der })),
        // A kind that the parser does not know, such as the parameters that stand before old EC keys.
        Err(rustls_pki_types::pem::Error::NoItemsFound) => Ok(None),
        Err(_) => Err(damage(format!("the {} that begins here is damaged", open.label))),
    }
}

enum Marker<'a> {
    Begin(&'a str),
    End(&'a str),
}

fn marker(line: &[u8]) -> Option<Marker<'_>> {
    let line = str::from_utf8(line).ok()?.trim();
    let (begin, line) = match line.strip_prefix("-----BEGIN ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("-----END ")?),
    };
    let label = line.strip_suffix("-----")?;
    Some(if begin { Marker::Begin(label) } else { Marker::End(label) })
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn blocks_of_unknown_kinds_are_left_out() {
        let unknown = BLOCK.replace("CERTIFICATE", "EC PARAMETERS");
        assert_eq!(lines(&format!("{unknown}{BLOCK}")), Ok(vec![4]));
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
}
