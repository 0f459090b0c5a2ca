//! Revocation lists.

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::SectionKind;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::authorities::Authorities;
use super::certificate::day;
use super::files::Files;
use super::protocol::Protocol;
use crate::config::TlsFile;

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// Reads a file of revocation lists that belong to `authorities`; `None` when it cannot be used, and why is then among
/// the problems.
pub(super) fn read(
    files: &mut Files<'_>,
    file: &TlsFile,
    authorities: &Authorities,
    protocol: &Protocol,
) -> Option<Lists> {
    let (setting, path) = (file.setting, file.path.display());
    let mut lists = Vec::new();
    for (line, der) in ders(files, file)? {
        let at =
            format!("`{setting}`: {path}{}", line.map_or_else(String::new, |it| format!(":{it}")));
        match judge(&der, authorities, protocol) {
            Ok(Judged { overdue: None, .. }) => {}
            Ok(Judged { overdue: Some(since), issuer }) => {
                let message =
                    format!("{at}: the revocation list of {issuer} was to be replaced by {since}");
                files.warning(setting, message, "it is used as it is; fetch the newest");
            }
            Err((what, hint)) => {
                files.error(setting, format!("{at}: {what}"), &hint);
                return None;
            }
        }
        lists.push(CertificateRevocationListDer::from(der));
    }
    if lists.is_empty() {
        let message = format!("`{setting}`: {path} has no revocation list in it");
        files.error(setting, message, "want -----BEGIN X509 CRL-----");
        return None;
    }
    Some(lists)
}

/// etcd takes lists in PEM and in DER.
fn ders(files: &mut Files<'_>, file: &TlsFile) -> Option<Vec<(Option<usize>, Vec<u8>)>> {
    let content = files.content(file)?;
    if content.first() == Some(&0x30) {
        return Some(vec![(None, content.to_vec())]);
    }
    let sections = files.sections(file)?.into_iter();
    let lists = sections.filter(|section| section.kind == SectionKind::Crl);
    Some(lists.map(|section| (Some(section.line), section.der)).collect())
}

struct Judged {
    issuer: String,
    /// The day by which it was to be replaced, if that has passed.
    overdue: Option<String>,
}

/// Returns what is wrong with a list and what would be right, if it cannot be used.
fn judge(
    der: &[u8],
    authorities: &Authorities,
    protocol: &Protocol,
) -> Result<Judged, (String, String)> {
    let damaged = || ("the revocation list is damaged".to_owned(), String::new());
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| damaged())?;
    let issuer = list.issuer().to_string();
    if list.version() != Some(X509Version::V2) {
        let hint = "openssl makes version 2 with `crl_extensions` set".to_owned();
        return Err((format!("the revocation list of {issuer} is of version 1"), hint));
    }
    let mut known = Vec::new();
    for authority in &authorities.ders {
        let Ok((_, authority)) = X509Certificate::from_der(authority) else { continue };
        if authority.subject().as_raw() != list.issuer().as_raw() {
            known.push(authority.subject().to_string());
        } else if has_signed(&authority, &list, protocol) {
            return check_usage(&authority, &issuer)
                .map(|()| Judged { issuer, overdue: overdue(&list) });
        } else {
            let hint = "want the list that was signed with the key of the authority in the CA file"
                .to_owned();
            return Err((
                format!("the revocation list is signed with another key of {issuer}"),
                hint,
            ));
        }
    }
    let what = format!("the revocation list is from {issuer}, which is not among the authorities");
    Err((what, format!("these are {} in {}", known.join("; "), authorities.described)))
}

/// An authority whose key usage lists anything must list this too.
fn check_usage(authority: &X509Certificate<'_>, issuer: &str) -> Result<(), (String, String)> {
    match authority.key_usage() {
        Ok(Some(usage)) if !usage.value.crl_sign() => {
            let what = format!("the authority {issuer} is not allowed to sign revocation lists");
            Err((what, "its key usage needs cRLSign".to_owned()))
        }
        _ => Ok(()),
    }
}

fn has_signed(
    authority: &X509Certificate<'_>,
    list: &CertificateRevocationList<'_>,
    protocol: &Protocol,
) -> bool {
    let key = &authority.public_key().subject_public_key.data;
    let signed = list.tbs_cert_list.as_ref();
    let signature = &list.signature_value.data;
    let algorithms = protocol.provider.signature_verification_algorithms.all;
    algorithms.iter().any(|it| it.verify_signature(key, signed, signature).is_ok())
}

fn overdue(list: &CertificateRevocationList<'_>) -> Option<String> {
    let next = list.next_update().filter(|next| *next < ASN1Time::now())?;
    let seconds = u64::try_from(next.timestamp()).unwrap_or(0);
    Some(day(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)))
}
