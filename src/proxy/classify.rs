//! Classifies a request: its protocol, the RPC it calls, and how it may be retried.
//!
//! The result depends only on the version, the method, the raw path and three headers, by exact
//! comparison. A request that is not recognised is a write that is never resent. The route decides
//! how the request is sent on: only [`Protocol::Grpc`] travels to a member over HTTP/2, and only a
//! route with `websocket` may keep its `Connection` and `Upgrade` headers. Readonly
//! ([`super::readonly`]) relies on both.

use http::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use http::{Method, Version};

use crate::message::grpc::is_grpc;
use crate::message::rpc::{Rpc, RpcKind};

/// The one of a member's three APIs that the request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2, and the RPC its path names.
    Grpc(Rpc),
    /// The JSON gateway (any path below `/v3`, `/v3beta`, `/v3alpha`), and the RPC that the path
    /// maps to; [`Rpc::Other`] when the path is unknown or the method is not the gateway's.
    Json(Rpc),
    /// v2 and the plain pages of a member.
    Http,
}

/// The result of [`classify`]: small, cheap to copy, computed once per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The API, and the RPC where there is one.
    pub protocol: Protocol,
    /// Read, write, stream or bulk: picks the pool, the stream window and what is retried.
    pub kind: RpcKind,
    /// Whether the reply may flow for minutes or for ever: it gets no deadline, and no connection
    /// shared with other clients. A v2 watch is not marked, since over HTTP/1.1 a flowing reply has
    /// its connection to itself anyway.
    pub long: bool,
    /// Whether this is a WebSocket handshake that a member's gateway would accept.
    pub websocket: bool,
}

impl Route {
    /// Returns the RPC that is called over gRPC or the gateway; `None` for v2 and plain pages.
    pub const fn rpc(&self) -> Option<Rpc> {
        match self.protocol {
            Protocol::Grpc(rpc) | Protocol::Json(rpc) => Some(rpc),
            Protocol::Http => None,
        }
    }

    const fn new(protocol: Protocol, kind: RpcKind) -> Self {
        Self { protocol, kind, long: kind.is_long(), websocket: false }
    }
}

/// Classifies a request. `path` is the raw path without its query, as it arrived.
pub fn classify(version: Version, method: &Method, path: &str, headers: &HeaderMap) -> Route {
    if version == Version::HTTP_2
        && method == Method::POST
        && let Some(rpc) = grpc_rpc(path, headers)
    {
        return Route::new(Protocol::Grpc(rpc), rpc.kind());
    }
    match gateway_call(path) {
        Some(call) => gateway(version, method, call, headers),
        None => Route::new(Protocol::Http, kind_of_method(method)),
    }
}

/// Returns the RPC of an HTTP/2 POST that a member could take for gRPC: by its content type, or by
/// its path alone, since a member's plaintext port looks at nothing else.
fn grpc_rpc(path: &str, headers: &HeaderMap) -> Option<Rpc> {
    let rpc = Rpc::from_path(path);
    (rpc != Rpc::Other || is_grpc(headers)).then_some(rpc)
}

fn gateway(version: Version, method: &Method, call: &str, headers: &HeaderMap) -> Route {
    if method == Method::POST {
        let rpc = gateway_rpc(call);
        return Route::new(Protocol::Json(rpc), rpc.kind());
    }
    if method == Method::GET && version == Version::HTTP_11 && wants_websocket(headers) {
        return Route {
            websocket: true,
            ..Route::new(Protocol::Json(gateway_rpc(call)), RpcKind::Stream)
        };
    }
    Route::new(Protocol::Json(Rpc::Other), kind_of_method(method))
}

fn kind_of_method(method: &Method) -> RpcKind {
    if method == Method::GET || method == Method::HEAD { RpcKind::Read } else { RpcKind::Write }
}

/// Returns whether the headers ask for a switch to WebSocket, by the test that members use:
/// `upgrade` among the tokens of `Connection` and `websocket` among those of `Upgrade`.
fn wants_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

/// Returns whether a comma-separated header has a token, in any of its lines and ignoring case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the path below one of the gateway's prefixes: /v3 (3.4 and later), /v3beta (3.3 to 3.7),
/// /v3alpha (3.0 to 3.3).
fn gateway_call(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v3")?;
    ["/", "beta/", "alpha/"].iter().find_map(|prefix| rest.strip_prefix(prefix))
}

/// Returns the RPC behind a path of the JSON gateway, in any etcd release that has one.
fn gateway_rpc(call: &str) -> Rpc {
    match call {
        "kv/range" => Rpc::Range,
        "kv/put" => Rpc::Put,
        "kv/txn" => Rpc::Txn,
        "kv/deleterange" => Rpc::DeleteRange,
        "kv/compaction" => Rpc::Compact,
        "watch" => Rpc::Watch,
        "lease/keepalive" => Rpc::LeaseKeepAlive,
        "lease/grant" => Rpc::LeaseGrant,
        "lease/revoke" | "kv/lease/revoke" => Rpc::LeaseRevoke,
        "lease/timetolive" | "kv/lease/timetolive" => Rpc::LeaseTimeToLive,
        "lease/leases" | "kv/lease/leases" => Rpc::LeaseLeases,
        "auth/authenticate" => Rpc::Authenticate,
        "maintenance/status" => Rpc::Status,
        "maintenance/alarm" => Rpc::Alarm,
        // Up to 3.5.9 this path led to HashKV as well; both are reads.
        "maintenance/hash" => Rpc::Hash,
        "maintenance/hashkv" => Rpc::HashKv,
        "maintenance/snapshot" => Rpc::Snapshot,
        "maintenance/defragment" => Rpc::Defragment,
        "maintenance/transfer-leadership" => Rpc::MoveLeader,
        "maintenance/downgrade" => Rpc::Downgrade,
        _ => rare_gateway_rpc(call),
    }
}

fn rare_gateway_rpc(call: &str) -> Rpc {
    match call {
        "cluster/member/list" => Rpc::MemberList,
        "cluster/member/add" => Rpc::MemberAdd,
        "cluster/member/remove" => Rpc::MemberRemove,
        "cluster/member/update" => Rpc::MemberUpdate,
        "cluster/member/promote" => Rpc::MemberPromote,
        "auth/status" => Rpc::AuthStatus,
        "auth/enable" => Rpc::AuthEnable,
        "auth/disable" => Rpc::AuthDisable,
        "auth/user/get" => Rpc::UserGet,
        "auth/user/list" => Rpc::UserList,
        "auth/user/add" => Rpc::UserAdd,
        "auth/user/delete" => Rpc::UserDelete,
        "auth/user/changepw" => Rpc::UserChangePassword,
        "auth/user/grant" => Rpc::UserGrantRole,
        "auth/user/revoke" => Rpc::UserRevokeRole,
        "auth/role/get" => Rpc::RoleGet,
        "auth/role/list" => Rpc::RoleList,
        "auth/role/add" => Rpc::RoleAdd,
        "auth/role/delete" => Rpc::RoleDelete,
        "auth/role/grant" => Rpc::RoleGrantPermission,
        "auth/role/revoke" => Rpc::RoleRevokePermission,
        "lock/lock" => Rpc::Lock,
        "lock/unlock" => Rpc::Unlock,
        "election/campaign" => Rpc::Campaign,
        "election/proclaim" => Rpc::Proclaim,
        "election/leader" => Rpc::Leader,
        "election/observe" => Rpc::Observe,
        "election/resign" => Rpc::Resign,
        _ => Rpc::Other,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn grpc() -> HeaderMap {
        headers(&[(CONTENT_TYPE, "application/grpc")])
    }

    fn handshake() -> HeaderMap {
        headers(&[(CONNECTION, "keep-alive, Upgrade"), (UPGRADE, "WebSocket")])
    }

    fn h2(method: Method, path: &str, headers: &HeaderMap) -> Route {
        classify(Version::HTTP_2, &method, path, headers)
    }

    fn h1(method: Method, path: &str, headers: &HeaderMap) -> Route {
        classify(Version::HTTP_11, &method, path, headers)
    }

    #[test]
    fn every_rpc_is_found_by_its_path() {
        for rpc in Rpc::ALL {
            let Some(path) = rpc.path() else { continue };
            let route = h2(Method::POST, path, &grpc());
            assert_eq!(route.protocol, Protocol::Grpc(*rpc));
            assert_eq!((route.kind, route.long), (rpc.kind(), rpc.kind().is_long()));
            assert!(!route.websocket);
        }
    }

    #[test]
    fn an_unknown_rpc_is_a_grpc_write() {
        let route = h2(Method::POST, "/etcdserverpb.KV/Invented", &grpc());
        assert_eq!(route, Route::new(Protocol::Grpc(Rpc::Other), RpcKind::Write));
        assert_eq!(h2(Method::POST, "/v3/kv/put", &grpc()).protocol, Protocol::Grpc(Rpc::Other));
    }

    #[test]
    fn a_known_rpc_path_is_grpc_whatever_its_content_type() {
        for value in ["text/plain", "x-application/grpc", "application/grpc-web"] {
            let route =
                h2(Method::POST, "/etcdserverpb.KV/Put", &headers(&[(CONTENT_TYPE, value)]));
            assert_eq!(route.protocol, Protocol::Grpc(Rpc::Put), "{value}");
        }
        assert_eq!(
            h2(Method::POST, "/etcdserverpb.KV/Put", &HeaderMap::new()).rpc(),
            Some(Rpc::Put)
        );
    }

    #[test]
    fn grpc_needs_http2_and_post() {
        assert_eq!(h1(Method::POST, "/etcdserverpb.KV/Put", &grpc()).protocol, Protocol::Http);
        assert_eq!(h1(Method::POST, "/etcdserverpb.KV/Put", &grpc()).kind, RpcKind::Write);
        assert_eq!(h2(Method::GET, "/etcdserverpb.KV/Put", &grpc()).protocol, Protocol::Http);
        assert_eq!(h2(Method::PUT, "/etcdserverpb.KV/Put", &grpc()).kind, RpcKind::Write);
    }

    #[test]
    fn the_gateway_is_known_by_three_prefixes_on_both_versions() {
        for path in ["/v3/kv/range", "/v3beta/kv/range", "/v3alpha/kv/range"] {
            let expected = Route::new(Protocol::Json(Rpc::Range), RpcKind::Read);
            assert_eq!(h1(Method::POST, path, &HeaderMap::new()), expected);
            assert_eq!(h2(Method::POST, path, &HeaderMap::new()), expected);
        }
        for path in ["/v3", "/v3gamma/kv/range", "/V3/kv/range", "/v33/kv/range", "//v3/kv/range"] {
            let route = h1(Method::POST, path, &HeaderMap::new());
            assert_eq!(route, Route::new(Protocol::Http, RpcKind::Write), "{path}");
        }
    }

    #[test]
    fn an_inexact_gateway_path_is_an_unknown_write() {
        for path in [
            "/v3/kv/%72ange",
            "/v3/kv/range/",
            "/v3//kv/range",
            "/v3/./kv/range",
            "/v3/kv/range;a",
            "/v3/kv/range:put",
            "/v3/kv/Range",
            "/v3/",
            "/v3/kv/range%00",
        ] {
            let route = h1(Method::POST, path, &HeaderMap::new());
            assert_eq!(route, Route::new(Protocol::Json(Rpc::Other), RpcKind::Write), "{path}");
        }
    }

    #[test]
    fn gateway_streams_are_long() {
        for (call, kind) in [
            ("watch", RpcKind::Stream),
            ("lease/keepalive", RpcKind::Stream),
            ("election/observe", RpcKind::Stream),
            ("maintenance/snapshot", RpcKind::Bulk),
        ] {
            let route = h1(Method::POST, &format!("/v3/{call}"), &HeaderMap::new());
            assert_eq!((route.kind, route.long), (kind, true), "{call}");
        }
        assert!(!h1(Method::POST, "/v3/lock/lock", &HeaderMap::new()).long);
    }

    #[test]
    fn the_gateway_has_no_call_for_other_methods() {
        for (method, kind) in [
            (Method::GET, RpcKind::Read),
            (Method::PUT, RpcKind::Write),
            (Method::OPTIONS, RpcKind::Write),
        ] {
            let route = h1(method, "/v3/kv/range", &HeaderMap::new());
            assert_eq!(route, Route::new(Protocol::Json(Rpc::Other), kind));
        }
    }

    #[test]
    fn a_websocket_handshake_is_a_get_over_http_1_1_below_the_gateway() {
        let route = h1(Method::GET, "/v3/watch", &handshake());
        assert_eq!(route.protocol, Protocol::Json(Rpc::Watch));
        assert!(route.websocket && route.long);
        assert_eq!(route.kind, RpcKind::Stream);
        let put = h1(Method::GET, "/v3/kv/put", &handshake());
        assert!(put.websocket && put.rpc() == Some(Rpc::Put) && put.kind == RpcKind::Stream);

        assert!(!h2(Method::GET, "/v3/watch", &handshake()).websocket);
        assert!(!classify(Version::HTTP_10, &Method::GET, "/v3/watch", &handshake()).websocket);
        assert!(!h1(Method::POST, "/v3/watch", &handshake()).websocket);
        assert!(!h1(Method::GET, "/v2/keys/a", &handshake()).websocket);
        assert!(!h1(Method::GET, "/%76%33/kv/put", &handshake()).websocket);
        assert!(!h1(Method::GET, "/v3/watch", &headers(&[(UPGRADE, "websocket")])).websocket);
        assert!(
            !h1(Method::GET, "/v3/watch", &headers(&[(UPGRADE, "h2c"), (CONNECTION, "upgrade")]))
                .websocket
        );
    }

    #[test]
    fn tokens_are_found_in_any_line_and_case() {
        let many = headers(&[
            (UPGRADE, "h2c , wEbSocket"),
            (CONNECTION, "keep-alive"),
            (CONNECTION, "upgrade ,"),
        ]);
        assert!(wants_websocket(&many));
        assert!(!wants_websocket(&headers(&[(UPGRADE, "websocket2"), (CONNECTION, "upgrade")])));
    }

    #[test]
    fn v2_is_a_read_by_its_method_alone() {
        for path in ["/v2/keys/a", "/v2/members", "/version", "/", "*"] {
            assert_eq!(
                h1(Method::GET, path, &HeaderMap::new()),
                Route::new(Protocol::Http, RpcKind::Read)
            );
            assert_eq!(h2(Method::HEAD, path, &HeaderMap::new()).kind, RpcKind::Read);
            for method in
                ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QGET", "get"]
            {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                assert_eq!(
                    h1(method, path, &HeaderMap::new()),
                    Route::new(Protocol::Http, RpcKind::Write)
                );
            }
        }
    }
}
