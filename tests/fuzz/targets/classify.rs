//! Any target, method and header: nothing panics, and readonly passes v3 calls only as POST or
//! WebSocket.
#![no_main]

use etcd_proxy::proxy::classify::{Protocol, classify};
use etcd_proxy::proxy::readonly::{Verdict, verdict};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, &str, &str, &[u8], &[u8])| {
    let (newer, upgrade, method, target, content_type, protocol) = input;
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let mut headers = HeaderMap::new();
    headers.extend(
        HeaderValue::from_bytes(content_type).ok().map(|value| (header::CONTENT_TYPE, value)),
    );
    headers.extend(HeaderValue::from_bytes(protocol).ok().map(|value| (header::UPGRADE, value)));
    headers.extend(upgrade.then(|| (header::CONNECTION, HeaderValue::from_static("upgrade"))));
    let version = if newer { Version::HTTP_2 } else { Version::HTTP_11 };
    let route = classify(version, &method, uri.path(), &headers);
    if verdict(&route, &method, &uri, &headers) == Verdict::Refuse {
        return;
    }
    match route.protocol {
        Protocol::Grpc(_) => assert!(method == Method::POST && newer),
        Protocol::Json(_) => assert!(method == Method::POST || route.websocket),
        Protocol::Http => assert!(method == Method::GET || method == Method::HEAD),
    }
});
