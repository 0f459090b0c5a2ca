//! Writes that do not look like writes, or that a proxy and a member could parse differently.

use std::time::Duration;

use prost::Message;

use super::Fixture;
use crate::fixture::on_each_generation;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::http1::Connection;
use crate::support::load::base64;
use crate::support::rpc::PutRequest;
use crate::support::{run, shared};

on_each_generation!(
    a_path_that_means_put_after_cleaning_does_not_pass,
    a_grpc_path_that_is_not_exact_does_not_pass,
    a_websocket_cannot_write,
    a_request_within_a_request_is_not_run,
    headers_that_rename_the_method_change_nothing,
    grpc_over_http1_and_other_content_types_write_nothing,
);

fn put_body() -> String {
    format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", base64(b"kept"), base64(b"changed"))
}

/// Sends bytes on a new connection and returns what arrives within 200 ms, or until the connection
/// is closed.
async fn raw(fixture: &Fixture, bytes: String) -> String {
    let mut connection = Connection::open(&fixture.proxy.address).await.expect("a connection");
    connection.send(bytes).await.expect("sent");
    let mut text = Vec::new();
    let answers = async {
        while let Ok(byte) = connection.exactly(1).await {
            text.extend(byte);
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(200), answers).await;
    String::from_utf8_lossy(&text).into_owned()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: etcd.test\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn no_success(what: &str, answer: &str) {
    assert!(
        !answer.starts_with("HTTP/1.1 2") && !answer.contains("HTTP/1.1 101"),
        "{what}: {answer}"
    );
}

fn a_path_that_means_put_after_cleaning_does_not_pass(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        for path in [
            "/v3/kv/%70ut",
            "/%76%33/kv/put",
            "/v3%2fkv%2fput",
            "//v3/kv/put",
            "/v3//kv/put",
            "/v3/kv//put",
            "/v3/./kv/put",
            "/v3/kv/range/../put",
            "/v3/kv/range%2f..%2fput",
            "/v3/kv/put/",
            "/v3/kv/put;x",
            "/v3/kv/put;/kv/range",
            "/v3/kv/put?x=/v3/kv/range",
            "/v3/kv/put#/v3/kv/range",
            "/V3/KV/PUT",
            "/v3/kv/put%20",
            "/v3/kv/put%00",
            "http://etcd.test/v3/kv/put",
            "/v2/../v3/kv/put",
        ] {
            for method in ["POST", "GET", "PUT"] {
                let answer = raw(fixture, request(method, path, "", &put_body())).await;
                no_success(&format!("{method} {path}"), &answer);
            }
        }
    });
    fixture.is_unchanged();
}

fn a_grpc_path_that_is_not_exact_does_not_pass(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let put = PutRequest::new("kept", "changed").encode_to_vec();
        for path in [
            "/etcdserverpb.KV/Put?x=1",
            "//etcdserverpb.KV/Put",
            "/etcdserverpb.KV//Put",
            "/etcdserverpb.KV/%50ut",
            "/etcdserverpb.KV/put",
            "/etcdserverpb.KV/Put/",
            "/etcdserverpb.KV/Range/../Put",
            "/./etcdserverpb.KV/Put",
        ] {
            channel.unary_bytes(path, &put).await.expect_err(path);
        }
    });
    fixture.is_unchanged();
}

fn a_websocket_cannot_write(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n";
    let body = put_body();
    let frame =
        [&[0x81, 0x80 | u8::try_from(body.len()).expect("short"), 0, 0, 0, 0], body.as_bytes()]
            .concat();
    let frame = String::from_utf8_lossy(&frame).into_owned();
    run(async {
        for path in [
            "/v3/kv/put",
            "/v3/kv/put?method=POST",
            "/v3/kv/txn",
            "/v3beta/kv/put",
            "/v3/lease/keepalive",
        ] {
            // The frame follows the head at once, as if the upgrade had been granted.
            let head = format!("GET {path} HTTP/1.1\r\nHost: etcd.test\r\n{upgrade}\r\n");
            let answer = raw(fixture, format!("{head}{frame}")).await;
            no_success(path, &answer);
        }
        let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        let answer =
            raw(fixture, format!("GET /version HTTP/1.1\r\nHost: etcd.test\r\n{h2c}\r\n")).await;
        assert!(!answer.contains(" 101 "), "{answer}");
    });
    fixture.is_unchanged();
}

fn a_request_within_a_request_is_not_run(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let write = request("POST", "/v3/kv/put", "", &put_body());
    let v2_write = request("PUT", "/v2/keys/kept", "", "value=changed");
    let post = "POST /v3/kv/range HTTP/1.1\r\nHost: etcd.test\r\n";
    run(async {
        for write in [write, v2_write] {
            let length = write.len();
            for wrapped in [
                format!(
                    "{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{write}"
                ),
                format!(
                    "{post}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{write}"
                ),
                format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{write}"),
                format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{write}"),
                format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{write}"),
                format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}{write}"),
                format!("{post}Content-Length: +2\r\n\r\n{{}}{write}"),
                format!("GET /version HTTP/1.1\r\nHost: etcd.test\r\n\r\n{write}"),
                format!(
                    "GET /version HTTP/1.1\r\nHost: etcd.test\r\nContent-Length: {length}\r\n\r\n{write}"
                ),
                format!(
                    "PUT /v2/keys/kept HTTP/1.1\r\nHost: etcd.test\r\nContent-Length: {length}\r\n\r\n{write}"
                ),
                format!(
                    "PUT /v2/keys/kept HTTP/1.1\r\nHost: etcd.test\r\nExpect: 100-continue\r\n\
                         Content-Length: {length}\r\n\r\n{write}"
                ),
            ] {
                raw(fixture, wrapped).await;
            }
        }
    });
    fixture.is_unchanged();
}

fn headers_that_rename_the_method_change_nothing(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        for header in [
            "X-HTTP-Method-Override: POST\r\n",
            "X-HTTP-Method-Override: PUT\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            "X-Original-URL: /v3/kv/put\r\n",
            "Grpc-Metadata-Path: /etcdserverpb.KV/Put\r\n",
        ] {
            for path in ["/v3/kv/put", "/v2/keys/kept"] {
                raw(fixture, request("GET", path, header, &put_body())).await;
            }
        }
        for method in ["CONNECT", "TRACE", "MKCOL", "get", "post", "put"] {
            let answer = raw(fixture, request(method, "/v3/kv/put", "", &put_body())).await;
            no_success(method, &answer);
        }
    });
    fixture.is_unchanged();
}

fn grpc_over_http1_and_other_content_types_write_nothing(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let put = PutRequest::new("kept", "changed").encode_to_vec();
    let length = u8::try_from(put.len()).expect("a short message");
    let frame = [&[0, 0, 0, 0, length][..], &put].concat();
    let frame = String::from_utf8_lossy(&frame).into_owned();
    run(async {
        for kind in ["application/grpc", "application/grpc-web", "application/json", "text/plain"] {
            let header = format!("Content-Type: {kind}\r\nTE: trailers\r\n");
            let answer =
                raw(fixture, request("POST", "/etcdserverpb.KV/Put", &header, &frame)).await;
            no_success(kind, &answer);
            let answer = raw(fixture, request("POST", "/v3/kv/put", &header, &put_body())).await;
            no_success(kind, &answer);
        }
        h2_with_other_content_types(fixture, &put).await;
    });
    fixture.is_unchanged();
}

/// Sends JSON, and gRPC with another content type, over HTTP/2.
async fn h2_with_other_content_types(fixture: &Fixture, put: &[u8]) {
    let stream =
        tokio::net::TcpStream::connect(&fixture.proxy.address).await.expect("a connection");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let frame = [&[0, 0, 0, 0, u8::try_from(put.len()).expect("short")][..], put].concat();
    for (path, kind, body) in [
        ("/v3/kv/put", "application/json", put_body().into_bytes()),
        ("/v3/kv/put", "application/grpc", put_body().into_bytes()),
        ("/etcdserverpb.KV/Put", "application/json", frame.clone()),
        ("/etcdserverpb.KV/Put", "application/grpc+proto", frame.clone()),
        ("/etcdserverpb.KV/Put", "application/grpc;x", frame),
    ] {
        let uri = format!("http://{}{path}", fixture.proxy.address);
        let request =
            http::Request::post(uri).header("content-type", kind).body(()).expect("a request");
        let mut ready = send.clone().ready().await.expect("a connection that lives on");
        let (response, mut sending) = ready.send_request(request, false).expect("sent");
        let _ = sending.send_data(bytes::Bytes::from(body), true);
        if let Ok(response) = response.await {
            let refused = response.status() != 200
                || response.headers().get("grpc-status").is_some_and(|status| status != "0");
            assert!(refused, "{path} as {kind}: {response:?}");
        }
    }
}
