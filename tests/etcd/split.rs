//! Members that speak gRPC on one port and HTTP on another (`--listen-client-http-urls`). Of the
//! versions of etcd that are installed here, 3.6 and 3.7 have the flag. 3.4 and 3.5 got it in
//! 3.4.25 and 3.5.8, which are not installed.

use crate::fixture::on_generations;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::http1;
use crate::support::load::base64;
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, Done, PutRequest, RangeRequest, RangeResponse};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually, run, shared};
use crate::tls::towards;

on_generations!(
    [on_3_6 V3_6, on_3_7 V3_7]
    with_both_urls_advertised_everything_works_and_nobody_is_unhealthy,
    with_grpc_urls_alone_http_is_refused_clearly_and_grpc_notices_nothing,
);

/// Runs `check` with three members, without TLS and with it, and with daemons that probe and that
/// do not.
fn each_way(generation: Generation, both_urls: bool, check: impl Fn(&Cluster, &Proxy, bool)) {
    for secured in [false, true] {
        let planned = Cluster::planned(generation, 3);
        let planned = if secured { planned.secured(&Authority::new("members")) } else { planned };
        let cluster = planned.split(both_urls);
        cluster.start_all();
        for interval in ["1s", "0"] {
            // Three members with TLS are slow on a busy machine, which must not matter in these
            // tests.
            let patient = ["--health-timeout", "10s", "--proxy-dial-timeout", "10000"];
            let plan = Proxy::before(&cluster).arguments(&patient);
            let plan = plan.arguments(&["--health-interval", interval]);
            let proxy = if secured { towards(&cluster, plan) } else { plan }.start();
            check(&cluster, &proxy, interval == "1s");
        }
    }
}

async fn member_of(channel: &Channel) -> u64 {
    let range = channel.unary::<RangeResponse>(rpc::RANGE, &RangeRequest::key("split/a")).await;
    range.unwrap_or_else(|failure| panic!("{failure}")).header.expect("a header").member_id
}

async fn is_well(proxy: &Proxy, urls: usize) {
    assert_eq!(http1::get(&proxy.address, "/proxy/health").await.status, 200);
    eventually("every URL is healthy", PATIENCE, async || {
        let known = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
        known["endpoints"].as_array().map(Vec::len) == Some(urls)
    })
    .await;
}

fn with_both_urls_advertised_everything_works_and_nobody_is_unhealthy(generation: Generation) {
    let _machine = shared();
    each_way(generation, true, |_, proxy, probed| {
        let address = &proxy.address;
        run(async {
            if probed {
                is_well(proxy, 6).await;
            }
            // The first request is a write: it must not be lost at a listener that does not speak
            // HTTP.
            let key = base64(b"split/a");
            let put = format!("{{\"key\":\"{key}\",\"value\":\"{key}\"}}");
            for _ in 0..4 {
                let answer = http1::post(address, "/v3/kv/put", &put).await;
                assert_eq!(answer.status, 200, "{} {}", answer.text(), proxy.story());
            }
            if !probed {
                // Without probes nobody has found out which URLs speak gRPC; a read does.
                let channel = Channel::open(address).await.expect("a connection");
                member_of(&channel).await;
            }
            let channel = Channel::open(address).await.expect("a connection");
            let member = member_of(&channel).await;
            for _ in 0..4 {
                assert_eq!(http1::get(address, "/version").await.status, 200);
                channel
                    .unary::<Done>(rpc::PUT, &PutRequest::new("split/a", "v"))
                    .await
                    .unwrap_or_else(|failure| panic!("{failure}"));
                assert_eq!(member_of(&channel).await, member, "the client was sent elsewhere");
            }
            if probed {
                is_well(proxy, 6).await;
                let status = http1::get(address, "/proxy/status").await.json();
                assert_eq!(status["problems"], serde_json::json!([]), "{status}");
            }
        });
    });
}

fn with_grpc_urls_alone_http_is_refused_clearly_and_grpc_notices_nothing(generation: Generation) {
    let _machine = shared();
    each_way(generation, false, |_, proxy, _| {
        let address = &proxy.address;
        run(async {
            let channel = Channel::open(address).await.expect("a connection");
            let member = member_of(&channel).await;
            let put = "{\"key\":\"YQ==\",\"value\":\"YQ==\"}";
            for _ in 0..2 {
                for (method, path, body) in [
                    ("GET", "/version", ""),
                    ("POST", "/v3/kv/put", put),
                    ("POST", "/v3/watch", "{}"),
                ] {
                    let answer = http1::request(address, method, path, body).await.expect("one");
                    assert_eq!(answer.status, 502, "{path}: {}", answer.text());
                    assert_eq!(answer.header("etcd-proxy-reason"), Some("no-http"), "{path}");
                    assert!(answer.text().contains("listen-client-http-urls"), "{}", answer.text());
                }
                assert_eq!(member_of(&channel).await, member, "the client was sent elsewhere");
            }
            is_well(proxy, 3).await;
        });
    });
}
