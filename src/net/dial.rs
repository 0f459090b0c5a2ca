//! Opens a TCP connection to a host and port, with errors in plain words.
//!
//! The control plane dials peers with it, the data plane members. Every address of a name is tried,
//! each a little after the previous one, so that one dead address does not cost the whole timeout.
//! Dropping the future closes the connections being opened.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::lookup::{self, LookupError};
use super::member_address;
use crate::config::zone;

/// Head start of one address over the next (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Time until, and between, keepalive probes: what etcd's proxy used.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Who named a host, which decides the addresses it may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The settings or the command line. Any address is allowed.
    Operator,
    /// A member list, a registry, the DNS or a redirect. Addresses that no member can have
    /// ([`member_address`]) are refused.
    Network,
}

/// Connects to `host` (a name or an IP literal) at `port`, with `TCP_NODELAY` and keepalive.
///
/// `limit` covers all addresses together, but not the lookup of the name, which has
/// [`lookup::LOOKUP_LIMIT`]. `None` leaves the timeout to the kernel.
pub async fn dial(
    host: &str,
    port: u16,
    named_by: NamedBy,
    limit: Option<Duration>,
) -> Result<TcpStream, DialError> {
    dial_last(host, port, named_by, limit, &[]).await
}

/// Like [`dial`], but tries those of the name's addresses that are in `last` after the others.
pub async fn dial_last(
    host: &str,
    port: u16,
    named_by: NamedBy,
    limit: Option<Duration>,
    last: &[SocketAddr],
) -> Result<TcpStream, DialError> {
    let result = dial_within(host, port, named_by, limit, last).await;
    result.map_err(|reason| DialError { host: host.to_owned(), port, reason })
}

/// Looks `host` up, so that a following [`dial`] need not wait for the lookup.
///
/// # Errors
/// Those of [`dial`] that occur before it connects.
pub async fn resolve(host: &str, port: u16, named_by: NamedBy) -> Result<(), DialError> {
    let result = destinations(host, port, named_by).await;
    result.map(drop).map_err(|reason| DialError { host: host.to_owned(), port, reason })
}

async fn dial_within(
    host: &str,
    port: u16,
    named_by: NamedBy,
    limit: Option<Duration>,
    last: &[SocketAddr],
) -> Result<TcpStream, DialReason> {
    let mut addresses = destinations(host, port, named_by).await?;
    addresses.sort_by_key(|address| last.contains(address));
    let connecting = first_to_connect(addresses);
    let stream = match limit {
        Some(limit) => timeout(limit, connecting).await.map_err(|_| DialReason::NoAnswer(limit))?,
        None => connecting.await,
    }?;
    // Neither can fail on a healthy socket. On a broken one the first write gives the better error.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok(stream)
}

/// Returns the addresses that `host` may be dialled at; never empty.
async fn destinations(
    host: &str,
    port: u16,
    named_by: NamedBy,
) -> Result<Vec<SocketAddr>, DialReason> {
    let mut addresses = if let Some((ip, zone)) = zone::with_zone(host) {
        let scope = zone::scope_id(zone).map_err(DialReason::NoInterface)?;
        vec![SocketAddrV6::new(ip, port, 0, scope).into()]
    } else if let Ok(ip) = host.parse::<IpAddr>() {
        vec![SocketAddr::new(ip, port)]
    } else {
        let mut found = lookup::addresses(host).await?.to_vec();
        found.iter_mut().for_each(|address| address.set_port(port));
        found
    };
    if named_by == NamedBy::Network {
        let first = addresses.first().map(SocketAddr::ip);
        addresses.retain(|address| member_address::refusal(address.ip()).is_none());
        if addresses.is_empty()
            && let Some(ip) = first
            && let Some(kind) = member_address::refusal(ip)
        {
            return Err(DialReason::NoMemberAddress(ip, kind));
        }
    }
    Ok(addresses)
}

/// Tries `addresses` in order, the next one after [`STAGGER`] or as soon as one fails. Returns the
/// first connection.
async fn first_to_connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialReason> {
    if let [only] = addresses[..] {
        return TcpStream::connect(only).await.map_err(DialReason::from);
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = LookupError::NotFound.into();
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = DialReason::or(failure, error.into()),
                Err(_) => {} // A connect cannot panic, and only dropping the set cancels one.
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
            else => return Err(failure),
        }
    }
}

/// A failed connection attempt: to which host and port, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", Authority(host, *port))]
pub struct DialError {
    /// The host as it was given.
    pub host: String,
    /// The port as it was given.
    pub port: u16,
    /// Why there is no connection.
    pub reason: DialReason,
}

/// Why a connection could not be made, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialReason {
    /// The host is up and nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// The host neither accepted nor refused within this time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// No address of the name is known.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The host resolves to an address that no listed member can have: the address and its kind.
    #[error("it leads to {0}, and no listed member can have {1}")]
    NoMemberAddress(IpAddr, &'static str),
    /// The network interface of the address (its IPv6 zone) does not exist.
    #[error("{0}")]
    NoInterface(String),
    /// The network has no route to the host.
    #[error("no route to host")]
    NoRoute,
    /// This host's kernel forbids the connection.
    #[error("not permitted (is there a firewall on this host?)")]
    NotPermitted,
    /// This host has no descriptors, ports or memory left for a connection.
    #[error("{0} (on this host)")]
    Exhausted(String),
    /// Anything else the kernel said.
    #[error("{0}")]
    Other(String),
}

impl DialReason {
    /// Returns whether the cause is on this host, so that the failure says nothing about the other
    /// side.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Lookup(error) => *error != LookupError::NotFound,
            Self::NoInterface(_) | Self::NotPermitted | Self::Exhausted(_) => true,
            _ => false,
        }
    }

    /// Keeps the more informative of two failures: a refusal comes from the host itself.
    fn or(self, later: Self) -> Self {
        if self == Self::Refused { self } else { later }
    }
}

impl From<io::Error> for DialReason {
    fn from(error: io::Error) -> Self {
        use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENODEV, ENOMEM};
        if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)) {
            return Self::Exhausted(error.to_string());
        }
        if error.raw_os_error() == Some(ENODEV) {
            return Self::NoInterface(
                "this host has no network interface of that number".to_owned(),
            );
        }
        match error.kind() {
            io::ErrorKind::AddrNotAvailable => Self::Exhausted(error.to_string()),
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::NoRoute,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            io::ErrorKind::TimedOut => Self::Other("no answer".to_owned()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Displays `HOST:PORT` as other hosts write it: an IPv6 literal in brackets and without its zone
/// (RFC 6874, 4).
pub struct Authority<'a>(pub &'a str, pub u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        let host = zone::without_zone(host);
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(5));
    const BY_HAND: NamedBy = NamedBy::Operator;

    async fn closed_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_connection_has_no_delay_and_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dial("127.0.0.1", port, BY_HAND, LIMIT).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), KEEPALIVE);
    }

    #[tokio::test]
    async fn a_closed_port_is_said_to_refuse() {
        let address = closed_address().await;
        let error = dial("127.0.0.1", address.port(), BY_HAND, None).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address}: connection refused"));
    }

    #[tokio::test]
    async fn a_zone_is_an_interface_of_this_host() {
        let error = dial("fe80::1%nosuch0", 2380, BY_HAND, LIMIT).await.unwrap_err();
        let said = "[fe80::1]:2380: this host has no network interface \"nosuch0\"";
        assert_eq!(error.to_string(), said);
        let error = dial("fe80::1%4000000000", 2380, BY_HAND, LIMIT).await.unwrap_err();
        assert!(error.to_string().contains("no network interface"), "{error}");
        // The kernel accepts a zone for every address, and so does Go.
        let listener = TcpListener::bind("[::1]:0").await;
        if let Ok(listener) = listener {
            let port = listener.local_addr().unwrap().port();
            assert!(dial("::1%lo", port, BY_HAND, LIMIT).await.is_ok());
        }
    }

    #[tokio::test]
    async fn what_the_network_names_leads_to_no_address_that_a_member_cannot_have() {
        let spellings = [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0251.254",
            "169.254.43518",
            "::ffff:169.254.169.254",
            "0",
            "0.0.0.0",
            "::",
            "fe80::1%lo",
            "fe80::1",
            "ff02::1",
            "255.255.255.255",
            "0xffffffff",
            "224.0.0.1",
        ];
        for host in spellings {
            let error = dial(host, 2379, NamedBy::Network, LIMIT).await.unwrap_err();
            assert!(matches!(error.reason, DialReason::NoMemberAddress(..)), "{host}: {error}");
            assert!(!error.reason.is_ours());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "2130706433", "localhost", "::ffff:127.0.0.1"] {
            assert!(dial(host, port, NamedBy::Network, LIMIT).await.is_ok(), "{host}");
        }
        // An address from the settings is not checked.
        assert!(dial("0.0.0.0", port, BY_HAND, LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn the_limit_covers_a_host_that_does_not_answer() {
        // A listener with a full queue answers no further handshakes.
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _filling: Vec<_> = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
        let limit = Duration::from_millis(200);
        tokio::task::yield_now().await;
        let error = dial("127.0.0.1", address.port(), BY_HAND, Some(limit)).await.unwrap_err();
        assert_eq!(error.reason.to_string(), "no answer within 200ms");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_the_first_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let stream = first_to_connect(vec![closed_address().await, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn a_refusal_is_more_telling_than_what_follows() {
        let failure = DialReason::Refused.or(DialReason::NoRoute);
        assert_eq!(failure, DialReason::Refused);
        assert_eq!(first_to_connect(Vec::new()).await.unwrap_err(), LookupError::NotFound.into());
    }

    #[test]
    fn an_ipv6_literal_is_written_in_brackets() {
        assert_eq!(Authority("::1", 2380).to_string(), "[::1]:2380");
        assert_eq!(Authority("fe80::1%eth0", 2380).to_string(), "[fe80::1]:2380");
        assert_eq!(Authority("infra0", 2380).to_string(), "infra0:2380");
    }
}
