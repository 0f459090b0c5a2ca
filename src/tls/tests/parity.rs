//! Certificates that Go takes and webpki alone would not, and those that neither takes, with the
//! reason.

use rcgen::{ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints, SanType, date_time_ymd};

use super::clients::{Signer, der};
use super::*;

/// A member that shows a certificate of this authority, changed like this.
fn member(desk: &Desk, ca: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Acceptor {
    desk.issue_by("server", &ca.issuer, change);
    desk.acceptor("")
}

/// Makes a certificate say that it is an authority's.
fn as_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

async fn meets(connector: &Connector, acceptor: &Acceptor) -> String {
    meet(connector, acceptor, "member.example", Alpn::Http1).await
}

#[tokio::test]
async fn a_certificate_that_calls_itself_an_authority_is_taken_when_an_authority_has_signed_it() {
    let (desk, ca) = (Desk::new(), Signer::new("ca"));
    desk.put("ca.pem", &ca.pem);
    let connector = desk.connector("");
    let (other, below) = (Signer::new("other"), ca.below("below", |_| ()));
    assert_eq!(meets(&connector, &member(&desk, &ca, as_authority)).await, "fine");
    let limited = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    };
    assert_eq!(meets(&connector, &member(&desk, &ca, limited)).await, "fine");

    let told = meet(&connector, &member(&desk, &ca, as_authority), "10.0.0.1", Alpn::Http1).await;
    assert!(told.ends_with("is for member.example, and not for 10.0.0.1"), "{told}");
    let told = meets(&connector, &member(&desk, &other, as_authority)).await;
    assert!(told.contains("is that of an authority, and not from one in"), "{told}");
    let told = meets(&connector, &member(&desk, &below, as_authority)).await;
    assert!(told.contains("is that of an authority, and not from one in"), "{told}");
    let for_clients = |params: &mut CertificateParams| {
        as_authority(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    assert_ne!(meets(&connector, &member(&desk, &ca, for_clients)).await, "fine");

    // The one between comes with it.
    desk.issue_by("server", &below.issuer, as_authority);
    let leaf = std::fs::read_to_string(desk.0.path().join("server.pem")).unwrap();
    desk.put("server.pem", &format!("{leaf}{}", below.pem));
    assert_eq!(meets(&connector, &desk.acceptor("")).await, "fine");
}

#[tokio::test]
async fn what_limits_an_authority_limits_those_that_call_themselves_one_too() {
    let desk = Desk::new();
    let ca = Signer::with("ca", |params| {
        let only = vec![GeneralSubtree::DnsName("other.example".to_owned())];
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: only, excluded_subtrees: Vec::new() });
    });
    desk.put("ca.pem", &ca.pem);
    assert_ne!(meets(&desk.connector(""), &member(&desk, &ca, as_authority)).await, "fine");
    let past = Signer::with("ca", |params| params.not_after = date_time_ymd(2001, 1, 1));
    desk.put("ca.pem", &format!("{}{}", past.pem, Signer::new("young").pem));
    assert_ne!(meets(&desk.connector(""), &member(&desk, &past, as_authority)).await, "fine");
}

/// A byte that says `CA:TRUE` elsewhere, or a signature of nobody, makes no certificate good.
#[test]
fn a_changed_certificate_is_vouched_for_by_nobody() {
    let (desk, ca) = (Desk::new(), Signer::new("ca"));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&ca.pem)).unwrap();
    desk.issue_by("server", &ca.issuer, as_authority);
    let good = der(&std::fs::read_to_string(desk.0.path().join("server.pem")).unwrap());
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
    let (desk, ca) = (Desk::new(), Signer::new("ca"));
    desk.put("ca.pem", &ca.pem);
    let connector = desk.connector("");
    let names = |names: &[SanType]| {
        let names = names.to_vec();
        member(&desk, &ca, |params| params.subject_alt_names = names)
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
    let (desk, other) = (Desk::new(), Signer::new("other"));
    desk.put("ca.pem", &Signer::new("ca").pem);
    desk.issue_by("shown", &other.issuer, |_| ());
    let self_made = |desk: &Desk| {
        desk.issue("server", None, as_authority);
        desk.acceptor("")
    };
    let shown = "upstream-cert-file = \"DIR/shown.pem\"\nupstream-key-file = \"DIR/shown.key\"\n\
                 allow-upstream-cn = true\n";
    let auto = format!("data-dir = \"DIR/data\"\nauto-tls = true\n{shown}");
    let (material, warnings) = desk.load(&auto, None, SystemTime::now()).unwrap();
    let warnings = warnings.join("\n");
    assert_eq!(meets(&material.upstream, &self_made(&desk)).await, "fine", "{warnings}");
    assert!(material.upstream.leaf().is_some());
    let told = meets(&desk.connector(shown), &self_made(&desk)).await;
    assert!(told.contains("is self-signed, as those of auto-tls are, and not in"), "{told}");
    let named = format!("{auto}upstream-trusted-ca-file = \"DIR/ca.pem\"\n");
    assert_ne!(meets(&desk.material(&named).unwrap().upstream, &self_made(&desk)).await, "fine");
}
