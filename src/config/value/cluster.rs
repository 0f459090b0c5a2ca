//! Reads `initial-cluster`: peer URLs with or without names, as etcd's comma string, an array or a
//! table.

use std::collections::HashSet;

use super::list::Piece;
use super::raw::{Raw, Reader, Shape};
use super::url::{Scheme, split_scheme};
use crate::config::location::{Location, short};
use crate::config::problem::Problem;
use crate::config::schema;
use crate::config::settings::PeerUrl;

/// The ports that etcd's members serve clients on; the second is etcd 2's.
const CLIENT_PORTS: [u16; 2] = [2379, 4001];

impl Reader<'_> {
    /// Reads the peers in the order written, each once. Names are dropped: etcd only counts members
    /// by them.
    pub(super) fn peers(&mut self, raw: &Raw) -> Option<Vec<PeerUrl>> {
        let pieces = match &raw.shape {
            Shape::Table(members) => {
                let urls = members.iter().filter_map(|(name, location, urls)| {
                    if schema::find(name).is_some() {
                        self.complain_of_setting(name, location);
                        return None;
                    }
                    self.pieces(urls)
                });
                urls.collect::<Vec<_>>().concat()
            }
            _ => self.pieces(raw)?,
        };
        let mut seen = HashSet::new();
        let peers = pieces.iter().filter_map(|piece| self.peer(piece));
        Some(peers.filter(|peer| seen.insert(peer.clone())).collect())
    }

    /// Reports a setting inside the table. In TOML every key below a table's header belongs to the
    /// table, which is easily forgotten.
    fn complain_of_setting(&mut self, name: &str, location: &Location) {
        let message = format!("`{}` stands below [{}]", short(name), self.name);
        self.problems.push(Problem::error(message, location.clone()).hint("move it above"));
    }

    fn peer(&mut self, (text, location): &Piece) -> Option<PeerUrl> {
        let url = match text.split_once('=') {
            Some((name, url)) if !name.contains("://") => url.trim(),
            _ => text,
        };
        let scheme = split_scheme(url);
        let tls = matches!(scheme, Some((Scheme::Https, _)));
        let peer = match scheme {
            Some((Scheme::Http | Scheme::Https, rest)) => super::url::authority(rest, 2380),
            Some(_) => Err("want http:// or https:// before the peer's address".to_owned()),
            None => {
                Err("want NAME=URL or a URL, such as \"infra0=http://10.0.1.10:2380\"".to_owned())
            }
        };
        let peer = peer.and_then(|to| match (to.host.as_str(), to.port) {
            ("", _) => Err("want a host before the port".to_owned()),
            (_, 0) => Err("want the port of the peer, usually 2380".to_owned()),
            _ => Ok(PeerUrl { tls, host: to.host, port: to.port }),
        });
        let peer = peer.map_err(|fault| self.wrong_piece(text, location, fault)).ok()?;
        if CLIENT_PORTS.contains(&peer.port) {
            self.warn_of_client_port(&peer, location);
        }
        Some(peer)
    }

    /// Warns of a port that clients usually use. A peer may really listen there, so this is no
    /// error.
    fn warn_of_client_port(&mut self, peer: &PeerUrl, location: &Location) {
        let message =
            format!("`{}` has {peer}, and {} is the usual port for clients", self.name, peer.port);
        let hint = "peers are asked on their peer port, usually 2380";
        self.problems.push(Problem::warning(message, location.clone()).hint(hint));
    }
}
