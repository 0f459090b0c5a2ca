//! The resolved TLS settings: the files of each identity, and what is required of other parties.
//!
//! No file is read here. Each file is kept with the name of its setting, which problems with the
//! file name.

use std::fmt;
use std::path::PathBuf;

/// The TLS settings. Unset ones are empty; by default listeners have no TLS, and members and peers
/// are verified against the machine's authorities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// For `https` and `unixs` listeners.
    pub listener: ListenTls,
    /// For connections to members' client ports.
    pub upstream: ConnectTls,
    /// For connections to peer ports.
    pub peer: ConnectTls,
    /// For connections to a registry of members.
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

/// The certificate that listeners show, and what they require of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenTls {
    /// `cert-file` and `key-file`.
    pub pair: Option<KeyPair>,
    /// How to make a certificate when there is none; `None` unless `auto-tls` is set and a listener
    /// speaks TLS.
    pub auto_tls: Option<AutoTls>,
    /// `trusted-ca-file`; as with etcd, clients must show a certificate of it whenever it is set.
    pub client_ca: Option<TlsFile>,
    /// `client-crl-file`.
    pub client_crl: Option<TlsFile>,
    /// `client-cert-allowed-hostname`: a client's certificate must be good for one of these; empty
    /// allows all.
    pub allowed_hostnames: Vec<String>,
}

/// The certificate shown when connecting, and what is required of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTls {
    /// The certificate to show when asked for one.
    pub pair: Option<KeyPair>,
    /// The authorities that the server's certificate must come from; `None` means those of the
    /// machine.
    pub ca: Option<TlsFile>,
    /// The revocation lists that the server's certificate is checked against.
    pub crl: Option<TlsFile>,
    /// Whether the server's certificate is verified at all; etcd's auto-tls settings switch it off.
    pub verify: bool,
    /// The name that the server's certificate must have in place of the dialled host (the domain of
    /// `discovery-srv`).
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

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, followed by the intermediates.
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

/// The inputs of a self-made certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTls {
    /// Where it is kept: `<data-dir>/proxy/clientCerts`, as with etcd's proxy.
    pub directory: PathBuf,
    /// `self-signed-cert-validity`, in years of 365 days; at least 1.
    pub years: u32,
    /// The names and addresses it is valid for: those of the listeners and of
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

/// A cipher suite that can be offered.
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
    /// Every suite with IANA's name; [`CipherSuite::named`] knows Go's older names too.
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

    /// Returns the suite of a name by IANA or by Go (which leaves out `_SHA256` behind POLY1305).
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
    /// Returns every configured file, each once; the files of a self-made certificate are not among
    /// them.
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
