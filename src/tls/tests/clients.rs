//! Tests of which clients are accepted, by who signed their certificates and whether they are
//! revoked.

use std::sync::Arc;

use rcgen::{
    CertificateRevocationListParams, CustomExtension, DistinguishedName, DnValue, KeyIdMethod,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::acceptor::explain;

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A signer: an authority, an intermediate, or a server that must not sign.
pub(super) struct Signer {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        params
    }

    pub(super) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name, change));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs the certificate of another signer.
    pub(super) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name, change));
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a client's certificate with this serial number, followed by the intermediates.
    fn client(&self, serial: u64, between: &[&Self]) -> Client {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("client{serial}.example")]).unwrap();
        params.serial_number = Some(serial.into());
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let between = between.iter().map(|it| der(&it.pem));
        let chain = std::iter::once(own.der().clone()).chain(between).collect();
        Client { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    /// Signs the revocation list with this number, which revokes these serial numbers.
    pub(super) fn list(&self, number: u64, revoked: &[u64]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 2),
            next_update: date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub(super) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Client {
    /// Returns a connector that resumes sessions.
    fn connector(&self, version: &'static rustls::SupportedProtocolVersion) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let config = builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key());
        Arc::new(config.unwrap()).into()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(der(SERVERS.with(|it| it.pem.clone()).as_str())).unwrap();
        roots
    }
}

thread_local! {
    /// The authority of the listener's certificate.
    static SERVERS: Signer = Signer::new("servers");
}

/// The settings of a listener that accepts clients from `ca.pem` unless `crl.pem` revokes them.
const LISTENER: &str = "cert-file = \"DIR/server.pem\"\nkey-file = \"DIR/server.key\"\n\
                        trusted-ca-file = \"DIR/ca.pem\"\nallow-upstream-cn = true\n";
const LISTS: &str = "client-crl-file = \"DIR/crl.pem\"\n";

impl Fixture {
    /// Creates a fixture with a certificate for the listener, these authorities and these lists.
    fn listening(authorities: &[&Signer], lists: &[String]) -> Self {
        let fixture = Self::new();
        SERVERS.with(|servers| fixture.issue_by("server", &servers.issuer, |_| ()));
        let pems: Vec<_> = authorities.iter().map(|it| it.pem.as_str()).collect();
        fixture.put("ca.pem", &pems.concat());
        fixture.put("crl.pem", &lists.concat());
        fixture
    }

    pub(super) fn issue_by(
        &self,
        file: &str,
        issuer: &Issuer<'static, KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["member.example".to_owned()]).unwrap();
        change(&mut params);
        self.put(&format!("{file}.pem"), &params.signed_by(&key, issuer).unwrap().pem());
        self.put(&format!("{file}.key"), &key.serialize_pem());
    }

    fn listener(&self) -> Acceptor {
        self.tls_configs(&format!("{LISTENER}{LISTS}")).unwrap().acceptor.unwrap()
    }

    fn warnings(&self, more: &str) -> String {
        let loaded = self.load(&format!("{LISTENER}{more}"), None, SystemTime::now());
        loaded.unwrap().1.join("\n")
    }
}

/// Connects and returns how the session began, or why the client was refused.
async fn knock(acceptor: &Acceptor, connector: &TlsConnector) -> Result<HandshakeKind, String> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("member.example").unwrap();
    let client = async {
        let Ok(mut stream) = connector.connect(name, near).await else { return };
        // The ticket arrives with the first read.
        let _ = stream.read(&mut [0]).await;
    };
    let server = async {
        let mut stream = acceptor.accept(far).await.map_err(|error| explain(&error))?;
        acceptor.judge_again(&stream)?;
        let _ = stream.write_all(b"!").await;
        Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    tokio::join!(server, client).0
}

async fn enter(acceptor: &Acceptor, client: &Client) -> Result<(), String> {
    knock(acceptor, &client.connector(&rustls::version::TLS13)).await.map(|_| ())
}

/// While an authority changes its key there are two of its name. Both number their certificates
/// from 1.
#[tokio::test]
async fn two_keys_of_one_authority_are_good_side_by_side_each_with_its_list() {
    let (old, new) = (Signer::new("ca"), Signer::new("ca"));
    for lists in [[old.list(1, &[1]), new.list(1, &[2])], [new.list(1, &[2]), old.list(1, &[1])]] {
        for authorities in [[&old, &new], [&new, &old]] {
            let acceptor = Fixture::listening(&authorities, &lists).listener();
            for (signer, serial, is_good) in
                [(&old, 1, false), (&old, 2, true), (&new, 1, true), (&new, 2, false)]
            {
                let told = enter(&acceptor, &signer.client(serial, &[])).await;
                assert_eq!(told.is_ok(), is_good, "{serial}: {told:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_is_trusted_no_more_is_told_from_an_unknown_authority() {
    let (old, new) = (Signer::new("ca"), Signer::new("ca"));
    let acceptor = Fixture::listening(&[&new], &[new.list(1, &[])]).listener();
    let told = enter(&acceptor, &old.client(1, &[])).await.unwrap_err();
    assert!(
        told.contains("is from CN=ca, but it or an intermediate is signed with another key"),
        "{told}"
    );
    let told = enter(&acceptor, &Signer::new("other").client(1, &[])).await.unwrap_err();
    assert!(told.contains("is from an unknown authority, CN=other"), "{told}");
}

#[tokio::test]
async fn the_list_of_an_intermediate_that_is_in_no_file_counts() {
    let root = Signer::new("root");
    let (first, second) = (root.below("between", |_| ()), root.below("between", |_| ()));
    let lists = [root.list(1, &[]), first.list(1, &[7]), second.list(1, &[8])];
    let acceptor = Fixture::listening(&[&root], &lists).listener();
    for (between, serial, is_good) in
        [(&first, 7, false), (&first, 8, true), (&second, 7, true), (&second, 8, false)]
    {
        let told = enter(&acceptor, &between.client(serial, &[between])).await;
        assert_eq!(told.is_ok(), is_good, "{serial}: {told:?}");
    }
    // The intermediate's own list is enough: some authorities publish nothing else.
    let fixture = Fixture::listening(&[&root], &[first.list(1, &[7])]);
    let warnings = fixture.warnings(LISTS);
    assert!(
        warnings.contains("is from CN=between, which is not among the authorities"),
        "{warnings}"
    );
    let told = enter(&fixture.listener(), &first.client(7, &[&first])).await.unwrap_err();
    assert!(told.ends_with("is revoked"), "{told}");
}

#[tokio::test]
async fn what_a_revoked_intermediate_has_signed_is_refused() {
    let root = Signer::new("root");
    let between = root.below("between", |params| params.serial_number = Some(5.into()));
    let good = Fixture::listening(&[&root], &[root.list(1, &[4])]).listener();
    enter(&good, &between.client(1, &[&between])).await.unwrap();
    let acceptor = Fixture::listening(&[&root], &[root.list(1, &[5])]).listener();
    let told = enter(&acceptor, &between.client(1, &[&between])).await.unwrap_err();
    assert!(told.ends_with("comes through CN=between, which is revoked"), "{told}");
}

#[tokio::test]
async fn of_two_lists_of_one_authority_the_one_of_the_higher_number_counts() {
    let ca = Signer::new("ca");
    let (older, newer) = (ca.list(9, &[1]), ca.list(300, &[2]));
    for lists in [[older.clone(), newer.clone()], [newer, older]] {
        let acceptor = Fixture::listening(&[&ca], &lists).listener();
        enter(&acceptor, &ca.client(1, &[])).await.unwrap();
        enter(&acceptor, &ca.client(2, &[])).await.unwrap_err();
    }
}

/// A server's certificate in the CA file is not a licence to sign.
#[tokio::test]
async fn nobody_is_let_in_by_the_key_of_an_ordinary_certificate_in_the_ca_file() {
    let ca = Signer::new("ca");
    let server = ca.below("server", |params| params.is_ca = IsCa::NoCa);
    let fixture = Fixture::listening(&[&ca, &server], &[ca.list(1, &[])]);
    let line = ca.pem.lines().count() + 1;
    let warnings = fixture.warnings("");
    assert!(
        warnings.contains(&format!(
            "ca.pem:{line}: CN=server is not an authority, and certificates signed by it are not trusted"
        )),
        "{warnings}"
    );
    enter(&fixture.listener(), &ca.client(1, &[])).await.unwrap();
    let told = enter(&fixture.listener(), &server.client(1, &[])).await.unwrap_err();
    assert!(told.contains("is from an unknown authority, CN=server"), "{told}");
}

/// As in Go, a certificate in the file that is not a CA is accepted itself, but nothing signed with
/// its key.
#[tokio::test]
async fn a_client_whose_own_certificate_is_in_the_ca_file_is_let_in_and_can_sign_for_nobody() {
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let signs = matches!(is_ca, IsCa::Ca(_));
        let own = Signer::with("me", |params| params.is_ca = is_ca);
        let acceptor = Fixture::listening(&[&own], &[own.list(1, &[])]).listener();
        let key = PrivateKeyDer::try_from(own.issuer.key().serialize_der()).unwrap();
        enter(&acceptor, &Client { chain: vec![der(&own.pem)], key }).await.unwrap();
        let told = enter(&acceptor, &own.client(1, &[])).await;
        assert_eq!(told.is_ok(), signs, "{told:?}");
    }
}

#[tokio::test]
async fn an_authority_vouches_for_somebody_only_while_it_is_valid_itself() {
    let old = Signer::with("old", |params| params.not_after = date_time_ymd(2001, 2, 3));
    let end = SystemTime::now() + 10 * DAY;
    let soon = Signer::with("soon", |params| params.not_after = end.into());
    let long = Signer::new("long");
    let next = Signer::with("next", |params| params.not_before = end.into());
    let fixture = Fixture::listening(&[&old, &soon, &long, &next], &[long.list(1, &[])]);
    let warnings = fixture.warnings("");
    assert!(
        warnings.contains("ca.pem:1: the authority CN=old expired on 2001-02-03"),
        "{warnings}"
    );
    let acceptor = fixture.listener();
    let told = enter(&acceptor, &old.client(1, &[])).await.unwrap_err();
    assert!(told.contains("is from CN=old, an authority in "), "{told}");
    assert!(told.ends_with("that expired on 2001-02-03"), "{told}");
    enter(&acceptor, &soon.client(1, &[])).await.unwrap();

    let clients = acceptor.clients().unwrap();
    let judge = |signer: &Signer, at: SystemTime| {
        let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        clients.verify_client_cert(&signer.client(1, &[]).chain[0], &[], at).is_ok()
    };
    let (before, after) = (end - DAY, end + DAY);
    assert!(judge(&soon, before) && judge(&long, before) && !judge(&next, before));
    assert!(!judge(&soon, after) && judge(&long, after) && judge(&next, after));
}

#[tokio::test]
async fn a_ticket_is_taken_in_both_versions_and_not_after_the_list_has_changed() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ca = Signer::new("ca");
        let fixture = Fixture::listening(&[&ca], &[ca.list(1, &[])]);
        let client = ca.client(1, &[]).connector(version);
        let acceptor = fixture.listener();
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Resumed), "{version:?}");
        fixture.put("crl.pem", &ca.list(2, &[2]));
        let acceptor = fixture.listener();
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Resumed), "{version:?}");
        fixture.put("crl.pem", &ca.list(3, &[1]));
        knock(&fixture.listener(), &client).await.unwrap_err();
    }
}

/// rustls takes the certificate from the ticket unverified and puts it into the next ticket.
#[tokio::test]
async fn a_ticket_does_not_outlive_the_certificate_that_it_was_given_for() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ca = Signer::new("ca");
        let acceptor = Fixture::listening(&[&ca], &[ca.list(1, &[])]).listener();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["me.example".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(2)).into();
        let own = params.signed_by(&key, &ca.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let client = Client { chain: vec![own.der().clone()], key }.connector(version);
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(knock(&acceptor, &client).await, Ok(HandshakeKind::Resumed), "{version:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let told = knock(&acceptor, &client).await.unwrap_err();
        assert!(told.contains("expired on"), "{version:?}: {told}");
    }
}

/// An expired certificate that nobody renews must not block other changes.
#[tokio::test]
async fn a_revocation_comes_into_force_beside_a_certificate_or_authority_that_has_expired_in_use() {
    let now = SystemTime::now();
    let ca = Signer::with("ca", |params| params.not_after = (now + 10 * DAY).into());
    let fixture = Fixture::listening(&[&ca], &[ca.list(1, &[])]);
    let expires = |params: &mut CertificateParams| params.not_after = (now + 10 * DAY).into();
    SERVERS.with(|servers| fixture.issue_by("server", &servers.issuer, expires));
    let settings = format!("{LISTENER}{LISTS}");
    let (before, _) = fixture.load(&settings, None, now).unwrap();
    fixture.put("crl.pem", &ca.list(2, &[1]));
    let late = now + 11 * DAY;
    let told = fixture.load(&settings, None, late).unwrap_err();
    assert!(told.contains("expired on"), "a start is refused: {told}");
    let (after, warnings) = fixture.load(&settings, Some(&before), late).unwrap();
    assert!(
        warnings
            .iter()
            .any(|it| it.contains("server.pem:1: the certificate") && it.contains("expired on")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|it| it.contains("ca.pem:1: the authority CN=ca expired on")),
        "{warnings:?}"
    );
    assert_ne!(before.acceptor, after.acceptor);
    assert!(after.changed_files(&before).contains(&"client-crl-file: new content".to_owned()));
    // A different expired certificate is refused as at the start.
    SERVERS.with(|servers| fixture.issue_by("server", &servers.issuer, expires));
    assert!(fixture.load(&settings, Some(&before), late).is_err());
}

#[test]
fn an_expired_certificate_behind_the_one_that_is_shown_is_a_warning() {
    let ca = Signer::new("ca");
    let old = ca.below("old", |params| params.not_after = date_time_ymd(2001, 2, 3));
    let fixture = Fixture::listening(&[&ca], &[ca.list(1, &[])]);
    let own = std::fs::read_to_string(fixture.0.path().join("server.pem")).unwrap();
    fixture.put("server.pem", &format!("{own}{}", old.pem));
    let warnings = fixture.warnings("");
    let line = own.lines().count() + 1;
    assert!(
        warnings
            .contains(&format!("server.pem:{line}: the certificate CN=old expired on 2001-02-03")),
        "{warnings}"
    );
}

/// Members use the last CN, whatever its string type.
#[test]
fn the_last_common_name_is_the_one_that_members_see_in_every_kind_of_string() {
    let named = |names: Vec<DnValue>| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (number, name) in names.into_iter().enumerate() {
            // The parameters have one name of a kind; the same one twice is two kinds to them.
            let kind = match number {
                0 => DnType::CommonName,
                _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            params.distinguished_name.push(kind, name);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        certificate::Certificate::read(made.der()).unwrap().common_name
    };
    let root = Some("root".to_owned());
    assert_eq!(named(vec![DnValue::TeletexString("root".try_into().unwrap())]), root);
    assert_eq!(named(vec![DnValue::BmpString("root".try_into().unwrap())]), root);
    assert!(named(vec![DnValue::UniversalString("root".try_into().unwrap())]).is_some());
    assert_eq!(named(vec!["first".into(), "root".into()]), root);
    assert_eq!(named(vec!["first".into(), "".into()]), None);
    assert_eq!(named(vec![]), None);
}

/// A certificate that only one of rustls and our own parser understands must not be accepted.
#[tokio::test]
async fn unknown_extensions_change_nothing_about_revocation() {
    let ca = Signer::new("ca");
    let acceptor = Fixture::listening(&[&ca], &[ca.list(1, &[3])]).listener();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["me.example".to_owned()]).unwrap();
    params.serial_number = Some(3.into());
    // The identifier of its authority's key, cut off.
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 35], b"\x30\x03\x02\x01".to_vec())];
    let own = params.signed_by(&key, &ca.issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    enter(&acceptor, &Client { chain: vec![own.der().clone()], key }).await.unwrap_err();
}
