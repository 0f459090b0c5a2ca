//! URLs by etcd's rules: http, https, unix or unixs, host and port, no path; to listen on, an IP address or localhost.

use super::list::Piece;
use super::{Raw, Reader};
use crate::config::settings::{ListenAddress, ListenUrl};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a TCP URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Host name or IP literal, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a URL is not one that names a host and port: a sentence that says what to write.
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

    fn listen_url(&mut self, (text, place): &Piece) -> Option<ListenUrl> {
        let url = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => {
                authority(rest, 2379).and_then(|to| bindable(&to, scheme)).map(|address| {
                    ListenUrl { at: ListenAddress::Tcp(address), tls: scheme == "https" }
                })
            }
            Some((scheme @ ("unix" | "unixs"), "")) => {
                Err(format!("want a path behind {scheme}://"))
            }
            Some((scheme @ ("unix" | "unixs"), path)) => Ok(ListenUrl {
                at: ListenAddress::Unix(self.cwd.join(path)),
                tls: scheme == "unixs",
            }),
            Some(_) => Err("want http://, https://, unix:// or unixs:// before it".to_owned()),
            None => Err(format!("write \"http://{text}\"")),
        };
        url.map_err(|fault| self.wrong_piece(text, place, fault)).ok()
    }

    /// Reads URLs that are told to others; sorted, each once.
    pub(super) fn urls(&mut self, raw: &Raw) -> Option<Vec<String>> {
        let pieces = self.pieces(raw)?;
        let port = if self.name.contains("peer") { 2380 } else { 2379 };
        let mut urls = Vec::new();
        for (text, place) in &pieces {
            let fault = match text.split_once("://") {
                Some(("http" | "https", rest)) => authority(rest, port).err(),
                Some(("unix" | "unixs", path)) if !path.is_empty() => None,
                _ => Some(format!("want a URL such as \"http://10.0.1.10:{port}\"")),
            };
            match fault {
                Some(fault) => self.wrong_piece(text, place, fault),
                None => urls.push(text.clone()),
            }
        }
        urls.sort();
        urls.dedup();
        Some(urls)
    }
}

/// Reads the `host:port` that must be all that follows `http://`; `usual` is the port that is named as an example.
pub(super) fn authority(rest: &str, usual: u16) -> Result<Authority, Fault> {
    if rest.contains('@') {
        return Err("want nothing but a host and a port".to_owned());
    }
    if let Some((before, after)) = rest.split_once('/') {
        let more = if after.is_empty() { "the slash" } else { "the path" };
        return Err(format!("leave out {more} after \"{}\"", super::cut(before)));
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
    check_host(host, rest.starts_with('['), usual)?;
    Ok(Authority { host: host.to_owned(), port })
}

fn check_host(host: &str, bracketed: bool, usual: u16) -> Result<(), Fault> {
    if bracketed {
        let literal = host.parse::<Ipv6Addr>();
        return literal.map(|_| ()).map_err(|_| "want an IPv6 address in the brackets".to_owned());
    }
    if host.contains(':') {
        return Err(format!("want brackets around an IPv6 address, such as [::1]:{usual}"));
    }
    let in_names = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.chars().all(in_names) {
        Ok(())
    } else {
        Err("want a host name or an IP address".to_owned())
    }
}

/// Returns the address to listen on.
fn bindable(to: &Authority, scheme: &str) -> Result<SocketAddr, Fault> {
    let ip = match to.host.as_str() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "" => Err(format!("write \"{scheme}://0.0.0.0:{}\" to listen on every address", to.port)),
        host => host.parse().map_err(|_| "want an IP address or localhost to listen on".to_owned()),
    };
    ip.map(|ip| SocketAddr::new(ip, to.port))
}
