//! The authorities of the machine, for whoever names none.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::files;
use crate::config::regular_file;

/// Where distributions keep them, most common first; the list that Go's programs look through.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where the machine's authorities may be: `$SSL_CERT_FILE`, then the bundles. The first that can
/// be read is it.
fn bundles() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.iter().map(PathBuf::from))
}

/// Where a change may mean other authorities: the bundle, and what would be taken before it if it
/// were there.
pub fn watched() -> Vec<PathBuf> {
    let mut paths: Vec<_> = bundles().collect();
    let taken = paths.iter().position(|path| path.exists());
    paths.truncate(taken.map_or(paths.len(), |at| at + 1));
    paths
}

/// Returns the content of the first bundle that can be read; `None` when there is none, and then
/// nobody is trusted.
pub(super) fn bundle() -> Option<Vec<u8>> {
    bundles().find_map(|path| regular_file::read(&path, files::LARGEST).ok())
}

/// Returns the certificates of a bundle. What is not one is skipped.
pub(super) fn certificates(bundle: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle).flatten()
}
