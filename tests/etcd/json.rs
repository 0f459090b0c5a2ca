//! The JSON gateway through the daemon.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::http1::{self, Connection};
use crate::support::load::base64;
use crate::support::{run, shared};

on_each_generation!(
    a_value_is_put_and_ranged_over,
    a_transaction_and_a_lease_pass,
    a_watch_comes_in_chunks_as_events_come,
    a_watch_works_over_a_websocket,
    errors_keep_etcds_own_form,
    version_and_health_are_the_members,
    one_connection_carries_many_requests,
);

fn a_value_is_put_and_ranged_over(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let (key, value) = (base64(b"json/a"), base64(b"one"));
        let put = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
        assert_eq!(http1::post(address, "/v3/kv/put", &put).await.status, 200);
        let range = http1::post(address, "/v3/kv/range", &format!("{{\"key\":\"{key}\"}}")).await;
        assert_eq!(range.json()["kvs"][0]["value"], value.as_str());
        assert_eq!(range.json()["count"], "1");
        let delete =
            http1::post(address, "/v3/kv/deleterange", &format!("{{\"key\":\"{key}\"}}")).await;
        assert_eq!(delete.json()["deleted"], "1");
    });
}

fn a_transaction_and_a_lease_pass(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let key = base64(b"json/txn");
        let txn = format!(
            "{{\"success\":[{{\"request_put\":{{\"key\":\"{key}\",\"value\":\"{key}\"}}}},\
             {{\"request_range\":{{\"key\":\"{key}\"}}}}]}}"
        );
        let answer = http1::post(address, "/v3/kv/txn", &txn).await.json();
        assert_eq!(answer["responses"][1]["response_range"]["count"], "1", "{answer}");
        let lease = http1::post(address, "/v3/lease/grant", "{\"TTL\":100}").await.json();
        let id = lease["ID"].as_str().expect("a lease ID").to_owned();
        let kept = http1::post(address, "/v3/lease/keepalive", &format!("{{\"ID\":{id}}}")).await;
        assert_eq!(kept.json()["result"]["ID"], id.as_str());
    });
}

fn a_watch_comes_in_chunks_as_events_come(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let key = base64(b"json/watched");
        let create = format!("{{\"create_request\":{{\"key\":\"{key}\"}}}}");
        let mut watch = Connection::open(address).await.expect("a connection");
        watch.send_request("POST", "/v3/watch", &[], &create).await.expect("sent");
        let head = watch.head().await.expect("a head");
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        let created = watch.chunk().await.expect("a chunk").expect("no end");
        assert!(String::from_utf8_lossy(&created).contains("\"created\":true"));
        for number in 0..20 {
            let value = base64(format!("value {number}").as_bytes());
            let put = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
            http1::post(address, "/v3/kv/put", &put).await;
            let mut event = String::new();
            // Some versions of etcd send a newline as a chunk of its own.
            while !event.contains(&value) {
                let chunk = watch.chunk().await.expect("a chunk").expect("no end");
                event.push_str(&String::from_utf8_lossy(&chunk));
            }
        }
    });
}

fn a_watch_works_over_a_websocket(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let key = base64(b"json/websocket");
        let mut socket = Connection::open(address).await.expect("a connection");
        let upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        ];
        socket.send_request("GET", "/v3/watch", &upgrade, "").await.expect("sent");
        let head = socket.head().await.expect("a head");
        assert_eq!(head.status, 101, "{head:?}");
        let create = format!("{{\"create_request\":{{\"key\":\"{key}\"}}}}");
        socket.send(text_frame(&create)).await.expect("sent");
        assert!(next_frame(&mut socket).await.contains("\"created\":true"));
        let put = format!("{{\"key\":\"{key}\",\"value\":\"{key}\"}}");
        http1::post(address, "/v3/kv/put", &put).await;
        assert!(next_frame(&mut socket).await.contains("\"events\""));
    });
}

/// Encodes a client's text frame of less than 126 bytes. The mask of zeros leaves the text as it
/// is.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length < 126);
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Returns the text of the next frame of less than 64 KiB.
async fn next_frame(socket: &mut Connection) -> String {
    let head = socket.exactly(2).await.expect("a frame");
    let length = match head[1] {
        126 => {
            let long = socket.exactly(2).await.expect("a length");
            usize::from(u16::from_be_bytes([long[0], long[1]]))
        }
        short => usize::from(short),
    };
    String::from_utf8_lossy(&socket.exactly(length).await.expect("a payload")).into_owned()
}

fn errors_keep_etcds_own_form(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        for (path, body) in [
            ("/v3/kv/range", "{\"key\":\"\"}"),
            ("/v3/kv/range", "no json"),
            ("/v3/lease/revoke", "{\"ID\":7}"),
            ("/v3/nothing", "{}"),
        ] {
            let through = http1::post(&fixture.proxy.address, path, body).await;
            let direct = http1::post(&fixture.cluster.client(0), path, body).await;
            assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{path}");
            assert!(through.status >= 400, "{through:?}");
        }
    });
}

fn version_and_health_are_the_members(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let through = http1::get(&fixture.proxy.address, "/version").await;
        assert_eq!(through.text(), http1::get(&fixture.cluster.client(0), "/version").await.text());
        let health = http1::get(&fixture.proxy.address, "/health").await;
        assert_eq!((health.status, &health.json()["health"]), (200, &"true".into()));
    });
}

fn one_connection_carries_many_requests(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let mut connection = Connection::open(address).await.expect("a connection");
        for number in 0..200 {
            let answer =
                connection.exchange("POST", "/v3/kv/range", &[], "{\"key\":\"YQ==\"}").await;
            let answer = answer.unwrap_or_else(|error| panic!("request {number}: {error}"));
            assert_eq!(answer.status, 200);
        }
    });
}
