//! Follows the frames that an HTTP/2 client sends (RFC 9113 sections 3.4 and 4.1), and rewrites the
//! header blocks whose authority h2 would not take.

use super::block::{self, Found};

const PREFACE: usize = 24;
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The largest frame that our SETTINGS allow; h2 ends the connection at a larger one.
const LARGEST: usize = 16 * 1024;
/// Frames of one block that are collected; h2 ends the connection at more.
const MOST_FRAMES: usize = 8;

/// The position in a client's stream of frames.
pub struct Frames {
    /// Bytes to pass before the next frame head.
    skip: usize,
    /// The kind of the frame that is being passed.
    kind: u8,
    /// Whether CONTINUATION must follow.
    is_in_block: bool,
    /// Number of frames that have passed whole, counting the preface.
    whole: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE, kind: HEADERS, is_in_block: false, whole: 0 }
    }
}

/// What follows the bytes that pass unchanged.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// An incomplete frame, or nothing.
    More,
    /// Whole frames of this many bytes, and the frames that replace them.
    Rewritten(usize, Vec<u8>),
}

impl Frames {
    /// Examines the bytes after those that have passed. Returns how many of them pass unchanged,
    /// and what follows.
    pub fn follow(&mut self, bytes: &[u8]) -> (usize, Next) {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            if self.skip > 0 {
                let passing = self.skip.min(rest.len());
                passed += passing;
                self.skip -= passing;
                if self.skip > 0 {
                    return (passed, Next::More);
                }
                self.whole += 1;
                continue;
            }
            let Some(head) = Head::read(rest) else { return (passed, Next::More) };
            if head.kind == HEADERS && head.length <= LARGEST {
                match Block::read(rest) {
                    None => return (passed, Next::More),
                    Some(Block::Fine) => {}
                    Some(Block::Rewritten(taken, by, is_open)) => {
                        self.is_in_block = is_open;
                        self.whole += 1;
                        return (passed, Next::Rewritten(taken, by));
                    }
                }
            }
            if matches!(head.kind, HEADERS | CONTINUATION) {
                self.is_in_block = head.flags & END_HEADERS == 0;
            }
            self.kind = head.kind;
            self.skip = HEAD + head.length;
        }
    }

    /// Returns whether the client has begun something that must go on: its preface with SETTINGS, a
    /// frame, or a header block. Bytes of a frame that were held back are not known here.
    pub fn is_unfinished(&self) -> bool {
        self.skip > 0 || self.is_in_block || self.whole < 2
    }

    /// Returns whether the unfinished frame is DATA.
    pub fn is_in_data(&self) -> bool {
        self.skip > 0 && self.kind == DATA
    }

    /// Returns the number of frames that have passed whole, counting the preface.
    pub fn whole(&self) -> u64 {
        self.whole
    }
}

#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, ..] = bytes.first_chunk::<HEAD>()?;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        Some(Self { length, kind, flags })
    }
}

/// What to do with a header block.
enum Block {
    Fine,
    /// This many bytes are replaced by these; whether CONTINUATION must follow.
    Rewritten(usize, Vec<u8>, bool),
}

impl Block {
    /// Examines the block whose first frame is at the start of `bytes`; `None` when more bytes are
    /// needed.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = Part::read(bytes, 0)?;
        let Some(fragment) = first.fragment(bytes) else { return Some(Self::Fine) };
        match block::search(fragment) {
            Found::Fine => return Some(Self::Fine),
            Found::Unfinished if first.ends_block() => return Some(Self::Fine),
            Found::Change(..) | Found::Unfinished => {}
        }
        let mut parts = vec![first];
        let mut whole = fragment.to_vec();
        loop {
            match block::search(&whole) {
                Found::Fine => return Some(Self::Fine),
                Found::Change(range, by) => {
                    whole.splice(range, by);
                    return Some(rewrite(bytes, &parts, &whole).unwrap_or(Self::Fine));
                }
                Found::Unfinished => {}
            }
            let last = parts.last()?;
            if last.ends_block() || parts.len() == MOST_FRAMES {
                return Some(Self::Fine);
            }
            let at = last.end();
            let head = Head::read(bytes.get(at..)?)?;
            if head.kind != CONTINUATION || head.length > LARGEST {
                return Some(Self::Fine);
            }
            let part = Part::read(bytes, at)?;
            whole.extend_from_slice(part.fragment(bytes)?);
            parts.push(part);
        }
    }
}

/// One frame of a block.
struct Part {
    at: usize,
    head: Head,
}

impl Part {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let part = Self { at, head: Head::read(bytes.get(at..)?)? };
        (bytes.len() >= part.end()).then_some(part)
    }

    fn end(&self) -> usize {
        self.at + HEAD + self.head.length
    }

    fn ends_block(&self) -> bool {
        self.head.flags & END_HEADERS != 0
    }

    /// Returns how many bytes come before and after its fragment of the block: padding and
    /// priority, which only HEADERS has.
    fn around(&self, bytes: &[u8]) -> (usize, usize) {
        if self.head.kind != HEADERS {
            return (0, 0);
        }
        let (pad_length, padding) = match self.head.flags & PADDED {
            0 => (0, 0),
            _ => (1, bytes.get(self.at + HEAD).map_or(0, |padding| usize::from(*padding))),
        };
        (pad_length + if self.head.flags & PRIORITY == 0 { 0 } else { 5 }, padding)
    }

    /// Returns its fragment of the block; `None` when padding and priority leave no room.
    fn fragment<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (before, after) = self.around(bytes);
        bytes.get(self.at + HEAD + before..self.end().checked_sub(after)?)
    }
}

/// Writes a changed block into the frames of the old one. `None` when it does not fit.
fn rewrite(bytes: &[u8], parts: &[Part], mut block: &[u8]) -> Option<Block> {
    let last = parts.last()?;
    let mut frames = Vec::with_capacity(last.end() + 1);
    for part in parts {
        let (before, after) = part.around(bytes);
        let room = part.head.length.checked_sub(before + after)?;
        let taken = if part.at == last.at { block.len() } else { room.min(block.len()) };
        let (fragment, rest) = block.split_at(taken);
        block = rest;
        let length = u32::try_from(before + taken + after).ok()?;
        if length > LARGEST as u32 {
            return None;
        }
        let begin = part.at + HEAD;
        frames.extend_from_slice(&length.to_be_bytes()[1..]);
        frames.extend_from_slice(&bytes[part.at + 3..begin + before]);
        frames.extend_from_slice(fragment);
        frames.extend_from_slice(&bytes[part.end() - after..part.end()]);
    }
    Some(Block::Rewritten(last.end(), frames, !last.ends_block()))
}
