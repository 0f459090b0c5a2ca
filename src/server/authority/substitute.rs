//! Substitutes for authorities that h2 does not accept.

use http::uri::Authority;

/// Returns a substitute as long as `value`. h2 accepts it, or resets the stream for it if members
/// do not accept `value` either. `None` when h2 already does the right thing with `value`.
pub fn substitute(value: &[u8]) -> Option<Vec<u8>> {
    if Authority::try_from(value).is_ok() {
        return None;
    }
    let mut stand_in = vec![b'a'; value.len()];
    if !value.iter().copied().all(is_passable) {
        if std::str::from_utf8(value).is_ok() {
            return None;
        }
        // For a value that is not UTF-8, h2 would end the connection. A blank makes the substitute
        // invalid, and its code is shorter than that of any control character.
        *stand_in.last_mut()? = b' ';
    }
    Some(stand_in)
}

/// Returns whether `authority` is the substitute of a client's `value`.
pub fn stands_for(authority: &str, value: &[u8]) -> bool {
    substitute(value).is_some_and(|stand_in| stand_in == authority.as_bytes())
}

/// Returns whether Go, and so a member, accepts the byte in a field's value (golang.org/x/net
/// http/httpguts, ValidHeaderFieldValue).
fn is_passable(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_members_take_and_h2_does_not_has_a_substitute_of_its_length() {
        for value in [
            "#initially=[127.0.0.1:2379;127.0.0.1:22379]",
            "http://127.0.0.1:2379",
            "unix:///run/etcd.sock",
            "unix:/tmp/x.sock:0",
            "passthrough:///http://a:1",
            "::1",
            "a b",
            "a%2Fb",
            "100%",
            "a\tb",
            "\u{e9}",
            "@",
            "{`\\`}",
        ] {
            let stand_in = substitute(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
            assert_eq!(stand_in.len(), value.len());
            assert!(Authority::try_from(&stand_in[..]).is_ok());
            assert!(stands_for(std::str::from_utf8(&stand_in).unwrap(), value.as_bytes()));
        }
        assert!(substitute(b"\xff\xfe").is_some());
    }

    #[test]
    fn what_h2_takes_stays_and_so_does_what_it_resets_the_stream_for() {
        for value in ["127.0.0.1:2379", "[::1]:2379", "u@a", "u:p@a:1", "a\0b", "a\nb", "\x7f"] {
            assert_eq!(substitute(value.as_bytes()), None, "{value:?}");
        }
        let illegal = substitute(b"a\0\xff").unwrap();
        assert!(illegal.len() == 3 && Authority::try_from(&illegal[..]).is_err());
    }
}
