//! Certificates that Go accepts and webpki alone would not, and those that both refuse, with the
//! reason.

use rcgen::{ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints, SanType, date_time_ymd};

use super::clients::{Signer, der};
use super::*;

/// Creates a member that shows a certificate of this authority, with these changes.
fn member(fixture: &Fixture, ca: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Acceptor {
    fixture.issue_by("server", &ca.issuer, change);
    fixture.acceptor("")
}

/// Marks a certificate as a CA.
fn as_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

async fn meets(connector: &Connector, acceptor: &Acceptor) -> String {
    meet(connector, acceptor, "member.example", Alpn::Http1).await
}

#[tokio::test]
async fn a_certificate_that_calls_itself_an_authority_is_taken_when_an_authority_has_signed_it() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    fixture.put("ca.pem", &ca.pem);
    let connector = fixture.connector("");
    let (other, below) = (Signer::new("other"), ca.below("below", |_| ()));
    assert_eq!(meets(&connector, &member(&fixture, &ca, as_authority)).await, "fine");
    let limited = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    };
    assert_eq!(meets(&connector, &member(&fixture, &ca, limited)).await, "fine");

    let told =
        meet(&connector, &member(&fixture, &ca, as_authority), "10.0.0.1", Alpn::Http1).await;
    assert!(told.ends_with("is for member.example, and not for 10.0.0.1"), "{told}");
    let told = meets(&connector, &member(&fixture, &other, as_authority)).await;
    assert!(told.contains("is a CA certificate, and not from an authority in"), "{told}");
    let told = meets(&connector, &member(&fixture, &below, as_authority)).await;
    assert!(told.contains("is a CA certificate, and not from an authority in"), "{told}");
    let for_clients = |params: &mut CertificateParams| {
        as_authority(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    assert_ne!(meets(&connector, &member(&fixture, &ca, for_clients)).await, "fine");

    // The intermediate is sent with it.
    fixture.issue_by("server", &below.issuer, as_authority);
    let leaf = std::fs::read_to_string(fixture.0.path().join("server.pem")).unwrap();
    fixture.put("server.pem", &format!("{leaf}{}", below.pem));
    assert_eq!(meets(&connector, &fixture.acceptor("")).await, "fine");
}

#[tokio::test]
async fn what_limits_an_authority_limits_those_that_call_themselves_one_too() {
    let fixture = Fixture::new();
    let ca = Signer::with("ca", |params| {
        let only = vec![GeneralSubtree::DnsName("other.example".to_owned())];
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: only, excluded_subtrees: Vec::new() });
    });
    fixture.put("ca.pem", &ca.pem);
    assert_ne!(meets(&fixture.connector(""), &member(&fixture, &ca, as_authority)).await, "fine");
    let past = Signer::with("ca", |params| params.not_after = date_time_ymd(2001, 1, 1));
    fixture.put("ca.pem", &format!("{}{}", past.pem, Signer::new("young").pem));
    assert_ne!(meets(&fixture.connector(""), &member(&fixture, &past, as_authority)).await, "fine");
}

/// Neither bytes that look like `CA:TRUE` elsewhere in a certificate nor an invalid signature makes
/// it acceptable.
#[test]
fn a_changed_certificate_is_vouched_for_by_nobody() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&ca.pem)).unwrap();
    fixture.issue_by("server", &ca.issuer, as_authority);
    let good = der(&std::fs::read_to_string(fixture.0.path().join("server.pem")).unwrap());
    let vouched = |bytes: &[u8]| {
        let shown = rustls_pki_types::CertificateDer::from(bytes);
        let (usage, now) = (webpki::KeyUsage::server_auth(), rustls_pki_types::UnixTime::now());
        ca_leaf::is_vouched_for(&shown, &[], &roots, &provider, usage, now)
    };
    assert!(vouched(&good));
    for at in 0..good.len() {
        for bit in [0x01, 0x80, 0xff] {
            let mut bytes = good.to_vec();
            bytes[at] ^= bit;
            assert!(!vouched(&bytes), "byte {at} ^ {bit:#x}");
        }
        assert!(!vouched(&good[..at]));
    }
}

#[tokio::test]
async fn an_address_that_is_given_as_a_dns_name_is_said_to_be_that() {
    let (fixture, ca) = (Fixture::new(), Signer::new("ca"));
    fixture.put("ca.pem", &ca.pem);
    let connector = fixture.connector("");
    let names = |names: &[SanType]| {
        let names = names.to_vec();
        member(&fixture, &ca, |params| params.subject_alt_names = names)
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let misplaced = names(&[dns("10.0.0.1"), dns("member.example")]);
    let told = meet(&connector, &misplaced, "10.0.0.1", Alpn::Http1).await;
    assert!(
        told.ends_with(
            "has 10.0.0.1 as a DNS name, where an address does not count; want it as IP"
        ),
        "{told}"
    );
    assert_eq!(meets(&connector, &misplaced).await, "fine", "its other name counts");
    let both = names(&[dns("10.0.0.1"), SanType::IpAddress("10.0.0.1".parse().unwrap())]);
    assert_eq!(meet(&connector, &both, "10.0.0.1", Alpn::Http1).await, "fine");
}

#[tokio::test]
async fn auto_tls_holds_beside_a_certificate_that_is_named_for_members() {
    let (fixture, other) = (Fixture::new(), Signer::new("other"));
    fixture.put("ca.pem", &Signer::new("ca").pem);
    fixture.issue_by("shown", &other.issuer, |_| ());
    let auto_tls = |fixture: &Fixture| {
        fixture.issue("server", None, as_authority);
        fixture.acceptor("")
    };
    let shown = "upstream-cert-file = \"DIR/shown.pem\"\nupstream-key-file = \"DIR/shown.key\"\n\
                 allow-upstream-cn = true\n";
    let auto = format!("data-dir = \"DIR/data\"\nauto-tls = true\n{shown}");
    let (tls_configs, warnings) = fixture.load(&auto, None, SystemTime::now()).unwrap();
    let warnings = warnings.join("\n");
    assert_eq!(meets(&tls_configs.upstream, &auto_tls(&fixture)).await, "fine", "{warnings}");
    assert!(tls_configs.upstream.leaf().is_some());
    let told = meets(&fixture.connector(shown), &auto_tls(&fixture)).await;
    assert!(
        told.contains("is self-signed, like those of auto-tls, and is not itself in"),
        "{told}"
    );
    let named = format!("{auto}upstream-trusted-ca-file = \"DIR/ca.pem\"\n");
    assert_ne!(
        meets(&fixture.tls_configs(&named).unwrap().upstream, &auto_tls(&fixture)).await,
        "fine"
    );
}
