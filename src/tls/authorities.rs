//! The authorities of a CA file.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;

use super::certificate::Certificate;
use super::files::Files;
use super::system;
use crate::config::TlsFile;

/// Who is trusted.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates of the file as they are, the machine's left out: one of them may be shown as it is.
    pub(super) ders: Vec<CertificateDer<'static>>,
    /// Whom they are, in words: `/etc/ca.crt (trusted-ca-file)`.
    pub(super) described: String,
}

/// Returns the machine's own authorities; `wanted` is the setting that would name others.
pub(super) fn of_machine(wanted: &str) -> Authorities {
    let roots = system::roots();
    let described = if roots.is_empty() {
        format!("nowhere, since this machine has none; set {wanted}")
    } else {
        format!("this machine's bundle; set {wanted} to trust others")
    };
    Authorities { roots, ders: Vec::new(), described }
}

/// Reads a CA file; `None` when it cannot be used, and why is then among the problems.
pub(super) fn read(files: &mut Files<'_>, file: &TlsFile) -> Option<Authorities> {
    let sections = files.sections(file)?;
    let (setting, path) = (file.setting, file.path.display());
    let mut roots = RootCertStore::empty();
    let (mut ders, mut seen) = (Vec::new(), Vec::new());
    for section in sections.into_iter().filter(|section| section.kind == SectionKind::Certificate) {
        let der = CertificateDer::from(section.der);
        let certificate = Certificate::read(&der).filter(|_| roots.add(der.clone()).is_ok());
        let Some(certificate) = certificate else {
            let message =
                format!("`{setting}`: {path}:{}: this is no X.509 certificate", section.line);
            files.error(setting, message, "");
            return None;
        };
        ders.push(der);
        seen.push(certificate);
    }
    let Some(first) = seen.first() else {
        let message = format!("`{setting}`: {path} has no certificate in it");
        files.error(setting, message, "want the certificate of the authority, in PEM");
        return None;
    };
    if !seen.iter().any(|certificate| certificate.can_sign) {
        let (title, issuer) = (first.title(), &first.issuer);
        let message = format!(
            "`{setting}`: {path} has no CA in it, {title} is an ordinary certificate from {issuer}"
        );
        files.error(setting, message, "want the certificate of the one who signed");
        return None;
    }
    judge_times(files, file, &seen)?;
    let described = format!("{path} ({setting})");
    Some(Authorities { roots: Arc::new(roots), ders, described })
}

/// One old authority in a bundle is normal while authorities change; if all are, nobody can be trusted.
fn judge_times(files: &mut Files<'_>, file: &TlsFile, seen: &[Certificate]) -> Option<()> {
    let (setting, path) = (file.setting, file.path.display());
    let all = seen.iter().all(|certificate| certificate.untimely(files.now).is_some());
    for certificate in seen {
        let Some(untimely) = certificate.untimely(files.now) else { continue };
        let message =
            format!("`{setting}`: {path}: the authority {} {untimely}", certificate.title());
        if all {
            files.error(setting, message, "put the authority's new certificate there");
        } else {
            files.warning(setting, message, "take it out when nothing needs it any more");
        }
    }
    (!all).then_some(())
}
