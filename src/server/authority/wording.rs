//! What is written over the characters that an authority may not have.

use http::uri::Authority;

use super::huffman;

/// A value of the same length, also in HPACK's Huffman code, that can be parsed: `http://a:1` becomes `httpB--a:1`.
/// `None` when it can be parsed as it is, or when some character has no legal one with a code as long as its own.
pub fn reword(value: &[u8]) -> Option<Vec<u8>> {
    if value.is_empty() || Authority::try_from(value).is_ok() {
        return None;
    }
    let (name, port) = value.split_at(port_begin(value));
    let mut reworded = Vec::with_capacity(value.len());
    for byte in name {
        reworded.push(stand_in(*byte)?);
    }
    reworded.extend_from_slice(port);
    Authority::try_from(&reworded[..]).is_ok().then_some(reworded)
}

/// Whether `authority` is what a client's value became here.
pub fn was_reworded_from(authority: &str, value: &[u8]) -> bool {
    reword(value).is_some_and(|reworded| reworded == authority.as_bytes())
}

/// Where `:` and digits begin at the end, or the end.
fn port_begin(value: &[u8]) -> usize {
    match value.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(colon) if value[colon] == b':' => colon,
        _ => value.len(),
    }
}

/// Letters, digits, `-`, `.` and `_` stay; others become the mark or letter with a Huffman code of the same length.
fn stand_in(byte: u8) -> Option<u8> {
    if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
        return Some(byte);
    }
    if !byte.is_ascii_graphic() {
        return None;
    }
    match huffman::code(byte)?.1 {
        6 => Some(b'-'),
        7 => Some(b'B'),
        8 => Some(b'X'),
        10 => Some(b'!'),
        11 => Some(b'+'),
        13 => Some(b'~'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reworded(value: &str) -> Option<String> {
        reword(value.as_bytes()).map(|reworded| String::from_utf8(reworded).unwrap())
    }

    #[test]
    fn a_url_becomes_a_name_and_keeps_its_port() {
        assert_eq!(reworded("http://127.0.0.1:1").as_deref(), Some("httpB--127.0.0.1:1"));
        assert_eq!(reworded("https://a.example").as_deref(), Some("httpsB--a.example"));
        assert_eq!(reworded("http://[::1]:2379").as_deref(), Some("httpB--~BB1~:2379"));
    }

    #[test]
    fn socket_paths_percent_signs_and_bare_addresses_become_names() {
        for value in [
            "unix:///run/etcd.sock",
            "unix://localhost:1",
            "unix:/tmp/x.sock:0",
            "/tmp/x.sock",
            "passthrough:///http://a:1",
            "a%2Fb",
            "::1",
            "a:1,b:2",
            "a?b",
            ":/",
        ] {
            let reworded = reword(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
            assert!(Authority::try_from(&reworded[..]).is_ok(), "{value} {reworded:?}");
        }
    }

    #[test]
    fn what_can_be_parsed_stays_and_so_does_what_cannot_be_helped() {
        for value in ["127.0.0.1:2379", "[::1]:2379", "u@a", "", "a#b", "a b", "a\0b", "a\u{e9}"] {
            assert_eq!(reworded(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_reworded_value_parses_and_has_the_same_lengths(value in "[!-~]{0,40}") {
            let Some(reworded) = reword(value.as_bytes()) else { return Ok(()) };
            prop_assert!(Authority::try_from(&reworded[..]).is_ok());
            prop_assert_eq!(reworded.len(), value.len());
            prop_assert_eq!(reword(&reworded), None);
            prop_assert!(was_reworded_from(std::str::from_utf8(&reworded).unwrap(), value.as_bytes()));
            let bits = |string: &[u8]| string.iter().map(|byte| huffman::code(*byte).map(|code| code.1)).collect::<Vec<_>>();
            prop_assert_eq!(bits(&reworded), bits(value.as_bytes()));
        }
    }
}
