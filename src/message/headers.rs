//! The rules for headers that pass through: what belongs to one hop, and what we add.
//!
//! RFC 9110 section 7.6.1 for hop-by-hop fields; etcd's old proxy (`proxy/httpproxy/reverse.go` at
//! v3.4.23) for `X-Forwarded-For`. Everything else is left alone, trace headers and metadata
//! included.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The mark that each etcd-proxy leaves on what it passes on, by which a loop is seen.
pub const HOP: HeaderName = HeaderName::from_static("etcd-proxy-hop");
/// The mark on what an etcd-proxy asks for itself to learn which cluster answers at an address.
pub const PROOF_HOP: HeaderValue = HeaderValue::from_static("proof");

/// Removes what belongs to one hop only, with every header that `Connection` names.
///
/// `TE` survives only as exactly `trailers`, which gRPC members insist on. `Trailer` survives
/// because trailers do: hyper sends those over HTTP/1 that it names, and no others.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // One look at the few names that are there is cheaper than a search for each that must not be.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        if name == CONNECTION {
            remove_connection_named(headers);
        } else if name == TRANSFER_ENCODING {
            // Beside it a length counts for nothing (RFC 9112 section 6.3), and must not count
            // again behind us.
            headers.remove(CONTENT_LENGTH);
        }
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

/// Whether a header belongs to one hop by its name alone: RFC 9110 section 7.6.1, and
/// `HTTP2-Settings` of RFC 7540 section 3.2.1, by which an `Upgrade: h2c` that passed would speak
/// for the client to a member.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn remove_connection_named(headers: &mut HeaderMap) {
    let values = headers.get_all(CONNECTION).iter();
    let named: Vec<HeaderName> = values.flat_map(|value| names_in(value.as_bytes())).collect();
    for name in named {
        headers.remove(name);
    }
}

/// The headers that a `Connection` names; `TE` is none of them, which has a rule of its own.
pub fn names_in(connection: &[u8]) -> impl Iterator<Item = HeaderName> {
    let is_header = |name: &&[u8]| {
        ![&b"close"[..], b"keep-alive"].iter().any(|word| name.eq_ignore_ascii_case(word))
    };
    connection
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(is_header)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| name != TE)
}

/// What we add to each request of a client.
#[derive(Debug, Clone, Copy)]
pub struct ForwardingHeaders<'a> {
    /// The client's address, unless it came by a unix socket.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// The mark of this process; what the proxy asks for itself has none.
    pub hop: Option<&'a HeaderValue>,
}

impl ForwardingHeaders<'_> {
    /// Adds them to `headers`.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        if let Some(address) = self.forwarded_for {
            append_forwarded_for(headers, address);
        }
        if let Some(hop) = self.hop {
            headers.append(HOP, hop.clone());
        }
    }
}

/// Adds the client's address to `X-Forwarded-For`, after those of the hops before it.
pub fn append_forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    let Some(earlier) = headers.get(X_FORWARDED_FOR) else {
        headers.insert(X_FORWARDED_FOR, client.clone());
        return;
    };
    let mut joined = Vec::with_capacity(earlier.len() + 2 + client.len());
    for value in headers.get_all(X_FORWARDED_FOR) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(client.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// The headers of a request that may have to be sent again.
///
/// A list of pairs and no second map: it costs one small allocation, and the map that goes to the
/// member keeps the room that it has grown, which hyper uses again for the next head.
#[derive(Default)]
pub struct ReplayHeaders(Vec<(HeaderName, HeaderValue)>);

impl ReplayHeaders {
    /// Keeps `headers` as they are.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Makes the map again.
    pub fn to_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            headers.append(name, value.clone());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        let mut headers =
            map(&[("connection", "close, x-private"), ("x-private", "1"), ("x-public", "2")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-public", "2")]));
    }

    #[test]
    fn a_length_beside_chunks_does_not_pass() {
        let mut headers = map(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn te_passes_only_as_trailers() {
        let mut headers = map(&[("te", "trailers"), ("connection", "te")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]));
        let mut headers = map(&[("te", "gzip, trailers")]);
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn trace_headers_pass_untouched() {
        let trace = map(&[("traceparent", "00-a-b-01"), ("tracestate", "x=1"), ("baggage", "k=v")]);
        let mut headers = trace.clone();
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, trace);
    }

    #[test]
    fn kept_headers_are_the_same_again() {
        let headers = map(&[("accept", "a"), ("x-one", "1"), ("accept", "b")]);
        assert_eq!(ReplayHeaders::of(&headers).to_map(), headers);
    }

    #[test]
    fn a_connection_that_closes_loses_no_other_header() {
        let mut headers = map(&[("connection", "Close"), ("upgrade", "h2c"), ("accept", "*/*")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*")]));
    }

    #[test]
    fn the_clients_address_comes_after_those_before_it() {
        let mut headers = map(&[("x-forwarded-for", "10.0.0.1")]);
        append_forwarded_for(&mut headers, &HeaderValue::from_static("127.0.0.1"));
        assert_eq!(headers, map(&[("x-forwarded-for", "10.0.0.1, 127.0.0.1")]));
    }
}
