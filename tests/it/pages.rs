//! The proxy's own pages on client and metrics listeners, and who may fetch them: CORS and the host
//! whitelist.

use crate::support::grpc::Channel;
use crate::support::http1::{self, Answer, Connection};
use crate::support::members::{Arrival, Members, Serving, start};
use crate::support::rpc::RANGE;
use crate::support::{exclusive, port, run, shared};

/// Members that answer every request, with etcd's CORS headers.
async fn willing() -> Serving {
    Members::start(1).await.serve(async |arrival| match arrival {
        Arrival::Http1(mut exchange) => {
            let head = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nX-Member: yes\r\n";
            let _ = exchange.send(format!("{head}Content-Length: 4\r\n\r\nfine")).await;
            exchange.go_on();
        }
        Arrival::Http2(call) => call.answer(b"fine"),
        Arrival::Raw(..) => {}
    })
}

async fn ask(address: &str, method: &str, path: &str, headers: &[&str]) -> Answer {
    let mut connection = Connection::open(address).await.unwrap();
    connection.exchange(method, path, headers, "").await.unwrap()
}

#[test]
fn client_listeners_answer_the_proxys_own_paths_and_no_others() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        let get = async |path: &str| http1::get(&proxy.address, path).await;

        let page = get("/metrics").await;
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("text/plain"), "{page:?}");
        assert!(page.text().contains("etcd_proxy_build_info{"), "{}", page.text());
        assert_eq!(get("/proxy/health").await.text(), "{\"health\":\"true\"}");
        let status = get("/proxy/status").await.json();
        assert_eq!((status["version"].as_u64(), status["ready"].as_bool()), (Some(1), Some(true)));
        let list = get("/v2/config/local/proxy").await;
        let url = format!("http://{}", serving.members.address(0));
        assert_eq!(list.json(), serde_json::json!({ "endpoints": [url] }));
        for path in ["/v2/config/local/proxy", "/proxy/health", "/proxy/status"] {
            let refused = ask(&proxy.address, "PUT", path, &[]).await;
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")), "{path}");
        }
        for path in [
            "/health",
            "/version",
            "/livez",
            "/readyz",
            "/debug/pprof/profile",
            "/metrics/",
            "/proxy",
        ] {
            assert_eq!(get(path).await.header("x-member"), Some("yes"), "{path}");
        }
    });
}

#[test]
fn requests_are_counted_once_each_by_method_and_code() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for (method, status) in [("GET", 200), ("GET", 404), ("PUT", 201)] {
            let mut client = Connection::open(&proxy.address).await.unwrap();
            client.send_request(method, "/v2/keys/a", &[], "").await.unwrap();
            members.exchange().await.answer(status, "").await;
            assert_eq!(client.head().await.unwrap().status, status);
        }
        let mut client = Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "").await.unwrap();
        members.exchange().await.reset();
        let lost = client.head().await.unwrap();
        assert_eq!((lost.status, lost.header("etcd-proxy-reason")), (502, Some("connection-lost")));
        let page = http1::get(&proxy.address, "/metrics").await.text();
        for line in [
            "etcd_proxy_requests_total{method=\"GET\"} 2",
            "etcd_proxy_requests_total{method=\"PUT\"} 2",
            "etcd_proxy_handled_total{method=\"GET\",code=\"200\"} 1",
            "etcd_proxy_handled_total{method=\"GET\",code=\"404\"} 1",
            "etcd_proxy_handled_total{method=\"PUT\",code=\"201\"} 1",
            "etcd_proxy_dropped_total{method=\"PUT\",proxying_error=\"failed_getting_response\"} 1",
            "etcd_proxy_handling_duration_seconds_count{method=\"GET\"} 2",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
    });
}

#[test]
fn metrics_listeners_answer_for_the_process() {
    let _machine = exclusive();
    run(async {
        let serving = willing().await;
        let address = format!("127.0.0.1:{}", port::free());
        let url = format!("http://{address}");
        let plan =
            serving.members.plan().arguments(&["--listen-metrics-urls", &url, "--enable-pprof"]);
        let proxy = start(plan).await;
        let get = async |path: &str| http1::get(&address, path).await;
        assert!(get("/metrics").await.text().contains("etcd_proxy_"));
        assert_eq!(get("/livez").await.text(), "ok\n");
        assert_eq!(get("/readyz").await.text(), "ok\n");
        assert_eq!(get("/proxy/status").await.json()["version"], 1);
        for path in ["/proxy/health", "/v2/config/local/proxy"] {
            let (here, there) = (get(path).await, http1::get(&proxy.address, path).await);
            assert_eq!(here.text(), there.text(), "{path}");
            assert_eq!(here.header("content-type"), there.header("content-type"), "{path}");
        }
        assert_eq!(get("/v2/keys/a").await.status, 404);
        assert_eq!(ask(&address, "POST", "/metrics", &[]).await.status, 405);
        let profile = get("/debug/pprof/profile?seconds=1").await;
        assert_eq!(profile.status, 200, "{}", profile.text());
        // Gzip, as pprof expects it, or the bare protobuf, which it accepts too.
        assert!(profile.body.starts_with(&[0x1f, 0x8b]) || profile.body.starts_with(&[0x0a]));
        assert_eq!(http1::get(&proxy.address, "/livez").await.header("x-member"), Some("yes"));
    });
}

#[test]
fn readyz_fails_while_no_member_can_be_asked() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let address = format!("127.0.0.1:{}", port::free());
        let url = format!("http://{address}");
        let proxy = start(members.probing_plan().arguments(&["--listen-metrics-urls", &url])).await;
        crate::support::eventually("it is ready", crate::support::PATIENCE, async || {
            http1::get(&address, "/readyz").await.status == 200
        })
        .await;
        members.hang(0, true);
        // Nothing is probed before somebody waits.
        let clients = proxy.address.clone();
        let _waits = tokio::spawn(async move { http1::get(&clients, "/version").await });
        crate::support::eventually("it is not", crate::support::PATIENCE, async || {
            let page = http1::get(&address, "/readyz").await;
            page.status == 503 && page.text().contains("no answer within")
        })
        .await;
        assert_eq!(http1::get(&address, "/livez").await.status, 200);
        let health = http1::get(&proxy.address, "/proxy/health").await;
        assert_eq!((health.status, health.json()["health"].as_str()), (503, Some("false")));
    });
}

#[test]
fn cors_with_a_list_is_answered_here_and_by_default_by_the_member() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        let answer =
            ask(&proxy.address, "OPTIONS", "/v2/keys/a", &["Origin: http://good.test"]).await;
        assert_eq!(answer.header("x-member"), Some("yes"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));

        let proxy = start(serving.members.plan().arguments(&["--cors", "http://good.test"])).await;
        let good = ["Origin: http://good.test"];
        let preflight = ask(&proxy.address, "OPTIONS", "/v2/keys/a", &good).await;
        assert_eq!((preflight.status, preflight.header("x-member")), (200, None));
        for path in ["/v2/keys/a", "/metrics"] {
            let answer = ask(&proxy.address, "GET", path, &good).await;
            let said = |name: &str| {
                let values: Vec<_> = answer
                    .headers
                    .iter()
                    .filter(|(other, _)| other == name)
                    .map(|(_, v)| v)
                    .collect();
                assert_eq!(values.len(), 1, "{name} in {answer:?}");
                values[0].clone()
            };
            assert_eq!(said("access-control-allow-origin"), "http://good.test");
            assert_eq!(said("access-control-allow-methods"), "POST, GET, OPTIONS, PUT, DELETE");
            assert_eq!(said("access-control-allow-headers"), "accept, content-type, authorization");
            for origin in [&["Origin: http://evil.test"][..], &[]] {
                let answer = ask(&proxy.address, "GET", path, origin).await;
                assert_eq!(answer.status, 200);
                assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
            }
        }
    });
}

#[test]
fn the_host_whitelist_holds_for_http1_and_grpc_does_not_care() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let plan = serving.members.plan().arguments(&["--host-whitelist", "etcd.test,localhost"]);
        let proxy = start(plan).await;
        for (host, status) in [
            ("etcd.test", 200),
            ("ETCD.test:1", 200),
            ("localhost:2379", 200),
            ("evil.test", 421),
            ("127.0.0.1", 421),
        ] {
            let mut client = Connection::open(&proxy.address).await.unwrap();
            client.send(format!("GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.unwrap();
            assert_eq!(client.head().await.unwrap().status, status, "{host}");
        }
        let mut client = Connection::open(&proxy.address).await.unwrap();
        let absolute = "GET http://evil.test/version HTTP/1.1\r\nHost: etcd.test\r\n\r\n";
        client.send(absolute).await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 421);
        // The authority of this call is 127.0.0.1, which is not on the list. etcd does not apply
        // the list to gRPC either.
        let channel = Channel::open(&proxy.address).await.unwrap();
        assert_eq!(channel.unary_bytes(RANGE, b"").await.unwrap(), "fine");
    });
}

/// DNS rebinding: a page whose host name was made to resolve to this host still sends its own name.
#[test]
fn a_foreign_host_name_gets_none_of_the_proxys_own_pages() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let plan = serving.members.plan();
        let proxy =
            start(plan.arguments(&["--advertise-client-urls", "http://node1.test:2379"])).await;
        let status = async |host: &str, path: &str| {
            let mut connection = Connection::open(&proxy.address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            connection.send(request).await.unwrap();
            connection.head().await.unwrap()
        };
        for path in ["/metrics", "/proxy/status", "/proxy/health", "/v2/config/local/proxy"] {
            let refused = status("evil.test:2379", path).await;
            assert_eq!(refused.status, 421, "{path}");
            assert_eq!(refused.header("etcd-proxy-reason"), Some("host-not-allowed"), "{path}");
            for host in ["localhost:2379", "127.0.0.1", "[::1]:2379", "node1.test"] {
                assert_eq!(status(host, path).await.status, 200, "{host}{path}");
            }
        }
        // Members' pages are left to the member: etcd has a whitelist of its own.
        assert_eq!(status("evil.test:2379", "/version").await.status, 200);
    });
}

/// etcd's proxy measures the same: `proxy/httpproxy/reverse.go` at v3.4.23 reports before it copies
/// the body.
#[test]
fn the_duration_of_a_request_ends_with_the_head_of_its_answer() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = Connection::open(&proxy.address).await.unwrap();
        let begin = std::time::Instant::now();
        client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
        let mut exchange = members.exchange().await;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
        let head = client.head().await.unwrap();
        let until_head = begin.elapsed();
        // Twice as long, since the proxy starts its clock later than this test, by the time that
        // the request took to reach it.
        tokio::time::sleep(until_head * 2).await;
        exchange.send("late").await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"late");
        let name = "etcd_proxy_handling_duration_seconds_sum{method=\"GET\"} ";
        let page = http1::get(&proxy.address, "/metrics").await.text();
        let sum = page.lines().find_map(|line| line.strip_prefix(name)).expect("the sum");
        let measured: f64 = sum.parse().unwrap();
        assert!(measured <= until_head.as_secs_f64(), "{measured} > {until_head:?}");
    });
}
