use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

use super::*;

fn url(address: SocketAddr) -> ListenAddress {
    ListenAddress::Tcp(address)
}

fn tcp() -> (SocketAddr, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener.into())
}

#[test]
fn a_stored_socket_comes_back_by_its_name() {
    let (address, fd) = tcp();
    let mut inherited = Inherited::of([(store_name(&url(address)), fd)].into_iter());
    assert_eq!(inherited.take(&"127.0.0.1:1".parse().map(url).unwrap()).sockets.len(), 0);
    let taken = inherited.take(&url(address));
    assert_eq!((taken.sockets.len(), taken.of_unit), (1, false));
    assert_eq!(inherited.leftovers(), []);
}

#[test]
fn a_port_that_the_kernel_chose_is_found_again() {
    let (address, fd) = tcp();
    let asked = url("127.0.0.1:0".parse().unwrap());
    let mut inherited = Inherited::of([(store_name(&asked), fd)].into_iter());
    let taken = inherited.take(&asked).sockets;
    assert_eq!(taken[0].local_addr().unwrap().as_socket(), Some(address));
}

#[test]
fn a_name_that_lies_about_the_address_is_not_believed() {
    let (address, fd) = tcp();
    let asked = url("127.0.0.2:2379".parse().unwrap());
    let mut inherited = Inherited::of([(store_name(&asked), fd)].into_iter());
    assert_eq!(inherited.take(&asked).sockets.len(), 0);
    assert_eq!(inherited.take(&url(address)).sockets.len(), 0);
    assert_eq!(inherited.leftovers(), [Leftover::Stored(store_name(&asked))]);
}

#[test]
fn a_units_socket_is_found_by_its_address() {
    let (address, fd) = tcp();
    let mut inherited = Inherited::of([("etcd-proxy.socket".to_owned(), fd)].into_iter());
    let taken = inherited.take(&url(address));
    assert_eq!((taken.sockets.len(), taken.of_unit), (1, true));
}

#[test]
fn all_sockets_of_an_address_come_together() {
    let (address, fd) = tcp();
    let twin = fd.try_clone().unwrap();
    let name = store_name(&url(address));
    let mut inherited = Inherited::of([(name.clone(), fd), (name, twin)].into_iter());
    assert_eq!(inherited.take(&url(address)).sockets.len(), 2);
}

#[test]
fn what_nothing_asked_for_is_told_once() {
    let (address, fd) = tcp();
    let (other, unit) = tcp();
    let name = store_name(&url(address));
    let twin = (name.clone(), fd.try_clone().unwrap());
    let passed = [(name.clone(), fd), twin, ("a.socket".to_owned(), unit)];
    let inherited = Inherited::of(passed.into_iter());
    assert_eq!(inherited.addresses(), [address, address, other]);
    let left = [Leftover::Stored(name), Leftover::OfUnit("a.socket".to_owned(), url(other))];
    assert_eq!(inherited.leftovers(), left);
}

#[test]
fn a_unix_socket_is_known_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let asked = ListenAddress::Unix(path);
    let mut inherited = Inherited::of([(store_name(&asked), listener.into())].into_iter());
    assert_eq!(inherited.take(&asked).sockets.len(), 1);
}

#[test]
fn the_file_of_a_unix_socket_goes_unless_a_unit_made_it() {
    let dir = tempfile::tempdir().unwrap();
    for (unit, stays) in [(Some("a.socket"), true), (None, false)] {
        let path = dir.path().join("etcd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let name =
            unit.map_or_else(|| store_name(&ListenAddress::Unix(path.clone())), str::to_owned);
        Inherited::of([(name, listener.into())].into_iter()).leftovers();
        assert_eq!(path.exists(), stays, "{unit:?}");
        let _ = std::fs::remove_file(&path);
    }
}

#[test]
fn what_does_not_listen_is_closed() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bound = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let passed: [OwnedFd; 3] = [datagrams.into(), bound.into(), file.into()];
    let inherited = Inherited::of(passed.into_iter().map(|fd| ("x".to_owned(), fd)));
    assert_eq!(inherited.leftovers(), []);
}

#[test]
fn names_are_what_systemd_takes() {
    let name = |text: &str| store_name(&url(text.parse().unwrap()));
    assert_eq!(name("127.0.0.1:2379"), "listen-127.0.0.1_2379");
    assert_eq!(name("[::1]:2379"), "listen-[__1]_2379");
    let long = store_name(&ListenAddress::Unix(format!("/run/ä{}", "x".repeat(300)).into()));
    assert_eq!((long.len(), long.is_ascii()), (NAME_LIMIT, true));
}
