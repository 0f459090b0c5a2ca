//! Trusted authorities, from a CA file or the machine's bundle.

use rustls::DistinguishedName;
use rustls_pki_types::CertificateDer;

use super::anchors::Anchors;
use super::certificate::Certificate;
use super::files::Files;
use super::pem::Kind;
use super::system_roots;
use crate::config::TlsFile;

/// The trusted authorities of a listener or a connector.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    pub(super) anchors: Anchors,
    /// All certificates of a CA file; empty for the machine's bundle. If the other side shows one
    /// of them as its own, it is trusted, even if it cannot sign others.
    pub(super) ders: Vec<CertificateDer<'static>>,
}

/// A certificate of a CA file, and its line.
struct Entry {
    line: usize,
    der: CertificateDer<'static>,
    certificate: Certificate,
}

impl Authorities {
    /// Returns the names of trusted issuers, which clients use to choose a certificate: those of
    /// the authorities, and those of self-issued certificates that can only be shown themselves.
    pub(super) fn names(&self) -> Vec<DistinguishedName> {
        let mut all = self.anchors.roots().clone();
        for der in &self.ders {
            let is_own = Certificate::read(der).is_some_and(|it| it.is_self_issued && !it.can_sign);
            // A certificate that rustls cannot parse cannot be shown to us either.
            let _ = is_own.then(|| all.add(der.clone()));
        }
        all.subjects()
    }
}

impl Entry {
    /// Tells whether the entry makes anything trusted: the certificates that it signs, or itself.
    fn counts(&self) -> bool {
        self.certificate.can_sign || self.certificate.is_self_issued
    }
}

/// Returns the authorities of the machine's bundle, given its content if there is a bundle.
/// `wanted` is the setting that would name a CA file.
pub(super) fn of_machine(files: &Files<'_>, bundle: Option<&[u8]>, wanted: &str) -> Authorities {
    let mut anchors =
        Anchors::new(format!("this machine's bundle; set {wanted} to trust others"), files.now);
    for der in system_roots::certificates(bundle.unwrap_or_default()) {
        if let Some(certificate) = Certificate::read(&der).filter(|it| it.can_sign) {
            anchors.add(der, certificate);
        }
    }
    if anchors.is_empty() {
        anchors.described =
            format!("this machine's bundle, which has no authorities; set {wanted}");
    }
    Authorities { anchors, ders: Vec::new() }
}

/// Reads a CA file. Returns `None` if it cannot be used, with the reason among the problems. If all
/// of its authorities have expired, that is only a warning for a file that is in force already, so
/// that it does not block a change of something else.
pub(super) fn read(
    files: &mut Files<'_>,
    file: &TlsFile,
    is_in_force: bool,
) -> Option<Authorities> {
    let (setting, path) = (file.setting, file.path.display());
    let entries = entries(files, file)?;
    let mut anchors = Anchors::new(format!("{path} ({setting})"), files.now);
    let all_untimely = entries
        .iter()
        .filter(|entry| entry.counts())
        .all(|entry| entry.certificate.untimely(files.now).is_some());
    for entry in &entries {
        let Entry { line, der, certificate } = entry;
        let (title, at) = (certificate.title(), format!("`{setting}`: {path}:{line}"));
        if !entry.counts() {
            let message = format!(
                "{at}: {title} is not an authority, and certificates signed by it are not trusted"
            );
            files.warning(setting, message, "take it out, or put the authority there");
            continue;
        }
        if let Some(untimely) = certificate.untimely(files.now) {
            let message = format!("{at}: the authority {title} {untimely}");
            if all_untimely && !is_in_force {
                files.error(setting, message, "put the authority's new certificate there");
            } else {
                files.warning(setting, message, "take it out when nothing needs it any more");
            }
        }
        if let Some(bits) = certificate.unusable_rsa() {
            let message = format!(
                "{at}: the authority {title} has an RSA key of {bits} bits, and certificates signed by it are not trusted"
            );
            files.warning(setting, message, "want an authority with 2048 bits or more");
        }
        if certificate.can_sign && !anchors.add(der.clone(), certificate.clone()) {
            files.error(setting, format!("{at}: {title} cannot be used as an authority"), "");
            return None;
        }
    }
    if all_untimely && !is_in_force {
        return None;
    }
    Some(Authorities { anchors, ders: entries.into_iter().map(|entry| entry.der).collect() })
}

/// Returns the certificates of a CA file, at least one of which makes something trusted.
fn entries(files: &mut Files<'_>, file: &TlsFile) -> Option<Vec<Entry>> {
    let sections = files.sections(file)?;
    let (setting, path) = (file.setting, file.path.display());
    let mut entries = Vec::new();
    let certificates = [Kind::Certificate, Kind::OldCertificate];
    for section in sections.into_iter().filter(|section| certificates.contains(&section.kind)) {
        let line = section.line;
        let Some(certificate) = Certificate::read(&section.der) else {
            let message = format!("`{setting}`: {path}:{line}: this is not an X.509 certificate");
            files.error(setting, message, "");
            return None;
        };
        entries.push(Entry { line, der: CertificateDer::from(section.der), certificate });
    }
    let Some(first) = entries.first() else {
        let message = format!("`{setting}`: {path} has no certificate in it");
        files.error(setting, message, "want the certificate of the authority, in PEM");
        return None;
    };
    if entries.iter().any(Entry::counts) {
        return Some(entries);
    }
    let (line, title, issuer) = (first.line, first.certificate.title(), &first.certificate.issuer);
    let message = format!(
        "`{setting}`: {path} has no CA in it: {title}, in line {line}, is an ordinary certificate from {issuer}"
    );
    files.error(setting, message, "want the certificate of the authority that signed it");
    None
}
