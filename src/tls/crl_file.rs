//! Reading files of revocation lists.

use std::cmp::Ordering;
use std::time::SystemTime;

use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::x509::X509Version;

use super::authorities::Authorities;
use super::certificate::{day, moment};
use super::crl::{Crl, Signer, has_signed, significant};
use super::files::Files;
use super::pem::Kind;
use super::protocol::Protocol;
use crate::config::TlsFile;

/// Reads a file of revocation lists for certificates from `authorities`. Returns `None` if it
/// cannot be used, with the reason among the problems.
pub(super) fn read(
    files: &mut Files<'_>,
    file: &TlsFile,
    authorities: &Authorities,
    protocol: &Protocol,
) -> Option<Vec<Crl>> {
    let (setting, path) = (file.setting, file.path.display());
    let (mut found, mut foreign) = (Vec::new(), Vec::new());
    let mut is_useless = true;
    for (line, der) in ders(files, file)? {
        let at =
            format!("`{setting}`: {path}{}", line.map_or_else(String::new, |it| format!(":{it}")));
        let (edition, stranger) = match judge(&der, authorities, protocol) {
            Ok(good) => good,
            Err(Bad { what, hint }) => {
                files.error(setting, format!("{at}: {what}"), hint);
                return None;
            }
        };
        if let Some(since) = edition.list.next_update.filter(|next| *next < files.now) {
            let (title, since) = (&edition.list.title, day(since));
            let message = format!(
                "{at}: the revocation list of {title} should have been replaced by {since}"
            );
            files.warning(setting, message, "it is used as it is; fetch the newest");
        }
        is_useless &= matches!(stranger, Some(Stranger::OtherKey));
        foreign.extend(stranger.map(|it| (it, at, edition.list.title.clone())));
        found.push(edition);
    }
    if found.is_empty() {
        let message = format!("`{setting}`: {path} has no revocation list in it");
        files.error(setting, message, "want -----BEGIN X509 CRL-----");
        return None;
    }
    for (stranger, at, title) in foreign {
        let (message, hint) = stranger.words(&at, &title, authorities);
        if is_useless {
            files.error(setting, message, &hint);
        } else {
            files.warning(setting, message, &hint);
        }
    }
    (!is_useless).then(|| newest(found))
}

/// Returns the lists of a file with their lines. As in etcd, a file is either PEM or one list in
/// DER, which has no line.
fn ders(files: &mut Files<'_>, file: &TlsFile) -> Option<Vec<(Option<usize>, Vec<u8>)>> {
    let content = files.content(file)?;
    if content.first() == Some(&0x30) {
        return Some(vec![(None, content.to_vec())]);
    }
    let sections = files.sections(file)?.into_iter();
    let lists = sections.filter(|section| section.kind == Kind::Crl);
    Some(lists.map(|section| (Some(section.line), section.der)).collect())
}

/// A list with the fields that identify it and order its editions.
struct Edition {
    list: Crl,
    /// Its CRL number, without leading zeros.
    number: Vec<u8>,
    this_update: SystemTime,
    /// Its authority key identifier, in DER.
    key: Option<Vec<u8>>,
    /// Its issuing distribution point, in DER.
    scope: Option<Vec<u8>>,
}

impl Edition {
    fn is_of_one_list_with(&self, other: &Self) -> bool {
        self.list.issuer == other.list.issuer
            && self.scope == other.scope
            && match (&self.list.signer, &other.list.signer) {
                (Signer::Known(one), Signer::Known(other)) => one == other,
                (Signer::Unknown { .. }, Signer::Unknown { .. }) => {
                    self.key.is_some() && self.key == other.key
                }
                _ => false,
            }
    }

    fn age(&self, other: &Self) -> Ordering {
        let numbers = self.number.len().cmp(&other.number.len());
        numbers.then(self.number.cmp(&other.number)).then(self.this_update.cmp(&other.this_update))
    }
}

/// Keeps only the newest of several editions of one list: a certificate that is missing there is no
/// longer revoked.
fn newest(found: Vec<Edition>) -> Vec<Crl> {
    let mut kept: Vec<Edition> = Vec::new();
    for edition in found {
        match kept.iter_mut().find(|it| it.is_of_one_list_with(&edition)) {
            None => kept.push(edition),
            Some(known) if known.age(&edition) == Ordering::Less => *known = edition,
            Some(_) => {}
        }
    }
    kept.into_iter().map(|edition| edition.list).collect()
}

/// Why a list is not signed by any of the authorities. It still applies to certificates signed by
/// an intermediate that the other side sends.
enum Stranger {
    /// An authority has the issuer's name, but another key.
    OtherKey,
    /// No authority has the issuer's name.
    OtherName,
}

impl Stranger {
    fn words(&self, at: &str, title: &str, authorities: &Authorities) -> (String, String) {
        match self {
            Self::OtherKey => (
                format!("{at}: the revocation list is signed with another key of {title}"),
                "want the list that was signed with the key of the authority in the CA file".into(),
            ),
            Self::OtherName => {
                let known = authorities.ders.iter();
                let known = known.filter_map(|der| X509Certificate::from_der(der).ok());
                let names: Vec<_> = known.map(|(_, it)| it.subject().to_string()).collect();
                let hint = format!(
                    "it applies to certificates signed by an intermediate of that name; the authorities in {} are {}",
                    authorities.anchors.described,
                    names.join("; ")
                );
                let what = format!(
                    "the revocation list is from {title}, which is not among the authorities"
                );
                (format!("{at}: {what}"), hint)
            }
        }
    }
}

/// Why a list can never be used.
struct Bad {
    what: String,
    hint: &'static str,
}

impl Bad {
    fn new(what: impl Into<String>, hint: &'static str) -> Self {
        Self { what: what.into(), hint }
    }
}

fn judge(
    der: &[u8],
    authorities: &Authorities,
    protocol: &Protocol,
) -> Result<(Edition, Option<Stranger>), Bad> {
    let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
        return Err(Bad::new("the revocation list is damaged", ""));
    };
    let title = list.issuer().to_string();
    if list.version() != Some(X509Version::V2) {
        let hint = "openssl makes version 2 with `crl_extensions` set";
        return Err(Bad::new(format!("the revocation list of {title} is of version 1"), hint));
    }
    judge_kind(&list, &title)?;
    judge_algorithm(&list, &title, protocol)?;
    let known = authorities.ders.iter().filter_map(|der| X509Certificate::from_der(der).ok());
    let named =
        known.map(|(_, it)| it).filter(|it| it.subject().as_raw() == list.issuer().as_raw());
    let named: Vec<_> = named.collect();
    let (signed, signature) = (list.tbs_cert_list.as_ref(), list.signature_value.data.as_ref());
    let is_signer = |it: &&X509Certificate<'_>| {
        let key = &it.public_key().subject_public_key.data;
        has_signed(&protocol.provider, key, signed, signature)
    };
    let unknown = || Signer::Unknown { signed: signed.to_vec(), signature: signature.to_vec() };
    let (signer, stranger) = match named.iter().find(is_signer) {
        Some(authority) if !may_sign_lists(authority) => {
            let what = format!("the authority {title} is not allowed to sign revocation lists");
            return Err(Bad::new(what, "its key usage needs cRLSign"));
        }
        Some(it) => (Signer::Known(it.public_key().subject_public_key.data.to_vec()), None),
        None if named.is_empty() => (unknown(), Some(Stranger::OtherName)),
        None => (unknown(), Some(Stranger::OtherKey)),
    };
    Ok((edition(&list, title, signer), stranger))
}

fn edition(list: &CertificateRevocationList<'_>, title: String, signer: Signer) -> Edition {
    let serials = list.iter_revoked_certificates();
    let value = |is_it: fn(&ParsedExtension<'_>) -> bool| {
        let found = list.extensions().iter().find(|extension| is_it(extension.parsed_extension()));
        found.map(|extension| extension.value.to_vec())
    };
    Edition {
        number: list
            .crl_number()
            .map(|number| significant(&number.to_bytes_be()).to_vec())
            .unwrap_or_default(),
        this_update: moment(list.last_update()),
        key: value(|it| matches!(it, ParsedExtension::AuthorityKeyIdentifier(_))),
        scope: value(|it| matches!(it, ParsedExtension::IssuingDistributionPoint(_))),
        list: Crl {
            issuer: list.issuer().as_raw().to_vec(),
            title,
            serials: serials.map(|it| significant(it.raw_serial()).into()).collect(),
            signer,
            next_update: list.next_update().map(moment),
        },
    }
}

/// Refuses delta and indirect lists, which would be misread as complete ones, and lists with
/// unknown critical extensions.
fn judge_kind(list: &CertificateRevocationList<'_>, title: &str) -> Result<(), Bad> {
    const DELTA: &str = "2.5.29.27";
    let list_of = format!("the revocation list of {title}");
    for extension in list.extensions() {
        let oid = extension.oid.to_id_string();
        match extension.parsed_extension() {
            _ if oid == DELTA => {
                let what = format!("{list_of} has only the changes since another (a delta)");
                return Err(Bad::new(what, "want a whole list"));
            }
            ParsedExtension::IssuingDistributionPoint(point) if point.indirect_crl => {
                let what = format!("{list_of} is about what others have signed (an indirect one)");
                return Err(Bad::new(what, "want a list from each authority itself"));
            }
            ParsedExtension::IssuingDistributionPoint(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::CRLNumber(_) => {}
            _ if extension.critical => {
                let what = format!("{list_of} has a critical extension, {oid}, that is unknown");
                return Err(Bad::new(what, "want a list without it"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn judge_algorithm(
    list: &CertificateRevocationList<'_>,
    title: &str,
    protocol: &Protocol,
) -> Result<(), Bad> {
    let oid = &list.signature_algorithm.algorithm;
    let known = protocol.provider.signature_verification_algorithms.all;
    // An algorithm identifier is a tag and a length of one byte each, the OID, and parameters.
    let is_known = known.iter().any(|it| {
        it.signature_alg_id().as_ref().get(2..).is_some_and(|it| it.starts_with(oid.as_bytes()))
    });
    if is_known {
        return Ok(());
    }
    let what = format!(
        "the revocation list of {title} is signed in a way that is not supported, {}",
        oid.to_id_string()
    );
    Err(Bad::new(what, "want RSA with SHA-256 or more, ECDSA or Ed25519"))
}

/// Tells whether an authority may sign revocation lists: it has no key usage extension, or one with
/// `cRLSign`.
fn may_sign_lists(authority: &X509Certificate<'_>) -> bool {
    !matches!(authority.key_usage(), Ok(Some(usage)) if !usage.value.crl_sign())
}
