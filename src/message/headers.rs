//! The rules for headers that pass through: what belongs to one hop, and what we add.
//!
//! RFC 9110 section 7.6.1 for hop-by-hop fields; etcd's old proxy (`proxy/httpproxy/reverse.go` at v3.4.23) for
//! `X-Forwarded-For`. Everything else is left alone, trace headers and metadata included.

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// `Keep-Alive`, which has no constant of its own.
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `Proxy-Connection`, obsolete and still sent.
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The mark that each etcd-proxy leaves on what it passes on, by which a loop is seen.
pub const HOP: HeaderName = HeaderName::from_static("etcd-proxy-hop");

const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what belongs to one hop only, with every header that `Connection` names.
///
/// `TE` survives only as exactly `trailers`, which gRPC members insist on. `Trailer` survives because trailers do: hyper
/// sends those over HTTP/1 that it names, and no others.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        remove_connection_named(headers);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

/// Removes what a client says to us only; the body has been asked for by the time it is passed on.
pub fn remove_request_only(headers: &mut HeaderMap) {
    headers.remove(EXPECT);
}

fn remove_connection_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| name != TE)
        .collect();
    for name in named {
        headers.remove(name);
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
    fn the_clients_address_comes_after_those_before_it() {
        let mut headers = map(&[("x-forwarded-for", "10.0.0.1")]);
        append_forwarded_for(&mut headers, &HeaderValue::from_static("127.0.0.1"));
        assert_eq!(headers, map(&[("x-forwarded-for", "10.0.0.1, 127.0.0.1")]));
    }
}
