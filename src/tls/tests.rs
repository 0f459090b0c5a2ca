mod clients;
mod parity;
mod servers;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::config::{self, Inputs};
use crate::tls::configs::Purpose;

/// A directory for settings and files.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Writes a certificate for this name and CN, from this authority or self-signed, as NAME.pem
    /// and NAME.key.
    fn issue(
        &self,
        file: &str,
        from: Option<&Authority>,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["member.example".to_owned()]).unwrap();
        change(&mut params);
        let certificate = match from {
            Some(authority) => params.signed_by(&key, &authority.0).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        self.put(&format!("{file}.pem"), &certificate.pem());
        self.put(&format!("{file}.key"), &key.serialize_pem());
    }

    fn tls_configs(&self, settings: &str) -> Result<TlsConfigs, String> {
        self.load(settings, None, SystemTime::now()).map(|(tls_configs, _)| tls_configs)
    }

    /// Returns the TLS configs with the warnings, or the first error.
    fn load(
        &self,
        settings: &str,
        before: Option<&TlsConfigs>,
        now: SystemTime,
    ) -> Result<(TlsConfigs, Vec<String>), String> {
        let directory = self.0.path().display().to_string();
        self.put("p.toml", &settings.replace("DIR", &directory));
        let inputs = Inputs {
            args: vec!["--config-file".into(), self.0.path().join("p.toml").into()],
            env: Vec::new(),
            cwd: PathBuf::from(directory),
            default_file: PathBuf::from("/none"),
        };
        let loaded = config::load(&inputs).map_err(|problems| problems.0[0].one_line())?;
        let lines =
            |problems: &[config::Problem]| problems.iter().map(|it| it.one_line()).collect();
        configs::load_at(now, &loaded.settings, &loaded.origins, before, Purpose::Use)
            .map(|(tls_configs, warnings)| (tls_configs, lines(&warnings)))
            .map_err(|problems| problems.0[0].one_line())
    }

    /// Returns the connector to members whose certificates must come from `ca.pem`.
    fn connector(&self, more: &str) -> Connector {
        let trusted =
            "upstream-trusted-ca-file = \"DIR/ca.pem\"\npeer-trusted-ca-file = \"DIR/ca.pem\"\n";
        self.tls_configs(&format!("{trusted}{more}")).unwrap().upstream
    }

    fn acceptor(&self, more: &str) -> Acceptor {
        let shown = "cert-file = \"DIR/server.pem\"\nkey-file = \"DIR/server.key\"\nallow-upstream-cn = true\n";
        self.tls_configs(&format!("{shown}{more}")).unwrap().acceptor.unwrap()
    }
}

struct Authority(Issuer<'static, KeyPair>);

impl Fixture {
    /// Creates an authority of this name, in NAME.pem.
    fn authority(&self, file: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, file);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.put(&format!("{file}.pem"), &params.self_signed(&key).unwrap().pem());
        Authority(Issuer::new(params, key))
    }
}

fn with_cn(params: &mut CertificateParams) {
    params.distinguished_name.push(DnType::CommonName, "infra0");
}

/// Connects the two and returns the outcome on the connecting side, first read included.
async fn meet(connector: &Connector, acceptor: &Acceptor, host: &str, alpn: Alpn) -> String {
    let (near, far) = duplex(64 * 1024);
    let serve = async {
        if let Ok(mut stream) = acceptor.accept(far).await {
            stream.write_all(b"!").await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    };
    let (said, ()) = tokio::join!(said(connector, near, host, alpn), serve);
    said
}

async fn said(connector: &Connector, stream: DuplexStream, host: &str, alpn: Alpn) -> String {
    match connector.connect(stream, host, alpn).await {
        Ok(mut stream) => match stream.read(&mut [0]).await {
            Ok(_) => "fine".to_owned(),
            Err(error) => connector.explain(&error).unwrap().to_string(),
        },
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_member_is_verified_by_the_host_that_was_dialled() {
    let fixture = Fixture::new();
    let ca = fixture.authority("ca");
    fixture.issue("server", Some(&ca), with_cn);
    let (connector, acceptor) = (fixture.connector(""), fixture.acceptor(""));
    assert_eq!(meet(&connector, &acceptor, "member.example", Alpn::H2).await, "fine");
    assert_eq!(meet(&connector, &acceptor, "member.example.", Alpn::Http1).await, "fine");
    let said = meet(&connector, &acceptor, "10.0.1.10", Alpn::H2).await;
    assert!(said.ends_with("infra0 is for member.example, and not for 10.0.1.10"), "{said}");
}

#[tokio::test]
async fn an_unknown_authority_is_named_with_those_that_are_known() {
    let fixture = Fixture::new();
    let other = fixture.authority("other");
    fixture.authority("ca");
    fixture.issue("server", Some(&other), with_cn);
    let said =
        meet(&fixture.connector(""), &fixture.acceptor(""), "member.example", Alpn::H2).await;
    let file = fixture.0.path().join("ca.pem");
    let known = format!("the trusted ones are in {} (upstream-trusted-ca-file)", file.display());
    assert!(said.contains("is from an unknown authority, CN="), "{said}");
    assert!(said.ends_with(&known), "{said}");
}

/// `openssl req -x509` makes such certificates, and Go accepts them.
#[tokio::test]
async fn a_certificate_that_calls_itself_an_authority_is_fine_when_it_is_the_one_that_is_trusted() {
    let fixture = Fixture::new();
    fixture
        .issue("server", None, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    std::fs::copy(fixture.0.path().join("server.pem"), fixture.0.path().join("ca.pem")).unwrap();
    let (connector, acceptor) = (fixture.connector(""), fixture.acceptor(""));
    assert_eq!(meet(&connector, &acceptor, "member.example", Alpn::H2).await, "fine");
    assert_ne!(meet(&connector, &acceptor, "other.example", Alpn::H2).await, "fine");
}

#[tokio::test]
async fn a_demanded_certificate_is_asked_for_by_the_setting_that_names_one() {
    let fixture = Fixture::new();
    let ca = fixture.authority("ca");
    fixture.issue("server", Some(&ca), |_| ());
    for versions in ["", "tls-max-version = \"TLS1.2\"\n"] {
        let acceptor = fixture.acceptor(&format!("trusted-ca-file = \"DIR/ca.pem\"\n{versions}"));
        let said = meet(&fixture.connector(""), &acceptor, "member.example", Alpn::H2).await;
        assert!(said.contains("upstream-cert-file"), "{said}");
    }
}

#[tokio::test]
async fn a_peer_must_have_the_common_name_that_is_allowed() {
    let fixture = Fixture::new();
    let ca = fixture.authority("ca");
    fixture.issue("server", Some(&ca), with_cn);
    let peer = |cn: &str| {
        let settings =
            format!("peer-trusted-ca-file = \"DIR/ca.pem\"\npeer-cert-allowed-cn = \"{cn}\"\n");
        fixture.tls_configs(&settings).unwrap().peer
    };
    let acceptor = fixture.acceptor("");
    assert_eq!(meet(&peer("infra0"), &acceptor, "member.example", Alpn::Http1).await, "fine");
    let said = meet(&peer("infra1"), &acceptor, "member.example", Alpn::Http1).await;
    assert!(said.ends_with("does not have the allowed CN, infra1"), "{said}");
}

#[tokio::test]
async fn auto_tls_verifies_nobody_unless_an_authority_is_named() {
    let fixture = Fixture::new();
    let other = fixture.authority("other");
    fixture.authority("ca");
    fixture.issue("server", Some(&other), |_| ());
    let acceptor = fixture.acceptor("");
    let auto = fixture.tls_configs("data-dir = \"DIR/data\"\nauto-tls = true\n").unwrap();
    assert_eq!(meet(&auto.upstream, &acceptor, "x.example", Alpn::H2).await, "fine");
    let named = fixture.connector("data-dir = \"DIR/data\"\nauto-tls = true\n");
    assert_ne!(meet(&named, &acceptor, "member.example", Alpn::H2).await, "fine");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_hangs_up() {
    let fixture = Fixture::new();
    fixture.authority("ca");
    let connector = fixture.connector("");
    let (near, mut far) = duplex(1024);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let plain = said(&connector, near, "member.example", Alpn::H2).await;
    assert!(plain.starts_with("it does not speak TLS"), "{plain}");
    let (near, far) = duplex(1024);
    drop(far);
    let gone = said(&connector, near, "member.example", Alpn::H2).await;
    assert!(gone.starts_with("it closed the connection during the TLS handshake"), "{gone}");
}

#[test]
fn material_of_the_same_files_is_equal_and_of_others_is_not() {
    let fixture = Fixture::new();
    let ca = fixture.authority("ca");
    fixture.issue("server", Some(&ca), |_| ());
    let settings =
        "cert-file = \"DIR/server.pem\"\nkey-file = \"DIR/server.key\"\nallow-upstream-cn = true\n";
    let first = fixture.tls_configs(settings).unwrap();
    assert_eq!(first, fixture.tls_configs(settings).unwrap());
    fixture.issue("server", Some(&ca), |_| ());
    let second = fixture.tls_configs(settings).unwrap();
    assert_ne!(first, second);
    assert_eq!(second.changed_files(&first).len(), 2, "{:?}", second.changed_files(&first));
    assert_eq!(first.peer, second.peer);
}

proptest::proptest! {
    #[test]
    fn nothing_in_a_file_makes_the_readers_panic(bytes in proptest::collection::vec(0u8.., 0..300), label in "[A-Z ]{0,20}") {
        let _ = pem::sections(&bytes);
        let _ = certificate::Certificate::read(&bytes);
        let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
        text.extend(&bytes);
        text.extend(format!("\n-----END {label}-----\n").bytes());
        let _ = pem::sections(&text);
    }
}

/// Every prefix of a certificate, and every byte of it changed.
#[test]
fn damaged_certificates_are_read_or_refused() {
    let fixture = Fixture::new();
    fixture.issue("server", None, with_cn);
    let text = std::fs::read(fixture.0.path().join("server.pem")).unwrap();
    let der = &pem::sections(&text).unwrap()[0].der;
    for at in 0..der.len() {
        let _ = certificate::Certificate::read(&der[..at]);
        let mut changed = der.clone();
        changed[at] ^= 0xff;
        let _ = certificate::Certificate::read(&changed).map(|it| it.title());
    }
}

#[test]
fn what_expires_soon_is_warned_about_by_its_lifetime() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let warns = |left: u32, lifetime: u32| {
        let shown = expiry::Expiring {
            kind: expiry::Kind::Certificate,
            identity: "listener",
            setting: "cert-file",
            file: PathBuf::from("/server.pem"),
            title: "CN=me".to_owned(),
            not_after: now + DAY * left,
            lifetime: DAY * lifetime,
        };
        shown.warning(now).is_some()
    };
    assert!(warns(29, 365) && warns(1, 7) && warns(0, 7));
    assert!(!warns(31, 365) && !warns(3, 7));
}
