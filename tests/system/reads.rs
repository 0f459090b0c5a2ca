//! Reads in flight while the service is restarted: large answers that their clients read slowly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::machine::{CLIENT, Turn, turn};

/// Puts values for an answer of about 10 MB, which is far more than all buffers on the way hold.
fn put_much(machine: &Turn) {
    machine.ok(
        "head --bytes=1000000 /dev/zero | tr '\\0' x >/run/value && \
         for key in 1 2 3 4 5 6 7 8; do ETCDCTL_API=3 etcdctl put much/$key </run/value >/run/said || exit 1; done",
    );
}

/// Connects with a small receive buffer.
fn connect() -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    socket.connect(&CLIENT.parse::<SocketAddr>().expect("an address").into()).expect("a listener");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket.into()
}

/// Asks for all keys and waits for the beginning of the answer.
fn ask() -> (TcpStream, Vec<u8>) {
    let body = r#"{"key":"AA==","range_end":"AA=="}"#;
    let mut stream = connect();
    write!(
        stream,
        "POST /v3/kv/range HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it is sent");
    let mut begin = vec![0; 4096];
    let length = stream.read(&mut begin).expect("an answer");
    begin.truncate(length);
    assert!(begin.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&begin));
    (stream, begin)
}

fn read_slowly((mut stream, mut answer): (TcpStream, Vec<u8>)) -> Vec<u8> {
    let mut piece = vec![0; 1 << 20];
    loop {
        match stream.read(&mut piece).expect("the answer goes on") {
            0 => return answer,
            length => answer.extend_from_slice(&piece[..length]),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the keys and values of a complete answer, without the header, which depends on the
/// member.
fn values(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the head's end");
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut rest = &answer[end + 4..];
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        loop {
            let line = rest.windows(2).position(|bytes| bytes == b"\r\n").expect("a chunk");
            let size = std::str::from_utf8(&rest[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a size");
            body.extend_from_slice(&rest[line + 2..][..size]);
            rest = &rest[line + 2 + size + 2..];
            if size == 0 {
                break;
            }
        }
    } else {
        body.extend_from_slice(rest);
    }
    assert!(body.ends_with(b"}"), "{} bytes", body.len());
    let begin = body.windows(6).position(|bytes| bytes == b"\"kvs\":").expect("values");
    body.split_off(begin)
}

#[test]
fn large_answers_that_are_read_slowly_arrive_whole_over_a_restart() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.enter_network();
    put_much(&machine);
    let before = machine.property("MainPID");
    let undisturbed = read_slowly(ask());
    assert!(undisturbed.len() > 8_000_000, "{} bytes", undisturbed.len());

    let begun: Vec<_> = (0..3).map(|_| ask()).collect();
    machine.ok("systemctl --no-block restart etcd-proxy");
    machine.wait_for("it drains", || machine.state() == "deactivating");
    let readers: Vec<_> =
        begun.into_iter().map(|one| std::thread::spawn(move || read_slowly(one))).collect();
    for reader in readers {
        let answer = reader.join().expect("a reader");
        assert!(values(&answer) == values(&undisturbed), "{} bytes", answer.len());
    }
    machine.wait_for("the next process", || {
        machine.property("MainPID") != before && machine.state() == "active"
    });
    assert!(machine.journal().contains("stopped"), "{}", machine.journal());
}

#[test]
fn a_tls_listener_outlives_restarts_with_its_certificate() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster(
        "listen-client-urls = \"https://127.0.0.1:2379\"\nauto-tls = true\n",
    );
    let certificate = || machine.ok("cat /var/lib/etcd-proxy/proxy/clientCerts/cert.pem");
    let before = certificate();
    machine.write(
        "/run/read-all-the-time",
        "#!/bin/sh\nwhile [ ! -e /run/enough ]; do\n\
         curl --silent --show-error --fail --insecure --max-time 20 https://127.0.0.1:2379/version >>/run/read || echo failed >>/run/read\n\
         echo >>/run/read\ndone\n",
    );
    machine.ok("rm -f /run/enough /run/read; systemd-run --quiet --collect --unit=member-reader sh /run/read-all-the-time");
    let reads = || -> usize {
        machine.ok("grep --count etcdserver /run/read || true").parse().unwrap_or(0)
    };
    for restart in 1..=3 {
        machine.wait_for("reads", || reads() >= 5 * restart);
        machine.ok("systemctl restart etcd-proxy");
    }
    machine.wait_for("reads", || reads() >= 20);
    machine.ok("touch /run/enough");
    machine.wait_for("the reader's end", || {
        machine.run("systemctl is-active member-reader").status != 0
    });
    machine.fails("grep failed /run/read");
    assert_eq!(certificate(), before);
}
