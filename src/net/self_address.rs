//! Recognizes addresses of our own listeners: a member that advertises one would make the proxy
//! call itself.
//!
//! Members that advertise `localhost` or the proxy's address made etcd's proxy call itself until it
//! ran out of descriptors. This is the first guard; the loop header of a request is the second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::timeout;

use super::lookup;

/// Longest wait for one name. A name that cannot be looked up now cannot be dialled now either.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Returns whether a connection to `host` at `port` would arrive at one of `listeners` (bound
/// addresses, real ports).
///
/// A name is looked up, for 2 s at most, and is ours when any of its addresses is. A name without
/// an answer is not ours.
pub async fn is_own(listeners: &[SocketAddr], host: &str, port: u16) -> bool {
    if !listeners.iter().any(|listener| listener.port() == port) {
        return false;
    }
    let is_ours = |ip| is_own_address(listeners, SocketAddr::new(ip, port));
    if let Ok(ip) = host.parse() {
        return is_ours(ip);
    }
    match timeout(LOOKUP_LIMIT, lookup::addresses(host)).await {
        Ok(Ok(addresses)) => addresses.iter().any(|address| is_ours(address.ip())),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Returns whether a connection to `address` would arrive at one of `listeners`.
pub fn is_own_address(listeners: &[SocketAddr], address: SocketAddr) -> bool {
    let ip = destination(address.ip());
    listeners
        .iter()
        .filter(|listener| listener.port() == address.port())
        .any(|listener| takes(listener.ip(), ip))
}

/// Returns where packets to `ip` really go: an unspecified address means this host, a mapped one is
/// IPv4.
fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Returns whether a listener bound to `bound` accepts connections to `ip`. `[::]` accepts IPv4
/// too, in Go's listeners and in ours.
fn takes(bound: IpAddr, ip: IpAddr) -> bool {
    let bound = bound.to_canonical();
    if !bound.is_unspecified() {
        return bound == ip;
    }
    (bound.is_ipv6() || ip.is_ipv4()) && is_local(ip)
}

/// Returns whether `ip` is an address of this host. Does not use netlink, which a sandbox may
/// forbid.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
        || if binding_proves_nothing(ip) { is_its_own_source(ip) } else { can_bind(ip) }
}

/// Returns whether the kernel lets sockets bind addresses of other hosts (`ip_nonlocal_bind`, which
/// keepalived needs). Tested with addresses reserved for documentation (RFC 5737, RFC 3849), which
/// no host has.
fn binding_proves_nothing(like: IpAddr) -> bool {
    can_bind(match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    })
}

fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Returns whether the kernel would use `ip` as the source address for packets to `ip`. Nothing is
/// sent. Misses an interface's secondary addresses, which is the lesser mistake: the loop header
/// still catches those.
fn is_its_own_source(ip: IpAddr) -> bool {
    let any: IpAddr =
        if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(listener: &str, address: &str) -> bool {
        is_own_address(&[listener.parse().unwrap()], address.parse().unwrap())
    }

    #[test]
    fn the_same_address_and_port_are_our_own() {
        assert!(own("127.0.0.1:2379", "127.0.0.1:2379"));
        assert!(own("10.0.0.5:2379", "10.0.0.5:2379"));
        assert!(own("[::1]:2379", "[::1]:2379"));
    }

    #[test]
    fn another_port_or_address_is_not() {
        assert!(!own("127.0.0.1:2379", "127.0.0.1:2378"));
        assert!(!own("127.0.0.1:2379", "127.0.0.2:2379"));
        assert!(!own("10.0.0.5:2379", "127.0.0.1:2379"));
    }

    #[test]
    fn a_wildcard_takes_every_local_address() {
        assert!(own("0.0.0.0:2379", "127.0.0.1:2379"));
        assert!(own("0.0.0.0:2379", "127.9.9.9:2379"));
        assert!(own("[::]:2379", "127.0.0.1:2379"));
        assert!(own("[::]:2379", "[::1]:2379"));
        assert!(!own("0.0.0.0:2379", "[::1]:2379"));
    }

    #[test]
    fn a_wildcard_does_not_take_other_hosts_addresses() {
        assert!(!own("0.0.0.0:2379", "192.0.2.77:2379"));
        assert!(!own("[::]:2379", "192.0.2.77:2379"));
        assert!(!own("[::]:2379", "[2001:db8::77]:2379"));
    }

    #[test]
    fn a_member_that_advertises_a_wildcard_means_this_host() {
        assert!(own("127.0.0.1:2379", "0.0.0.0:2379"));
        assert!(own("[::1]:2379", "[::]:2379"));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert!(own("127.0.0.1:2379", "[::ffff:127.0.0.1]:2379"));
    }

    #[test]
    fn without_binding_the_source_address_tells() {
        assert!(is_its_own_source(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_its_own_source(Ipv4Addr::new(192, 0, 2, 77).into()));
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let listeners = ["127.0.0.1:2379".parse().unwrap()];
        assert!(is_own(&listeners, "localhost", 2379).await);
        assert!(!is_own(&listeners, "localhost", 2380).await);
        assert!(!is_own(&listeners, "etcd.invalid", 2379).await);
    }
}
