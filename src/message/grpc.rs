//! gRPC on the wire, as far as a proxy must read it: content types, message frames and the status.
//!
//! Messages are forwarded as bytes. Only the readonly checks inspect one, and only through
//! [`FirstMessage`].

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request};

/// The media type that every gRPC content type starts with.
const MEDIA_TYPE: &[u8] = b"application/grpc";

/// Returns whether a request or reply is gRPC: it has exactly one `content-type`, which is
/// `application/grpc`, alone or followed by `+` (a subtype) or `;` (parameters). Case is ignored.
/// gRPC-Web does not count.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let value = value.as_bytes();
    let Some((head, rest)) = value.split_at_checked(MEDIA_TYPE.len()) else { return false };
    head.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Makes the head of a call that the proxy sends for itself: a POST with the headers that gRPC
/// requires.
pub fn request(scheme: Scheme, authority: Authority, path: &'static str) -> Request<()> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    uri.path_and_query = Some(PathAndQuery::from_static(path));
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    // Fails only when one of the three parts is missing.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// Returns the value of `grpc-status`, or `None` when it is absent or not a number up to 255.
pub fn status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Bytes before each message: a flag (1 byte) and a big-endian length (4 bytes).
const PREFIX: usize = 5;

/// The state of a call's first message after the bytes seen so far. Every value but `NeedMore` and
/// `Complete` is final and means that the call cannot be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The message is incomplete so far. A body that ends here is malformed.
    NeedMore,
    /// Exactly one message has arrived, and nothing after it so far.
    Complete,
    /// The frame's flag is not zero: the message is compressed, or the flag is unknown.
    Compressed,
    /// The frame announces more bytes than the cap.
    TooLarge,
    /// Bytes follow the first message.
    TrailingBytes,
}

/// Collects the single message of a unary call from the pieces of its body, up to a cap.
///
/// Holds at most the cap plus five bytes, and only bytes that have arrived: an announced length
/// reserves no memory.
#[derive(Debug)]
pub struct FirstMessage {
    frame: Vec<u8>,
    cap: usize,
    progress: Progress,
}

impl FirstMessage {
    /// Creates a collector for a message of at most `cap` bytes. Zero accepts only the empty
    /// message.
    pub const fn new(cap: usize) -> Self {
        Self { frame: Vec::new(), cap, progress: Progress::NeedMore }
    }

    /// Adds the next piece of the body. Pieces may be split anywhere and may be empty.
    pub fn push(&mut self, mut piece: &[u8]) -> Progress {
        if !matches!(self.progress, Progress::NeedMore | Progress::Complete) {
            return self.progress;
        }
        self.take(&mut piece, PREFIX);
        if let Some(length) = self.announced() {
            self.progress = self.check_prefix(length, &mut piece);
        }
        self.progress
    }

    /// Returns the message without its prefix, once it is complete.
    pub fn message(&self) -> Option<&[u8]> {
        (self.progress == Progress::Complete).then(|| self.frame.get(PREFIX..)).flatten()
    }

    /// Returns the message with its prefix, ready to be forwarded, once it is complete.
    pub fn into_frame(self) -> Option<Vec<u8>> {
        (self.progress == Progress::Complete).then_some(self.frame)
    }

    /// Moves bytes from the piece until the frame holds `target` of them or the piece is used up.
    fn take(&mut self, piece: &mut &[u8], target: usize) {
        let missing = target.saturating_sub(self.frame.len());
        let (now, later) = piece.split_at(missing.min(piece.len()));
        self.frame.extend_from_slice(now);
        *piece = later;
    }

    /// Returns the flag and length of the prefix, once all of it has arrived.
    fn announced(&self) -> Option<(u8, usize)> {
        let [flag, length @ ..] = *self.frame.first_chunk::<PREFIX>()?;
        Some((flag, usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)))
    }

    fn check_prefix(&mut self, (flag, length): (u8, usize), piece: &mut &[u8]) -> Progress {
        if flag != 0 {
            return Progress::Compressed;
        }
        if length > self.cap {
            return Progress::TooLarge;
        }
        let whole = length.saturating_add(PREFIX);
        self.take(piece, whole);
        match (self.frame.len() == whole, piece.is_empty()) {
            (false, _) => Progress::NeedMore,
            (true, true) => Progress::Complete,
            (true, false) => Progress::TrailingBytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content_type(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))).collect()
    }

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![flag];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        frame
    }

    #[test]
    fn grpc_is_told_by_one_exact_content_type() {
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "Application/GRPC+json",
        ] {
            assert!(is_grpc(&content_type(&[yes])), "{yes}");
        }
        for no in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grp",
            "application/grpcx",
            "application/json",
            "x-application/grpc",
            " application/grpc",
            "",
        ] {
            assert!(!is_grpc(&content_type(&[no])), "{no}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
        assert!(!is_grpc(&content_type(&["application/grpc", "application/grpc"])));
        assert!(!is_grpc(&content_type(&["application/json", "application/grpc"])));
    }

    #[test]
    fn a_status_is_a_small_number() {
        let read = |text| status(&HeaderMap::from_iter([("grpc-status".parse().unwrap(), text)]));
        assert_eq!(read(HeaderValue::from_static("14")), Some(14));
        assert_eq!(read(HeaderValue::from_static("256")), None);
        assert_eq!(read(HeaderValue::from_static("-1")), None);
        assert_eq!(read(HeaderValue::from_bytes(b"\xff").unwrap()), None);
        assert_eq!(status(&HeaderMap::new()), None);
    }

    #[test]
    fn one_message_is_collected_however_it_is_cut() {
        let bytes = frame(0, b"hello");
        for cut in 0..=bytes.len() {
            let mut first = FirstMessage::new(5);
            let head = first.push(&bytes[..cut]);
            assert_eq!(head == Progress::Complete, cut == bytes.len());
            assert_eq!(first.push(&bytes[cut..]), Progress::Complete);
            assert_eq!(first.push(b""), Progress::Complete);
            assert_eq!(first.message(), Some(&b"hello"[..]));
            assert_eq!(first.into_frame(), Some(bytes.clone()));
        }
    }

    #[test]
    fn an_empty_message_is_complete_with_its_prefix() {
        let mut first = FirstMessage::new(0);
        assert_eq!(first.push(&[0; 4]), Progress::NeedMore);
        assert_eq!(first.message(), None);
        assert_eq!(first.push(&[0]), Progress::Complete);
        assert_eq!(first.message(), Some(&b""[..]));
    }

    #[test]
    fn a_second_message_is_trailing_bytes_whenever_it_comes() {
        let bytes = [frame(0, b"a"), frame(0, b"b")].concat();
        assert_eq!(FirstMessage::new(9).push(&bytes), Progress::TrailingBytes);
        let mut first = FirstMessage::new(9);
        assert_eq!(first.push(&frame(0, b"a")), Progress::Complete);
        assert_eq!(first.push(b"x"), Progress::TrailingBytes);
        assert_eq!(first.push(b""), Progress::TrailingBytes);
        assert_eq!(first.message(), None);
        assert_eq!(first.into_frame(), None);
    }

    #[test]
    fn compressed_and_oversized_messages_are_refused_at_their_prefix() {
        for flag in 1..=255 {
            assert_eq!(FirstMessage::new(9).push(&frame(flag, b"")), Progress::Compressed);
        }
        let mut first = FirstMessage::new(9);
        assert_eq!(first.push(&[0, 0, 0, 0, 10]), Progress::TooLarge);
        assert_eq!(first.push(&[0; 100]), Progress::TooLarge);
        assert!(first.frame.len() <= PREFIX);
        assert_eq!(FirstMessage::new(9).push(&[0, 255, 255, 255, 255]), Progress::TooLarge);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_answer_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            small in any::<bool>(),
            sizes in proptest::collection::vec(0_usize..7, 1..12),
        ) {
            let mut bytes = bytes;
            if small {
                bytes.iter_mut().take(4).for_each(|byte| *byte = 0);
            }
            let expected = FirstMessage::new(30).push(&bytes);
            let mut first = FirstMessage::new(30);
            let mut rest = &bytes[..];
            let mut last = Progress::NeedMore;
            for size in sizes.iter().cycle().take(400) {
                let (piece, later) = rest.split_at((*size).min(rest.len()));
                last = first.push(piece);
                rest = later;
                prop_assert!(first.frame.len() <= 30 + PREFIX);
            }
            if rest.is_empty() {
                prop_assert_eq!(last, expected);
            }
        }
    }
}
