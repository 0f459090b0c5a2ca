//! The machine's CA bundle, for connections without a CA file of their own.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::files;
use crate::config::regular_file;

/// Where distributions keep the bundle, most common first; the same list as in Go.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the candidate paths: `$SSL_CERT_FILE`, then [`BUNDLES`]. The first readable one is used.
fn bundles() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.iter().map(PathBuf::from))
}

/// Returns the paths to watch: the existing bundle, and the candidates before it, which would be
/// used if they appeared.
pub fn watched() -> Vec<PathBuf> {
    let mut paths: Vec<_> = bundles().collect();
    let taken = paths.iter().position(|path| path.exists());
    paths.truncate(taken.map_or(paths.len(), |at| at + 1));
    paths
}

/// Returns the content of the first readable bundle; `None` if there is none, and then no authority
/// is trusted.
pub(super) fn bundle() -> Option<Vec<u8>> {
    bundles().find_map(|path| regular_file::read(&path, files::LARGEST).ok())
}

/// Returns the certificates of a bundle. Anything else in it is skipped.
pub(super) fn certificates(bundle: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle).flatten()
}
