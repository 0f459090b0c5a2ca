//! Refuses requests that two parsers could read differently, before anything is done with them.
//!
//! hyper checks framing only as far as it needs to; what it accepts may still be smuggled past a
//! member, or name two hosts. The rules are those of RFC 9112 sections 3.2 and 6, and RFC 9113
//! section 8.3.1.

use http::header::{HOST, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, Version};

use super::authority::substitute::stands_for;

/// Returns what is wrong with the head of a request; `None` when it is well formed.
pub fn complaint<B>(request: &Request<B>) -> Option<&'static str> {
    if request.method() == Method::CONNECT {
        return Some("etcd-proxy: CONNECT is not supported");
    }
    if !request.uri().path().starts_with('/') {
        return Some("etcd-proxy: the path must begin with /");
    }
    match request.version() {
        Version::HTTP_2 => http2(request),
        _ => http1(request.version(), request.headers()),
    }
}

fn http2<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), authority) = (hosts.next(), request.uri().authority()) else { return None };
    let differs = authority.is_some_and(|authority| {
        let authority = authority.as_str();
        host != authority && !stands_for(authority, host.as_bytes())
    });
    (differs || hosts.next().is_some()).then_some("etcd-proxy: host and :authority differ")
}

fn http1(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(TRANSFER_ENCODING) && !is_chunked_only(version, headers) {
        return Some("etcd-proxy: Transfer-Encoding must be chunked and nothing else");
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => None,
        (None, _) => Some("etcd-proxy: the request names no Host"),
        (Some(_), Some(_)) => Some("etcd-proxy: the request names more than one Host"),
        (Some(host), None) => {
            (!is_host(host.as_bytes())).then_some("etcd-proxy: Host is not a host and port")
        }
    }
}

fn is_chunked_only(version: Version, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let only = values
        .next()
        .is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    only && values.next().is_none() && version == Version::HTTP_11
}

/// Returns whether `host` can be a host with or without a port: not empty, not a list, without
/// user, path or blanks.
fn is_host(host: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte);
    !host.is_empty() && host.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http1_request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/v2/keys").version(Version::HTTP_11);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_transfer_encoding_other_than_chunked_alone_is_refused() {
        for bad in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", ""] {
            let request = http1_request(&[("host", "a"), ("transfer-encoding", bad)]);
            assert!(complaint(&request).is_some(), "{bad:?}");
        }
        let twice = http1_request(&[
            ("host", "a"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ]);
        assert!(complaint(&twice).is_some());
        assert_eq!(
            complaint(&http1_request(&[("host", "a"), ("transfer-encoding", "Chunked")])),
            None
        );
    }

    #[test]
    fn exactly_one_sane_host_is_wanted() {
        for bad in [
            &[][..],
            &[("host", "")],
            &[("host", "a"), ("host", "a")],
            &[("host", "a, b")],
            &[("host", "u@a")],
        ] {
            assert!(complaint(&http1_request(bad)).is_some(), "{bad:?}");
        }
        assert!(complaint(&http1_request(&[("host", "a/b")])).is_some());
        for good in ["127.0.0.1:2379", "[::1]:2379", "etcd.example"] {
            assert_eq!(complaint(&http1_request(&[("host", good)])), None, "{good}");
        }
    }

    #[test]
    fn http2_may_not_name_two_hosts() {
        let request = |host: &str| {
            let request = Request::post("http://a:1/v3/kv/range")
                .version(Version::HTTP_2)
                .header("host", host);
            request.body(()).unwrap()
        };
        assert!(complaint(&request("b:1")).is_some());
        assert_eq!(complaint(&request("a:1")), None);
    }

    #[test]
    fn a_substitute_for_the_authority_is_still_the_host_that_the_client_named() {
        let request = Request::post("http://aaaaaaaaaa/v3/kv/range")
            .version(Version::HTTP_2)
            .header("host", "http://a:1");
        assert_eq!(complaint(&request.body(()).unwrap()), None);
    }

    #[test]
    fn connect_and_asterisk_are_refused() {
        let connect = Request::builder().method("CONNECT").uri("a:1").body(()).unwrap();
        assert!(complaint(&connect).is_some());
        let asterisk =
            Request::builder().method("OPTIONS").uri("*").header("host", "a").body(()).unwrap();
        assert!(complaint(&asterisk).is_some());
    }
}
