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
    let (mut lists, mut foreign) = (Vec::new(), Vec::new());
    for (line, der) in ders(files, file)? {
        let at =
            format!("`{setting}`: {path}{}", line.map_or_else(String::new, |it| format!(":{it}")));
        match judge(&der, authorities, protocol) {
            Verdict::Good { issuer, overdue } => {
                if let Some(since) = overdue {
                    let message = format!(
                        "{at}: the revocation list of {issuer} was to be replaced by {since}"
                    );
                    files.warning(setting, message, "it is used as it is; fetch the newest");
                }
                lists.push(CertificateRevocationListDer::from(der));
            }
            Verdict::Foreign { what, hint } => foreign.push((format!("{at}: {what}"), hint)),
            Verdict::Bad { what, hint } => {
                files.error(setting, format!("{at}: {what}"), &hint);
                return None;
            }
        }
    }
    if lists.is_empty() && foreign.is_empty() {
        let message = format!("`{setting}`: {path} has no revocation list in it");
        files.error(setting, message, "want -----BEGIN X509 CRL-----");
    }
    // While authorities change, one list too many is harmless; but if none fits, nobody is revoked.
    for (message, hint) in foreign {
        if lists.is_empty() {
            files.error(setting, message, &hint);
        } else {
            files.warning(setting, message, "it is not used");
        }
    }
    (!lists.is_empty()).then_some(lists)
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

/// What becomes of one list.
enum Verdict {
    Good {
        issuer: String,
        /// The day by which it was to be replaced, if that has passed.
        overdue: Option<String>,
    },
    /// It is from none of the authorities: what is wrong, and what would be right.
    Foreign { what: String, hint: String },
    /// It can never be used.
    Bad { what: String, hint: String },
}

fn judge(der: &[u8], authorities: &Authorities, protocol: &Protocol) -> Verdict {
    let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
        return Verdict::Bad {
            what: "the revocation list is damaged".to_owned(),
            hint: String::new(),
        };
    };
    let issuer = list.issuer().to_string();
    if list.version() != Some(X509Version::V2) {
        let hint = "openssl makes version 2 with `crl_extensions` set".to_owned();
        return Verdict::Bad {
            what: format!("the revocation list of {issuer} is of version 1"),
            hint,
        };
    }
    let known = authorities.ders.iter().filter_map(|der| X509Certificate::from_der(der).ok());
    let known: Vec<_> = known.map(|(_, authority)| authority).collect();
    let named = |it: &&X509Certificate<'_>| it.subject().as_raw() == list.issuer().as_raw();
    match known.iter().filter(named).find(|it| has_signed(it, &list, protocol)) {
        Some(authority) if !may_sign_lists(authority) => Verdict::Bad {
            what: format!("the authority {issuer} is not allowed to sign revocation lists"),
            hint: "its key usage needs cRLSign".to_owned(),
        },
        Some(_) => Verdict::Good { overdue: overdue(&list), issuer },
        None if known.iter().any(|it| named(&it)) => Verdict::Foreign {
            what: format!("the revocation list is signed with another key of {issuer}"),
            hint: "want the list that was signed with the key of the authority in the CA file"
                .to_owned(),
        },
        None => {
            let names: Vec<_> = known.iter().map(|it| it.subject().to_string()).collect();
            let what =
                format!("the revocation list is from {issuer}, which is not among the authorities");
            let hint = format!("these are {} in {}", names.join("; "), authorities.described);
            Verdict::Foreign { what, hint }
        }
    }
}

/// An authority whose key usage lists anything must list this too.
fn may_sign_lists(authority: &X509Certificate<'_>) -> bool {
    !matches!(authority.key_usage(), Ok(Some(usage)) if !usage.value.crl_sign())
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
