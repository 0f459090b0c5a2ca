use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use super::*;

fn url(text: &str) -> ListenUrl {
    ListenUrl::tcp(text.parse().unwrap())
}

fn workers(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn address(bound: &Bound) -> SocketAddr {
    match bound.url.at {
        ListenAddress::Tcp(addr) => addr,
        ListenAddress::Unix(_) => panic!("{}", bound.url),
    }
}

/// Accepts all connections in a socket's queue, and returns their number.
fn waiting(socket: &ListenSocket) -> usize {
    let ListenSocket::Tcp(listener) = socket else { panic!("{socket:?}") };
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn workers_share_one_port_and_its_connections() {
    let bound = bind(&url("127.0.0.1:0"), workers(2), &[], Taken::default()).unwrap();
    assert_ne!(address(&bound).port(), 0);
    let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(address(&bound)).unwrap()).collect();
    let counts: Vec<_> = bound.sockets.iter().map(waiting).collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.iter().all(|n| *n > 20), "{counts:?}");
}

#[test]
fn a_second_daemon_cannot_share_the_port() {
    let first = bind(&url("127.0.0.1:0"), workers(4), &[], Taken::default()).unwrap();
    let error = bind(&first.url, workers(4), &[], Taken::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: in use by this process itself", first.url)
    );
}

#[test]
fn a_second_daemon_cannot_share_the_port_even_when_both_start_at_once() {
    for _ in 0..50 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = ListenUrl::tcp(port);
        let both = std::thread::scope(|s| {
            let racers: Vec<_> =
                (0..2).map(|_| s.spawn(|| bind(&url, workers(4), &[], Taken::default()))).collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(both.iter().filter(|r| r.is_ok()).count() <= 1);
    }
}

#[test]
fn one_taken_address_frees_all_others_and_every_error_is_told() {
    let holder = bind(&url("127.0.0.1:0"), workers(1), &[], Taken::default()).unwrap();
    let taken = holder.url.clone();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let urls = [ListenUrl::tcp(free), taken.clone(), url("192.0.2.1:0")];
    let errors = bind_all(&urls, workers(2), &[], &mut Inherited::default()).unwrap_err();

    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0].url, taken);
    assert_eq!(
        errors[1].to_string(),
        "cannot listen on http://192.0.2.1:0: no interface of this machine has that address"
    );
    TcpListener::bind(free).expect("the free address is free again");
    drop(holder);
}

#[test]
fn the_ipv6_wildcard_takes_ipv4_too() {
    let Ok(bound) = bind(&url("[::]:0"), workers(2), &[], Taken::default()) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    TcpStream::connect(("127.0.0.1", address(&bound).port())).unwrap();
    TcpStream::connect(("::1", address(&bound).port())).unwrap();
}

#[test]
fn a_port_can_be_had_again_at_once_after_connections() {
    let bound = bind(&url("127.0.0.1:0"), workers(1), &[], Taken::default()).unwrap();
    let addr = address(&bound);
    let client = TcpStream::connect(addr).unwrap();
    let ListenSocket::Tcp(listener) = &bound.sockets[0] else { panic!() };
    // We close first, so the connection's TIME_WAIT is on our side.
    drop(listener.accept().unwrap());
    drop(client);
    drop(bound);
    bind(&ListenUrl::tcp(addr), workers(2), &[], Taken::default()).unwrap();
}

#[test]
fn sockets_do_not_block() {
    let bound = bind(&url("127.0.0.1:0"), workers(3), &[], Taken::default()).unwrap();
    for socket in &bound.sockets {
        assert_eq!(waiting(socket), 0);
    }
}

#[test]
fn a_unix_address_gives_each_worker_the_same_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.sock");
    let mut bound =
        bind(&ListenUrl::unix(path.clone()), workers(3), &[], Taken::default()).unwrap();
    let sockets = bound.take_sockets();
    assert_eq!(sockets.len(), 3);
    for socket in &sockets {
        let _client = UnixStream::connect(&path).unwrap();
        let ListenSocket::Unix(listener) = socket else { panic!("{socket:?}") };
        listener.accept().unwrap();
    }
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_unix_address_is_for_every_user_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.sock");
    let _bound = bind(&ListenUrl::unix(path.clone()), workers(1), &[], Taken::default()).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
}

#[test]
fn a_unix_address_in_use_says_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let url = ListenUrl::unix(dir.path().join("etcd.sock"));
    let _first = bind(&url, workers(1), &[], Taken::default()).unwrap();
    let error = bind(&url, workers(1), &[], Taken::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {url}: in use by this process itself"));
}

#[test]
fn an_address_of_our_own_may_give_way_to_one_that_covers_it() {
    let old =
        bind(&ListenUrl::tcp("127.0.0.1:0".parse().unwrap()), workers(1), &[], Taken::default())
            .unwrap();
    let ListenAddress::Tcp(own) = old.url.at else { panic!("not TCP: {}", old.url) };
    let wider = ListenUrl::tcp(SocketAddr::from(([0, 0, 0, 0], own.port())));
    assert!(
        bind(&wider, workers(2), &[], Taken::default()).is_err(),
        "a stranger's port was shared"
    );
    assert_eq!(bind(&wider, workers(2), &[own], Taken::default()).unwrap().url, wider);
}

/// The sockets of `bound` as kept by the service manager.
fn kept(bound: &mut Bound) -> Taken {
    let sockets = bound.take_sockets().into_iter().map(|socket| match socket {
        ListenSocket::Tcp(socket) => socket.into(),
        ListenSocket::Unix(socket) => socket.into(),
    });
    Taken { sockets: sockets.collect(), of_unit: false }
}

#[test]
fn fewer_workers_than_before_read_every_queue_that_was_kept() {
    let mut old = bind(&url("127.0.0.1:0"), workers(4), &[], Taken::default()).unwrap();
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address(&old)).unwrap()).collect();
    let new = bind(&url("127.0.0.1:0"), workers(2), &[], kept(&mut old)).unwrap();
    assert_eq!((new.sockets.len(), &new.url), (4, &old.url));
    assert_eq!(new.sockets.iter().map(waiting).sum::<usize>(), clients.len());
}

#[test]
fn more_workers_than_before_join_the_port() {
    let mut old = bind(&url("127.0.0.1:0"), workers(1), &[], Taken::default()).unwrap();
    let new = bind(&old.url.clone(), workers(3), &[], kept(&mut old)).unwrap();
    let clients: Vec<_> = (0..300).map(|_| TcpStream::connect(address(&new)).unwrap()).collect();
    let counts: Vec<_> = new.sockets.iter().map(waiting).collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.len() == 3 && counts.iter().all(|n| *n > 20), "{counts:?}");
}

#[test]
fn a_port_that_cannot_be_joined_is_shared() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let asked = ListenUrl::tcp(listener.local_addr().unwrap());
    let taken = Taken { sockets: vec![listener.into()], of_unit: true };
    let bound = bind(&asked, workers(3), &[], taken).unwrap();
    assert!(bound.of_unit);
    for socket in &bound.sockets {
        let _client = TcpStream::connect(address(&bound)).unwrap();
        assert_eq!(waiting(socket), 1);
    }
}

#[test]
fn a_unix_socket_that_was_kept_is_taken_up_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let asked = ListenUrl::unix(dir.path().join("etcd.sock"));
    let mut old = bind(&asked, workers(2), &[], Taken::default()).unwrap();
    let taken = kept(&mut old);
    old.keep_file(true);
    drop(old);
    let ListenAddress::Unix(path) = &asked.at else { panic!() };
    let _client = UnixStream::connect(path).expect("nobody listens any more");
    let new = bind(&asked, workers(3), &[], taken).unwrap();
    assert_eq!(new.sockets.len(), 3);
    drop(new);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_whose_file_is_gone_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let asked = ListenUrl::unix(dir.path().join("etcd.sock"));
    let mut old = bind(&asked, workers(1), &[], Taken::default()).unwrap();
    let taken = kept(&mut old);
    drop(old);
    let _new = bind(&asked, workers(1), &[], taken).unwrap();
    let ListenAddress::Unix(path) = &asked.at else { panic!() };
    UnixStream::connect(path).unwrap();
}

#[test]
fn the_file_of_a_units_unix_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.sock");
    let taken = Taken { sockets: vec![UnixListener::bind(&path).unwrap().into()], of_unit: true };
    drop(bind(&ListenUrl::unix(path.clone()), workers(2), &[], taken).unwrap());
    assert!(path.exists());
}
