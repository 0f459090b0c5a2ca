//! Transactions that hide a write in unusual protobuf or JSON.

use super::Fixture;
use crate::fixture::on_each_generation;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::load::base64;
use crate::support::rpc::{self, Fields};
use crate::support::{http1, run, shared};

on_each_generation!(
    no_protobuf_transaction_writes,
    no_json_transaction_writes,
    a_transaction_after_another_in_one_stream_is_not_run,
    a_compressed_transaction_is_refused,
    a_transaction_in_pieces_is_judged_whole,
);

fn range() -> Fields {
    Fields::new().message(1, &Fields::new().text(1, "kept"))
}

fn put() -> Fields {
    Fields::new().text(1, "kept").text(2, "changed")
}

/// Encodes a length-delimited field whose tag has more bytes than it needs.
fn long_tag(tag: u8, inner: &Fields) -> Vec<u8> {
    let length = u8::try_from(inner.bytes().len()).expect("a short message");
    [&[tag << 3 | 2 | 0x80, 0x80, 0, length][..], inner.bytes()].concat()
}

fn protobuf_writes() -> Vec<(&'static str, Vec<u8>)> {
    let put_operation = Fields::new().message(2, &put());
    let delete = Fields::new().message(3, &Fields::new().text(1, "kept"));
    let success = |operation: &Fields| Fields::new().message(2, operation);
    let both = Fields::new().message(1, &Fields::new().text(1, "kept")).message(2, &put());
    let other_way = Fields::new().message(2, &put()).message(1, &Fields::new().text(1, "kept"));
    let nested = |inner: &Fields| Fields::new().message(4, inner);
    let mut deep = success(&put_operation);
    for _ in 0..20 {
        deep = success(&nested(&deep));
    }
    let merged = Fields::new().message(4, &success(&range())).message(4, &success(&put_operation));
    let long = Fields::new().text(2, long_tag(2, &put()));
    vec![
        ("put", success(&put_operation).bytes().to_vec()),
        ("delete", success(&delete).bytes().to_vec()),
        ("put in the other branch", Fields::new().message(3, &put_operation).bytes().to_vec()),
        ("range first", success(&range()).message(2, &put_operation).bytes().to_vec()),
        ("range and put in one operation", success(&both).bytes().to_vec()),
        ("put and range in one operation", success(&other_way).bytes().to_vec()),
        ("nested", success(&nested(&success(&put_operation))).bytes().to_vec()),
        (
            "nested in the other branch",
            success(&nested(&Fields::new().message(3, &delete))).bytes().to_vec(),
        ),
        ("nested deep", deep.bytes().to_vec()),
        ("nested twice, to be merged", success(&merged).bytes().to_vec()),
        ("a long tag", long.bytes().to_vec()),
        ("a long tag outside", long_tag(2, &put_operation)),
        ("an unknown field", success(&put_operation).number(99, 1).bytes().to_vec()),
    ]
}

fn no_protobuf_transaction_writes(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        for (what, request) in protobuf_writes() {
            let failure = channel.unary_bytes(rpc::TXN, &request).await.expect_err(what);
            assert!(matches!(failure.code(), Some(12 | 3)), "{what}: {failure}");
        }
    });
    fixture.is_unchanged();
}

fn json_writes() -> Vec<String> {
    let (key, value) = (base64(b"kept"), base64(b"changed"));
    let put = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    let range = format!("{{\"request_range\":{{\"key\":\"{key}\"}}}}");
    let mut writes = Vec::new();
    for name in [
        "request_put",
        "requestPut",
        "Request_Put",
        "REQUEST_PUT",
        "request\\u005fput",
        "\\u0072equestPut",
    ] {
        writes.push(format!("{{\"success\":[{{\"{name}\":{put}}}]}}"));
        writes.push(format!("{{\"failure\":[{{\"{name}\":{put}}}]}}"));
        writes.push(format!("{{\"success\":[{range},{{\"{name}\":{put}}}]}}"));
        for txn in ["request_txn", "requestTxn"] {
            writes.push(format!(
                "{{\"success\":[{{\"{txn}\":{{\"success\":[{{\"{name}\":{put}}}]}}}}]}}"
            ));
        }
    }
    writes.push(format!("{{\"success\":[{{\"request_delete_range\":{{\"key\":\"{key}\"}}}}]}}"));
    writes.push(format!("{{\"success\":[{{\"requestDeleteRange\":{{\"key\":\"{key}\"}}}}]}}"));
    // A parser that keeps the first or the last of two equal names would see only a read.
    writes.push(format!("{{\"success\":[{range}],\"success\":[{{\"request_put\":{put}}}]}}"));
    writes.push(format!("{{\"success\":[{{\"request_put\":{put}}}],\"success\":[{range}]}}"));
    writes.push(format!("{{\"success\":[],\"Success\":[{{\"request_put\":{put}}}]}}"));
    writes.push(format!("{{\"success\":[{range}]}}{{\"success\":[{{\"request_put\":{put}}}]}}"));
    writes.push(format!("{{}} {{\"success\":[{{\"request_put\":{put}}}]}}"));
    writes.push(format!(
        "{{\"success\":[{{\"request_range\":{{\"key\":\"{key}\"}},\"request_put\":{put}}}]}}"
    ));
    writes.push(format!("{{\"success\":{{\"request_put\":{put}}}}}"));
    writes.push(format!("\u{feff}{{\"success\":[{{\"request_put\":{put}}}]}}"));
    writes
}

fn no_json_transaction_writes(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        for prefix in ["/v3", "/v3beta", "/v3alpha"] {
            for body in json_writes() {
                let answer =
                    http1::post(&fixture.proxy.address, &format!("{prefix}/kv/txn"), &body).await;
                assert!(answer.status >= 400, "{body}: {answer:?}");
            }
        }
    });
    fixture.is_unchanged();
    run(async {
        let key = base64(b"kept");
        let read = format!("{{\"success\":[{{\"requestRange\":{{\"key\":\"{key}\"}}}}]}}");
        let answer = http1::post(&fixture.proxy.address, "/v3/kv/txn", &read).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}

fn a_transaction_after_another_in_one_stream_is_not_run(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let write = Fields::new().message(2, &Fields::new().message(2, &put()));
        let mut call = channel.call(rpc::TXN).await.expect("a call");
        call.send_bytes(Fields::new().message(2, &range()).bytes(), false).expect("sent");
        let _ = call.send_bytes(write.bytes(), true);
        while let Ok(Some(_)) = call.next_bytes().await {}
    });
    fixture.is_unchanged();
}

fn a_compressed_transaction_is_refused(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let channel = channel.with("grpc-encoding", "gzip");
        let mut call = channel.call(rpc::TXN).await.expect("a call");
        let write = Fields::new().message(2, &Fields::new().message(2, &put()));
        let length = u8::try_from(write.bytes().len()).expect("a short message");
        let frame = [&[1, 0, 0, 0, length][..], write.bytes()].concat();
        call.send_raw(&frame, true).expect("sent");
        call.next_bytes().await.expect_err("a compressed transaction");
    });
    fixture.is_unchanged();
}

fn a_transaction_in_pieces_is_judged_whole(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let write =
            Fields::new().message(2, &range()).message(2, &Fields::new().message(2, &put()));
        let length = u8::try_from(write.bytes().len()).expect("a short message");
        let frame = [&[0, 0, 0, 0, length][..], write.bytes()].concat();
        let mut call = channel.call(rpc::TXN).await.expect("a call");
        for (index, byte) in frame.iter().enumerate() {
            call.send_raw(&[*byte], index + 1 == frame.len()).expect("sent");
            tokio::task::yield_now().await;
        }
        let failure = call.next_bytes().await.expect_err("a write");
        assert_eq!(failure.code(), Some(12), "{failure}");
    });
    fixture.is_unchanged();
}
