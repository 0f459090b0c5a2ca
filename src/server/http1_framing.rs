//! Follows the framing of HTTP/1 requests as a strict reader of RFC 9112 does, ahead of hyper.
//!
//! hyper 1.12 is lax in two places. It reads a bare LF in a trailer line as a part of the line, so
//! that the next request is swallowed as a trailer (docs/upstream/hyper-trailer-bare-lf.md), and it
//! allows almost any byte in a chunk extension. httparse reads a bare LF as the end of a line in a
//! head. A proxy in front of us that reads such bytes differently would find other requests in them
//! than we do. The rest of a head is left to hyper, which is strict about it.
//!
//! Nothing is copied except the start of a line that one read did not bring whole.

use self::chunked::{Chunked, Step};

mod chunked;

/// Bytes kept of a line whose end has not arrived. The two fields that say where a body ends are
/// shorter.
const LINE_BEGIN: usize = 48;

/// The position in a client's bytes.
#[derive(Default)]
pub struct Framing {
    state: State,
    line: LineBegin,
    body: Announced,
    /// Number of heads that have ended, modulo 2³².
    heads: u32,
    asked_to_upgrade: bool,
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

/// What the fields of a head have announced so far about what follows the head.
#[derive(Default)]
struct Announced {
    is_chunked: bool,
    length: Option<u64>,
    asks_to_upgrade: bool,
}

/// The start of a line that is not whole yet.
struct LineBegin {
    bytes: [u8; LINE_BEGIN],
    /// The length of the line so far, which may exceed what is kept.
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
                State::Start | State::Fields => self.follow_lines(&bytes[at..], at)?,
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

    /// Returns whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Fields)
            || (matches!(self.state, State::Start) && self.line.length > 0)
    }

    /// Returns whether a body has begun and not ended.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Sized(_) | State::Chunked(_))
    }

    /// Returns the number of heads that have ended, modulo 2³².
    pub fn heads(&self) -> u32 {
        self.heads
    }

    /// Returns whether any finished head asked for an upgrade: what follows it may not be HTTP.
    pub fn has_asked_to_upgrade(&self) -> bool {
        self.asked_to_upgrade
    }

    /// Follows the lines of heads, up to a head that a body follows. Returns how many bytes that
    /// took.
    fn follow_lines(&mut self, bytes: &[u8], at: usize) -> Result<usize, Refused> {
        let mut begin = 0;
        if self.line.length > 0 {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.push(bytes);
                return Ok(bytes.len());
            };
            self.end_begun_line(&bytes[..end]).ok_or(Refused(at + end))?;
            begin = end + 1;
            if self.is_in_body() {
                return Ok(begin);
            }
        }
        while let Some(&first) = bytes.get(begin) {
            let end = if first == b'\r' && bytes.get(begin + 1) == Some(&b'\n') {
                begin + 1
            } else if let Some(length) = memchr::memchr(b'\n', &bytes[begin..]) {
                begin + length
            } else {
                self.line.push(&bytes[begin..]);
                return Ok(bytes.len());
            };
            if end == begin || bytes[end - 1] != b'\r' {
                return Err(Refused(at + end));
            }
            // Other lines are the request line, or fields that say nothing about a body.
            if matches!(first, b'\r' | b'c' | b'C' | b't' | b'T' | b'u' | b'U') {
                let line = &bytes[begin..end - 1];
                self.end_line(line, line.len()).ok_or(Refused(at + end))?;
                if self.is_in_body() {
                    return Ok(end + 1);
                }
            } else if matches!(self.state, State::Start) {
                self.state = State::Fields;
            }
            begin = end + 1;
        }
        Ok(begin)
    }

    /// Takes the rest of a line that an earlier read began, without its LF. Returns `None` when the
    /// line is refused.
    #[cold]
    fn end_begun_line(&mut self, rest: &[u8]) -> Option<()> {
        self.line.push(rest);
        let line = std::mem::take(&mut self.line);
        let length = line.length - 1;
        (line.last == b'\r').then_some(())?;
        self.end_line(&line.bytes[..length.min(LINE_BEGIN)], length)
    }

    /// Takes a line without its CRLF: the part that was kept, and its whole length. Returns `None`
    /// when the line is refused.
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
            (_, Some(b'u' | b'U')) => {
                self.body.asks_to_upgrade |= field(kept, b"upgrade").is_some();
            }
            _ => {}
        }
        Some(())
    }

    fn end_head(&mut self) {
        self.heads = self.heads.wrapping_add(1);
        self.asked_to_upgrade |= self.body.asks_to_upgrade;
        // Section 6.3: a transfer coding overrides a length. `well_formed` refuses codings other
        // than chunked.
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
}

/// Returns the value of the line if its field is `name`, which is in lower case. hyper refuses a
/// blank before the colon.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    begin.eq_ignore_ascii_case(name).then_some(value)
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    // `u64::from_str` accepts a plus sign.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
