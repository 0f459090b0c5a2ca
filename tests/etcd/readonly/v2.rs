//! The v2 API: reads pass, everything else is 501.

use super::Fixture;
use crate::fixture::{on_each_generation, on_generations_with_v2};
use crate::support::generation::Generation;
use crate::support::http1;
use crate::support::{run, shared};

on_each_generation!(each_writing_v2_request_is_501_and_writes_nothing);
on_generations_with_v2!(v2_reads_pass);

fn each_writing_v2_request_is_501_and_writes_nothing(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let writes = [
        ("PUT", "/v2/keys/kept", "value=changed"),
        ("POST", "/v2/keys/kept-in-order", "value=new"),
        ("PUT", "/v2/keys/kept?prevExist=true", "value=changed"),
        ("DELETE", "/v2/keys/kept", ""),
        ("DELETE", "/v2/keys/?recursive=true&dir=true", ""),
        ("POST", "/v2/members", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
        ("PUT", "/v2/members/1", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
        ("DELETE", "/v2/members/1", ""),
        ("PUT", "/v2/auth/users/new", "{\"user\":\"new\",\"password\":\"pw\"}"),
        ("DELETE", "/v2/auth/users/root", ""),
        ("PUT", "/v2/auth/roles/new", "{\"role\":\"new\"}"),
        ("PUT", "/v2/auth/enable", ""),
        ("DELETE", "/v2/auth/enable", ""),
        ("PUT", "/config/local/log", "{\"Level\":\"DEBUG\"}"),
        ("PATCH", "/v2/keys/kept", "value=changed"),
    ];
    run(async {
        for (method, path, body) in writes {
            let answer = http1::form(&fixture.proxy.address, method, path, body).await;
            assert_eq!(answer.status, 501, "{method} {path}: {answer:?}");
        }
    });
    fixture.is_unchanged();
}

fn v2_reads_pass(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let address = &fixture.proxy.address;
        let kept = http1::get(address, "/v2/keys/kept?quorum=true").await;
        assert_eq!(kept.json()["node"]["value"], "v2");
        for path in ["/v2/members", "/v2/machines", "/v2/stats/self", "/version", "/health"] {
            assert_eq!(http1::get(address, path).await.status, 200, "{path}");
        }
    });
}
