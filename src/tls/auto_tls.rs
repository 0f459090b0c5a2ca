//! auto-tls: a certificate of our own making, kept so that clients who remember it see the same
//! after a restart.
//!
//! It lies where etcd's proxy kept its own, so that one of those is taken over.

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
/// A kept certificate must be good for this much longer.
const SPARE: Duration = Duration::from_secs(2 * 24 * 3600);
/// Clients' clocks may be behind ours by this much.
const SKEW: Duration = Duration::from_secs(3600);

/// Returns the certificate that is kept, or a new one when there is none that is still good. With
/// `may_write` unset a missing one stays missing, and that is no problem.
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
        // Whatever is wrong with it, a new one mends it.
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

/// The files that it is kept in.
pub(super) fn pair(wanted: &AutoTls) -> KeyPair {
    let file = |name| TlsFile { setting: "auto-tls", path: wanted.directory.join(name) };
    KeyPair { cert: file("cert.pem"), key: file("key.pem") }
}

fn make(wanted: &AutoTls, pair: &KeyPair, now: SystemTime) -> io::Result<()> {
    let (cert, key) = generate(wanted, now).map_err(io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&wanted.directory)?;
    // The key first: a certificate without its key would be taken for a whole pair.
    write(&pair.key.path, &key)?;
    write(&pair.cert.path, &cert)
}

/// Returns the certificate and its key in PEM.
fn generate(wanted: &AutoTls, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    // No CN: members would take it for a user.
    params.distinguished_name.push(DnType::OrganizationName, "etcd-proxy");
    params.not_before = (now - SKEW).into();
    params.not_after = (now + YEAR * wanted.years).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Replaces a file whole, readable by its owner only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("pem.new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
