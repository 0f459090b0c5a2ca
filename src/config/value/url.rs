//! URLs by etcd's rules: http, https, unix or unixs, host and port, no path; to listen on, an IP
//! address or localhost.
//!
//! Scheme and host may be written in any case, as Go's parser has it; they are kept in lower case.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use super::list::Piece;
use super::raw::{Raw, Reader};
use crate::config::settings::{ListenAddress, ListenUrl, zone};

/// The host and port of a TCP URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// A host name or an IP literal in lower case, without brackets, possibly with a zone.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The hint for a URL that is refused: what to write instead.
type Fault = String;

impl Reader<'_> {
    /// Reads URLs to listen on; sorted, each once.
    pub(super) fn listen_urls(&mut self, raw: &Raw) -> Option<Vec<ListenUrl>> {
        let pieces = self.pieces(raw)?;
        let mut urls: Vec<_> = pieces.iter().filter_map(|piece| self.listen_url(piece)).collect();
        urls.sort();
        urls.dedup();
        Some(urls)
    }

    fn listen_url(&mut self, (text, location): &Piece) -> Option<ListenUrl> {
        let url = match split_scheme(text) {
            Some((scheme @ (Scheme::Http | Scheme::Https), rest)) => {
                authority(rest, 2379).and_then(|to| bindable(&to, scheme)).map(|address| {
                    ListenUrl { at: ListenAddress::Tcp(address), tls: scheme == Scheme::Https }
                })
            }
            Some((scheme @ (Scheme::Unix | Scheme::Unixs), "")) => {
                Err(format!("want a path behind {}://", scheme.name()))
            }
            Some((scheme @ (Scheme::Unix | Scheme::Unixs), path)) => Ok(ListenUrl {
                at: ListenAddress::Unix(self.cwd.join(path)),
                tls: scheme == Scheme::Unixs,
            }),
            Some(_) => Err("want http://, https://, unix:// or unixs:// before it".to_owned()),
            None => Err(format!("write \"http://{text}\"")),
        };
        url.map_err(|fault| self.wrong_piece(text, location, fault)).ok()
    }

    /// Reads URLs that others connect to, with scheme and host in lower case; sorted, each once.
    pub(super) fn urls(&mut self, raw: &Raw, usual_port: u16) -> Option<Vec<String>> {
        let pieces = self.pieces(raw)?;
        let mut urls = Vec::new();
        for (text, location) in &pieces {
            let url = match split_scheme(text) {
                Some((scheme @ (Scheme::Http | Scheme::Https), rest)) => {
                    authority(rest, usual_port).map(|to| {
                        format!("{}://{}:{}", scheme.name(), zone::in_url(&to.host), to.port)
                    })
                }
                Some((scheme @ (Scheme::Unix | Scheme::Unixs), path)) if !path.is_empty() => {
                    Ok(format!("{}://{path}", scheme.name()))
                }
                _ => Err(format!("want a URL such as \"http://10.0.1.10:{usual_port}\"")),
            };
            match url {
                Ok(url) => urls.push(url),
                Err(fault) => self.wrong_piece(text, location, fault),
            }
        }
        urls.sort();
        urls.dedup();
        Some(urls)
    }
}

/// The schemes that etcd knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
    Other,
}

impl Scheme {
    /// Returns the scheme as it is written.
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
            Self::Other => "",
        }
    }
}

/// Splits a URL behind its scheme, which may be in any case; returns `None` without one.
pub(super) fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (name, rest) = text.split_once("://")?;
    let known = [Scheme::Http, Scheme::Https, Scheme::Unix, Scheme::Unixs];
    let scheme = known.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name));
    Some((scheme.unwrap_or(Scheme::Other), rest))
}

/// Reads the `host:port` behind `http://`, which nothing may follow. `usual` is the example port in
/// hints.
pub(super) fn authority(rest: &str, usual: u16) -> Result<Authority, Fault> {
    if rest.contains('@') {
        return Err("want nothing but a host and a port".to_owned());
    }
    if let Some((before, after)) = rest.split_once('/') {
        let more = if after.is_empty() { "the slash" } else { "the path" };
        return Err(format!("leave out {more} after \"{}\"", super::raw::cut(before)));
    }
    if rest.contains(['?', '#']) {
        return Err("want nothing but a host and a port".to_owned());
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(literal) => literal.split_once(']').ok_or("want a closing bracket")?,
        None => rest.split_at(rest.rfind(':').unwrap_or(rest.len())),
    };
    let port = port.strip_prefix(':').ok_or_else(|| format!("want a port, such as :{usual}"))?;
    let digits = super::scalar::digits(port).and_then(|port| port.parse().ok());
    let port = digits.ok_or("want a port from 0 to 65535")?;
    let host = read_host(host, rest.starts_with('['), usual)?;
    Ok(Authority { host, port })
}

fn read_host(host: &str, bracketed: bool, usual: u16) -> Result<String, Fault> {
    if bracketed {
        return zone::read_literal(host).map_err(str::to_owned);
    }
    if host.contains(':') {
        return Err(format!("want brackets around an IPv6 address, such as [::1]:{usual}"));
    }
    let in_names = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.chars().all(in_names) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err("want a host name or an IP address".to_owned())
    }
}

/// Returns the address to listen on: an IP address, or localhost as 127.0.0.1.
fn bindable(to: &Authority, scheme: Scheme) -> Result<SocketAddr, Fault> {
    if let Some((ip, zone)) = zone::with_zone(&to.host) {
        let scope = zone::scope_id(zone)?;
        return Ok(SocketAddrV6::new(ip, to.port, 0, scope).into());
    }
    let scheme = scheme.name();
    let ip = match to.host.as_str() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "" => Err(format!("write \"{scheme}://0.0.0.0:{}\" to listen on every address", to.port)),
        host => host.parse().map_err(|_| "want an IP address or localhost to listen on".to_owned()),
    };
    ip.map(|ip| SocketAddr::new(ip, to.port))
}
