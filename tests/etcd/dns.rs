//! Peers named by SRV records of a real DNS server.

use crate::support::cluster::Cluster;
use crate::support::dns::Dns;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::settings_file::Way;
use crate::support::{PATIENCE, beside_others, wait_until};

const GENERATION: Generation = Generation::V3_5;

fn proxy(dns: &Dns, more: &str) -> Plan {
    let settings =
        format!("discovery-srv = \"example.test\"\nproxy-refresh-interval = 200\n{more}");
    Proxy::with_peers("").file(&settings).resolver(&dns.resolver())
}

/// A record of `service` that leads to a host and port, with this priority.
fn srv(service: &str, host: &str, port: u16, priority: u16) -> String {
    format!("srv-host=_{service}._tcp.example.test,{host}.example.test,{port},{priority},10")
}

/// The hosts that resolve: all but `dead`.
fn hosts() -> Vec<String> {
    ["infra0", "infra1", "infra2"]
        .map(|host| format!("host-record={host}.example.test,127.0.0.1"))
        .into()
}

fn with_hosts(records: &[String]) -> Vec<String> {
    [hosts(), records.to_vec()].concat()
}

fn peer_port(cluster: &Cluster, index: usize) -> u16 {
    cluster.peer_url(index).rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// The URLs of the peers that a proxy asks, and whether it names them as its source has them.
fn configured(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let urls = status["peers"].as_array().expect("peers").iter();
    let urls = urls.filter_map(|peer| peer["url"].as_str().map(str::to_owned));
    urls.filter(|url| url.contains("example.test")).collect()
}

#[track_caller]
fn wait_for_status(proxy: &Proxy, words: &str) {
    let said = || proxy.notify.statuses().last().is_some_and(|status| status.contains(words));
    wait_until(words, said);
}

#[test]
fn a_domain_that_has_http_records_only_is_enough() {
    let _floor = beside_others();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 3);
    let port = |index| peer_port(&cluster, index);
    // By priority: the last record is the first to be asked, and a target that does not resolve is left out.
    let records = [
        srv("etcd-server", "infra0", port(0), 30),
        srv("etcd-server", "dead", 2380, 5),
        srv("etcd-server", "infra2", port(2), 20),
        srv("etcd-server", "infra1", port(1), 10),
    ];
    let Some(dns) = Dns::start(&with_hosts(&records)) else { return };
    let proxy = proxy(&dns, "").start();
    proxy.etcdctl(GENERATION).run(&["put", "found", "by srv"]);
    let url = |host: &str, index| format!("http://{host}.example.test:{}", port(index));
    assert_eq!(configured(&proxy), [url("infra1", 1), url("infra2", 2), url("infra0", 0)]);
    let (status, well) = proxy.command(&["status"]);
    assert!(well && status.contains("peers:    SRV records of example.test"), "{status}");

    // An answer that changes is followed when its time to live is over.
    dns.answer(&with_hosts(&[srv("etcd-server", "infra0", port(0), 1)]));
    wait_until("the new answer is used", || configured(&proxy) == [url("infra0", 0)]);

    // A domain that has no records any more, and a server that is gone, change nothing.
    dns.answer(&hosts());
    let told = proxy.process.wait_for_line("the DNS has neither", PATIENCE);
    assert!(told.is_some(), "{}", proxy.story());
    dns.stop();
    let told = proxy.process.wait_for_line("cannot look up", PATIENCE);
    assert!(told.is_some(), "{}", proxy.story());
    assert_eq!(configured(&proxy), [url("infra0", 0)]);
    proxy.etcdctl(GENERATION).run(&["put", "still", "there"]);
    assert!(proxy.command(&["status"]).1, "nobody needs the DNS now");
}

#[test]
fn a_domain_without_records_is_asked_again_until_it_has_some() {
    let _floor = beside_others();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let Some(dns) = Dns::start(&hosts()) else { return };
    let proxy = proxy(&dns, "").spawn();
    wait_for_status(
        &proxy,
        "waiting for members: the DNS has neither _etcd-server-ssl._tcp.example.test nor \
         _etcd-server._tcp.example.test",
    );
    dns.answer(&with_hosts(&[srv("etcd-server", "dead", 2380, 0)]));
    wait_for_status(&proxy, "are of no use: dead.example.test does not resolve");
    dns.answer(&with_hosts(&[srv("etcd-server", "infra0", peer_port(&cluster, 0), 0)]));
    proxy.wait_until_ready();
}

#[test]
fn a_suffix_chooses_other_records_and_a_change_of_it_is_followed() {
    let _floor = beside_others();
    if !GENERATION.is_here() {
        return;
    }
    let (blue, green) = (Cluster::start(GENERATION, 1), Cluster::start(GENERATION, 1));
    let records = [
        srv("etcd-server-blue", "infra0", peer_port(&blue, 0), 0),
        srv("etcd-server-green", "infra1", peer_port(&green, 0), 0),
    ];
    let Some(dns) = Dns::start(&with_hosts(&records)) else { return };
    let settings =
        |name: &str| format!("discovery-srv = \"example.test\"\ndiscovery-srv-name = \"{name}\"\n");
    let proxy = Proxy::with_peers("").file(&settings("blue")).resolver(&dns.resolver()).start();
    proxy.etcdctl(GENERATION).run(&["put", "colour", "blue"]);
    proxy.edit(Way::Rename, &settings("green"));
    proxy.etcdctl(GENERATION).run(&["put", "colour", "green"]);
    let colour =
        |cluster: &Cluster| cluster.etcdctl().run(&["get", "colour", "--print-value-only"]);
    assert_eq!((colour(&blue).trim(), colour(&green).trim()), ("blue", "green"));
}
