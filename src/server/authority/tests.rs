//! A client's bytes in, what h2 gets out; and what h2 itself makes of it.

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const URL: &[u8] = b"http://127.0.0.1:23790";
const NAME: &[u8] = b"httpB--127.0.0.1:23790";
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 0x5;

/// Gives what it has in pieces of the given sizes, in turn, each after one `Pending`.
struct Pieces {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.turn += 1;
        if self.turn % 2 == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = self.sizes[self.turn / 2 % self.sizes.len()];
        let size = size.min(self.bytes.len()).min(into.remaining());
        let rest = self.bytes.split_off(size);
        into.put_slice(&std::mem::replace(&mut self.bytes, rest));
        Poll::Ready(Ok(()))
    }
}

fn through(bytes: &[u8], sizes: &[usize], room: usize) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let pieces = Pieces { bytes: bytes.to_vec(), sizes: sizes.to_vec(), turn: 0 };
        let mut stream = LenientAuthority::new(pieces);
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

fn text(string: &[u8], is_huffman: bool) -> Vec<u8> {
    let (mark, coded) = match is_huffman {
        true => (0x80, huffman::encode(string).unwrap()),
        false => (0, string.to_vec()),
    };
    assert!(coded.len() < 127);
    let mut text = vec![mark | u8::try_from(coded.len()).unwrap()];
    text.extend(coded);
    text
}

/// POST, http, `/` and the authority, in a representation, and a header with a name of its own on each side.
fn block(representation: u8, authority: &[u8], is_huffman: bool) -> Vec<u8> {
    let mut block = vec![0x3f, 0xe1, 0x1f, 0x83, 0x86, 0x84, representation];
    block.extend(text(authority, is_huffman));
    block.push(0x40);
    block.extend(text(b"x-trace", true));
    block.extend(text(URL, true));
    block
}

fn conversation(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frames.concat());
    bytes
}

fn one_call(block: &[u8]) -> Vec<u8> {
    conversation(&[frame(1, WHOLE, 1, block), frame(0, 1, 1, URL)])
}

#[test]
fn every_representation_is_reworded() {
    for representation in [0x41, 0x01, 0x11] {
        for is_huffman in [false, true] {
            let before = one_call(&block(representation, URL, is_huffman));
            let after = one_call(&block(representation, NAME, is_huffman));
            assert_eq!(through(&before, &[4096], 4096), after, "{representation:x} {is_huffman}");
        }
    }
}

#[test]
fn padding_and_priority_are_stepped_over() {
    let framed = |name: &[u8]| {
        let mut payload = vec![7, 0, 0, 0, 0, 200];
        payload.extend(block(0x41, name, true));
        payload.extend([0; 7]);
        conversation(&[frame(1, WHOLE | 0x28, 1, &payload)])
    };
    assert_eq!(through(&framed(URL), &[4096], 4096), framed(NAME));
}

#[test]
fn a_long_authority_has_a_long_length() {
    let path = [b"unix://".to_vec(), b"/tmp".repeat(35)].concat();
    let named = [b"unixB--".to_vec(), b"-tmp".repeat(35)].concat();
    let framed = |name: &[u8]| {
        let mut block = vec![0x83, 0x86, 0x84, 0x41, 0x7f, u8::try_from(name.len() - 127).unwrap()];
        block.extend_from_slice(name);
        one_call(&block)
    };
    assert_eq!(through(&framed(&path), &[4096], 4096), framed(&named));
}

#[test]
fn cuts_at_any_place_change_nothing() {
    let before = one_call(&block(0x41, URL, true));
    let after = one_call(&block(0x41, NAME, true));
    for cut in 1..before.len() {
        assert_eq!(through(&before, &[cut, before.len()], 4096), after, "{cut}");
        assert_eq!(through(&before, &[cut], 7), after, "{cut}");
    }
}

#[test]
fn later_calls_of_a_changed_connection_are_reworded_too() {
    let frames = |name| {
        let repeated = frame(1, WHOLE, 3, &[0x83, 0x86, 0x84, 0xbe]);
        conversation(&[
            frame(1, WHOLE, 1, &block(0x01, name, false)),
            repeated,
            frame(1, WHOLE, 5, &block(0x41, name, true)),
        ])
    };
    assert_eq!(through(&frames(URL), &[11], 4096), frames(NAME));
}

#[test]
fn a_connection_that_began_well_is_left_alone() {
    let mut stream = LenientAuthority::new(());
    let watch = stream.watch.as_mut().unwrap();
    let mut bytes = one_call(&block(0x41, b"127.0.0.1:2379", true));
    assert_eq!(watch.frames.clear(&mut bytes), bytes.len());
    assert!(watch.is_over());
    let bytes = conversation(&[
        frame(1, WHOLE, 1, &[0x83, 0x86, 0x84]),
        frame(1, WHOLE, 3, &block(0x41, URL, true)),
    ]);
    assert_eq!(through(&bytes, &[4096], 4096), bytes);
}

#[test]
fn a_frame_beyond_the_allowed_size_is_not_waited_for() {
    let mut frames = Frames::default();
    let mut bytes = conversation(&[vec![1, 0, 0, 1, WHOLE, 0, 0, 0, 1, 0x41]]);
    assert_eq!(frames.clear(&mut bytes), bytes.len());
    assert!(frames.is_done());
}

#[test]
fn a_frame_that_never_gets_whole_passes_when_the_client_leaves() {
    let whole = one_call(&block(0x41, URL, true));
    let half = &whole[..60];
    assert_eq!(through(half, &[9], 4096), half);
}

/// The calls that h2 sees, as their authorities.
async fn authorities_seen_by_h2(bytes: Vec<u8>) -> Vec<String> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    tokio::io::AsyncWriteExt::write_all(&mut client, &bytes).await.unwrap();
    let mut connection = h2::server::handshake(LenientAuthority::new(server)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let (request, _) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.headers()["x-trace"], URL);
        seen.push(request.uri().authority().unwrap().to_string());
    }
    seen
}

#[tokio::test]
async fn h2_takes_the_calls_and_its_table_stays_in_step() {
    let name = std::str::from_utf8(NAME).unwrap();
    // The second call refers to both entries that the first left in the table.
    let frames = |is_huffman| {
        conversation(&[
            frame(1, WHOLE, 1, &block(0x41, URL, is_huffman)),
            frame(1, WHOLE, 3, &[0x83, 0x86, 0x84, 0xbf, 0xbe]),
            frame(1, WHOLE, 5, &block(0x41, URL, !is_huffman)),
        ])
    };
    for is_huffman in [false, true] {
        assert_eq!(authorities_seen_by_h2(frames(is_huffman)).await, [name; 3]);
    }
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
            (0_u8..3, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()),
            0..6,
        ),
        sizes in proptest::collection::vec(1_usize..50, 1..8),
        room in 1_usize..100,
    ) {
        let frames = frames.into_iter().map(|(kind, flags, mut payload, has_url)| {
            if has_url {
                payload.splice(0..0, block(0x41, URL, flags & 1 == 0));
            }
            frame(kind, flags, 1, &payload)
        });
        let bytes = conversation(&frames.collect::<Vec<_>>());
        let whole = through(&bytes, &[1 << 20], 1 << 20);
        prop_assert_eq!(whole.len(), bytes.len());
        prop_assert_eq!(through(&bytes, &sizes, room), whole);
    }
}
