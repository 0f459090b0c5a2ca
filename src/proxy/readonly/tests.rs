use Verdict::{InspectGrpc, InspectJson, Pass, Refuse};
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Version};

use super::super::classify::classify;
use super::*;

fn judge(version: Version, method: &str, target: &str, headers: &HeaderMap) -> Verdict {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let uri: Uri = target.parse().unwrap();
    let route = classify(version, &method, uri.path(), headers);
    verdict(&route, &method, &uri, headers)
}

fn grpc(path: &str) -> Verdict {
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
    judge(Version::HTTP_2, "POST", path, &headers)
}

fn post(target: &str) -> Verdict {
    let one = judge(Version::HTTP_11, "POST", target, &HeaderMap::new());
    assert_eq!(judge(Version::HTTP_2, "POST", target, &HeaderMap::new()), one, "{target}");
    one
}

fn handshake() -> HeaderMap {
    HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
    ])
}

fn websocket(target: &str) -> Verdict {
    judge(Version::HTTP_11, "GET", target, &handshake())
}

fn plain(method: &str, target: &str) -> Verdict {
    judge(Version::HTTP_11, method, target, &HeaderMap::new())
}

/// The reads among the RPCs, service by service, with the paths as etcd spells them.
const GRPC_READS: &[&str] = &[
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Auth/AuthStatus",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Auth/UserGet",
    "/etcdserverpb.Auth/UserList",
    "/etcdserverpb.Auth/RoleGet",
    "/etcdserverpb.Auth/RoleList",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Observe",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
];

const GRPC_WRITES: &[&str] = &[
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Auth/AuthEnable",
    "/etcdserverpb.Auth/AuthDisable",
    "/etcdserverpb.Auth/UserAdd",
    "/etcdserverpb.Auth/UserDelete",
    "/etcdserverpb.Auth/UserChangePassword",
    "/etcdserverpb.Auth/UserGrantRole",
    "/etcdserverpb.Auth/UserRevokeRole",
    "/etcdserverpb.Auth/RoleAdd",
    "/etcdserverpb.Auth/RoleDelete",
    "/etcdserverpb.Auth/RoleGrantPermission",
    "/etcdserverpb.Auth/RoleRevokePermission",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Resign",
];

const JSON_READS: &[&str] = &[
    "kv/range",
    "watch",
    "lease/timetolive",
    "lease/leases",
    "kv/lease/timetolive",
    "kv/lease/leases",
    "cluster/member/list",
    "maintenance/status",
    "maintenance/hash",
    "maintenance/hashkv",
    "maintenance/snapshot",
    "auth/authenticate",
    "auth/status",
    "auth/user/get",
    "auth/user/list",
    "auth/role/get",
    "auth/role/list",
    "election/leader",
    "election/observe",
];

const JSON_WRITES: &[&str] = &[
    "kv/put",
    "kv/deleterange",
    "kv/compaction",
    "lease/grant",
    "lease/keepalive",
    "lease/revoke",
    "kv/lease/revoke",
    "cluster/member/add",
    "cluster/member/remove",
    "cluster/member/update",
    "cluster/member/promote",
    "maintenance/defragment",
    "maintenance/transfer-leadership",
    "maintenance/downgrade",
    "auth/enable",
    "auth/disable",
    "auth/user/add",
    "auth/user/delete",
    "auth/user/changepw",
    "auth/user/grant",
    "auth/user/revoke",
    "auth/role/add",
    "auth/role/delete",
    "auth/role/grant",
    "auth/role/revoke",
    "lock/lock",
    "lock/unlock",
    "election/campaign",
    "election/proclaim",
    "election/resign",
    "invented",
];

const PREFIXES: [&str; 3] = ["/v3/", "/v3beta/", "/v3alpha/"];

#[test]
fn every_rpc_is_judged_as_etcds_own_table_says() {
    for path in GRPC_READS {
        assert_eq!(grpc(path), Pass, "{path}");
    }
    for path in GRPC_WRITES {
        assert_eq!(grpc(path), Refuse, "{path}");
    }
    assert_eq!(grpc("/etcdserverpb.KV/Txn"), InspectGrpc(InspectedRpc::Txn));
    assert_eq!(grpc("/etcdserverpb.Maintenance/Alarm"), InspectGrpc(InspectedRpc::Alarm));
    assert_eq!(
        GRPC_READS.len() + GRPC_WRITES.len() + 2 + 1,
        Rpc::COUNT,
        "the tables name every RPC"
    );
}

#[test]
fn every_gateway_path_is_judged_under_all_its_prefixes() {
    for prefix in PREFIXES {
        for call in JSON_READS {
            assert_eq!(post(&format!("{prefix}{call}")), Pass, "{prefix}{call}");
        }
        for call in JSON_WRITES {
            assert_eq!(post(&format!("{prefix}{call}")), Refuse, "{prefix}{call}");
        }
        assert_eq!(post(&format!("{prefix}kv/txn")), InspectJson(InspectedRpc::Txn));
        assert_eq!(post(&format!("{prefix}maintenance/alarm")), InspectJson(InspectedRpc::Alarm));
    }
}

#[test]
fn a_websocket_passes_only_to_a_read() {
    for prefix in PREFIXES {
        for call in JSON_READS {
            assert_eq!(websocket(&format!("{prefix}{call}")), Pass, "{prefix}{call}");
            assert_eq!(websocket(&format!("{prefix}{call}?method=PUT")), Refuse, "{prefix}{call}");
        }
        for call in JSON_WRITES.iter().chain(&["kv/txn", "maintenance/alarm"]) {
            assert_eq!(websocket(&format!("{prefix}{call}")), Refuse, "{prefix}{call}");
        }
    }
}

#[test]
fn a_websocket_never_hides_behind_a_page() {
    for target in [
        "/version",
        "/health",
        "/v2/keys/a",
        "/v2/%76%33/kv/put",
        "/%76%33/kv/put",
        "/v2/../v3/kv/put",
        "//v3/kv/put",
        "/v3%2fkv/put",
    ] {
        assert_eq!(websocket(target), Refuse, "{target}");
    }
    let lone = HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static("h2c, WEBSOCKET"))]);
    assert_eq!(judge(Version::HTTP_11, "GET", "/version", &lone), Refuse);
    let h2c = HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static("h2c"))]);
    assert_eq!(
        judge(Version::HTTP_11, "GET", "/version", &h2c),
        Pass,
        "the header goes no further than us"
    );
}

#[test]
fn a_query_on_a_v3_call_is_refused() {
    for path in
        GRPC_READS.iter().chain(&["/etcdserverpb.KV/Txn", "/etcdserverpb.Maintenance/Alarm"])
    {
        assert_eq!(grpc(&format!("{path}?")), Refuse);
        assert_eq!(grpc(&format!("{path}?method=PUT")), Refuse);
    }
    for call in JSON_READS.iter().chain(&["kv/txn", "maintenance/alarm"]) {
        assert_eq!(post(&format!("/v3/{call}?")), Refuse);
        assert_eq!(post(&format!("/v3/{call}?method=PUT")), Refuse);
    }
}

#[test]
fn a_path_that_must_be_decoded_or_cleaned_first_is_refused() {
    for target in [
        "/v3/kv/%70ut",
        "/v3/kv/%72ange",
        "/v3/kv%2frange",
        "/v3//kv/range",
        "//v3/kv/range",
        "/v3/./kv/range",
        "/v3/kv/../kv/range",
        "/v3/kv/range/",
        "/v3/kv/range;x",
        "/v3;x/kv/range",
        "/v3/kv/range:put",
        "/v3/kv/range%00",
        "/V3/kv/range",
        "/v3/KV/range",
        "/v3/kv/Range",
        "/v3beta/v3/kv/range",
        "/v3betaa/kv/range",
        "/v3",
        "/v3/",
        "/v2/keys/../../v3/kv/range",
    ] {
        assert_eq!(post(target), Refuse, "{target}");
        assert_eq!(websocket(target), Refuse, "{target}");
    }
    for path in [
        "/etcdserverpb.KV/Range/",
        "//etcdserverpb.KV/Range",
        "/etcdserverpb.KV//Range",
        "/etcdserverpb.KV/%52ange",
        "/etcdserverpb.KV/range",
        "/x/../etcdserverpb.KV/Range",
        "/KV/Range",
        "/etcdserverpb.KV/Invented",
        "/v3/kv/put",
        "/v3/kv/range",
        "/",
    ] {
        assert_eq!(grpc(path), Refuse, "{path}");
    }
}

#[test]
fn only_the_path_decides_what_content_type_a_write_may_wear() {
    for value in [
        "text/plain",
        "application/json",
        "x-application/grpc",
        "application/grpc-web",
        "application/GRPC",
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "GET", "HEAD"] {
                for target in GRPC_WRITES {
                    assert_eq!(
                        judge(version, method, target, &headers),
                        Refuse,
                        "{method} {target} {value}"
                    );
                }
                assert_eq!(
                    judge(version, method, "/v3/kv/put", &headers),
                    Refuse,
                    "{method} {value}"
                );
            }
        }
    }
}

#[test]
fn grpc_reads_pass_over_http2_post_alone() {
    assert_eq!(judge(Version::HTTP_2, "POST", "/etcdserverpb.KV/Range", &HeaderMap::new()), Pass);
    for method in ["GET", "HEAD", "PUT", "OPTIONS", "CONNECT"] {
        assert_eq!(
            judge(Version::HTTP_2, method, "/etcdserverpb.KV/Range", &HeaderMap::new()),
            Refuse,
            "{method}"
        );
    }
    assert_eq!(
        judge(Version::HTTP_11, "POST", "/etcdserverpb.KV/Range", &HeaderMap::new()),
        Refuse
    );
}

#[test]
fn the_gateway_takes_post_alone_and_no_override() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "post"] {
        assert_eq!(plain(method, "/v3/kv/range"), Refuse, "{method}");
    }
    for call in ["kv/range", "kv/txn"] {
        let headers = HeaderMap::from_iter([(
            "x-http-method-override".parse().unwrap(),
            HeaderValue::from_static("PUT"),
        )]);
        assert_eq!(
            judge(Version::HTTP_11, "POST", &format!("/v3/{call}"), &headers),
            Refuse,
            "{call}"
        );
    }
}

#[test]
fn v2_is_readonly_by_its_method_whatever_the_query() {
    for target in [
        "/v2/keys/a",
        "/v2/keys/a?wait=true&recursive=true&waitIndex=7",
        "/v2/keys/a?stream=true&quorum=true",
        "/v2/keys/a?method=PUT&_method=DELETE&value=x",
        "/v2/keys/a%20b?x",
        "/v2/machines",
        "/v2/members",
        "/v2/stats/self",
        "/v2/auth/users",
        "/version",
        "/health?exclude=NOSPACE&serializable=true",
        "/livez/serializable_read?verbose",
        "/readyz?exclude=learner",
        "/metrics",
        "/debug/vars",
    ] {
        assert_eq!(plain("GET", target), Pass, "{target}");
        assert_eq!(plain("HEAD", target), Pass, "{target}");
        for method in [
            "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
            "QGET",
        ] {
            assert_eq!(plain(method, target), Refuse, "{method} {target}");
        }
    }
}

#[test]
fn pages_outside_the_list_are_refused() {
    for target in [
        "/",
        "/debug/pprof/profile",
        "/debug/requests",
        "/config/local/log",
        "/members",
        "/v2/../x",
        "/v2",
    ] {
        assert_eq!(plain("GET", target), Refuse, "{target}");
    }
    assert_eq!(plain("PUT", "/config/local/log"), Refuse);
    assert_eq!(plain("OPTIONS", "*"), Refuse);
    assert_eq!(plain("CONNECT", "member:2379"), Refuse);
}

#[test]
fn an_absolute_target_is_judged_by_its_path() {
    assert_eq!(plain("GET", "http://member:2379/version"), Pass);
    assert_eq!(plain("POST", "http://member:2379/v3/kv/put"), Refuse);
    assert_eq!(plain("POST", "http://member:2379/v3/kv/range"), Pass);
    assert_eq!(plain("POST", "http://kv/range"), Refuse);
}

#[test]
fn inspection_leads_to_the_rules_of_its_call() {
    assert!(InspectedRpc::Txn.grpc_is_readonly(b""));
    assert!(!InspectedRpc::Txn.grpc_is_readonly(&[0x08, 0]));
    assert!(InspectedRpc::Alarm.grpc_is_readonly(&[0x08, 0]));
    assert!(InspectedRpc::Txn.json(br#"{"success":[]}"#).is_ok());
    assert!(InspectedRpc::Txn.json(br#"{"action":"GET"}"#).is_err());
    assert!(InspectedRpc::Alarm.json(br#"{"action":"GET"}"#).is_ok());
    assert!(InspectedRpc::Alarm.json(br#"{"success":[]}"#).is_err());
}
