//! A body in chunks, and the trailers behind it (RFC 9112 section 7.1).

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::error::{Error, reason};

/// Bytes that the line before a chunk may have, its extensions included.
const MAX_LINE: usize = 4096;
/// Bytes that trailers may have.
const MAX_TRAILERS: usize = 64 * 1024;
/// Trailers that may be.
const MAX_FIELDS: usize = 64;

/// Where in a body of chunks we are.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Chunked {
    /// Before the line that says how long a chunk is.
    #[default]
    Size,
    /// Within a chunk, as many bytes before its end.
    Data(u64),
    /// Behind a chunk's data, before the line's end that closes it.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// At the end.
    Done,
}

/// What was found at the start of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A chunk begins; it has this many bytes.
    Begin(u64),
    /// Data of a chunk.
    Data(Bytes),
    /// Trailers, and with them the end.
    Trailers(HeaderMap),
    /// The end.
    End,
    /// Nothing whole: more must be read first.
    More,
}

impl Chunked {
    /// Takes the next thing out of `inbox`.
    ///
    /// # Errors
    /// When it is not well framed.
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

    /// Counts `length` bytes of the chunk's data that were read past the inbox. They are not more
    /// than are left of it.
    pub fn advance(&mut self, length: usize) {
        if let Self::Data(left) = self {
            *left = left.saturating_sub(length as u64);
            if *left == 0 {
                *self = Self::DataEnd;
            }
        }
    }

    fn take_size(&mut self, inbox: &mut Bytes) -> Result<bool, Error> {
        // httparse takes an empty line for the last chunk.
        if inbox.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
            return Err(Error::Framing("a chunk without a size"));
        }
        match httparse::parse_chunk_size(inbox) {
            Ok(Status::Complete((length, size))) => {
                inbox.advance(length);
                *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                Ok(true)
            }
            Ok(Status::Partial) if inbox.len() <= MAX_LINE => Ok(false),
            Ok(Status::Partial) => Err(Error::Framing("a chunk's size without end")),
            Err(_) => Err(Error::Framing("a chunk's size that is no number")),
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
            _ => Err(Error::Framing("a chunk that is longer than it said")),
        }
    }

    fn take_trailers(&mut self, inbox: &mut Bytes) -> Result<Found, Error> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let framing = |error| Error::Framing(reason(error));
        let (length, trailers) = match httparse::parse_headers(inbox, &mut fields) {
            Ok(Status::Complete((length, read))) => (length, trailers(read)?),
            Ok(Status::Partial) if inbox.len() <= MAX_TRAILERS => return Ok(Found::More),
            Ok(Status::Partial) => return Err(Error::Framing("trailers without end")),
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
            return Err(Error::Framing("a trailer that is not one"));
        };
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of `bytes` when they arrive in pieces of these sizes, the last one as often as it
    /// takes.
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
