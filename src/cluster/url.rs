//! Parses the URLs that members advertise, and decides which of them can be used.

use crate::config::{PeerUrl, zone};
use crate::net::member_address;

/// Parses `http://HOST:PORT` or `https://HOST:PORT`, for peer and client URLs alike. The host is
/// returned in lower case.
///
/// It is deliberately stricter than a general URL parser: etcd wants a port and no path, and the
/// host goes into a header.
pub fn parse_url(url: &str) -> Result<PeerUrl, UnusableUrl> {
    let (scheme, rest) = url.split_once("://").ok_or(UnusableUrl::Malformed)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let tls = scheme.eq_ignore_ascii_case("https");
            split_authority(rest.strip_suffix('/').unwrap_or(rest), tls)
                .ok_or(UnusableUrl::Malformed)
        }
        "unix" | "unixs" => Err(UnusableUrl::Socket),
        _ => Err(UnusableUrl::Scheme),
    }
}

/// Parses a URL that came from the network: from a member list, a registry, the DNS or the cluster
/// file.
///
/// # Errors
/// As [`parse_url`], and for an address that no listed member can have. The addresses of a host
/// name are checked when it is dialled.
pub fn parse_listed(url: &str) -> Result<PeerUrl, UnusableUrl> {
    let parsed = parse_url(url)?;
    let ip = zone::without_zone(&parsed.host).parse().ok();
    match ip.and_then(member_address::refusal) {
        Some(kind) => Err(UnusableUrl::Address(kind)),
        None => Ok(parsed),
    }
}

fn split_authority(authority: &str, tls: bool) -> Option<PeerUrl> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    let host = match host.strip_prefix('[') {
        Some(literal) => zone::read_literal(literal.strip_suffix(']')?).ok()?,
        None => Some(host).filter(|host| is_host_name(host))?.to_ascii_lowercase(),
    };
    Some(PeerUrl { tls, host, port })
}

/// Returns whether this is a host name of letters, digits, dots, dashes and underscores. IPv4
/// literals are, too.
fn is_host_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.len() <= 255 && host.bytes().all(fits)
}

/// Why an advertised URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableUrl {
    /// A unix socket, which is a file on the member's own machine.
    #[error("a unix socket is not reachable from another machine")]
    Socket,
    /// A scheme that etcd does not know.
    #[error("unknown scheme")]
    Scheme,
    /// An address of this kind, which means something else on every host.
    #[error("no listed member can have {0}")]
    Address(&'static str),
    /// It cannot be parsed.
    #[error("not a URL of the form http://HOST:PORT or https://HOST:PORT")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> String {
        parse_url(url)
            .map_or_else(|error| error.to_string(), |peer| format!("{} {}", peer.host, peer.port))
    }

    #[test]
    fn host_and_port_are_taken_apart() {
        assert_eq!(parsed("http://10.0.1.10:2380"), "10.0.1.10 2380");
        assert_eq!(parsed("http://infra0.example.com:2380/"), "infra0.example.com 2380");
        assert_eq!(parsed("http://[fd00::1]:2380"), "fd00::1 2380");
        assert!(!parse_url("http://10.0.1.10:2380").unwrap().tls);
        assert_eq!(parse_url("https://a:2380").unwrap().to_string(), "https://a:2380");
    }

    #[test]
    fn schemes_that_cannot_be_used_say_why() {
        assert_eq!(
            parsed("unix://etcd.sock:0"),
            "a unix socket is not reachable from another machine"
        );
        assert_eq!(parsed("ftp://10.0.1.10:2380"), "unknown scheme");
    }

    #[test]
    fn schemes_and_hosts_are_read_in_any_case() {
        assert_eq!(parse_url("HTTPS://Infra0:1").unwrap().to_string(), "https://infra0:1");
        assert_eq!(parse_url("Http://[FD00::A]:1").unwrap().to_string(), "http://[fd00::a]:1");
    }

    #[test]
    fn addresses_that_no_member_can_have_are_refused() {
        for (url, kind) in [
            ("http://169.254.169.254:80", "a link-local address"),
            ("http://[fe80::1]:2379", "a link-local address"),
            ("http://[FE80::1%25lo]:2379", "a link-local address"),
            ("http://[::ffff:224.0.0.1]:2379", "a multicast address"),
            ("https://0.0.0.0:2379", "an unspecified address"),
        ] {
            assert_eq!(parse_listed(url), Err(UnusableUrl::Address(kind)), "{url}");
            assert!(parse_url(url).is_ok(), "an operator may write {url}");
        }
        assert!(parse_listed("http://127.0.0.1:2379").is_ok());
    }

    #[test]
    fn what_etcd_would_not_advertise_does_not_parse() {
        let malformed = [
            "",
            "10.0.1.10:2380",
            "http://",
            "http://infra0",
            "http://:2380",
            "http://infra0:",
            "http://infra0:+80",
            "http://infra0:65536",
            "http://infra0:2380/path",
            "http://user@infra0:2380",
            "http://infra0\r\nX: y:2380",
            "http://[::1:2380",
            "http://::1:2380",
            "http://[infra0]:2380",
        ];
        for url in malformed {
            assert_eq!(parse_url(url), Err(UnusableUrl::Malformed), "{url:?}");
        }
    }
}
