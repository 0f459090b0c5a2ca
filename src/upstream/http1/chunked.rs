//! Reads a body in chunks, and the trailers after it (RFC 9112 section 7.1).

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::error::{Error, reason};

/// Most bytes of the line before a chunk, with its extensions.
const MAX_LINE: usize = 4096;
/// Most bytes of all trailers.
const MAX_TRAILERS: usize = 64 * 1024;
/// Most trailers.
const MAX_FIELDS: usize = 64;

/// The position in a chunked body.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Chunked {
    /// Before the line with the size of a chunk.
    #[default]
    Size,
    /// Within a chunk, this many bytes before its end.
    Data(u64),
    /// After a chunk's data, before the CRLF that closes it.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// At the end of the body.
    Done,
}

/// The element found at the start of the inbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A chunk begins; it has this many bytes.
    Begin(u64),
    /// Data of a chunk.
    Data(Bytes),
    /// Trailers, which end the body.
    Trailers(HeaderMap),
    /// The end of the body.
    End,
    /// No complete element: more must be read first.
    More,
}

impl Chunked {
    /// Takes the next element out of `inbox`.
    ///
    /// # Errors
    /// When the body is not well framed.
    pub fn take(&mut self, inbox: &mut Bytes) -> Result<Found, Error> {
        loop {
            let go_on = match self {
                Self::Size => {
                    let whole = self.take_size(inbox)?;
                    if let Self::Data(size) = *self {
                        return Ok(Found::Begin(size));
                    }
                    whole
                }
                Self::Data(left) => {
                    if inbox.is_empty() {
                        return Ok(Found::More);
                    }
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
                    self.advance(length);
                    return Ok(Found::Data(inbox.split_to(length)));
                }
                Self::DataEnd => self.take_data_end(inbox)?,
                Self::Trailers => return self.take_trailers(inbox),
                Self::Done => return Ok(Found::End),
            };
            if !go_on {
                return Ok(Found::More);
            }
        }
    }

    /// Counts `length` bytes of the chunk's data that were read past the inbox; at most as many as
    /// are left of it.
    pub fn advance(&mut self, length: usize) {
        if let Self::Data(left) = self {
            *left = left.saturating_sub(length as u64);
            if *left == 0 {
                *self = Self::DataEnd;
            }
        }
    }

    fn take_size(&mut self, inbox: &mut Bytes) -> Result<bool, Error> {
        // Checked here because httparse takes an empty line for the last chunk.
        if inbox.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
            return Err(Error::Framing("chunk without a size"));
        }
        match httparse::parse_chunk_size(inbox) {
            Ok(Status::Complete((length, size))) => {
                inbox.advance(length);
                *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                Ok(true)
            }
            Ok(Status::Partial) if inbox.len() <= MAX_LINE => Ok(false),
            Ok(Status::Partial) => Err(Error::Framing("chunk size line is too long")),
            Err(_) => Err(Error::Framing("invalid chunk size")),
        }
    }

    fn take_data_end(&mut self, inbox: &mut Bytes) -> Result<bool, Error> {
        match inbox[..] {
            [b'\r', b'\n', ..] => {
                inbox.advance(2);
                *self = Self::Size;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            _ => Err(Error::Framing("chunk longer than its size")),
        }
    }

    fn take_trailers(&mut self, inbox: &mut Bytes) -> Result<Found, Error> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let framing = |error| Error::Framing(reason(error));
        let (length, trailers) = match httparse::parse_headers(inbox, &mut fields) {
            Ok(Status::Complete((length, read))) => (length, trailers(read)?),
            Ok(Status::Partial) if inbox.len() <= MAX_TRAILERS => return Ok(Found::More),
            Ok(Status::Partial) => return Err(Error::Framing("trailers too large")),
            Err(error) => return Err(framing(error)),
        };
        inbox.advance(length);
        *self = Self::Done;
        Ok(if trailers.is_empty() { Found::End } else { Found::Trailers(trailers) })
    }
}

fn trailers(read: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let mut trailers = HeaderMap::with_capacity(read.len());
    for field in read {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Error::Framing("invalid trailer"));
        };
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `bytes` in pieces of these sizes, then the rest in one. Returns the data, and whether
    /// the body has ended.
    fn taken(bytes: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, bool), String> {
        let (mut chunked, mut inbox, mut data) = (Chunked::default(), Vec::new(), Vec::new());
        let mut rest = bytes;
        for size in sizes.iter().copied().chain(std::iter::repeat(bytes.len() + 1)) {
            let size = size.min(rest.len());
            inbox.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            let mut at_hand = Bytes::from(std::mem::take(&mut inbox));
            loop {
                match chunked.take(&mut at_hand).map_err(|error| error.to_string())? {
                    Found::Begin(_) => {}
                    Found::Data(piece) => data.extend_from_slice(&piece),
                    Found::Trailers(_) | Found::End => return Ok((data, true)),
                    Found::More => break,
                }
            }
            inbox = at_hand.to_vec();
            if rest.is_empty() {
                return Ok((data, false));
            }
        }
        unreachable!("the sizes never end")
    }

    proptest! {
        #[test]
        fn chunks_are_the_same_however_they_arrive(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            sizes in proptest::collection::vec(1..9_usize, 0..60),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(taken(&bytes, &sizes), Ok((chunks.concat(), false)));
            bytes.extend_from_slice(b"0\r\nx: y\r\n\r\n");
            prop_assert_eq!(taken(&bytes, &sizes), Ok((chunks.concat(), true)));
        }

        #[test]
        fn junk_is_an_error_or_waits_for_more_and_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(1..9_usize, 0..60),
        ) {
            let _ = taken(&bytes, &sizes);
        }
    }

    #[test]
    fn lines_and_trailers_without_end_are_errors() {
        let line = [b"1;".as_slice(), &[b'x'; 5000]].concat();
        assert!(taken(&line, &[]).is_err());
        let trailers = [b"0\r\nx: ".as_slice(), &[b'y'; 70_000]].concat();
        assert!(taken(&trailers, &[]).is_err());
    }

    #[test]
    fn a_size_beyond_all_measure_is_an_error() {
        assert!(taken(b"fffffffffffffffff\r\n", &[]).is_err());
        assert_eq!(taken(b"ffffffffffffffff\r\nab", &[]), Ok((b"ab".to_vec(), false)));
    }
}
