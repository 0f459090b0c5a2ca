//! Tests of which members and peers are trusted.

use super::clients::{DAY, Signer, der};
use super::*;

impl Fixture {
    /// Creates a peer that shows a certificate for `member.example`, of this authority and serial
    /// number.
    fn peer_of(&self, ca: &Signer, serial: u64) -> Acceptor {
        self.issue_by("server", &ca.issuer, |params| params.serial_number = Some(serial.into()));
        self.acceptor("")
    }

    /// Returns the connector to peers.
    fn peer(&self, more: &str) -> Connector {
        self.tls_configs(&format!("peer-trusted-ca-file = \"DIR/ca.pem\"\n{more}")).unwrap().peer
    }
}

async fn meets(connector: &Connector, acceptor: &Acceptor) -> String {
    meet(connector, acceptor, "member.example", Alpn::Http1).await
}

#[tokio::test]
async fn a_peer_that_is_revoked_is_refused() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    fixture.put("ca.pem", &ca.pem);
    fixture.put("crl.pem", &ca.list(1, &[5]));
    let connector = fixture.peer("peer-crl-file = \"DIR/crl.pem\"\n");
    assert_eq!(meets(&connector, &fixture.peer_of(&ca, 4)).await, "fine");
    let told = meets(&connector, &fixture.peer_of(&ca, 5)).await;
    assert!(told.ends_with("is revoked"), "{told}");
    assert_eq!(
        meets(&fixture.peer(""), &fixture.peer_of(&ca, 5)).await,
        "fine",
        "without the list"
    );
}

#[tokio::test]
async fn a_peer_must_have_a_name_that_is_allowed() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    fixture.put("ca.pem", &ca.pem);
    let acceptor = fixture.peer_of(&ca, 4);
    let allowed =
        |names: &str| fixture.peer(&format!("peer-cert-allowed-hostname = \"{names}\"\n"));
    assert_eq!(meets(&allowed("other.example,member.example"), &acceptor).await, "fine");
    let told = meets(&allowed("other.example"), &acceptor).await;
    assert!(told.ends_with("is for member.example, but only other.example is allowed"), "{told}");
}

#[tokio::test]
async fn peer_auto_tls_trusts_every_peer_and_no_member_more() {
    let (fixture, other) = (Fixture::new(), Signer::new("other"));
    fixture.put("ca.pem", &Signer::new("ca").pem);
    let acceptor = fixture.peer_of(&other, 4);
    let auto = fixture.tls_configs("data-dir = \"DIR/data\"\npeer-auto-tls = true\n").unwrap();
    assert_eq!(meets(&auto.peer, &acceptor).await, "fine");
    assert_ne!(meets(&auto.upstream, &acceptor).await, "fine");
    let named = fixture.peer("data-dir = \"DIR/data\"\npeer-auto-tls = true\n");
    assert_ne!(meets(&named, &acceptor).await, "fine", "an authority is named");
}

/// As with etcd, the certificates of the records' targets must be valid for the domain that was
/// asked, unless an authority is named.
#[tokio::test]
async fn the_domain_of_srv_records_stands_in_for_the_host_that_was_dialled() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    let acceptor = fixture.peer_of(&ca, 4);
    let reached = |domain: &str| {
        let mut anchors = anchors::Anchors::new("here".to_owned(), SystemTime::now());
        let der = der(&ca.pem);
        let read = certificate::Certificate::read(&der).unwrap();
        anchors.add(der, read);
        let parts = connector::Parts {
            identity: None,
            authorities: authorities::Authorities { anchors, ders: Vec::new() },
            crls: Vec::new(),
            verify: true,
            server_name: Some(connector::server_name(domain).unwrap()),
            allowed_cns: Vec::new(),
            allowed_hostnames: Vec::new(),
            advice: String::new(),
            sources: connector::Sources { words: String::new(), files: Vec::new() },
        };
        let protocol = protocol::Protocol::allowed(&config::TlsSettings::default());
        Connector::new(parts, &protocol).unwrap()
    };
    let (domain, other) = (reached("member.example"), reached("other.example"));
    assert_eq!(meet(&domain, &acceptor, "10.0.1.10", Alpn::Http1).await, "fine");
    let told = meet(&other, &acceptor, "member.example", Alpn::Http1).await;
    assert!(told.ends_with("and not for other.example"), "{told}");
}

/// As in Go, an ordinary certificate in the CA file is trusted itself, but nothing signed with its
/// key.
#[tokio::test]
async fn an_ordinary_certificate_beside_an_authority_is_trusted_itself() {
    let (fixture, ca, other) = (Fixture::new(), Signer::new("ca"), Signer::new("other"));
    let acceptor = fixture.peer_of(&other, 4);
    let own = std::fs::read_to_string(fixture.0.path().join("server.pem")).unwrap();
    fixture.put("ca.pem", &ca.pem);
    assert_ne!(meets(&fixture.peer(""), &acceptor).await, "fine");
    fixture.put("ca.pem", &format!("{}{own}", ca.pem));
    assert_eq!(meets(&fixture.peer(""), &acceptor).await, "fine");
}

#[test]
fn the_first_authority_to_expire_and_lists_that_are_overdue_are_warned_about() {
    let now = SystemTime::now();
    let fixture = Fixture::new();
    let [soon, later] = [20, 2000]
        .map(|days| Signer::with("ca", |params| params.not_after = (now + DAY * days).into()));
    fixture.put("ca.pem", &format!("{}{}", later.pem, soon.pem));
    fixture.put("crl.pem", &later.list(1, &[]));
    let settings = "peer-trusted-ca-file = \"DIR/ca.pem\"\npeer-crl-file = \"DIR/crl.pem\"\n";
    let tls_configs = fixture.tls_configs(settings).unwrap();
    let said = |at: SystemTime| {
        let shown = tls_configs.certificates.iter().filter_map(|shown| shown.warning(at));
        shown.collect::<Vec<_>>().join("\n")
    };
    assert!(said(now).contains("ca.pem: the authority CN=ca expires on"), "{}", said(now));
    assert!(!said(now).contains("crl.pem"), "{}", said(now));
    let overdue = said(now + DAY * 40_000);
    assert!(overdue.contains("crl.pem: the revocation list of CN=ca should have been replaced by 2096-01-01; fetch the newest"), "{overdue}");
}
