//! Keeps foreign web pages from reading our own pages through a browser on this host (DNS
//! rebinding).
//!
//! A page at evil.example may have that name resolve to 127.0.0.1 once it is loaded, and then read
//! what this port answers. To the browser that is the page's own site, but the request still names
//! `Host: evil.example`. So a plaintext request for one of our pages must name an IP address,
//! `localhost`, or a name of this host. TLS needs no such rule: the certificate is not valid for
//! that name. When `host-whitelist` is set, it replaces this rule, and it also covers members'
//! answers. By default those have no host check, as in etcd, whose whitelist came with
//! CVE-2018-1099 and defaults to `*`.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response};

use super::cors::{misdirected, named_host};

/// Refuses a request for one of our pages that names a foreign host; `None` when it may pass. `own`
/// are the names of this host.
pub fn refuse<B>(own: &[String], request: &Request<B>) -> Option<Response<Bytes>> {
    let host = named_host(request);
    let is_own = |name: &String| name.eq_ignore_ascii_case(host);
    let passes = host.is_empty()
        || is_localhost(host)
        || host.parse::<IpAddr>().is_ok()
        || own.iter().any(is_own);
    (!passes).then(|| {
        misdirected(
            "etcd-proxy: this host name is not one of this proxy's; ask for the page by address, \
             or add the name to advertise-client-urls or host-whitelist\n",
        )
    })
}

/// Returns whether `host` is `localhost` or below it, which browsers never look up (RFC 6761
/// section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_pages_are_for_names_of_this_host_only() {
        let own = ["node1.example".to_owned()];
        let status = |host: &str| {
            let request = Request::get("/proxy/status").header("host", host).body(()).unwrap();
            refuse(&own, &request).map(|refusal| refusal.status().as_u16())
        };
        for good in [
            "127.0.0.1:2379",
            "[::1]:2379",
            "10.0.1.10",
            "localhost:2379",
            "LocalHost.",
            "etcd.localhost:2379",
            "NODE1.example:2379",
        ] {
            assert_eq!(status(good), None, "{good}");
        }
        for bad in
            ["evil.example:2379", "localhost.evil.example", "127.0.0.1.evil.example", "node1"]
        {
            assert_eq!(status(bad), Some(421), "{bad}");
        }
    }

    #[test]
    fn a_request_without_a_host_comes_from_no_browser() {
        let request = Request::get("/metrics").body(()).unwrap();
        assert!(refuse(&[], &request).is_none());
    }
}
