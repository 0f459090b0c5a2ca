//! Connecting: one TCP connection to a host and port, and plain words when there is none.
//!
//! The control plane dials peers with it, the data plane members. Every address of a name is tried, the next one
//! a little after the last, so that one dead address does not cost the whole timeout. Dropping the future closes
//! whatever was being connected.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Head start of one address over the next (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Time until, and between, keepalive probes: what etcd's proxy used.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to `host` (a name or an IP literal) at `port`, without delay of small writes and with keepalive.
///
/// `limit` covers the name lookup and all addresses together; `None` leaves it to the kernel.
pub async fn dial(host: &str, port: u16, limit: Option<Duration>) -> Result<TcpStream, DialError> {
    let connecting = connect(host, port);
    let result = match limit {
        Some(limit) => timeout(limit, connecting).await.unwrap_or(Err(DialReason::NoAnswer(limit))),
        None => connecting.await,
    };
    result.map_err(|reason| DialError { host: host.to_owned(), port, reason })
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, DialReason> {
    let addresses = lookup_host((host, port)).await.map_err(|error| lookup_failure(&error))?;
    let stream = first_to_connect(addresses.collect()).await?;
    // Neither can fail on a healthy socket; on a dying one the first write says more than we could here.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok(stream)
}

/// Tries `addresses` in order, the next one after [`STAGGER`] or as soon as one fails; the first connection wins.
async fn first_to_connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialReason> {
    if let [only] = addresses[..] {
        return TcpStream::connect(only).await.map_err(DialReason::from);
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = DialReason::NotFound;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = failure.or(error.into()),
                Err(_) => {} // A connect cannot panic, and only dropping the set cancels one.
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
            else => return Err(failure),
        }
    }
}

/// No connection: to whom, and why.
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

/// Why there is no connection, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialReason {
    /// The host is up and nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// Neither an answer nor a refusal in time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The name has no address.
    #[error("host not found")]
    NotFound,
    /// The resolver itself has trouble.
    #[error("host lookup failed: {0}")]
    LookupFailed(String),
    /// The network says that there is no way.
    #[error("no route to host")]
    NoRoute,
    /// This host's kernel forbids it.
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
    /// Whether the trouble is this host's own, so that it says nothing of the other side.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::LookupFailed(_) | Self::NotPermitted | Self::Exhausted(_))
    }

    /// Keeps the more telling of two failures: a refusal comes from the host itself.
    fn or(self, later: Self) -> Self {
        if self == Self::Refused { self } else { later }
    }
}

impl From<io::Error> for DialReason {
    fn from(error: io::Error) -> Self {
        use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
        if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)) {
            return Self::Exhausted(error.to_string());
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

/// Tells a name that does not exist from a resolver that does not work; std offers nothing but glibc's words.
fn lookup_failure(error: &io::Error) -> DialReason {
    let text = error.to_string();
    let words = text.rsplit_once(": ").map_or(text.as_str(), |(_, words)| words);
    match words {
        "Name or service not known" | "No address associated with hostname" => DialReason::NotFound,
        _ => DialReason::LookupFailed(words.to_lowercase()),
    }
}

/// Writes `HOST:PORT`, with brackets around an IPv6 literal.
pub struct Authority<'a>(pub &'a str, pub u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(5));

    async fn closed_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_connection_has_no_delay_and_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dial("127.0.0.1", port, LIMIT).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), KEEPALIVE);
    }

    #[tokio::test]
    async fn a_closed_port_is_said_to_refuse() {
        let address = closed_address().await;
        let error = dial("127.0.0.1", address.port(), None).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address}: connection refused"));
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_not_found() {
        // RFC 6761 keeps .invalid from ever existing; a machine without any resolver cannot know that.
        let error = dial("etcd.invalid", 2380, LIMIT).await.unwrap_err();
        let known = [DialReason::NotFound, DialReason::LookupFailed(String::new())];
        assert!(
            known
                .iter()
                .any(|reason| std::mem::discriminant(reason)
                    == std::mem::discriminant(&error.reason)),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_limit_covers_a_host_that_does_not_answer() {
        // A listener whose queue is full and never emptied answers no more handshakes.
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _filling: Vec<_> = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
        let limit = Duration::from_millis(200);
        tokio::task::yield_now().await;
        let error = dial("127.0.0.1", address.port(), Some(limit)).await.unwrap_err();
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
        assert_eq!(first_to_connect(Vec::new()).await.unwrap_err(), DialReason::NotFound);
    }

    #[test]
    fn an_ipv6_literal_is_written_in_brackets() {
        assert_eq!(Authority("::1", 2380).to_string(), "[::1]:2380");
        assert_eq!(Authority("infra0", 2380).to_string(), "infra0:2380");
    }
}
