//! Compares hyper behind the strict reader with a reference that reads whole inputs by the grammar
//! of RFC 9112.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::*;
use crate::server::pieces::Pieces;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A stream that returns its bytes in pieces and collects what is written.
struct Wire {
    pieces: Pieces,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        Self { pieces: Pieces::new(bytes, sizes), written: Arc::default() }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pieces).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers with the body in angle brackets, or with 400 if it did not arrive whole.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::default();
    match request.into_body().collect().await {
        Ok(body) => {
            let body = [&b"<"[..], &body.to_bytes(), b">"].concat();
            *response.body_mut() = body.into();
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

/// Returns hyper's answers to these bytes: each a body in angle brackets, or `400`.
fn answers(bytes: &[u8], sizes: &[usize]) -> Vec<String> {
    let wire = Wire::new(bytes, sizes);
    let written = wire.written.clone();
    serve(StrictHttp1::new(wire, Arc::default()));
    said(&written)
}

fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let builder = hyper::server::conn::http1::Builder::new();
    // The written bytes show how it ended.
    let _ = runtime.block_on(builder.serve_connection(TokioIo::new(stream), service_fn(echo)));
}

fn said(written: &Mutex<Vec<u8>>) -> Vec<String> {
    let written = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    let each = written.split("HTTP/1.1 ").filter(|answer| !answer.is_empty());
    each.map(|answer| match answer.split_once('<') {
        Some((_, body)) if answer.starts_with("200") => format!("<{body}"),
        _ => answer[..3].to_owned(),
    })
    .collect()
}

/// How the reference, which has the whole input, reads a part of it.
#[derive(Debug, PartialEq, Eq)]
enum Reading<'a, T> {
    Whole(T, &'a [u8]),
    Incomplete,
    Refused,
}
use Reading::{Incomplete, Refused as No, Whole};

fn line(input: &[u8]) -> Reading<'_, &[u8]> {
    match input.iter().position(|byte| *byte == b'\n') {
        None => Incomplete,
        Some(lf) => match input[..lf].strip_suffix(b"\r") {
            Some(line) if !line.contains(&b'\r') => Whole(line, &input[lf + 1..]),
            _ => No,
        },
    }
}

fn skip(input: &mut &[u8], is: impl Fn(u8) -> bool) -> usize {
    let length = input.iter().position(|byte| !is(*byte)).unwrap_or(input.len());
    *input = &input[length..];
    length
}

fn blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char::from(byte))
}

fn text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn quoted(input: &mut &[u8]) -> Option<()> {
    *input = input.strip_prefix(b"\"")?;
    loop {
        skip(input, |byte| text(byte) && byte != b'"' && byte != b'\\');
        match input.split_first()? {
            (b'"', rest) => {
                *input = rest;
                return Some(());
            }
            (b'\\', [escaped, rest @ ..]) if text(*escaped) => *input = rest,
            _ => return None,
        }
    }
}

/// The size in a chunk's line.
fn size(mut line: &[u8]) -> Option<usize> {
    let (whole, digits) = (line, skip(&mut line, |byte| byte.is_ascii_hexdigit()));
    let digits = std::str::from_utf8(&whole[..digits]).unwrap();
    let size = usize::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16)?;
    while !line.is_empty() {
        skip(&mut line, blank);
        line = line.strip_prefix(b";")?;
        skip(&mut line, blank);
        (skip(&mut line, tchar) > 0).then_some(())?;
        let mut value = line;
        skip(&mut value, blank);
        if let Some(after) = value.strip_prefix(b"=") {
            line = after;
            skip(&mut line, blank);
            if skip(&mut line, tchar) == 0 {
                quoted(&mut line)?;
            }
        }
    }
    Some(size)
}

fn trailer(mut line: &[u8]) -> bool {
    skip(&mut line, tchar) > 0 && line.first() == Some(&b':') && line[1..].iter().all(|b| text(*b))
}

fn chunked(mut input: &[u8]) -> Reading<'_, Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = match line(input) {
            Whole(line, rest) => {
                input = rest;
                match size(line) {
                    Some(length) => length,
                    None => return No,
                }
            }
            Incomplete => return Incomplete,
            No => return No,
        };
        if length == 0 {
            break;
        }
        let Some((data, rest)) = input.split_at_checked(length) else { return Incomplete };
        body.extend_from_slice(data);
        match rest.strip_prefix(b"\r\n") {
            Some(rest) => input = rest,
            None if b"\r\n".starts_with(rest) => return Incomplete,
            None => return No,
        }
    }
    loop {
        match line(input) {
            Whole(b"", rest) => return Whole(body, rest),
            Whole(line, rest) if trailer(line) => input = rest,
            Incomplete => return Incomplete,
            Whole(..) | No => return No,
        }
    }
}

/// How a reference's reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// At the end of the input, or with a refusal.
    Closed,
    /// In the middle of a message.
    Waiting,
    /// At a head that the reference does not know.
    Elsewhere,
}

/// Returns the answers of a strict reader.
fn reference(mut input: &[u8]) -> (Vec<String>, End) {
    let mut answers = Vec::new();
    while !input.is_empty() {
        let read = if let Some(body) = input.strip_prefix(POST.as_bytes()) {
            chunked(body)
        } else if let Some(rest) = input.strip_prefix(GET.as_bytes()) {
            Whole(Vec::new(), rest)
        } else if let Some(rest) = input.strip_prefix(b"\r\n") {
            input = rest;
            continue;
        } else if b"\r\n".starts_with(input) || POST.as_bytes().starts_with(input) {
            Incomplete
        } else if tchar(input[0]) {
            return (answers, End::Elsewhere);
        } else {
            No
        };
        match read {
            Whole(body, rest) => {
                answers.push(format!("<{}>", String::from_utf8_lossy(&body)));
                input = rest;
            }
            Incomplete => return (answers, End::Waiting),
            No => {
                answers.push("400".to_owned());
                return (answers, End::Closed);
            }
        }
    }
    (answers, End::Closed)
}

#[test]
fn the_reference_knows_what_is_right_and_what_is_not() {
    let read = |body: &str| reference(format!("{POST}{body}{GET}").as_bytes());
    let fine = |body: &str| (vec![format!("<{body}>"), "<>".to_owned()], End::Closed);
    assert_eq!(read("2\r\n{}\r\n0\r\n\r\n"), fine("{}"));
    assert_eq!(read("2;a ; b = \"\\\"\"\r\n{}\r\n0\r\nx:\ty\r\n\r\n"), fine("{}"));
    for wrong in ["2\r\n{}\r\n0\r\nx: y\n\r\n", "2 \r\n{}\r\n0\r\n\r\n", "2;\r\n", "\r\n", "x"] {
        assert_eq!(read(wrong), (vec!["400".to_owned()], End::Closed), "{wrong:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Without the strict reader, hyper swallows requests here and accepts what is refused.
    #[test]
    fn hyper_sees_the_requests_that_a_strict_reader_sees(
        pieces in proptest::collection::vec(prop_oneof![
            4 => Just("2\r\n{}\r\n"),
            2 => Just("0\r\n"),
            6 => Just("\r\n"),
            1 => Just("1"), 1 => Just("2"), 1 => Just("0"), 1 => Just(";"), 1 => Just("a"), 1 => Just("="),
            1 => Just("\""), 1 => Just("\\"), 1 => Just(" "), 1 => Just("\t"), 1 => Just("\r"), 1 => Just("\n"),
            1 => Just("\0"), 1 => Just("\x7f"), 1 => Just(":"), 1 => Just("x: y\r\n"), 1 => Just("x: y\n"),
            1 => Just("0\r\n\r\n"), 1 => Just("0\r\nx: y\n\r\n"), 1 => Just("2;a=b\r\n{}\r\n"), 1 => Just("\u{e9}"),
            1 => Just("1;a=\"b\"\r\n.\r\n"),
        ], 0..9),
        ends_well in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..120, 1..6),
    ) {
        let end = if ends_well { "0\r\n\r\n" } else { "" };
        let input = format!("{GET}{POST}{}{end}{GET}{POST}0\r\n\r\n", pieces.concat());
        let (expected, end) = reference(input.as_bytes());
        let seen = answers(input.as_bytes(), &sizes);
        let (same, rest) = seen.split_at_checked(expected.len()).unwrap_or((&seen, &[]));
        prop_assert_eq!(same, &expected[..], "{:?}", input);
        // The end of the input in the middle of a message is an error too.
        let may_follow = match end {
            End::Closed => rest.is_empty(),
            End::Waiting => rest.is_empty() || rest == ["400"],
            End::Elsewhere => true,
        };
        prop_assert!(may_follow, "{:?} {:?}", seen, input);
    }
}

/// If this fails, hyper was fixed, and the report in docs/upstream can go.
#[test]
fn hyper_alone_swallows_a_request() {
    let last = format!("{POST}1\r\nz\r\n0\r\n\r\n");
    let bytes = format!("{POST}2\r\n{{}}\r\n0\r\nx: y\n\r\n{GET}{last}").into_bytes();
    assert_eq!(answers(&bytes, &[1000]), ["400"]);
    let wire = Wire::new(&bytes, &[1000]);
    let written = wire.written.clone();
    serve(wire);
    assert_eq!(said(&written), ["<{}>", "<z>"], "three requests were sent");
}

/// A head in pieces is read like one that arrives whole.
#[test]
fn a_body_s_length_is_known_however_the_head_is_cut() {
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nX: y\r\nCONTENT-length:  012 \r\nY: z\r\n\r\nbody\nb\r\n\r\n\n\n";
    let late = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-encoding:chunked\r\nContent-Length: 3\r\n\r\n1\r\n.\r\n0\r\n\r\n";
    let input = format!("{put}{GET}{put}");
    for size in 1..input.len() {
        let expected = ["<body\nb\r\n\r\n\n\n>", "<>", "<body\nb\r\n\r\n\n\n>"];
        assert_eq!(answers(input.as_bytes(), &[size]), expected, "{size}");
        assert_eq!(answers(late.as_bytes(), &[size]), ["<.>"], "{size}");
    }
}

#[test]
fn a_length_that_hyper_might_read_otherwise_is_refused() {
    for length in ["+2", "2, 2", "", "0x2", "99999999999999999999", "2\r\nContent-Length: 3"] {
        let input = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{GET}");
        for size in [3, 1000] {
            assert_eq!(answers(input.as_bytes(), &[size]), ["400"], "{length:?}");
        }
    }
}

#[test]
fn a_connection_that_has_left_http_is_not_looked_at() {
    let io_state = Arc::<ClientIoState>::default();
    let bytes = b"\x81\x05\nhi\r\n".to_vec();
    let mut stream = StrictHttp1::new(Wire::new(&bytes, &[100]), io_state.clone());
    io_state.switch();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut seen = Vec::new();
    runtime.block_on(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut seen)).unwrap();
    assert_eq!(seen, bytes);
}

/// If the member agrees, hyper hands on the bytes that follow, so they must be unchanged.
#[test]
fn nothing_is_put_in_place_of_what_follows_a_handshake() {
    let handshake =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUPGRADE: websocket\r\n\r\n";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for early in ["\u{1}\u{5}\nhi\r\n", "\n", "a\r\n\r\n\n", &format!("{GET}hello\n")] {
        for size in [1, 1000] {
            let bytes = format!("{handshake}{early}").into_bytes();
            let io_state = Arc::<ClientIoState>::default();
            let mut stream = StrictHttp1::new(Wire::new(&bytes, &[size]), io_state.clone());
            let mut seen = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut seen);
            runtime.block_on(read).unwrap_err();
            assert!(bytes.starts_with(&seen), "{early:?} {:?}", String::from_utf8_lossy(&seen));
            assert_eq!(io_state.malformed(), Some(NO_REQUEST));
        }
    }
    let broken = handshake.replace("Host: a\r", "Host: a");
    assert_eq!(answers(broken.as_bytes(), &[1000]), ["400"], "the handshake itself");
}
