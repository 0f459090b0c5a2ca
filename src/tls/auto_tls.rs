//! `auto-tls`: a self-signed certificate, kept on disk so that clients which pinned it see the same
//! one after a restart.
//!
//! It is stored where etcd's proxy kept its own, so that an existing one is reused.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
};

use super::certificate::{Certificate, day};
use super::files::Files;
use super::identity::{self, Identity};
use super::protocol::Protocol;
use crate::config::{AutoTls, KeyPair, TlsFile};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a stored certificate must still be valid to be reused.
const SPARE: Duration = Duration::from_secs(2 * 24 * 3600);
/// How far clients' clocks may be behind ours: a new certificate is valid from this long ago.
const SKEW: Duration = Duration::from_secs(3600);

/// Returns the stored certificate, or makes a new one if there is none or it is unusable or about
/// to expire. Without `may_write` none is made, and a missing certificate is not a problem.
pub(super) fn read_or_make(
    files: &mut Files<'_>,
    wanted: &AutoTls,
    protocol: &Protocol,
    may_write: bool,
) -> Option<Identity> {
    let pair = pair(wanted);
    if pair.cert.path.exists() {
        let before = files.problems.0.len();
        let kept = identity::read(files, &pair, &protocol.provider, false);
        let lasts =
            |it: &Identity| it.leaf().is_some_and(|leaf| leaf.not_after > files.now + SPARE);
        if let Some(kept) = kept.filter(lasts) {
            return Some(kept);
        }
        // Its problems do not matter, since a new one is made.
        files.problems.0.truncate(before);
    }
    if !may_write {
        return None;
    }
    let now = files.now;
    if let Err(error) = make(wanted, &pair, now) {
        let message = format!("`auto-tls`: cannot write {}: {error}", wanted.directory.display());
        files.error("auto-tls", message, "data-dir must be writable");
        return None;
    }
    files.forget(&pair.cert.path);
    files.forget(&pair.key.path);
    let made = identity::read(files, &pair, &protocol.provider, false)?;
    let until = made.leaf().map_or(now, |leaf: &Certificate| leaf.not_after);
    let (file, until) = (pair.cert.path.display(), day(until));
    files
        .notice("auto-tls", format!("`auto-tls`: made a certificate, {file}, valid until {until}"));
    Some(made)
}

/// Returns the files that store it.
pub(super) fn pair(wanted: &AutoTls) -> KeyPair {
    let file = |name| TlsFile { setting: "auto-tls", path: wanted.directory.join(name) };
    KeyPair { cert: file("cert.pem"), key: file("key.pem") }
}

fn make(wanted: &AutoTls, pair: &KeyPair, now: SystemTime) -> io::Result<()> {
    let (cert, key) = generate(wanted, now).map_err(io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&wanted.directory)?;
    // The key first: the pair counts as present once the certificate is there.
    write(&pair.key.path, &key)?;
    write(&pair.cert.path, &cert)
}

/// Generates a certificate and its key, both in PEM.
fn generate(wanted: &AutoTls, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    // Without a CN, which members would take for a user.
    params.distinguished_name.push(DnType::OrganizationName, "etcd-proxy");
    params.not_before = (now - SKEW).into();
    params.not_after = (now + YEAR * wanted.years).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Replaces a file atomically, readable by its owner only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("pem.new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
