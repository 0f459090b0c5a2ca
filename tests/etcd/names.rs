//! Members that advertise host names, and a DNS that fails.

use std::net::UdpSocket;

use crate::support::cluster::Cluster;
use crate::support::dns::Dns;
use crate::support::generation::Generation;
use crate::support::proxy::Proxy;
use crate::support::{http1, run, shared, wait_until};

const GENERATION: Generation = Generation::V3_5;

const HOST: &str = "host-record=infra0.example.test,127.0.0.1";

/// Starts a cluster whose member advertises `infra0.example.test`.
fn named() -> Cluster {
    let cluster = Cluster::planned(GENERATION, 1);
    let client = format!("http://infra0.example.test:{}", port_of(&cluster.client(0)));
    let cluster = cluster.advertising(0, &client);
    cluster.start_all();
    cluster
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn the_last_good_addresses_serve_while_the_dns_is_away() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let Some(dns) = Dns::start(&[HOST.to_owned()]) else { return };
    let cluster = named();
    let plan = Proxy::before(&cluster).resolver(&dns.resolver());
    let often = ["--proxy-refresh-interval", "300", "--health-interval", "200"];
    let proxy = plan.arguments(&often).start();
    proxy.etcdctl(GENERATION).run(&["put", "with", "dns"]);
    assert!(proxy.command(&["status"]).1, "{}", proxy.command(&["status"]).0);
    // No connection survives this, so the name has to be looked up again.
    dns.stop();
    cluster.kill(0);
    let told = |words: &str| {
        // The name is looked up again for whoever needs the member.
        let _ = run(http1::request(&proxy.address, "GET", "/version", ""));
        let (status, well) = proxy.command(&["status"]);
        !well && status.contains(words) && status.contains("using the addresses it had last")
    };
    wait_until("the failure is reported", || told("infra0.example.test: host lookup failed: "));
    cluster.restart(0);
    let is_healthy = || proxy.status()["members"][0]["endpoints"][0]["healthy"] == true;
    wait_until("the member is healthy again", is_healthy);
    proxy.etcdctl(GENERATION).run(&["put", "without", "dns"]);
    // The last addresses are also used when the name no longer exists.
    dns.answer(&[]);
    cluster.kill(0);
    wait_until("the failure is reported", || told("infra0.example.test: host not found"));
    cluster.restart(0);
    wait_until("the member is healthy again", is_healthy);
    proxy.etcdctl(GENERATION).run(&["put", "without", "record"]);
    // The next connection finds that the lookup works again.
    dns.answer(&[HOST.to_owned()]);
    cluster.kill(0);
    cluster.restart(0);
    let serves = || proxy.etcdctl(GENERATION).try_run(&["put", "with", "record"]).is_ok();
    wait_until("the member serves again", serves);
    wait_until("nothing is wrong", || proxy.command(&["status"]).1);
}

#[test]
fn a_dead_first_nameserver_costs_time_and_no_request() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let Some(dns) = Dns::start(&[HOST.to_owned()]) else { return };
    let cluster = named();
    // A name server that receives queries and never answers.
    let dead = (1..=200).find_map(|n| UdpSocket::bind((format!("127.9.{n}.1").as_str(), 53)).ok());
    let dead = dead.expect("a free address");
    let servers = std::fs::read_to_string(dns.resolver()).expect("a resolv.conf");
    let servers = servers.replace("timeout:1", "timeout:3");
    let dead_first = format!("nameserver {}\n{servers}", dead.local_addr().expect("bound").ip());
    std::fs::write(dns.resolver(), dead_first).expect("a resolv.conf");
    // Three seconds are more than proxy-dial-timeout and less than the limit of a lookup.
    let proxy = Proxy::before(&cluster).resolver(&dns.resolver()).start();
    proxy.etcdctl(GENERATION).run(&["put", "late", "1"]);
    proxy.etcdctl(GENERATION).run(&["put", "late", "2"]);
    wait_until("the member is healthy", || {
        proxy.status()["members"][0]["endpoints"][0]["healthy"] == true
    });
}

#[test]
fn a_name_that_was_never_known_is_told_at_once() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let Some(dns) = Dns::start(&[]) else { return };
    let cluster = named();
    dns.stop();
    let proxy = Proxy::before(&cluster).resolver(&dns.resolver()).spawn();
    wait_until("the failing lookup is a problem", || {
        proxy.command(&["status"]).0.contains("PROBLEM")
            && proxy.command(&["status"]).0.contains("infra0.example.test: host lookup failed")
    });
}

#[test]
fn peers_are_written_in_any_case_and_with_a_zone() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let port = port_of(&cluster.peer_url(0));
    let shouted = format!("A=HTTP://LOCALHOST:{port}");
    let proxy = Proxy::with_peers(&shouted).start();
    proxy.etcdctl(GENERATION).run(&["put", "in", "capitals"]);
    assert_eq!(proxy.status()["peers"][0]["url"], format!("http://localhost:{port}"));
    let zoned = format!("{shouted},B=http://[fe80::1%25nosuch0]:{port}");
    let often = ["--proxy-refresh-interval", "200"];
    let proxy = Proxy::with_peers(&zoned).arguments(&often).spawn();
    proxy.wait_until_ready();
    cluster.kill(0);
    wait_until("the missing interface is named", || {
        let (status, well) = proxy.command(&["status"]);
        !well && status.contains("this host has no network interface \"nosuch0\"")
    });
}
