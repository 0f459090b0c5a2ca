//! Loading a certificate chain with its private key.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::sign::SigningKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::certificate::Certificate;
use super::files::{Files, is_readable_by_all};
use super::pem::Kind;
use crate::config::{KeyPair, TlsFile};

/// A certificate chain and its matching private key.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// The certificates of the chain, the leaf first; never empty.
    pub(super) chain: Vec<Certificate>,
}

impl Identity {
    /// Returns the leaf certificate.
    pub(super) fn leaf(&self) -> Option<&Certificate> {
        self.chain.first()
    }
}

/// Reads a pair. Returns `None` if it cannot be used, with the reason among the problems. A pair
/// that has expired is only a warning if it is in force already, so that it does not block a change
/// of something else.
pub(super) fn read(
    files: &mut Files<'_>,
    pair: &KeyPair,
    provider: &CryptoProvider,
    is_in_force: bool,
) -> Option<Identity> {
    let chain = read_chain(files, &pair.cert, is_in_force);
    let key = read_key(files, &pair.key);
    let Chain { line, ders, chain } = chain?;
    let (key_line, key) = key?;
    let key_at = format!("{}:{key_line}", named(&pair.key));
    let Some(key) = load_key(&key, provider) else {
        let bits = chain.first().and_then(|leaf| leaf.unusable_rsa());
        let message = match bits {
            Some(bits) => {
                format!("{key_at}: the RSA key has {bits} bits, and the certificate's too")
            }
            None => {
                format!("{key_at}: the private key is of a kind that is not supported, or damaged")
            }
        };
        let hint = "want RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519";
        files.error(pair.key.setting, message, hint);
        return None;
    };
    let key = CertifiedKey::new(ders, key);
    let title = chain.first().map(Certificate::title).unwrap_or_default();
    match key.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            let cert = pair.cert.path.display();
            let message = format!(
                "{key_at}: this is not the key of the certificate {title} in {cert}:{line}"
            );
            files.error(pair.key.setting, message, "put the matching key there");
            return None;
        }
        Err(error) => {
            let at = format!("{}:{line}", named(&pair.cert));
            let (message, hint) = if chain.first().is_some_and(|leaf| !leaf.is_v3) {
                (
                    format!("{at}: the certificate {title} is not of version 3"),
                    "want version 3; openssl makes it with -extfile or -addext",
                )
            } else {
                (format!("{at}: the certificate {title} cannot be used: {error}"), "")
            };
            files.error(pair.cert.setting, message, hint);
            return None;
        }
    }
    Some(Identity { key: Arc::new(key), chain })
}

fn named(file: &TlsFile) -> String {
    format!("`{}`: {}", file.setting, file.path.display())
}

/// A certificate chain, in DER and parsed.
struct Chain {
    /// The line of the leaf in the file.
    line: usize,
    ders: Vec<CertificateDer<'static>>,
    chain: Vec<Certificate>,
}

fn read_chain(files: &mut Files<'_>, file: &TlsFile, is_in_force: bool) -> Option<Chain> {
    let sections = files.sections(file)?;
    let (mut ders, mut chain, mut first_line) = (Vec::new(), Vec::new(), 1);
    for section in sections.into_iter().filter(|section| section.kind == Kind::Certificate) {
        let Some(certificate) = Certificate::read(&section.der) else {
            let message =
                format!("{}:{}: this is not an X.509 certificate", named(file), section.line);
            files.error(file.setting, message, "");
            return None;
        };
        if let Some(untimely) = certificate.untimely(files.now) {
            let title = certificate.title();
            let message =
                format!("{}:{}: the certificate {title} {untimely}", named(file), section.line);
            // Only the leaf is an error. Intermediates are sent to help verification and may be
            // superfluous.
            if chain.is_empty() && !is_in_force {
                files.error(file.setting, message, "renew it, or set the clock right");
                return None;
            }
            files.warning(file.setting, message, "renew it, or set the clock right");
        }
        if chain.is_empty() {
            first_line = section.line;
        }
        ders.push(CertificateDer::from(section.der));
        chain.push(certificate);
    }
    if chain.is_empty() {
        let message = format!("{} has no certificate in it", named(file));
        files.error(file.setting, message, "want -----BEGIN CERTIFICATE-----; is it the key?");
        return None;
    }
    Some(Chain { line: first_line, ders, chain })
}

/// Tries PKCS #8, PKCS #1 and SEC 1 one after the other, as Go does, because the label does not
/// tell the format: any label that ends in `PRIVATE KEY` is taken.
fn load_key(der: &[u8], provider: &CryptoProvider) -> Option<Arc<dyn SigningKey>> {
    let forms: [PrivateKeyDer<'_>; 3] = [
        PrivatePkcs8KeyDer::from(der).into(),
        PrivatePkcs1KeyDer::from(der).into(),
        PrivateSec1KeyDer::from(der).into(),
    ];
    let mut loaded =
        forms.iter().map(|form| provider.key_provider.load_private_key(form.clone_key()));
    loaded.find_map(Result::ok)
}

/// Returns the line and the DER of the first key in a file.
fn read_key(files: &mut Files<'_>, file: &TlsFile) -> Option<(usize, Vec<u8>)> {
    let sections = files.sections(file)?;
    if is_readable_by_all(&file.path) {
        let message =
            format!("{}: every user of this machine can read the private key", named(file));
        files.warning(file.setting, message, "chmod o-rwx it");
    }
    let is_openssh = sections.iter().any(|it| it.kind == Kind::OpensshKey);
    let key = sections.into_iter().find(|it| it.kind == Kind::Key);
    if key.is_none() {
        let message = format!("{} has no private key in it", named(file));
        let hint = if is_openssh {
            "it has one in OpenSSH's form; ssh-keygen -p -m PEM -f FILE changes it"
        } else {
            "want -----BEGIN PRIVATE KEY-----; is it the certificate?"
        };
        files.error(file.setting, message, hint);
    }
    key.map(|it| (it.line, it.der))
}
