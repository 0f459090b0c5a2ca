//! Ports that nobody else takes between choosing and using them.
//!
//! They come from below the kernel's range for outgoing connections, in blocks. A block belongs to the
//! process that has bound its first port, so that test runs beside each other keep apart.

use std::net::TcpListener;
use std::sync::Mutex;

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const BLOCK: u16 = 100;

struct Block {
    _guard: TcpListener,
    next: u16,
    end: u16,
}

static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A TCP port on 127.0.0.1 that is free now and that no other test will be given.
pub fn free() -> u16 {
    let mut blocks = BLOCKS.lock().expect("ports");
    loop {
        if blocks.last().is_none_or(|block| block.next == block.end) {
            blocks.push(claim_block());
        }
        let block = blocks.last_mut().expect("a block was just claimed");
        let port = block.next;
        block.next += 1;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn claim_block() -> Block {
    for _ in 0..10_000 {
        let start = FIRST + BLOCK * fastrand::u16(0..(LAST - FIRST) / BLOCK);
        if let Ok(guard) = TcpListener::bind(("127.0.0.1", start)) {
            return Block { _guard: guard, next: start + 1, end: start + BLOCK };
        }
    }
    panic!("no free block of ports between {FIRST} and {LAST}");
}
