//! The protobuf side of inspection: is this TxnRequest, or AlarmRequest, a read?
//!
//! Only one reading of the bytes is accepted. Every tag that matters has a number below 16 and so
//! fits one byte; a tag must be exactly that byte, which leaves out longer spellings of it, other
//! wire types, groups and unknown fields. A RequestOp must hold exactly one field, so there is no
//! "last one wins". Ranges and comparisons are not looked into: no content makes them write, and a
//! member refuses them whole when they are malformed.

/// Limit of nesting of Txns in an inspected message. Nobody nests more than two or three.
pub(super) const DEPTH_LIMIT: usize = 32;

/// A key: field number times eight plus wire type (0 varint, 2 length-delimited).
const COMPARE: u8 = 1 << 3 | 2;
const SUCCESS: u8 = 2 << 3 | 2;
const FAILURE: u8 = 3 << 3 | 2;
const REQUEST_RANGE: u8 = 1 << 3 | 2;
const REQUEST_TXN: u8 = 4 << 3 | 2;
const ACTION: u8 = 1 << 3;
const MEMBER_ID: u8 = 2 << 3;
const ALARM: u8 = 3 << 3;

/// Returns whether a TxnRequest holds only ranges, in both branches and at every depth.
pub(super) fn txn_is_readonly(message: &[u8]) -> bool {
    only_ranges(message, 0).is_some()
}

/// Returns whether an AlarmRequest only reads: every `action` in it is zero, GET.
pub(super) fn alarm_is_readonly(message: &[u8]) -> bool {
    only_asks(message).is_some()
}

/// Returns `Some` when the TxnRequest is a read; `None` at the first field that is not.
fn only_ranges(mut message: &[u8], depth: usize) -> Option<()> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    while let Some((tag, rest)) = message.split_first() {
        let (field, rest) = delimited(rest)?;
        match *tag {
            COMPARE => {}
            SUCCESS | FAILURE => op_only_ranges(field, depth)?,
            _ => return None,
        }
        message = rest;
    }
    Some(())
}

fn op_only_ranges(op: &[u8], depth: usize) -> Option<()> {
    let (tag, rest) = op.split_first()?;
    let (field, rest) = delimited(rest)?;
    if !rest.is_empty() {
        return None;
    }
    match *tag {
        REQUEST_RANGE => Some(()),
        REQUEST_TXN => only_ranges(field, depth + 1),
        _ => None,
    }
}

fn only_asks(mut message: &[u8]) -> Option<()> {
    while let Some((tag, rest)) = message.split_first() {
        message = match *tag {
            ACTION => rest.strip_prefix(&[0])?,
            MEMBER_ID | ALARM => varint(rest)?.1,
            _ => return None,
        };
    }
    Some(())
}

/// Splits a length-delimited field from what follows it.
pub(in crate::proxy) fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Reads a varint of at most ten bytes. One that exceeds 64 bits is refused: decoders differ on its
/// value.
pub(in crate::proxy) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests;
