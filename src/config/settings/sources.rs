//! Where peers that are not configured are looked up: a registry or the DNS.

use std::fmt;
use std::time::Duration;

use super::zone;

/// A registry: the members of a new cluster register in it. Its TLS settings are
/// [`super::TlsSettings::registry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// `discovery`: a discovery service, or any etcd with the v2 API.
    V2(RegistryUrl),
    /// `discovery-token`: an etcd with the v3 API.
    V3(RegistryToken),
}

/// The registry of etcd's first discovery protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl {
    /// `discovery`: the service with the token as its path.
    pub url: WebUrl,
    /// `discovery-proxy`: an HTTP proxy on the way there.
    pub proxy: Option<WebUrl>,
}

/// The registry of etcd's discovery protocol of 3.6 and later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryToken {
    /// `discovery-token`: the token of the cluster; never empty.
    pub token: String,
    /// `discovery-endpoints`: client URLs of the etcd that has the registry, without paths; never
    /// empty.
    pub endpoints: Vec<WebUrl>,
    /// `discovery-dial-timeout`: limit for connecting; `None` (written 0) leaves it to the
    /// request's limit.
    pub dial_timeout: Option<Duration>,
    /// `discovery-request-timeout`: limit for one request; never zero.
    pub request_timeout: Duration,
    /// `discovery-keepalive-time`: time between pings while waiting for changes; `None` (0) means
    /// no pings.
    pub keepalive_time: Option<Duration>,
    /// `discovery-keepalive-timeout`: how long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// `discovery-user` and `discovery-password`; `None` when there is no user.
    pub login: Option<Login>,
}

/// The name and password of a user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password; `Debug` does not show it.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The SRV records that name the peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvDomain {
    /// `discovery-srv`: the domain; never empty.
    pub domain: String,
    /// `discovery-srv-name`: suffix of the service names; empty means none.
    pub name: String,
}

impl SrvDomain {
    /// Returns the record's name for `etcd-server` or `etcd-server-ssl`.
    pub fn record(&self, service: &str) -> String {
        let dash = if self.name.is_empty() { "" } else { "-" };
        format!("_{service}{dash}{}._tcp.{}", self.name, self.domain)
    }
}

/// An `http` or `https` URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host name or IP literal, in lower case (an IPv6 literal without its brackets, perhaps with a
    /// zone).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path: empty, or a slash and more, without a slash at its end.
    pub path: String,
}

impl WebUrl {
    /// Parses a URL. The port may be left out (80 or 443); a user, a query or a fragment is
    /// refused. The error is a hint what to write.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let tls = scheme.eq_ignore_ascii_case("https");
        if !tls && !scheme.eq_ignore_ascii_case("http") {
            return Err("want http:// or https:// before it");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let printable = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
        if !path.chars().all(printable) || authority.contains(['@', '?', '#']) {
            return Err("want nothing but a host, a port and a path");
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })?;
        Ok(Self { tls, host, port, path: path.trim_end_matches('/').to_owned() })
    }
}

fn split_port(authority: &str, default: u16) -> Result<(String, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, port) = literal.split_once(']').ok_or("want a closing bracket")?;
            (zone::read_literal(host)?, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || host.len() > 255 || !host.chars().all(fits) {
                return Err("want a host name or an IP address");
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or("want a port from 1 to 65535")?
        }
        _ => return Err("want a port from 1 to 65535"),
    };
    Ok((host, port))
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port, path } = self;
        let scheme = if *tls { "https" } else { "http" };
        let host = zone::in_url(host);
        if *port == if *tls { 443 } else { 80 } {
            write!(f, "{scheme}://{host}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        WebUrl::parse(text).map_or_else(str::to_owned, |url| format!("{url} port {}", url.port))
    }

    #[test]
    fn urls_are_taken_apart_and_put_together_again() {
        assert_eq!(
            shown("https://discovery.etcd.io/0123"),
            "https://discovery.etcd.io/0123 port 443"
        );
        assert_eq!(
            shown("http://10.0.0.1:2379/v2/keys/d/1/"),
            "http://10.0.0.1:2379/v2/keys/d/1 port 2379"
        );
        assert_eq!(shown("http://[::1]:8087/t"), "http://[::1]:8087/t port 8087");
        assert_eq!(shown("http://a"), "http://a port 80");
        assert_eq!(shown("HTTPS://Discovery.ETCD.io/Ab"), "https://discovery.etcd.io/Ab port 443");
        assert_eq!(shown("http://[FE80::1%25lo]:1/t"), "http://[fe80::1%25lo]:1/t port 1");
    }

    #[test]
    fn what_is_no_such_url_says_what_would_be() {
        assert_eq!(shown("discovery.etcd.io/0123"), "want http:// or https:// before it");
        assert_eq!(shown("http://"), "want a host name or an IP address");
        assert_eq!(shown("http://a:/t"), "want a port from 1 to 65535");
        assert_eq!(shown("http://a:0/t"), "want a port from 1 to 65535");
        assert_eq!(shown("http://user@a/t"), "want nothing but a host, a port and a path");
        assert_eq!(shown("http://a/t?x=1"), "want nothing but a host, a port and a path");
        assert_eq!(shown("http://a/t\r\nX: y"), "want nothing but a host, a port and a path");
        assert_eq!(shown("http://[a]:1/t"), "want an IPv6 address in the brackets");
    }

    #[test]
    fn a_suffix_becomes_part_of_the_service() {
        let mut srv = SrvDomain { domain: "example.com".to_owned(), name: String::new() };
        assert_eq!(srv.record("etcd-server-ssl"), "_etcd-server-ssl._tcp.example.com");
        srv.name = "blue".to_owned();
        assert_eq!(srv.record("etcd-server"), "_etcd-server-blue._tcp.example.com");
    }

    #[test]
    fn a_password_is_not_shown() {
        let login = Login { user: "root".to_owned(), password: "hunter2".to_owned() };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
