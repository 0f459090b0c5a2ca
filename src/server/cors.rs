//! Implements `cors` and `host-whitelist` as etcd does on a client port (`embed/serve.go`,
//! `etcdmain/etcd.go` at v3.4.23).
//!
//! With `cors` at its default, CORS is left to the members: they add the same headers, and answer
//! OPTIONS. When origins are configured here, our headers replace those of a member.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
    HeaderMap, HeaderValue, ORIGIN,
};
use http::{Method, Request, Response, StatusCode, Version};

use crate::message::reason::Reason;
use crate::message::{grpc, reply};

/// The decision about the CORS headers of an answer.
pub enum Cors {
    /// Left to the members: their headers pass.
    Members,
    /// The origin is not allowed, or the request names none: the answer has no CORS headers.
    Withhold,
    /// The origin is allowed, and named in the answer.
    Allow(HeaderValue),
}

/// Decides on the origin that a request names.
pub fn evaluate(allowed: Option<&[String]>, headers: &HeaderMap) -> Cors {
    let Some(allowed) = allowed else { return Cors::Members };
    match headers.get(ORIGIN) {
        Some(origin) if allowed.iter().any(|allowed| origin == allowed.as_str()) => {
            Cors::Allow(origin.clone())
        }
        _ => Cors::Withhold,
    }
}

impl Cors {
    /// Returns whether a request of this method is answered here, with only the headers, as etcd
    /// answers OPTIONS.
    pub fn answers(&self, method: &Method) -> bool {
        *method == Method::OPTIONS && !matches!(self, Self::Members)
    }

    /// Sets or removes the CORS headers of an answer.
    pub fn apply(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Members) {
            return;
        }
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
        ] {
            headers.remove(name);
        }
        if let Self::Allow(origin) = self {
            headers.insert(
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
            );
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let names = HeaderValue::from_static("accept, content-type, authorization");
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
    }
}

/// Refuses a request whose host is not on the whitelist; `None` when it may pass.
///
/// The host is compared without its port, as etcd does; the answer is etcd's 421 (CVE-2018-1099,
/// DNS rebinding). etcd applies the list to its HTTP handlers only, so gRPC calls pass; no web page
/// can make those.
pub fn refuse_host<B>(
    whitelist: Option<&[String]>,
    request: &Request<B>,
) -> Option<Response<Bytes>> {
    let whitelist = whitelist?;
    if request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers()) {
        return None;
    }
    let host = named_host(request);
    if whitelist.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return None;
    }
    Some(misdirected("etcd-proxy: this host name is not on the host-whitelist\n"))
}

/// Builds the 421 for a request that names a host other than this proxy.
pub fn misdirected(text: &'static str) -> Response<Bytes> {
    let mut response = reply::text(StatusCode::MISDIRECTED_REQUEST, text);
    Reason::HostNotAllowed.set(response.headers_mut());
    response
}

/// Returns the host that a request names, without its port and brackets; empty when it names none.
pub fn named_host<B>(request: &Request<B>) -> &str {
    let named = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    without_port(named.unwrap_or_default())
}

fn without_port(named: &str) -> &str {
    if let Some(bracketed) = named.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    named.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whitelisted_host_passes_with_any_port() {
        let whitelist = ["localhost".to_owned(), "::1".to_owned()];
        let asks = |host: &str| {
            let request = Request::get("/version").header("host", host).body(()).unwrap();
            refuse_host(Some(&whitelist), &request).map(|refusal| refusal.status().as_u16())
        };
        assert_eq!(asks("localhost:2379"), None);
        assert_eq!(asks("LOCALHOST"), None);
        assert_eq!(asks("[::1]:2379"), None);
        assert_eq!(asks("evil.example"), Some(421));
    }

    #[test]
    fn the_whitelist_is_not_for_grpc_calls() {
        let whitelist = ["localhost".to_owned()];
        let asks = |version, content_type: &str| {
            let request = Request::post("http://evil.example/etcdserverpb.KV/Range")
                .version(version)
                .header("content-type", content_type)
                .body(())
                .unwrap();
            refuse_host(Some(&whitelist), &request).map(|refusal| refusal.status().as_u16())
        };
        assert_eq!(asks(Version::HTTP_2, "application/grpc"), None);
        assert_eq!(asks(Version::HTTP_2, "application/json"), Some(421));
        assert_eq!(asks(Version::HTTP_11, "application/grpc"), Some(421));
    }

    #[test]
    fn an_origin_that_is_not_allowed_gets_no_headers_not_even_the_members() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("http://evil.example"));
        let cors = evaluate(Some(&["http://good.example".to_owned()]), &headers);
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        cors.apply(&mut answer);
        assert!(answer.is_empty());
    }
}
