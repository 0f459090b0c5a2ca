//! Finds the HEADERS frames in what an HTTP/2 client sends (RFC 9113 sections 3.4 and 4.1).

use super::block;

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
/// The largest frame that our SETTINGS allow; a larger one ends the connection anyway.
const LARGEST: usize = 16 * 1024;

/// Where in the stream of frames the connection is.
pub struct Frames {
    /// Bytes that pass before the next frame head.
    skip: usize,
    /// The first header block was changed, so later ones are looked at.
    has_changed: bool,
    is_done: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE, has_changed: false, is_done: false }
    }
}

impl Frames {
    /// Whether nothing after what was cleared has to be looked at any more.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Looks at what came after all that was cleared before, changes it where needed, and tells how much of it may go
    /// on. The rest is the beginning of a HEADERS frame or of a frame head.
    pub fn clear(&mut self, bytes: &mut [u8]) -> usize {
        let mut cleared = 0;
        while let Some(step) = bytes.get_mut(cleared..).and_then(|rest| self.step(rest)) {
            cleared += step;
        }
        cleared
    }

    /// How many bytes pass now; zero when a frame's head was understood, `None` when more bytes are needed.
    fn step(&mut self, bytes: &mut [u8]) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        if self.is_done {
            return Some(bytes.len());
        }
        if self.skip > 0 {
            let passing = self.skip.min(bytes.len());
            self.skip -= passing;
            return Some(passing);
        }
        let (&mut [high, middle, low, kind, flags, ..], payload) =
            bytes.split_first_chunk_mut::<HEAD>()?;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if kind == HEADERS {
            if length > LARGEST {
                self.is_done = true;
                return Some(0);
            }
            self.has_changed |= block::mend(payload.get_mut(..length)?, flags);
            self.is_done = !self.has_changed;
        }
        self.skip = HEAD + length;
        Some(0)
    }
}
