//! The resolved settings about TLS: which files make which of the three identities, and what is
//! demanded of the others.
//!
//! Nothing is read here. A file is kept with the name of the setting that it was written in, since
//! that is where a person will look when the file is wrong.

use std::fmt;
use std::path::PathBuf;

/// Everything about TLS. What was not set is empty; the default speaks no TLS on listeners and
/// verifies members and peers against the machine's own authorities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// What `https` and `unixs` listeners show and demand.
    pub listener: ListenTls,
    /// What members' client ports are shown and held to.
    pub upstream: ConnectTls,
    /// What peer ports are shown and held to.
    pub peer: ConnectTls,
    /// What a registry of members is shown and held to.
    pub registry: ConnectTls,
    /// `tls-min-version`, for all of them; `None` is TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// `tls-max-version`, for all of them; `None` is TLS 1.3.
    pub max_version: Option<TlsVersion>,
    /// `cipher-suites`, for all of them, in the order written; empty means all. As in Go, the
    /// suites of TLS 1.3 are only restricted when one of them is named.
    pub cipher_suites: Vec<CipherSuite>,
    /// `allow-upstream-cn` (ours): members may be shown a certificate with a CN on behalf of
    /// clients that showed none.
    pub allow_upstream_cn: bool,
}

/// What listeners show, and what they demand of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenTls {
    /// `cert-file` and `key-file`.
    pub pair: Option<KeyPair>,
    /// What to make a certificate from when there is none; `None` unless `auto-tls` says so and a
    /// listener speaks TLS.
    pub auto_tls: Option<AutoTls>,
    /// `trusted-ca-file`; as with etcd, clients must show a certificate of it whenever it is set.
    pub client_ca: Option<TlsFile>,
    /// `client-crl-file`.
    pub client_crl: Option<TlsFile>,
    /// `client-cert-allowed-hostname`: a client's certificate must be good for one of these; empty
    /// allows all.
    pub allowed_hostnames: Vec<String>,
}

/// What is shown when connecting, and what is demanded of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTls {
    /// The certificate to show when asked for one.
    pub pair: Option<KeyPair>,
    /// The authorities that the server's certificate must come from; `None` means those of the
    /// machine.
    pub ca: Option<TlsFile>,
    /// The revocation lists that the server's certificate is held against.
    pub crl: Option<TlsFile>,
    /// Whether the server's certificate is verified at all; etcd's auto-tls settings switch it off.
    pub verify: bool,
    /// The name that the certificate must carry in place of the host that was dialled
    /// (`discovery-srv`'s domain).
    pub server_name: Option<String>,
    /// `peer-cert-allowed-cn`: the server's certificate must have one of these CNs; empty allows
    /// all.
    pub allowed_cns: Vec<String>,
    /// `peer-cert-allowed-hostname`: the server's certificate must be good for one of these; empty
    /// allows all.
    pub allowed_hostnames: Vec<String>,
}

impl Default for ConnectTls {
    fn default() -> Self {
        Self {
            pair: None,
            ca: None,
            crl: None,
            verify: true,
            server_name: None,
            allowed_cns: Vec::new(),
            allowed_hostnames: Vec::new(),
        }
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, followed by those between it and its authority.
    pub cert: TlsFile,
    /// The private key.
    pub key: TlsFile,
}

/// A PEM file, and the setting that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFile {
    /// The setting.
    pub setting: &'static str,
    /// The absolute path.
    pub path: PathBuf,
}

/// What a self-made certificate is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTls {
    /// Where it is kept: `<data-dir>/proxy/clientCerts`, as with etcd's proxy.
    pub directory: PathBuf,
    /// `self-signed-cert-validity`, in years of 365 days; at least 1.
    pub years: u32,
    /// The names and addresses that it is good for: those of the listeners and of
    /// `advertise-client-urls`.
    pub names: Vec<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, etcd's lowest.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A cipher suite that can be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are IANA's")]
pub enum CipherSuite {
    Tls13Aes128GcmSha256,
    Tls13Aes256GcmSha384,
    Tls13Chacha20Poly1305Sha256,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305Sha256,
}

impl CipherSuite {
    /// Every suite with IANA's name; Go's older names are [`CipherSuite::named`]'s business.
    pub const ALL: [(&'static str, Self); 9] = [
        ("TLS_AES_128_GCM_SHA256", Self::Tls13Aes128GcmSha256),
        ("TLS_AES_256_GCM_SHA384", Self::Tls13Aes256GcmSha384),
        ("TLS_CHACHA20_POLY1305_SHA256", Self::Tls13Chacha20Poly1305Sha256),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Self::EcdheEcdsaAes128GcmSha256),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Self::EcdheEcdsaAes256GcmSha384),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Self::EcdheEcdsaChacha20Poly1305Sha256),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Self::EcdheRsaAes128GcmSha256),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Self::EcdheRsaAes256GcmSha384),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Self::EcdheRsaChacha20Poly1305Sha256),
    ];

    /// Returns the suite of this name, by IANA or by Go (which leaves out `_SHA256` behind
    /// POLY1305).
    pub fn named(name: &str) -> Option<Self> {
        let go = |iana: &str| {
            iana.strip_suffix("_SHA256").filter(|it| it.ends_with("POLY1305")) == Some(name)
        };
        Self::ALL.iter().find(|(iana, _)| *iana == name || go(iana)).map(|(_, suite)| *suite)
    }

    /// Whether it belongs to TLS 1.3.
    pub fn is_tls13(self) -> bool {
        matches!(
            self,
            Self::Tls13Aes128GcmSha256
                | Self::Tls13Aes256GcmSha384
                | Self::Tls13Chacha20Poly1305Sha256
        )
    }
}

impl ListenTls {
    /// Whether a client must show a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.client_ca.is_some()
    }
}

impl TlsSettings {
    /// Every file that is read for it, each once; what a self-made certificate is kept in is not
    /// among them.
    pub fn files(&self) -> Vec<&TlsFile> {
        let pairs =
            [&self.listener.pair, &self.upstream.pair, &self.peer.pair, &self.registry.pair];
        let pairs = pairs.into_iter().flatten().flat_map(|pair| [&pair.cert, &pair.key]);
        let others = [
            &self.listener.client_ca,
            &self.listener.client_crl,
            &self.upstream.ca,
            &self.upstream.crl,
            &self.peer.ca,
            &self.peer.crl,
            &self.registry.ca,
        ];
        let mut files: Vec<&TlsFile> = Vec::new();
        for file in pairs.chain(others.into_iter().flatten()) {
            if !files.iter().any(|known| known.path == file.path) {
                files.push(file);
            }
        }
        files
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS1.2",
            Self::Tls13 => "TLS1.3",
        })
    }
}
