//! A proxy refuses at once to send a request to itself, and without any load.

use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, RangeRequest, RangeResponse};
use crate::support::{PATIENCE, exclusive, http1, meter, run};

on_each_generation!(
    members_that_advertise_the_proxy_are_not_called,
    a_member_that_advertises_the_proxy_beside_itself_is_called_itself,
);

fn members_that_advertise_the_proxy_are_not_called(generation: Generation) {
    let _machine = exclusive();
    for host in ["127.0.0.1", "localhost"] {
        let cluster = Cluster::planned(generation, 1);
        let plan = Proxy::before(&cluster);
        let port = plan.address().rsplit_once(':').expect("a port").1.to_owned();
        let cluster = cluster.advertising(0, &format!("http://{host}:{port}"));
        cluster.start_all();
        // It does not become ready, since it has nobody to ask.
        let proxy = plan.spawn();
        run(proxy.wait_until_open());
        let dropped = format!("url=http://{host}:{port} reason=");
        assert!(proxy.process.wait_for_line(&dropped, PATIENCE).is_some(), "{}", proxy.story());
        let refusals = refusals(&proxy);
        assert_eq!(refusals.0, 503, "{host}");
    }
}

fn a_member_that_advertises_the_proxy_beside_itself_is_called_itself(generation: Generation) {
    let _machine = exclusive();
    let cluster = Cluster::planned(generation, 1);
    let plan = Proxy::before(&cluster);
    let both = format!("http://{},http://{}", plan.address(), cluster.client(0));
    let cluster = cluster.advertising(0, &both);
    cluster.start_all();
    let proxy = plan.start();
    proxy.etcdctl(generation).run(&["put", "beside", "itself"]);
}

/// Each proxy takes the other for the only member of its cluster.
#[test]
fn two_proxies_in_a_circle_refuse_at_the_first_return() {
    let _machine = exclusive();
    let (first_peer, second_peer) = (Peer::start(Reply::Never), Peer::start(Reply::Never));
    // A request waits this long while neither proxy can prove its cluster.
    let wait = ["--health-timeout", "200ms"];
    let first = Proxy::with_peers(&format!("a={}", first_peer.url)).arguments(&wait);
    let second = Proxy::with_peers(&format!("b={}", second_peer.url)).arguments(&wait);
    first_peer.set(only_member(&second.address(), &first_peer.url));
    second_peer.set(only_member(&first.address(), &second_peer.url));
    let (first, second) = (first.start(), second.start());
    for proxy in [&first, &second] {
        let (http, grpc) = refusals(proxy);
        assert!(http == 508 || http == 503, "HTTP status {http}");
        assert!(grpc == 9 || grpc == 14, "gRPC status {grpc}");
    }
}

fn only_member(client: &str, peer: &str) -> Reply {
    let list = format!(
        "[{{\"id\":7,\"peerURLs\":[\"{peer}\"],\"name\":\"m\",\"clientURLs\":[\"http://{client}\"]}}]"
    );
    Reply::members("7", &list)
}

/// Sends requests that must all be refused at once. Returns the HTTP and gRPC status of the
/// refusals.
fn refusals(proxy: &Proxy) -> (u16, u32) {
    let (processor, descriptors) =
        (meter::processor_ms(proxy.process.pid()), meter::descriptors(proxy.process.pid()));
    let begin = Instant::now();
    let statuses = run(async {
        let mut http = 0;
        for _ in 0..20 {
            let begin = Instant::now();
            let answer = http1::post(&proxy.address, "/v3/kv/range", "{\"key\":\"YQ==\"}").await;
            assert!(answer.status >= 500, "{answer:?}");
            http = http1::get(&proxy.address, "/v2/keys/a").await.status;
            assert!(
                begin.elapsed() < Duration::from_secs(1),
                "two refusals took {:?}",
                begin.elapsed()
            );
        }
        let channel = Channel::open(&proxy.address).await.expect("a connection");
        let failure = channel.unary::<RangeResponse>(rpc::RANGE, &RangeRequest::key("a")).await;
        let failure = failure.expect_err("nobody can answer");
        (http, failure.code().unwrap_or_else(|| panic!("{failure}")))
    });
    // Nothing must be going on when no client asks, either.
    std::thread::sleep(Duration::from_secs(2));
    let used = meter::processor_ms(proxy.process.pid()) - processor;
    println!("{used} ms of processor time in {:?}", begin.elapsed());
    assert!(used < 700, "{used} ms of processor time in {:?}", begin.elapsed());
    assert!(meter::descriptors(proxy.process.pid()) < descriptors + 20);
    statuses
}
