//! HPACK's Huffman code (RFC 7541 appendix B) for the characters that an authority may be made of.
//!
//! The code is canonical: codes of one length are consecutive, in the order of their characters. Codes of more than 15
//! bits are for bytes that no authority has, and make both directions give up.

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

const CODE: [Group; 10] = [
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
];

/// The code of a character and its length in bits.
pub fn code(character: u8) -> Option<(u32, u32)> {
    CODE.iter().find_map(|group| {
        let place = group.characters.iter().position(|each| *each == character)?;
        Some((group.first + u32::try_from(place).ok()?, group.bits))
    })
}

fn character(code: u32, bits: u32) -> Option<u8> {
    let group = CODE.iter().find(|group| group.bits == bits)?;
    let place = usize::try_from(code.checked_sub(group.first)?).ok()?;
    group.characters.get(place).copied()
}

/// The string that `bytes` is the code of; `None` when it is none or has rare characters.
pub fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut bits) = (0, 0);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            if let Some(character) = character(code, bits) {
                decoded.push(character);
                (code, bits) = (0, 0);
            } else if bits == 15 {
                return None;
            }
        }
    }
    let is_padding = bits < 8 && code == (1 << bits) - 1;
    is_padding.then_some(decoded)
}

/// The code of `string`, padded with ones; `None` when it has rare characters.
pub fn encode(string: &[u8]) -> Option<Vec<u8>> {
    let mut encoded = Vec::with_capacity(string.len());
    let (mut pending, mut bits) = (0_u32, 0);
    for each in string {
        let (code, length) = code(*each)?;
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
    fn each_group_begins_where_the_one_before_ends() {
        for pair in CODE.windows(2) {
            let end = pair[0].first + pair[0].characters.len() as u32;
            assert_eq!(pair[1].first, end << (pair[1].bits - pair[0].bits));
        }
    }

    #[test]
    fn every_character_comes_back() {
        for group in &CODE {
            for character in group.characters {
                let string = [*character; 3];
                assert_eq!(decode(&encode(&string).unwrap()).as_deref(), Some(&string[..]));
            }
        }
    }

    #[test]
    fn rare_characters_and_bad_padding_are_given_up_on() {
        assert_eq!(encode(b"a\\b"), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode(&[0x18]), None);
        assert_eq!(decode(&[0x1f, 0xff]), None);
        assert_eq!(decode(&[]).as_deref(), Some(&b""[..]));
    }
}
