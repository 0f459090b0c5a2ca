//! Rules for forwarded headers: which are hop-by-hop and removed, and which we add.
//!
//! Hop-by-hop fields follow RFC 9110 section 7.6.1, `X-Forwarded-For` follows etcd's old proxy
//! (`proxy/httpproxy/reverse.go` at v3.4.23). All other headers are left alone, trace headers and
//! metadata included.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The header that each etcd-proxy adds to the requests it forwards, to detect loops.
pub const HOP: HeaderName = HeaderName::from_static("etcd-proxy-hop");
/// The [`HOP`] value of the requests that an etcd-proxy itself sends to learn which cluster answers
/// at an address.
pub const PROOF_HOP: HeaderValue = HeaderValue::from_static("proof");

/// Removes the hop-by-hop headers, and every header that `Connection` names.
///
/// `TE` is kept only as exactly `trailers`, which gRPC members insist on. `Trailer` is kept because
/// trailers are forwarded: over HTTP/1, hyper sends only those that `Trailer` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Scanning the few headers present is cheaper than looking up every hop-by-hop name.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        if name == CONNECTION {
            remove_connection_named(headers);
        } else if name == TRANSFER_ENCODING {
            // `Transfer-Encoding` overrides `Content-Length` (RFC 9112 section 6.3). With the
            // former removed, the latter must not take effect at the next hop.
            headers.remove(CONTENT_LENGTH);
        }
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

/// Returns whether a header is hop-by-hop by its name alone: those of RFC 9110 section 7.6.1, and
/// `HTTP2-Settings` of RFC 7540 section 3.2.1, whose settings a member would otherwise apply to a
/// forwarded `Upgrade: h2c`.
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

/// Returns the headers that a `Connection` value names, except `TE`, which has its own rule in
/// [`remove_hop_by_hop`].
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

/// The headers added to each request of a client.
#[derive(Debug, Clone, Copy)]
pub struct ForwardingHeaders<'a> {
    /// The client's address; `None` for a client on a unix socket.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// The value of [`HOP`] for this process; `None` for the proxy's own requests.
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

/// Appends the client's address to `X-Forwarded-For`, after those of earlier hops.
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
/// A list of pairs instead of a second map: it costs one small allocation, and the map that goes to
/// the member keeps its capacity, which hyper reuses for the next head.
#[derive(Default)]
pub struct ReplayHeaders(Vec<(HeaderName, HeaderValue)>);

impl ReplayHeaders {
    /// Copies `headers` as they are.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Rebuilds the header map.
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
