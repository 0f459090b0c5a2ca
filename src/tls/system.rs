//! The authorities of the machine, for whoever names none.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where distributions keep them, most common first; the list that Go's programs look through.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the authorities of `$SSL_CERT_FILE`, else of the first bundle that can be read; none when there is none, and
/// then nobody is trusted. What is not a certificate is skipped.
pub(super) fn roots() -> Arc<RootCertStore> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let mut contents = bundles.filter_map(|path| std::fs::read(path).ok());
    let mut roots = RootCertStore::empty();
    if let Some(content) = contents.next() {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&content).flatten());
    }
    Arc::new(roots)
}
