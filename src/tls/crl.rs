//! Which certificates are revoked.
//!
//! rustls can look that up too, but it takes the first list that bears the issuer's name and fails
//! when another key has signed it: while an authority changes its key, that would be every client
//! of the old key or of the new one. So it is done here, with every list, and signatures are looked
//! at only when a serial number is found.

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
    /// The DER of the name of who has signed it.
    pub(super) issuer: Vec<u8>,
    /// That in words.
    pub(super) title: String,
    /// The serial numbers that it revokes.
    pub(super) serials: HashSet<Box<[u8]>>,
    pub(super) signer: Signer,
    /// The day by which it is to be replaced.
    pub(super) next_update: Option<SystemTime>,
}

/// Which key has signed a list.
pub(super) enum Signer {
    /// This one, of an authority.
    Known(Vec<u8>),
    /// One that only the certificates between a client's and its authority can tell.
    Unknown {
        /// The part of the list that is signed.
        signed: Vec<u8>,
        /// Its signature.
        signature: Vec<u8>,
    },
}

/// Revocation lists.
#[derive(Clone)]
pub(super) struct CrlSet {
    pub(super) crls: Arc<[Crl]>,
    provider: Arc<CryptoProvider>,
}

impl CrlSet {
    /// By these lists.
    pub(super) fn new(crls: Vec<Crl>, provider: Arc<CryptoProvider>) -> Self {
        Self { crls: crls.into(), provider }
    }

    /// Looks a certificate up, and those between it and its authority.
    ///
    /// # Errors
    /// A sentence, when one of them is revoked.
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

    /// Whether the key that has signed the list has signed the certificate too: two authorities of
    /// one name count from the same number.
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

/// Whether a key has made a signature, by any algorithm that it can be of.
pub(super) fn has_signed(
    provider: &CryptoProvider,
    key: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> bool {
    let algorithms = provider.signature_verification_algorithms.all;
    algorithms.iter().any(|it| it.verify_signature(key, signed, signature).is_ok())
}

/// A number without the zeros that it may begin with.
pub(super) fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl fmt::Debug for CrlSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.crls.iter().map(|list| &list.title)).finish()
    }
}
