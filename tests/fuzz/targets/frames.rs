//! gRPC frames in pieces: memory stays below the cap, and the result is the same as in one piece.
#![no_main]

use etcd_proxy::message::grpc::FirstMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<&[u8]>| {
    const CAP: usize = 64;
    let mut first = FirstMessage::new(CAP);
    let mut last = first.push(b"");
    for piece in &pieces {
        last = first.push(piece);
    }
    assert!(first.message().is_none_or(|message| message.len() <= CAP));
    assert_eq!(FirstMessage::new(CAP).push(&pieces.concat()), last);
});
