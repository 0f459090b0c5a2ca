//! TLS versions and cipher suites, for rustls on aws-lc-rs.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::config::{CipherSuite, TlsSettings, TlsVersion};

/// The versions and cipher suites that may be negotiated.
#[derive(Debug, Clone)]
pub(super) struct Protocol {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

impl Protocol {
    /// Returns what the settings allow. As in Go, the TLS 1.3 suites stay enabled if the settings
    /// name none of them.
    pub(super) fn allowed(settings: &TlsSettings) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        let named = &settings.cipher_suites;
        if !named.is_empty() {
            let mut suites: Vec<_> = named.iter().map(|suite| by_rustls(*suite)).collect();
            if !named.iter().any(|suite| suite.is_tls13()) {
                suites
                    .extend(provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some()));
            }
            provider.cipher_suites = suites;
        }
        let min = settings.min_version.unwrap_or(TlsVersion::Tls12);
        let max = settings.max_version.unwrap_or(TlsVersion::Tls13);
        let versions = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
        // rustls refuses a version without any enabled suite.
        let has_suite = |version: &SupportedProtocolVersion| {
            provider.cipher_suites.iter().any(|suite| suite.version() == version)
        };
        let versions = versions
            .into_iter()
            .filter(|(version, by)| (min..=max).contains(version) && has_suite(by))
            .map(|(_, by)| by)
            .collect();
        Self { provider: Arc::new(provider), versions }
    }
}

fn by_rustls(name: CipherSuite) -> SupportedCipherSuite {
    use CipherSuite as Name;
    match name {
        Name::Tls13Aes128GcmSha256 => suite::TLS13_AES_128_GCM_SHA256,
        Name::Tls13Aes256GcmSha384 => suite::TLS13_AES_256_GCM_SHA384,
        Name::Tls13Chacha20Poly1305Sha256 => suite::TLS13_CHACHA20_POLY1305_SHA256,
        Name::EcdheEcdsaAes128GcmSha256 => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Name::EcdheEcdsaAes256GcmSha384 => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Name::EcdheEcdsaChacha20Poly1305Sha256 => {
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        Name::EcdheRsaAes128GcmSha256 => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Name::EcdheRsaAes256GcmSha384 => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Name::EcdheRsaChacha20Poly1305Sha256 => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}
