use super::*;

/// Follows `bytes` and returns the offset of the refused byte, if any.
fn refused(bytes: &str) -> Option<usize> {
    Framing::default().follow(bytes.as_bytes()).err().map(|Refused(at)| at)
}

#[test]
fn the_first_byte_that_must_not_be_there_is_told() {
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), Some(14));
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(&format!("{head}2\r\n{{}}\r\n0\r\nx: y\n\r\n")), Some(head.len() + 14));
    assert_eq!(refused(&format!("{head}g")), Some(head.len()));
}

#[test]
fn a_head_is_open_from_its_first_byte_to_its_last() {
    let mut framing = Framing::default();
    let head = b"PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    for byte in head {
        framing.follow(&[*byte]).unwrap();
        assert_eq!(framing.is_in_head(), framing.heads() == 0);
    }
    assert!(framing.is_in_body());
    framing.follow(b"body").unwrap();
    assert!(!framing.is_in_body() && !framing.is_in_head());
    framing.follow(b"G").unwrap();
    assert!(framing.is_in_head());
    assert_eq!(framing.heads(), 1);
}

#[test]
fn a_line_longer_than_what_is_kept_of_it_is_no_length() {
    let blanks = " ".repeat(LINE_BEGIN);
    let head = format!("PUT / HTTP/1.1\r\nContent-Length: {blanks}4\r\n");
    let mut framing = Framing::default();
    framing.follow(&head.as_bytes()[..30]).unwrap();
    assert!(framing.follow(&head.as_bytes()[30..]).is_err());
    let long = format!("GET / HTTP/1.1\r\nCookie: {blanks}{blanks}\r\n\r\n");
    for cut in 1..long.len() {
        let mut framing = Framing::default();
        framing.follow(&long.as_bytes()[..cut]).unwrap();
        framing.follow(&long.as_bytes()[cut..]).unwrap();
        assert_eq!(framing.heads(), 1, "{cut}");
    }
}
