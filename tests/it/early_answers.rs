//! The proxy's early answers to requests with a body reach clients that send the whole body before
//! they read.

use std::process::Command;

use crate::support::http2::{Connection, whole};
use crate::support::members::{Members, start};
use crate::support::rpc::PUT;
use crate::support::{http1, run, shared};

/// Runs curl several times. Returns its exit status and the HTTP status of each run.
async fn curl(address: &str, arguments: &[&str], body: usize) -> Vec<(Option<i32>, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; body]).unwrap();
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code}", "--request", "PUT"]).args(arguments);
    command.arg("--data-binary").arg(format!("@{}", file.path().display()));
    command.arg(format!("http://{address}/v2/keys/a"));
    tokio::task::spawn_blocking(move || {
        let _file = file;
        let once = |_| {
            let output = command.output().expect("curl");
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        (0..20).map(once).collect()
    })
    .await
    .unwrap()
}

#[test]
fn curl_gets_the_refusal_of_a_write_whatever_the_protocol_and_size() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = start(members.plan().mode("readonly")).await;
        for protocol in ["--http2-prior-knowledge", "--http1.1"] {
            for size in [10, 100_000, 1_000_000] {
                let seen = curl(&proxy.address, &[protocol], size).await;
                let wrong = seen.iter().filter(|seen| **seen != (Some(0), "501".to_owned()));
                let wrong: Vec<_> = wrong.collect();
                assert!(wrong.is_empty(), "{protocol} {size}: {wrong:?}");
            }
        }
    });
}

#[test]
fn a_refused_request_that_is_too_large_to_be_read_is_answered_before_its_connection_ends() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = start(members.plan().mode("readonly")).await;
        let seen = curl(&proxy.address, &["--http1.1", "--header", "Expect:"], 6_000_000).await;
        assert!(seen.iter().all(|(_, status)| status == "501"), "{seen:?}");
    });
}

#[test]
fn a_stream_that_is_refused_is_not_reset_after_a_body_of_a_megabyte() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = start(members.plan().mode("readonly")).await;
        let client = Connection::open(&proxy.address).await;
        let head = [("content-type", "application/grpc"), ("te", "trailers")];
        let (response, mut stream) = client.request("POST", PUT, &head, false).await;
        stream.reserve_capacity(1 << 20);
        let sent = tokio::spawn(async move {
            for left in (0..16).rev() {
                // Fails if the stream was reset.
                stream.send_data(bytes::Bytes::from(vec![0; 1 << 16]), left == 0).unwrap();
                tokio::task::yield_now().await;
            }
        });
        let answer = whole(response).await.unwrap();
        assert_eq!(answer.headers["grpc-status"], "12");
        sent.await.unwrap();
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        // The connection is kept and takes the next request.
        for _ in 0..2 {
            let answer = client.exchange("PUT", "/v2/keys/a", &[], &"x".repeat(1_000_000)).await;
            assert_eq!(answer.unwrap().status, 501);
        }
    });
}
