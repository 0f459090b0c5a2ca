//! Finds the `:authority` literal in a HEADERS frame (RFC 9113 section 6.2, RFC 7541 section 6) and rewords it.
//!
//! Only a literal whose name is static entry 1 is looked for, which is how every encoder writes it; a repeated value
//! refers to h2's dynamic table, which has the changed one. Of a block that goes on in CONTINUATION frames, the first
//! frame is looked at.

use super::{huffman, wording};

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table.
const AUTHORITY: usize = 1;
/// A longer value is left alone, so that looking costs little.
const LONGEST: usize = 512;

/// Makes the authority in a HEADERS frame's payload one that h2 accepts. Returns whether anything was changed.
pub fn mend(payload: &mut [u8], flags: u8) -> bool {
    fragment(payload, flags).and_then(authority).and_then(reword).is_some()
}

/// The block without padding and priority.
fn fragment(payload: &mut [u8], flags: u8) -> Option<&mut [u8]> {
    let (padding, rest) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first_mut().map(|(padding, rest)| (usize::from(*padding), rest))?,
    };
    let begin = if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = rest.len().checked_sub(padding)?;
    rest.get_mut(begin..end)
}

/// A string of the block as it is on the wire.
struct Literal<'a> {
    is_huffman: bool,
    bytes: &'a mut [u8],
}

fn authority(block: &mut [u8]) -> Option<Literal<'_>> {
    let mut rest = block;
    loop {
        let first = *rest.first()?;
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let (index, after) = integer(rest, prefix)?;
        rest = after;
        if matches!(first, 0x20..0x40 | 0x80..) {
            continue;
        }
        if index == 0 {
            rest = string(rest)?.1;
        }
        let (value, after) = string(rest)?;
        if index == AUTHORITY {
            return Some(value);
        }
        rest = after;
    }
}

/// An integer whose first byte has `prefix` bits of it, and what comes after.
fn integer(bytes: &mut [u8], prefix: u32) -> Option<(usize, &mut [u8])> {
    let (first, mut rest) = bytes.split_first_mut()?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some((value, rest));
    }
    // Three more bytes are enough for whatever fits a frame.
    for shift in [0, 7, 14] {
        let (byte, after) = rest.split_first_mut()?;
        rest = after;
        value += usize::from(*byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some((value, rest));
        }
    }
    None
}

fn string(bytes: &mut [u8]) -> Option<(Literal<'_>, &mut [u8])> {
    let is_huffman = *bytes.first()? >= 0x80;
    let (length, rest) = integer(bytes, 7)?;
    let (bytes, after) = rest.split_at_mut_checked(length)?;
    Some((Literal { is_huffman, bytes }, after))
}

fn reword(literal: Literal<'_>) -> Option<()> {
    if literal.bytes.len() > LONGEST {
        return None;
    }
    let reworded = if literal.is_huffman {
        huffman::encode(&wording::reword(&huffman::decode(literal.bytes)?)?)?
    } else {
        wording::reword(literal.bytes)?
    };
    if reworded.len() == literal.bytes.len() {
        literal.bytes.copy_from_slice(&reworded);
        return Some(());
    }
    None
}
