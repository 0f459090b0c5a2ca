//! Revocation checks.
//!
//! rustls can check revocation too, but it takes the first list with the issuer's name and fails if
//! another key has signed that list. While an authority changes its key, this would refuse every
//! client of either the old or the new key. So the check is done here, against every list, and
//! signatures are verified only if a serial number is found.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::Certificate;

/// One revocation list.
pub(super) struct Crl {
    /// The issuer's name in DER.
    pub(super) issuer: Vec<u8>,
    /// The issuer's name for people.
    pub(super) title: String,
    /// The revoked serial numbers, without leading zeros.
    pub(super) serials: HashSet<Box<[u8]>>,
    pub(super) signer: Signer,
    /// The time by which it should be replaced (`nextUpdate`).
    pub(super) next_update: Option<SystemTime>,
}

/// The key that has signed a list.
pub(super) enum Signer {
    /// This key, of an authority in the CA file.
    Known(Vec<u8>),
    /// A key that can only be found among the certificates that the other side sends.
    Unknown {
        /// The signed part of the list.
        signed: Vec<u8>,
        /// Its signature.
        signature: Vec<u8>,
    },
}

/// A set of revocation lists, with the provider that verifies their signatures.
#[derive(Clone)]
pub(super) struct CrlSet {
    pub(super) crls: Arc<[Crl]>,
    provider: Arc<CryptoProvider>,
}

impl CrlSet {
    /// Creates a set of these lists.
    pub(super) fn new(crls: Vec<Crl>, provider: Arc<CryptoProvider>) -> Self {
        Self { crls: crls.into(), provider }
    }

    /// Checks whether a certificate or one of its intermediates is revoked.
    ///
    /// # Errors
    /// The end of a sentence about the certificate, if one of them is revoked or cannot be parsed.
    pub(super) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        if self.crls.is_empty() {
            return Ok(());
        }
        let ders = std::iter::once(end_entity).chain(intermediates);
        let chain = ders.map(|der| X509Certificate::from_der(der).map(|(_, it)| it));
        let Ok(chain) = chain.collect::<Result<Vec<_>, _>>() else {
            return Err("has an unreadable certificate in its chain, so it cannot be checked for revocation".into());
        };
        match chain.iter().position(|certificate| self.is_revoked(certificate, &chain)) {
            None => Ok(()),
            Some(0) => Err("is revoked".to_owned()),
            Some(at) => {
                let title = Certificate::read(&intermediates[at - 1]).map(|it| it.title());
                let title = title.unwrap_or_default();
                Err(format!("comes through {title}, which is revoked"))
            }
        }
    }

    fn is_revoked(&self, certificate: &X509Certificate<'_>, chain: &[X509Certificate<'_>]) -> bool {
        let serial = significant(certificate.raw_serial());
        let issuer = certificate.issuer().as_raw();
        let mut named = self.crls.iter().filter(|it| it.issuer == issuer);
        named.any(|list| {
            list.serials.contains(serial) && self.are_of_one_key(list, certificate, chain)
        })
    }

    /// Tells whether one key has signed both the list and the certificate. Two authorities with the
    /// same name may use the same serial numbers.
    fn are_of_one_key(
        &self,
        list: &Crl,
        certificate: &X509Certificate<'_>,
        chain: &[X509Certificate<'_>],
    ) -> bool {
        let has_signed_it = |key: &[u8]| {
            let signature = &certificate.signature_value.data;
            has_signed(&self.provider, key, certificate.tbs_certificate.as_ref(), signature)
        };
        match &list.signer {
            Signer::Known(key) => has_signed_it(key),
            Signer::Unknown { signed, signature } => chain
                .iter()
                .filter(|it| it.subject().as_raw() == list.issuer)
                .map(|it| it.public_key().subject_public_key.data.as_ref())
                .any(|key| {
                    has_signed_it(key) && has_signed(&self.provider, key, signed, signature)
                }),
        }
    }
}

/// Tells whether a signature was made with a key, by trying every supported algorithm.
pub(super) fn has_signed(
    provider: &CryptoProvider,
    key: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> bool {
    let algorithms = provider.signature_verification_algorithms.all;
    algorithms.iter().any(|it| it.verify_signature(key, signed, signature).is_ok())
}

/// Returns a number without its leading zeros.
pub(super) fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl fmt::Debug for CrlSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.crls.iter().map(|list| &list.title)).finish()
    }
}
