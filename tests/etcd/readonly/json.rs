//! Every JSON path that etcd has, under each prefix.

use super::Fixture;
use super::state::LEASE;
use crate::fixture::on_each_generation;
use crate::support::generation::Generation;
use crate::support::http1::{self, Connection};
use crate::support::load::base64;
use crate::support::{run, shared};

on_each_generation!(
    each_writing_path_is_refused_and_writes_nothing,
    each_reading_path_passes,
    an_alarm_passes_only_when_it_asks,
);

/// Returns the path behind the prefix and the body of every request that writes.
fn writes() -> Vec<(&'static str, String)> {
    let key = base64(b"kept");
    let pair = format!("{{\"key\":\"{key}\",\"value\":\"{key}\"}}");
    let lease = format!("{{\"ID\":{LEASE}}}");
    let name = "{\"name\":\"root\",\"password\":\"other\"}".to_owned();
    let role =
        "{\"user\":\"root\",\"name\":\"reader\",\"role\":\"reader\",\"perm\":{\"key\":\"YQ==\"}}";
    let leader =
        format!("{{\"leader\":{{\"key\":\"{key}\",\"lease\":{LEASE}}},\"value\":\"{key}\"}}");
    let lock = format!("{{\"name\":\"{key}\",\"key\":\"{key}\",\"lease\":{LEASE}}}");
    let mut writes = vec![
        ("/kv/put", pair),
        ("/kv/deleterange", format!("{{\"key\":\"{key}\"}}")),
        ("/kv/compaction", "{\"revision\":2,\"physical\":true}".to_owned()),
        ("/lease/grant", "{\"TTL\":100,\"ID\":78}".to_owned()),
        ("/cluster/member/add", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}".to_owned()),
        ("/cluster/member/update", "{\"ID\":1,\"peerURLs\":[\"http://127.0.0.1:1\"]}".to_owned()),
        ("/maintenance/transfer-leadership", "{\"targetID\":1}".to_owned()),
        ("/maintenance/downgrade", "{\"action\":\"ENABLE\",\"version\":\"3.4.0\"}".to_owned()),
        ("/maintenance/defragment", "{}".to_owned()),
        ("/auth/enable", "{}".to_owned()),
        ("/auth/disable", "{}".to_owned()),
    ];
    let with = |paths: &[&'static str], body: &str| {
        paths.iter().map(|path| (*path, body.to_owned())).collect::<Vec<_>>()
    };
    let leases = ["/lease/keepalive", "/lease/revoke", "/kv/lease/revoke"];
    writes.extend(with(&leases, &lease));
    writes.extend(with(&["/cluster/member/remove", "/cluster/member/promote"], "{\"ID\":1}"));
    writes.extend(with(&["/auth/user/add", "/auth/user/delete", "/auth/user/changepw"], &name));
    writes.extend(with(&["/auth/user/grant", "/auth/user/revoke"], role));
    writes.extend(with(
        &["/auth/role/add", "/auth/role/delete", "/auth/role/grant", "/auth/role/revoke"],
        role,
    ));
    writes.extend(with(&["/lock/lock", "/lock/unlock"], &lock));
    writes.extend(with(&["/election/campaign"], &lock));
    writes.extend(with(&["/election/proclaim", "/election/resign"], &leader));
    writes
}

fn each_writing_path_is_refused_and_writes_nothing(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let mut connection = Connection::open(&fixture.proxy.address).await.expect("a connection");
        for prefix in ["/v3", "/v3beta", "/v3alpha"] {
            for (path, body) in writes() {
                let path = format!("{prefix}{path}");
                let answer = connection.exchange("POST", &path, &[], &body).await;
                let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(answer.status, 501, "{path}: {answer:?}");
                if answer.header("connection") == Some("close") {
                    connection =
                        Connection::open(&fixture.proxy.address).await.expect("a connection");
                }
            }
        }
    });
    fixture.is_unchanged();
}

fn each_reading_path_passes(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let key = format!("{{\"key\":\"{}\"}}", base64(b"kept"));
    let lease = format!("{{\"ID\":{LEASE}}}");
    let reads = [
        ("/kv/range", key.as_str()),
        ("/lease/timetolive", &lease),
        ("/lease/leases", "{}"),
        ("/kv/lease/timetolive", &lease),
        ("/cluster/member/list", "{}"),
        ("/maintenance/status", "{}"),
        ("/auth/user/list", "{}"),
        ("/auth/user/get", "{\"name\":\"root\"}"),
        ("/auth/role/list", "{}"),
        ("/auth/role/get", "{\"role\":\"reader\"}"),
        ("/kv/txn", "{}"),
    ];
    run(async {
        for prefix in ["/v3", "/v3beta"] {
            for (path, body) in reads {
                let path = format!("{prefix}{path}");
                let through = http1::post(&fixture.proxy.address, &path, body).await;
                let direct = http1::post(&fixture.cluster.client(0), &path, body).await;
                assert_eq!(through.status, direct.status, "{path}: {through:?}");
            }
        }
        let range = http1::post(&fixture.proxy.address, "/v3/kv/range", &key).await;
        assert_eq!(range.json()["count"], "1");
    });
    fixture.is_unchanged();
}

fn an_alarm_passes_only_when_it_asks(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let path = "/v3/maintenance/alarm";
        for asks in [
            "{}",
            "{\"action\":\"GET\"}",
            "{\"action\":0}",
            "{\"action\":\"GET\",\"alarm\":\"NOSPACE\"}",
        ] {
            assert_eq!(http1::post(&fixture.proxy.address, path, asks).await.status, 200, "{asks}");
        }
        for sets in [
            "{\"action\":\"ACTIVATE\",\"alarm\":\"NOSPACE\"}",
            "{\"action\":1,\"alarm\":1}",
            "{\"action\":\"GET\",\"action\":\"ACTIVATE\",\"alarm\":1}",
            "{\"action\":\"ACTIVATE\",\"action\":\"GET\",\"alarm\":1}",
            "{\"Action\":1,\"alarm\":1}",
            "{\"action\":\"DEACTIVATE\",\"alarm\":1}",
            "{\"action\":\"GET\"}{\"action\":1,\"alarm\":1}",
        ] {
            let answer = http1::post(&fixture.proxy.address, path, sets).await;
            assert!(answer.status >= 400, "{sets}: {answer:?}");
        }
    });
    fixture.is_unchanged();
}
