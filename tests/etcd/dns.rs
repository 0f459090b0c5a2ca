//! Peers from SRV records of a real DNS server.

use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::dns::Dns;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::settings_file::Way;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, port, shared, wait_until};

const GENERATION: Generation = Generation::V3_5;

fn proxy(dns: &Dns, more: &str) -> Plan {
    let settings =
        format!("discovery-srv = \"example.test\"\nproxy-refresh-interval = 200\n{more}");
    Proxy::with_peers("").file(&settings).resolver(&dns.resolver())
}

/// Returns an SRV record of `service` for a host and port, with this priority.
fn srv(service: &str, host: &str, port: u16, priority: u16) -> String {
    format!("srv-host=_{service}._tcp.example.test,{host}.example.test,{port},{priority},10")
}

/// Returns the records of the hosts that resolve: all but `dead`.
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

/// Returns the URLs in a proxy's list of peers that name a host of the domain.
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
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 3);
    let port = |index| peer_port(&cluster, index);
    // Peers are asked by priority, so the last record comes first. A target that does not resolve
    // is left out.
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

    // A changed answer is used when the TTL of the old one has ended.
    dns.answer(&with_hosts(&[srv("etcd-server", "infra0", port(0), 1)]));
    wait_until("the new answer is used", || configured(&proxy) == [url("infra0", 0)]);

    // Neither a domain without records nor a DNS server that is gone changes the peers.
    dns.answer(&hosts());
    let told = proxy.process.wait_for_line("the DNS has neither", PATIENCE);
    assert!(told.is_some(), "{}", proxy.story());
    dns.stop();
    let told = proxy.process.wait_for_line("cannot look up", PATIENCE);
    assert!(told.is_some(), "{}", proxy.story());
    assert_eq!(configured(&proxy), [url("infra0", 0)]);
    proxy.etcdctl(GENERATION).run(&["put", "still", "there"]);
    let (status, well) = proxy.command(&["status"]);
    let told = "infra0.example.test: host lookup failed: ";
    assert!(!well && status.contains(told), "the peer's name is still looked up: {status}");
    assert!(status.contains("using the addresses it had last"), "{status}");
}

#[test]
fn a_domain_without_records_is_asked_again_until_it_has_some() {
    let _machine = shared();
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
    wait_for_status(&proxy, "can be used: dead.example.test does not resolve");
    dns.answer(&with_hosts(&[srv("etcd-server", "infra0", peer_port(&cluster, 0), 0)]));
    proxy.wait_until_ready();
}

#[test]
fn a_suffix_chooses_other_records_and_a_change_of_it_is_followed() {
    let _machine = shared();
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

#[test]
fn https_records_come_before_http_ones_and_bring_tls() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let authority = Authority::new("peers");
    let cluster = Cluster::planned(GENERATION, 1).secured(&authority);
    cluster.start_all();
    let port = peer_port(&cluster, 0);
    // The member's certificate is valid for `localhost` and not for the domain.
    let tls = format!("srv-host=_etcd-server-ssl._tcp.example.test,localhost,{port},0,10");
    let Some(dns) = Dns::start(&with_hosts(std::slice::from_ref(&tls))) else { return };
    let (files, identity) = (cluster.client_files(), cluster.client_identity());
    let shown = format!(
        "peer-cert-file = \"{}\"\npeer-key-file = \"{}\"\n",
        identity.certificate.display(),
        identity.key.display()
    );
    let trusting = format!("{shown}peer-trusted-ca-file = \"{}\"\n", files.authority.display());
    // Without `peer-trusted-ca-file`, the certificate must be valid for the domain, as in etcd.
    let machine = files.authority.display().to_string();
    let domain = proxy(&dns, &shown).variable("SSL_CERT_FILE", &machine).spawn();
    wait_for_status(&domain, "example.test");
    assert!(!domain.notify.heard().contains(&"READY=1".to_owned()), "{}", domain.story());
    let proxy = proxy(&dns, &trusting).start();
    proxy.etcdctl(GENERATION).run(&["put", "by", "tls"]);
    let urls = || {
        let status = proxy.status();
        let peers = status["peers"].as_array().expect("peers").iter();
        peers.filter_map(|peer| peer["url"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(urls()[0], format!("https://localhost:{port}"));
    dns.answer(&with_hosts(&[srv("etcd-server", "infra0", 1, 0), tls]));
    let both = [format!("https://localhost:{port}"), "http://infra0.example.test:1".to_owned()];
    wait_until("both are there", || urls().starts_with(&both));
    proxy.etcdctl(GENERATION).run(&["put", "by", "both"]);
}

/// The SRV name that is looked up for http.
const PLAIN: &str = "_etcd-server._tcp.example.test";

#[test]
fn records_are_good_for_their_time_unless_no_peer_answers() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let port = peer_port(&cluster, 0);
    let first = with_hosts(&[srv("etcd-server", "infra0", port, 0)]);
    let Some(dns) = Dns::start_with_ttl(&first, 3600) else { return };
    let proxy = proxy(&dns, "").start();
    assert_eq!(dns.queries(PLAIN), 1);
    // The pause is longer than 5 s, the minimum to which a shorter TTL is raised.
    dns.answer(&with_hosts(&[srv("etcd-server", "infra1", port, 0)]));
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(dns.queries(PLAIN), 0, "{}", proxy.story());
    let url = |host: &str| format!("http://{host}.example.test:{port}");
    assert_eq!(configured(&proxy), [url("infra0")]);
    let silent = Instant::now();
    cluster.kill(0);
    wait_until("the new answer is used", || configured(&proxy) == [url("infra1")]);
    assert!(silent.elapsed() < Duration::from_secs(10), "{:?}", silent.elapsed());
    assert_eq!(dns.queries(PLAIN), 1);
}

#[test]
fn lookups_that_help_nobody_come_at_longer_and_longer_pauses() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let records = with_hosts(&[srv("etcd-server", "infra0", peer_port(&cluster, 0), 0)]);
    let Some(dns) = Dns::start_with_ttl(&records, 3600) else { return };
    let _proxy = proxy(&dns, "").start();
    assert_eq!(dns.queries(PLAIN), 1);
    cluster.kill(0);
    let mut looked = Vec::new();
    for queries in 2..5 {
        wait_until("the records are looked up again", || dns.queries(PLAIN) >= queries);
        looked.push(Instant::now());
    }
    let (first, second) = (looked[1] - looked[0], looked[2] - looked[1]);
    assert!(second > first + Duration::from_secs(1), "{first:?}, then {second:?}");
}

#[test]
fn a_service_that_cannot_be_looked_up_keeps_its_peers() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 3);
    let plain = |index| srv("etcd-server", &format!("infra{index}"), peer_port(&cluster, index), 0);
    // The lookup for TLS gets no answer, and the service is not known to have records yet.
    let nobody = format!("server=/_etcd-server-ssl._tcp.example.test/127.0.0.1#{}", port::free());
    let Some(dns) = Dns::start(&with_hosts(&[plain(0), nobody.clone()])) else { return };
    let proxy = proxy(&dns, "").start();
    let url = |index| format!("http://infra{index}.example.test:{}", peer_port(&cluster, index));
    assert_eq!(configured(&proxy), [url(0)]);
    // Now it has records, and those of both services are used.
    let tls = srv("etcd-server-ssl", "infra2", 1, 0);
    dns.answer(&with_hosts(&[plain(1), tls]));
    let both = ["https://infra2.example.test:1".to_owned(), url(1)];
    wait_until("both are there", || configured(&proxy) == both);
    // Its lookup fails again: its peers stay, and so do those of the other service, although that
    // has new records.
    let mark = proxy.process.mark();
    dns.answer(&with_hosts(&[plain(0), nobody]));
    let words = "cannot look up _etcd-server-ssl._tcp.example.test";
    let told = proxy.process.wait_for_line_after(mark, words, PATIENCE);
    assert!(told.is_some(), "{}", proxy.story());
    assert_eq!(configured(&proxy), both);
    proxy.etcdctl(GENERATION).run(&["put", "still", "there"]);
}
