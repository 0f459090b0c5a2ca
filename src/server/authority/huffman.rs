//! HPACK's Huffman code (RFC 7541 appendix B), decoded bit by bit.
//!
//! The code is canonical: codes of one length are consecutive, in the order of their characters.

/// Codes of one length.
struct Group {
    bits: u32,
    /// The code of the first character.
    first: u32,
    characters: &'static [u8],
}

const fn group(bits: u32, first: u32, characters: &'static [u8]) -> Group {
    Group { bits, first, characters }
}

const CODE: [Group; 21] = [
    group(5, 0x0, b"012aceiost"),
    group(6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    group(7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    group(8, 0xf8, b"&*,;XZ"),
    group(10, 0x3f8, b"!\"()?"),
    group(11, 0x7fa, b"'+|"),
    group(12, 0xffa, b"#>"),
    group(13, 0x1ff8, b"\0$@[]~"),
    group(14, 0x3ffc, b"^}"),
    group(15, 0x7ffc, b"<`{"),
    group(19, 0x7fff0, b"\\\xc3\xd0"),
    group(20, 0xfffe6, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    group(21, 0x1fffdc, b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    group(
        22,
        0x3fffd2,
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    ),
    group(
        23,
        0x7fffd8,
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    ),
    group(24, 0xffffea, b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    group(25, 0x1ffffec, b"\xc7\xcf\xea\xeb"),
    group(26, 0x3ffffe0, b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    group(
        27,
        0x7ffffde,
        b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    ),
    group(
        28,
        0xfffffe2,
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    ),
    group(30, 0x3ffffffc, b"\n\r\x16"),
];

/// Decodes `bytes`; `None` when they are not a valid code, padding included.
pub fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    // No code is shorter than five bits.
    let mut decoded = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut bits, mut groups) = (0_u32, 0, CODE.iter().peekable());
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let Some(group) = groups.next_if(|group| group.bits == bits) else { continue };
            let place = usize::try_from(code.checked_sub(group.first)?).ok()?;
            match group.characters.get(place) {
                Some(character) => {
                    decoded.push(*character);
                    (code, bits, groups) = (0, 0, CODE.iter().peekable());
                }
                // EOS, which no string may contain.
                None if bits == 30 => return None,
                None => {}
            }
        }
    }
    let is_padding = bits < 8 && code == (1 << bits) - 1;
    is_padding.then_some(decoded)
}

/// Encodes `string`, padded with ones; `None` when it has a character whose code is longer than 15
/// bits.
pub fn encode(string: &[u8]) -> Option<Vec<u8>> {
    let mut encoded = Vec::with_capacity(string.len());
    let (mut pending, mut bits) = (0_u32, 0);
    for each in string {
        let (code, length) = code(*each).filter(|(_, length)| *length <= 15)?;
        pending = pending << length | code;
        bits += length;
        while bits >= 8 {
            bits -= 8;
            encoded.push((pending >> bits & 0xff) as u8);
        }
    }
    if bits > 0 {
        let padded = pending << (8 - bits) | ((1 << (8 - bits)) - 1);
        encoded.push((padded & 0xff) as u8);
    }
    Some(encoded)
}

/// Returns the code of a character and its length in bits.
fn code(character: u8) -> Option<(u32, u32)> {
    CODE.iter().find_map(|group| {
        let place = group.characters.iter().position(|each| *each == character)?;
        Some((group.first + u32::try_from(place).ok()?, group.bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_examples_go_both_ways() {
        let examples: [(&[u8], &[u8]); 3] = [
            (
                b"www.example.com",
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
            ),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (b"custom-value", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]),
        ];
        for (string, coded) in examples {
            assert_eq!(encode(string).as_deref(), Some(coded));
            assert_eq!(decode(coded).as_deref(), Some(string));
        }
    }

    #[test]
    fn each_group_begins_where_the_one_before_ends_and_the_last_leaves_one_code() {
        for pair in CODE.windows(2) {
            let end = pair[0].first + pair[0].characters.len() as u32;
            assert_eq!(pair[1].first, end << (pair[1].bits - pair[0].bits));
        }
        let last = CODE.last().unwrap();
        assert_eq!(last.first + last.characters.len() as u32, (1 << last.bits) - 1);
        assert_eq!(CODE.iter().map(|group| group.characters.len()).sum::<usize>(), 256);
    }

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255 {
            let (code, bits) = code(byte).unwrap();
            // The code, and ones up to the next byte.
            let padded = bits.next_multiple_of(8);
            let coded = u64::from(code) << (padded - bits) | ((1 << (padded - bits)) - 1);
            let coded = &coded.to_be_bytes()[8 - padded as usize / 8..];
            assert_eq!(decode(coded).as_deref(), Some(&[byte][..]));
        }
        assert_eq!(decode(&[]).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_no_code_is_none() {
        for coded in [&[0xff, 0xff, 0xff, 0xff][..], &[0x18], &[0x1f, 0xff], &[0xff]] {
            assert_eq!(decode(coded), None, "{coded:x?}");
        }
    }
}
