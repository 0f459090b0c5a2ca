//! Finds the `:authority` in a header block (RFC 7541 section 6), and computes its replacement.
//!
//! The field may be a literal whose name is static entry 1 or spelt out (gRPC's C core does that),
//! or static entry 1 itself, which is an empty value. A value that a client refers to in the
//! dynamic table came as a literal before, so h2's table has the replacement that was written then.
//! A literal whose name refers to the dynamic table is not recognised: an encoder that has the name
//! in the static table has no reason to do that.

use std::ops::Range;

use super::{huffman, substitute::substitute};

/// `:authority` in the static table, with an empty value.
const AUTHORITY: usize = 1;
const NAME: &[u8] = b":authority";
/// The static entries of ordinary fields, after which no pseudo-header may follow (RFC 9113 section
/// 8.3).
const ORDINARY: Range<usize> = 15..62;

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing to change.
    Fine,
    /// The block ends before its authority or first ordinary field was found.
    Unfinished,
    /// This range of the block must be replaced by these bytes, which are at most one more.
    Change(Range<usize>, Vec<u8>),
}

/// Searches the start of a block for the authority.
pub fn search(block: &[u8]) -> Found {
    let mut fields = Reader { block, at: 0 };
    loop {
        match fields.next_field() {
            None => return Found::Unfinished,
            Some(Field::Other) => {}
            Some(Field::Ordinary) => return Found::Fine,
            Some(Field::Authority(change)) => {
                return change.map_or(Found::Fine, |(range, by)| Found::Change(range, by));
            }
        }
    }
}

enum Field {
    /// The authority, and its replacement if it needs one.
    Authority(Option<(Range<usize>, Vec<u8>)>),
    /// The first ordinary field.
    Ordinary,
    /// Another pseudo-header, a change of the table's size, or a field whose name only h2 knows.
    Other,
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

/// A string as encoded in a block.
struct Text<'a> {
    is_huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the next field; `None` when it is not whole.
    fn next_field(&mut self) -> Option<Field> {
        let begin = self.at;
        let first = *self.block.get(begin)?;
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = self.integer(prefix)?;
        if first >= 0x80 && index == AUTHORITY {
            // Removed: no other field is as short, and none is needed.
            return Some(Field::Authority(Some((begin..self.at, Vec::new()))));
        }
        if matches!(first, 0x20..0x40) {
            return Some(Field::Other);
        }
        let mut is_authority = index == AUTHORITY;
        let mut is_ordinary = ORDINARY.contains(&index);
        if first < 0x80 {
            if index == 0 {
                let name = self.text()?;
                is_authority = name.is(NAME);
                is_ordinary = !name.is_pseudo();
            }
            let value_at = self.at;
            let value = self.text()?;
            if is_authority {
                let is_kept = first >= 0x40;
                return Some(Field::Authority(change(begin, value_at, self.at, &value, is_kept)));
            }
        }
        Some(if is_ordinary { Field::Ordinary } else { Field::Other })
    }

    /// Reads an integer whose first byte has `prefix` bits of it.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        // h2 reads at most four more bytes too.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = *self.block.get(self.at)? >= 0x80;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(Text { is_huffman, bytes })
    }
}

impl Text<'_> {
    fn is(&self, name: &[u8]) -> bool {
        if self.is_huffman {
            huffman::decode(self.bytes).is_some_and(|decoded| decoded == name)
        } else {
            self.bytes == name
        }
    }

    /// Returns whether the string begins with a colon, whose Huffman code has seven bits.
    fn is_pseudo(&self) -> bool {
        self.bytes
            .first()
            .is_some_and(|first| if self.is_huffman { first >> 1 == 0x5c } else { *first == b':' })
    }
}

/// Returns the replacement of an authority at `begin..end`, whose value begins at `value_at`;
/// `None` when it may stay. If the field `is_kept` in the dynamic table, the replacement must have
/// the same size there.
fn change(
    begin: usize,
    value_at: usize,
    end: usize,
    value: &Text<'_>,
    is_kept: bool,
) -> Option<(Range<usize>, Vec<u8>)> {
    let decoded;
    let plain = match value.is_huffman {
        true => {
            decoded = huffman::decode(value.bytes)?;
            &decoded[..]
        }
        false => value.bytes,
    };
    if plain.is_empty() {
        if !is_kept {
            return Some((begin..end, Vec::new()));
        }
        // One byte more than in the client's table. That matters only to a client that fills its
        // table to the last byte and writes out an empty authority instead of using static entry 1.
        return Some((value_at..end, vec![1, b'a']));
    }
    let coded = huffman::encode(&substitute(plain)?)?;
    let mut text = Vec::with_capacity(coded.len() + 4);
    put_length(coded.len(), &mut text);
    text.extend(coded);
    Some((value_at..end, text))
}

/// Writes the length of a string in Huffman code.
fn put_length(length: usize, into: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(0x7f) else {
        into.push(0x80 | length as u8);
        return;
    };
    into.push(0xff);
    while rest >= 0x80 {
        into.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    into.push(rest as u8);
}
