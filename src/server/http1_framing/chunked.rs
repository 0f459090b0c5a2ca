//! Follows a chunked body by exactly the grammar of RFC 9112 section 7.1: every line ends in CRLF,
//! and extensions and trailers are well formed.

/// Limit of digits in a chunk's size; Go accepts no more either.
const MOST_DIGITS: u8 = 16;

/// The position in a chunked body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    place: Place,
    /// The size of the chunk, or the bytes of it that are still to come.
    left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a chunk's size, after this many digits.
    Size(u8),
    /// After a blank in a chunk's line; only an extension may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    /// After a quoted value.
    AfterValue,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Line,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// The result of following a piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The body goes on after the piece.
    More,
    /// The body ends after this many bytes.
    End(usize),
    /// The byte at this offset is not allowed.
    Refused(usize),
}

impl Default for Chunked {
    fn default() -> Self {
        Self { place: Place::Size(0), left: 0 }
    }
}

impl Chunked {
    /// Follows the next bytes of the body.
    pub fn follow(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.place == Place::Data {
                let passing =
                    usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= passing as u64;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                at += passing;
                continue;
            }
            if self.place == Place::EndLf && *byte == b'\n' {
                return Step::End(at + 1);
            }
            match self.next(*byte) {
                Some(place) => self.place = place,
                None => return Step::Refused(at),
            }
            at += 1;
        }
        Step::More
    }

    /// Returns the place after a byte that is not data; `None` when the byte is not allowed there.
    fn next(&mut self, byte: u8) -> Option<Place> {
        use Place::*;
        Some(match (self.place, byte) {
            (Size(digits @ 0..MOST_DIGITS), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left << 4 | u64::from(digit);
                Size(digits + 1)
            }
            (Size(0), _) => return None,
            (Size(_) | Name | AfterName | Value | AfterValue | BeforeSemicolon, b';') => BeforeName,
            (Size(_) | Name | Value | AfterValue, b'\r') => SizeLf,
            (Size(_) | Value | AfterValue | BeforeSemicolon, b' ' | b'\t') => BeforeSemicolon,
            (BeforeName | BeforeValue, b' ' | b'\t') => self.place,
            (BeforeName | Name, byte) if is_token(byte) => Name,
            (Name | AfterName, b' ' | b'\t') => AfterName,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeValue, b'"') => Quoted,
            (BeforeValue | Value, byte) if is_token(byte) => Value,
            (Quoted, b'"') => AfterValue,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, byte) if is_text(byte) => Quoted,
            (SizeLf, b'\n') if self.left == 0 => Line,
            (SizeLf, b'\n') => Data,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size(0),
            (Line, b'\r') => EndLf,
            (Line | TrailerName, byte) if is_token(byte) => TrailerName,
            (TrailerName, b':') => TrailerValue,
            (TrailerValue, b'\r') => TrailerLf,
            (TrailerValue, byte) if is_text(byte) => TrailerValue,
            (TrailerLf, b'\n') => Line,
            _ => return None,
        })
    }
}

/// Returns whether a byte may be in a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether a byte may be in a field's value or a quoted string: all but control characters.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
