//! Follows the framing of HTTP/1 requests as a strict reader of RFC 9112 does, ahead of hyper.
//!
//! hyper 1.12 is lax in two places. It takes a bare LF in a trailer line for a part of the line, so that the next
//! request is swallowed as a trailer (docs/upstream/hyper-trailer-bare-lf.md), and lets almost any byte into a chunk
//! extension. httparse takes a bare LF for the end of a line of a head. A proxy in front of us that reads such bytes
//! otherwise finds other requests in them than we do. The rest of a head is hyper's to judge, which does so strictly.
//!
//! Nothing is copied but the begin of a line that one read did not bring whole.

use self::chunked::{Chunked, Step};

mod chunked;

/// Bytes kept of a line whose end has not come. The two fields that say where a body ends are shorter.
const LINE_BEGIN: usize = 48;

/// Where in a client's bytes the connection is.
#[derive(Default)]
pub struct Framing {
    state: State,
    line: LineBegin,
    body: Announced,
    /// Heads that have ended, modulo 2³².
    heads: u32,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request line; empty lines may precede it (section 2.2).
    #[default]
    Start,
    /// After the request line.
    Fields,
    /// In a body of known length, of which this many bytes are to come.
    Sized(u64),
    Chunked(Chunked),
}

/// What a head has said of its body up to now.
#[derive(Default)]
struct Announced {
    is_chunked: bool,
    length: Option<u64>,
}

/// The begin of a line that is not whole yet.
struct LineBegin {
    bytes: [u8; LINE_BEGIN],
    /// The length of the line so far, which may be more than what is kept.
    length: usize,
    last: u8,
}

impl Default for LineBegin {
    fn default() -> Self {
        Self { bytes: [0; LINE_BEGIN], length: 0, last: 0 }
    }
}

/// The offset of the first byte that a strict reader refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub usize);

impl Framing {
    /// Follows the next bytes of the connection.
    ///
    /// # Errors
    /// [`Refused`]; nothing may be followed after it.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        while at < bytes.len() {
            at += match &mut self.state {
                State::Start | State::Fields => self.follow_line(&bytes[at..], at)?,
                State::Sized(left) => {
                    let passing =
                        usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *left -= passing as u64;
                    if *left == 0 {
                        self.state = State::Start;
                    }
                    passing
                }
                State::Chunked(chunked) => match chunked.follow(&bytes[at..]) {
                    Step::More => bytes.len() - at,
                    Step::End(length) => {
                        self.state = State::Start;
                        length
                    }
                    Step::Refused(offset) => return Err(Refused(at + offset)),
                },
            };
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        self.state == State::Fields || (self.state == State::Start && self.line.length > 0)
    }

    /// Whether a body has begun and not ended.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Sized(_) | State::Chunked(_))
    }

    /// Counts the heads that have ended.
    pub fn heads(&self) -> u32 {
        self.heads
    }

    /// Follows a head up to the end of its next line. Returns how many bytes that took.
    fn follow_line(&mut self, bytes: &[u8], at: usize) -> Result<usize, Refused> {
        let Some(length) = memchr::memchr(b'\n', bytes) else {
            self.line.push(bytes);
            return Ok(bytes.len());
        };
        let refused = Refused(at + length);
        if self.line.length == 0 {
            let line = bytes[..length].strip_suffix(b"\r").ok_or(refused)?;
            self.end_line(line, line.len()).ok_or(refused)?;
        } else {
            self.line.push(&bytes[..length]);
            let mut line = std::mem::take(&mut self.line);
            if line.last != b'\r' {
                return Err(refused);
            }
            line.length -= 1;
            self.end_line(line.kept(), line.length).ok_or(refused)?;
        }
        Ok(length + 1)
    }

    /// Takes a line without its CRLF: what was kept of it, and its length. `None` when it is refused.
    fn end_line(&mut self, kept: &[u8], length: usize) -> Option<()> {
        match (self.state, kept.first()) {
            (State::Start, None) => {}
            (State::Start, Some(_)) => self.state = State::Fields,
            (_, None) => self.end_head(),
            (_, Some(b'c' | b'C')) => {
                if let Some(value) = field(kept, b"content-length") {
                    let fits = kept.len() == length;
                    let length = parse_length(value).filter(|_| fits)?;
                    if self.body.length.replace(length).is_some_and(|other| other != length) {
                        return None;
                    }
                }
            }
            (_, Some(b't' | b'T')) => {
                self.body.is_chunked |= field(kept, b"transfer-encoding").is_some();
            }
            _ => {}
        }
        Some(())
    }

    fn end_head(&mut self) {
        self.heads = self.heads.wrapping_add(1);
        // Section 6.3: a transfer coding overrides a length. Codings other than chunked are refused by those above.
        self.state = match std::mem::take(&mut self.body) {
            Announced { is_chunked: true, .. } => State::Chunked(Chunked::default()),
            Announced { length: Some(length @ 1..), .. } => State::Sized(length),
            _ => State::Start,
        };
    }
}

impl LineBegin {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.last = *last;
        }
        if let Some(room) = self.bytes.get_mut(self.length..) {
            let kept = bytes.len().min(room.len());
            room[..kept].copy_from_slice(&bytes[..kept]);
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[..self.length.min(LINE_BEGIN)]
    }
}

/// The value of the line if its field is `name`, in lower case. A blank before the colon is refused by hyper.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    begin.eq_ignore_ascii_case(name).then_some(value)
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    // `u64::from_str` takes a plus sign.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
