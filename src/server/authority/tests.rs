//! Tests which bytes h2 gets for a client's bytes, and what h2 itself makes of them.

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::server::pieces::Pieces;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LISTED: &[u8] = b"#initially=[127.0.0.1:2379;127.0.0.1:22379]";
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 0x5;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

fn through(bytes: &[u8], sizes: &[usize], room: usize) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut stream = LenientAuthority::new(Pieces::new(bytes, sizes), Arc::default());
        let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => return out,
                read => out.extend_from_slice(&buffer[..read]),
            }
        }
    })
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend_from_slice(payload);
    frame
}

/// A string in a block, not Huffman-coded.
fn text(string: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match string.len().checked_sub(0x7f) {
        None => text.push(string.len() as u8),
        Some(mut rest) => {
            text.push(0x7f);
            while rest >= 0x80 {
                text.push(0x80 | (rest & 0x7f) as u8);
                rest >>= 7;
            }
            text.push(rest as u8);
        }
    }
    text.extend_from_slice(string);
    text
}

/// A string in Huffman code, of less than 127 bytes.
fn huffman_text(string: &[u8]) -> Vec<u8> {
    let coded = huffman::encode(string).unwrap();
    let mut text = vec![0x80 | u8::try_from(coded.len()).unwrap()];
    text.extend(coded);
    text
}

/// The ways to write an authority as a literal: kept in the table or not, with its name indexed or
/// spelt out.
fn literals(value: &[u8]) -> Vec<Vec<u8>> {
    let mut literals = Vec::new();
    for name in [
        vec![1],
        [vec![0], text(b":authority")].concat(),
        [vec![0], huffman_text(b":authority")].concat(),
    ] {
        for kept in [0x40, 0x00, 0x10] {
            let mut literal = name.clone();
            literal[0] |= kept;
            literal.extend(text(value));
            literals.push(literal);
        }
    }
    literals
}

/// A block of POST, http, `/`, the given authority, and a field that is kept in the table.
fn block(authority: &[u8]) -> Vec<u8> {
    let trace = [vec![0x40], text(b"x-trace"), text(LISTED)].concat();
    [&[0x83, 0x86, 0x84], authority, &trace].concat()
}

fn conversation(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frames.concat());
    bytes
}

fn one_call(block: &[u8]) -> Vec<u8> {
    conversation(&[frame(1, WHOLE, 1, block)])
}

/// Returns the authorities of the first calls that h2 sees, and asserts that the connection has no
/// error up to there.
fn seen(bytes: &[u8], count: usize) -> Vec<Option<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut client, bytes).await.unwrap();
        let mut connection =
            h2::server::handshake(LenientAuthority::new(server, Arc::default())).await.unwrap();
        let (mut seen, mut held) = (Vec::new(), Vec::new());
        while seen.len() < count {
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.headers()["x-trace"], LISTED);
            seen.push(request.uri().authority().map(ToString::to_string));
            held.push(respond);
        }
        seen
    })
}

/// The last call of each test. It refers to the trace header, so seeing it shows that h2's table is
/// in step.
fn last(stream: u8) -> Vec<u8> {
    frame(1, WHOLE, stream, &[&[0x83, 0x86, 0x84, 0x01][..], &text(b"last"), &[0xbe]].concat())
}

#[test]
fn whatever_members_take_is_taken_in_every_representation() {
    for value in [
        LISTED,
        b"http://127.0.0.1:23790",
        b"unix:///run/etcd.sock",
        b"a b",
        b"100%",
        b"\xc3\xa9",
        b"\xff\xfe{`\\\xf9\t}",
        &[b'%'; 3000],
        &[0xf9; 3000],
    ] {
        for literal in literals(value) {
            let frames = [frame(1, WHOLE, 1, &block(&literal)), last(3)];
            let expected = [Some("a".repeat(value.len())), Some("last".to_owned())];
            assert_eq!(seen(&conversation(&frames), expected.len()), expected, "{literal:x?}");
        }
    }
    let huffman = [vec![0x41], huffman_text(LISTED)].concat();
    let expected = [Some("a".repeat(LISTED.len())), Some("last".to_owned())];
    assert_eq!(
        seen(&conversation(&[frame(1, WHOLE, 1, &block(&huffman)), last(3)]), expected.len()),
        expected
    );
}

#[test]
fn an_empty_authority_is_none() {
    for literal in [vec![vec![0x81]], literals(b"")].concat() {
        let is_kept = (0x40..0x80).contains(&literal[0]);
        let frames = [frame(1, WHOLE, 1, &block(&literal)), last(3)];
        let expected = [is_kept.then(|| "a".to_owned()), Some("last".to_owned())];
        assert_eq!(seen(&conversation(&frames), expected.len()), expected, "{literal:x?}");
    }
}

#[test]
fn what_h2_takes_passes_as_it_is() {
    for value in [&b"127.0.0.1:2379"[..], b"[::1]:2379", b"user:secret@etcd.example:1"] {
        for literal in literals(value) {
            let bytes = one_call(&block(&literal));
            assert_eq!(through(&bytes, &[4096], 4096), bytes);
            assert_eq!(seen(&bytes, 1), [Some(String::from_utf8(value.to_vec()).unwrap())]);
        }
    }
}

#[test]
fn what_no_member_takes_costs_a_stream_and_not_the_connection() {
    for value in [&b"a\0b"[..], b"\x7f", b"a\n", b"\xff\0", b"\0\xff"] {
        for literal in literals(value) {
            let frames = [frame(1, WHOLE, 1, &block(&literal)), last(3)];
            assert_eq!(seen(&conversation(&frames), 1), [Some("last".to_owned())], "{literal:x?}");
        }
    }
}

#[test]
fn a_later_call_of_a_connection_that_began_well_is_looked_at_too() {
    let good = [&[0x41][..], &text(b"127.0.0.1:2379")].concat();
    let bad = [vec![0x41], text(LISTED)].concat();
    // Refers to the bad authority, which comes after the trace header in the table.
    let repeated = frame(1, WHOLE, 5, &[0x83, 0x86, 0x84, 0xbf, 0xbe]);
    let frames =
        [frame(1, WHOLE, 1, &block(&good)), frame(1, WHOLE, 3, &block(&bad)), repeated, last(7)];
    let substitute = Some("a".repeat(LISTED.len()));
    let expected = [
        Some("127.0.0.1:2379".to_owned()),
        substitute.clone(),
        substitute,
        Some("last".to_owned()),
    ];
    assert_eq!(seen(&conversation(&frames), expected.len()), expected);
}

#[test]
fn a_substitute_is_evicted_when_its_value_is() {
    let bad = [vec![0x41], text(LISTED)].concat();
    // The table has 4096 bytes, and each entry counts 32 more than its text.
    let entry = |size: usize| [vec![0x40], text(b"x"), text(&vec![b'y'; size - 33])].concat();
    let trace = [vec![0x40], text(b"x-trace"), text(LISTED)].concat();
    let used = 32 + 10 + LISTED.len() + 32 + 7 + LISTED.len();
    let fill = [&[0x83, 0x86, 0x84][..], &bad, &trace, &entry(4096 - used)].concat();
    // The authority is the oldest entry, and there is no room for another byte.
    let frames = [
        frame(1, WHOLE, 1, &fill),
        frame(1, WHOLE, 3, &[0x83, 0x86, 0x84, 0xc0, 0xbf]),
        // One more entry evicts it alone: the trace header is the oldest then.
        frame(1, WHOLE, 5, &[&[0x83, 0x86, 0x84, 0xbf][..], &entry(33)].concat()),
        frame(1, WHOLE, 7, &[0x83, 0x86, 0x84, 0xc0]),
    ];
    let substitute = Some("a".repeat(LISTED.len()));
    // The third and the fourth have no authority.
    assert_eq!(seen(&conversation(&frames), 4), [substitute.clone(), substitute, None, None]);
}

#[test]
fn padding_priority_and_continuation_are_understood_wherever_the_block_is_cut() {
    let bad = [vec![0x00], text(b":authority"), text(LISTED)].concat();
    let whole = block(&bad);
    let substitute = Some("a".repeat(LISTED.len()));
    for (first, second) in [(1, 1), (5, 20), (16, 40), (30, 70), (60, 61), (70, 100)] {
        let mut payload = vec![7, 0, 0, 0, 0, 200];
        payload.extend_from_slice(&whole[..first]);
        payload.extend([0; 7]);
        let frames = [
            frame(1, END_STREAM | 0x28, 1, &payload),
            frame(9, 0, 1, &whole[first..second]),
            frame(9, END_HEADERS, 1, &whole[second..]),
            last(3),
        ];
        let bytes = conversation(&frames);
        let expected = [substitute.clone(), Some("last".to_owned())];
        assert_eq!(seen(&bytes, expected.len()), expected, "{first} {second}");
        let out = through(&bytes, &[1 << 16], 1 << 16);
        for size in 1..80 {
            assert_eq!(through(&bytes, &[size], 33), out, "{first} {second} {size}");
        }
    }
}

#[test]
fn an_authority_of_several_frames_is_taken() {
    let bad = [vec![0x00], text(b":authority"), text(&vec![b'#'; 40_000])].concat();
    let whole = block(&bad);
    let mut pieces = whole.chunks(16_384);
    let mut frames = vec![frame(1, END_STREAM, 1, pieces.next().unwrap())];
    let pieces: Vec<&[u8]> = pieces.collect();
    for (at, piece) in pieces.iter().enumerate() {
        let flags = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
        frames.push(frame(9, flags, 1, piece));
    }
    frames.push(last(3));
    let bytes = conversation(&frames);
    let lengths = seen(&bytes, 2).into_iter().map(|authority| authority.unwrap().len());
    assert_eq!(lengths.collect::<Vec<_>>(), [40_000, 4]);
    assert!(through(&bytes, &[1000], 8192) == through(&bytes, &[1 << 20], 1 << 20));
}

#[test]
fn a_frame_beyond_the_allowed_size_is_not_waited_for() {
    let mut frames = Frames::default();
    let bytes = conversation(&[vec![1, 0, 0, 1, WHOLE, 0, 0, 0, 1, 0x41]]);
    assert_eq!(frames.follow(&bytes), (bytes.len(), Next::More));
}

#[test]
fn a_frame_that_never_gets_whole_passes_when_the_client_leaves() {
    let whole = one_call(&block(&[vec![0x41], text(LISTED)].concat()));
    let half = &whole[..60];
    assert_eq!(through(half, &[9], 4096), half);
}

proptest! {
    #[test]
    fn arbitrary_bytes_pass_as_they_are(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        sizes in proptest::collection::vec(1_usize..50, 1..8),
        room in 1_usize..100,
    ) {
        prop_assert_eq!(through(&bytes, &sizes, room), bytes);
    }

    #[test]
    fn arbitrary_frames_come_out_alike_however_they_are_cut(
        frames in proptest::collection::vec(
            (prop_oneof![0_u8..3, Just(9)], any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()),
            0..6,
        ),
        sizes in proptest::collection::vec(1_usize..50, 1..8),
        room in 1_usize..100,
    ) {
        let frames = frames.into_iter().map(|(kind, flags, mut payload, is_bad)| {
            if is_bad {
                payload.splice(0..0, block(&[vec![0x41], text(LISTED)].concat()));
            }
            frame(kind, flags, 1, &payload)
        });
        let bytes = conversation(&frames.collect::<Vec<_>>());
        let whole = through(&bytes, &[1 << 20], 1 << 20);
        prop_assert_eq!(through(&bytes, &sizes, room), whole);
    }
}
