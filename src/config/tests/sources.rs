//! Where the peers come from: discovery, SRV records, and which of several counts.

use super::*;

fn source(file: &str) -> PeerSource {
    Fixture::new().file(file).load().settings.peers
}

#[test]
fn a_discovery_url_is_taken_apart() {
    let PeerSource::Discovery(Discovery::V2(registry)) =
        source("discovery = \"http://10.0.0.9:8087/0123/\"\ndiscovery-proxy = \"10.0.0.8:3128\"\n")
    else {
        panic!("another source")
    };
    assert_eq!(registry.url.to_string(), "http://10.0.0.9:8087/0123");
    assert_eq!(registry.proxy.unwrap().to_string(), "http://10.0.0.8:3128");
}

#[test]
fn a_discovery_token_comes_with_its_endpoints() {
    let file =
        "discovery-token = \"t\"\ndiscovery-endpoints = [\"10.0.0.9:2379\", \"http://b:1\"]\n";
    let registry = |more: &str| match source(&format!("{file}{more}")) {
        PeerSource::Discovery(Discovery::V3(registry)) => registry,
        other => panic!("{other:?}"),
    };
    let plain = registry("discovery-user = \"root:hunter2\"\n");
    let endpoints: Vec<String> = plain.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["http://10.0.0.9:2379", "http://b:1"]);
    let login = plain.login.unwrap();
    assert_eq!((login.user.as_str(), login.password.as_str()), ("root", "hunter2"));
    let secure = registry("discovery-cacert = \"ca.pem\"\n");
    assert_eq!(secure.endpoints[0].to_string(), "https://10.0.0.9:2379");
}

#[test]
fn a_password_behind_the_user_is_not_shown() {
    let file = |user: &str| {
        let file =
            "discovery-token = \"t\"\ndiscovery-endpoints = \"http://b:1\"\ndiscovery-user = ";
        Fixture::new().file(&format!("{file}\"{user}\"\n")).load()
    };
    let loaded = file("root:hunter2");
    let shown = |loaded: &Loaded| {
        let mut rows = loaded.origins.iter();
        rows.find(|row| row.setting.name == "discovery-user").unwrap().value
    };
    assert_eq!(shown(&loaded), "root:(hidden)");
    assert_eq!(loaded.origins.written("discovery-user"), "root:hunter2");
    assert_eq!(shown(&file("root")), "root");
    let changes = change::changes(&loaded, &file("root:hunter3"));
    let change = changes.iter().find(|change| change.setting.name == "discovery-user").unwrap();
    assert_eq!((change.old.as_str(), change.new.as_str()), ("root:(hidden)", "root:(hidden)"));
}

#[test]
fn a_password_in_a_discovery_url_is_not_shown() {
    let fixture = Fixture::new().file("discovery = \"http://root:hunter2@b:1/t\"\n");
    let problems = load(&fixture.inputs()).unwrap_err();
    let all = format!("{}{}", problems.report(Style::Plain, "not started"), problems.to_json());
    assert!(!all.contains("hunter2") && all.contains("http://************@b:1/t"), "{all}");
}

#[test]
fn a_domain_may_have_a_suffix() {
    let file = "discovery-srv = \"example.com\"\ndiscovery-srv-name = \"blue\"\n";
    let PeerSource::Srv(srv) = source(file) else { panic!("another source") };
    assert_eq!(srv.record("etcd-server"), "_etcd-server-blue._tcp.example.com");
}

#[test]
fn mistakes_in_a_source_say_what_would_be_right() {
    let complaints = |file: &str| Fixture::new().file(file).complaints();
    assert_eq!(
        complaints("discovery = \"https://discovery.etcd.io\"\n"),
        [
            "etcd-proxy.toml:1:1: `discovery` is \"https://discovery.etcd.io\"; want the token as the URL's path, as in \
          \"https://discovery.etcd.io/TOKEN\""
        ]
    );
    assert_eq!(
        complaints("discovery = \"discovery.etcd.io/t\"\n"),
        [
            "etcd-proxy.toml:1:1: `discovery` is \"discovery.etcd.io/t\"; want http:// or https:// before it"
        ]
    );
    assert_eq!(
        complaints("discovery-token = \"t\"\n"),
        [
            "etcd-proxy.toml:1:1: `discovery-token` is set, and `discovery-endpoints` is not; name the client URLs of the \
          etcd that has the registry"
        ]
    );
    assert_eq!(
        complaints("discovery-token = \"t\"\ndiscovery-endpoints = \"http://a:1/v3\"\n"),
        ["etcd-proxy.toml:2:1: `discovery-endpoints` has \"http://a:1/v3\"; leave out the path"]
    );
    assert_eq!(
        complaints("discovery-srv = \"http://example.com\"\n"),
        [
            "etcd-proxy.toml:1:1: `discovery-srv` is \"http://example.com\"; want a domain such as \"example.com\""
        ]
    );
    assert_eq!(
        complaints("discovery-endpoints = \"http://a:1\"\n"),
        [
            "etcd-proxy.toml:1:1: `discovery-endpoints` is ignored, because `discovery-token` is not set"
        ]
    );
}

#[test]
fn the_first_source_that_is_set_counts() {
    let fixture = Fixture::new().file(
        "initial-cluster = \"http://a:2380\"\ndiscovery-srv = \"example.com\"\ndiscovery = \"http://r/t\"\n",
    );
    assert!(matches!(fixture.load().settings.peers, PeerSource::Discovery(Discovery::V2(_))));
    assert_eq!(
        fixture.complaints(),
        [
            "etcd-proxy.toml:1:1: `initial-cluster` is ignored, because `discovery` is set and comes first",
            "etcd-proxy.toml:2:1: `discovery-srv` is ignored, because `discovery` is set and comes first",
        ]
    );
}
