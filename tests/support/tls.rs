//! Certificate authorities, certificates and revocation lists made for the tests, and a client that
//! speaks TLS.
//!
//! Keys are ECDSA P-256. A certificate has no CN unless a test asks for one, because etcd takes the
//! CN for a user name.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// An authority that signs certificates and revocation lists.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    lists: AtomicU64,
}

/// The content of a certificate.
#[derive(Debug, Clone, Default)]
pub struct Leaf {
    names: Vec<String>,
    common_name: Option<String>,
    expired: bool,
    ends: Option<SystemTime>,
    signs: bool,
}

/// A certificate with its key.
pub struct Identity {
    /// The certificate in PEM.
    pub certificate: String,
    /// The key in PEM.
    pub key: String,
    serial: u64,
}

/// The paths that a certificate and its key were written to.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// The files of a client: the authority that it trusts and the certificate that it shows.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// The file of the trusted authority.
    pub authority: PathBuf,
    /// The client's certificate; `None` if it shows none.
    pub identity: Option<Files>,
}

/// Returns a serial number that no other certificate of this test process has.
fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Authority {
    /// Makes an authority of this name.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem, lists: AtomicU64::new(1) }
    }

    /// Returns its own certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for servers and clients alike.
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let serial = next_serial();
        let mut params = CertificateParams::new(leaf.names.clone()).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "etcd-proxy tests");
        if let Some(name) = &leaf.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(if leaf.expired { 2001 } else { 2096 }, 2, 3);
        if let Some(end) = leaf.ends {
            params.not_after = end.into();
        }
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if leaf.signs {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem(), serial }
    }

    /// Signs a list that revokes exactly these.
    pub fn revoke(&self, revoked: &[&Identity]) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 2),
            next_update: date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(self.lists.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a revocation list").pem().expect("PEM")
    }
}

impl Leaf {
    /// Describes a certificate for these names and addresses.
    pub fn of(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Self::default() }
    }

    /// Describes a certificate for a server on loopback.
    pub fn loopback() -> Self {
        Self::of(&["127.0.0.1", "localhost"])
    }

    /// Describes a certificate for a client, without any name.
    pub fn client() -> Self {
        Self::default()
    }

    /// Adds a CN.
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Allows it to sign other certificates.
    pub fn authority(mut self) -> Self {
        self.signs = true;
        self
    }

    /// Ends its validity after this time from now.
    pub fn for_only(mut self, left: Duration) -> Self {
        self.ends = Some(SystemTime::now() + left);
        self
    }

    /// Ends its validity on 3 February 2001.
    pub fn expired(mut self) -> Self {
        self.expired = true;
        self
    }
}

impl Identity {
    /// Returns the certificate in DER, as it is sent in a handshake.
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM").to_vec()
    }

    /// Writes `STEM.pem` and `STEM.key` into a directory.
    pub fn write(&self, directory: &Path, stem: &str) -> Files {
        let files = Files {
            certificate: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        };
        self.write_to(&files);
        files
    }

    /// Replaces these files, first the certificate and then the key, each by a rename.
    pub fn write_to(&self, files: &Files) {
        replace(&files.certificate, &self.certificate);
        replace(&files.key, &self.key);
    }
}

/// Replaces a file by a rename; only its owner can read it.
pub fn replace(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("a file");
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    std::fs::rename(&next, path).expect("the file in place");
}

/// A stream to a server, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How test clients connect: with TLS or without. Clones change together and resume each other's
/// sessions.
#[derive(Debug, Clone, Default)]
pub struct Dialer(Arc<Mutex<Option<Arc<ClientConfig>>>>);

impl Dialer {
    /// Connects without TLS.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Connects with TLS, trusts these authorities, and shows this certificate if there is one.
    pub fn tls(authorities: &[&Authority], identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let der = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM");
            roots.add(der).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => {
                let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![certificate.expect("PEM")], key).expect("a pair")
            }
            None => builder.with_no_client_auth(),
        };
        Self(Arc::new(Mutex::new(Some(Arc::new(config)))))
    }

    /// Takes over the configuration of `other`.
    pub fn become_like(&self, other: &Self) {
        let config = other.config();
        *self.0.lock().expect("dialer") = config;
    }

    fn config(&self) -> Option<Arc<ClientConfig>> {
        self.0.lock().expect("dialer").clone()
    }

    /// Connects to a TLS port and returns the certificate that it showed.
    pub async fn fetch_certificate(&self, address: &str) -> std::io::Result<Vec<u8>> {
        let config = self.config().expect("a dialer with TLS");
        let stream = connect(&config, address, "").await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(shown.map(|certificate| certificate.to_vec()).unwrap_or_default())
    }

    /// Connects to `HOST:PORT` and offers this protocol by ALPN (none if empty).
    pub async fn dial(&self, address: &str, alpn: &str) -> std::io::Result<Box<dyn Stream>> {
        let Some(config) = self.config() else {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            return Ok(Box::new(stream));
        };
        Ok(Box::new(connect(&config, address, alpn).await?))
    }
}

async fn connect(
    config: &ClientConfig,
    address: &str,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut config = config.clone();
    config.alpn_protocols =
        [alpn].iter().filter(|p| !p.is_empty()).map(|p| p.as_bytes().to_vec()).collect();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}
