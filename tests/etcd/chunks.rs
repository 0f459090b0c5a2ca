//! Clients that parse a stream chunk by chunk, as etcd3gw does: each message of a member must
//! arrive as one chunk.

use crate::fixture::{Fixture, on_each_generation, on_generations_with_v2};
use crate::support::generation::Generation;
use crate::support::http1::Connection;
use crate::support::load::base64;
use crate::support::tls::Dialer;
use crate::support::{run, shared};
use crate::tls::TlsFixture;

on_each_generation!(each_event_of_a_json_watch_is_one_chunk);

on_generations_with_v2!(each_event_of_a_v2_stream_is_one_chunk);

/// The sizes of the values, in the order of their writes.
fn sizes() -> impl Iterator<Item = usize> {
    std::iter::repeat_n(10_000, 40).chain(std::iter::repeat_n(60_000, 20)).chain([1_500_000])
}

/// Returns daemons in front of members without TLS and with it.
fn ways(generation: Generation) -> Vec<(&'static str, &'static str, Dialer)> {
    let mut ways = vec![("http", &*Fixture::shared(generation).proxy.address, Dialer::plain())];
    for way in TlsFixture::shared(generation).ways() {
        ways.push((way.name, &way.proxy.address, way.dialer));
    }
    ways
}

/// Parses each chunk by itself until one has come for each of `sizes`. Some versions of etcd send a
/// newline as a chunk of its own.
async fn read_each(
    watch: &mut Connection,
    way: &str,
    events: impl Fn(&serde_json::Value) -> usize,
) {
    let (mut seen, most) = (0, sizes().count());
    while seen < most {
        let chunk = watch.chunk().await.expect("a chunk").expect("no end");
        if chunk.trim_ascii().is_empty() {
            continue;
        }
        let message = serde_json::from_slice(&chunk);
        seen += events(&message.unwrap_or_else(|error| {
            panic!("{way}: after {seen} events a chunk of {} bytes: {error}", chunk.len())
        }));
    }
}

fn each_event_of_a_json_watch_is_one_chunk(generation: Generation) {
    let _machine = shared();
    for (way, address, dialer) in ways(generation) {
        run(async {
            let key = base64(format!("chunks/{way}").as_bytes());
            let mut watch = Connection::open_by(&dialer, address).await.expect("a connection");
            let create = format!("{{\"create_request\":{{\"key\":\"{key}\"}}}}");
            watch.send_request("POST", "/v3/watch", &[], &create).await.expect("sent");
            watch.head().await.expect("a head");
            watch.chunk().await.expect("a chunk").expect("no end");
            let write = async {
                let mut writer = Connection::open_by(&dialer, address).await.expect("connected");
                for size in sizes() {
                    let value = base64(&vec![b'x'; size]);
                    let put = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
                    let answer = writer.exchange("POST", "/v3/kv/put", &[], &put).await;
                    assert_eq!(answer.expect("an answer").status, 200);
                }
            };
            let read = read_each(&mut watch, way, |message| {
                message["result"]["events"].as_array().map_or(0, Vec::len)
            });
            tokio::join!(write, read);
        });
    }
}

fn each_event_of_a_v2_stream_is_one_chunk(generation: Generation) {
    let _machine = shared();
    for (way, address, dialer) in ways(generation) {
        run(async {
            let directory = format!("/v2/keys/chunks-{}", way.replace(' ', "-"));
            let mut watch = Connection::open_by(&dialer, address).await.expect("a connection");
            let path = format!("{directory}?wait=true&stream=true&recursive=true");
            watch.send_request("GET", &path, &[], "").await.expect("sent");
            watch.head().await.expect("a head");
            let write = async {
                let mut writer = Connection::open_by(&dialer, address).await.expect("connected");
                let form = ["Content-Type: application/x-www-form-urlencoded"];
                for size in sizes() {
                    let value = format!("value={}", "x".repeat(size));
                    let answer = writer.exchange("POST", &directory, &form, &value).await;
                    assert_eq!(answer.expect("an answer").status, 201);
                }
            };
            let read =
                read_each(&mut watch, way, |message| usize::from(message["node"].is_object()));
            tokio::join!(write, read);
        });
    }
}
