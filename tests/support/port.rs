//! Ports that nobody else takes between choosing and using them.
//!
//! They come from below the kernel's range for outgoing connections, in blocks. A block belongs to
//! the process that has bound its first port, so that test runs beside each other use different
//! ports.
//!
//! A port is tested by binding it without listening. A test starts daemons while others look for
//! ports, and between `fork` and `exec` a child has a copy of every socket of its parent. A copy of
//! a listening socket keeps the port taken after the original was closed; a copy of a socket that
//! is only bound does not.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const BLOCK: u16 = 100;

struct Block {
    _guard: TcpListener,
    next: u16,
    end: u16,
}

static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Returns a TCP port on 127.0.0.1 that is free now and that no other test gets.
pub fn free() -> u16 {
    let mut blocks = BLOCKS.lock().expect("ports");
    loop {
        if blocks.last().is_none_or(|block| block.next == block.end) {
            blocks.push(claim_block());
        }
        let block = blocks.last_mut().expect("a block was just claimed");
        let port = block.next;
        block.next += 1;
        if bind_without_listening(port).is_ok() {
            return port;
        }
    }
}

fn bind_without_listening(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())
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
