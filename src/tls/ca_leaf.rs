//! Leaf certificates that are marked as CA certificates (`CA:TRUE`).
//!
//! Go and etcd accept them if an authority has signed them, and members whose certificates were
//! signed with openssl's `v3_ca` extensions have them. webpki refuses them for that alone. So
//! webpki gets a copy that says `CA:FALSE` and is otherwise the same, and the signature is verified
//! over the certificate as it was issued.

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Tells whether a CA certificate would be valid as a leaf below one of `roots` if it were not a CA
/// certificate. Names and revocation lists are not checked.
pub(super) fn is_vouched_for(
    shown: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    provider: &CryptoProvider,
    usage: KeyUsage,
    now: UnixTime,
) -> bool {
    let Some(copy) = Copy::of(shown) else { return false };
    let der = CertificateDer::from(copy.der.as_slice());
    let Ok(parsed) = EndEntityCert::try_from(&der) else { return false };
    let known = provider.signature_verification_algorithms.all;
    let known: Vec<_> =
        known.iter().map(|known| OverOriginal { known: *known, copy: &copy }).collect();
    let known: Vec<_> = known.iter().map(|it| it as &dyn SignatureVerificationAlgorithm).collect();
    parsed.verify_for_usage(&known, &roots.roots, intermediates, now, usage, None, None).is_ok()
}

/// A copy of a certificate with `CA:FALSE` in place of `CA:TRUE`, and the signed parts of both.
#[derive(Debug)]
struct Copy {
    der: Vec<u8>,
    signed: Vec<u8>,
    signed_originally: Vec<u8>,
}

impl Copy {
    fn of(original: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(original).ok()?;
        let signed_originally = certificate.tbs_certificate.as_ref().to_vec();
        let extensions = certificate.extensions().iter();
        let mut constraints = extensions.filter(|it| it.oid == OID_X509_EXT_BASIC_CONSTRAINTS);
        let value = constraints.next()?.value;
        // A sequence that begins with the boolean TRUE (RFC 5280 section 4.2.1.9).
        let [0x30, _, 0x01, 0x01, 0xff, ..] = value else { return None };
        let at = value.as_ptr().addr().checked_sub(original.as_ptr().addr())? + 4;
        let mut der = original.to_vec();
        *der.get_mut(at)? = 0;
        let (_, changed) = X509Certificate::from_der(&der).ok()?;
        let signed = changed.tbs_certificate.as_ref().to_vec();
        Some(Self { signed, signed_originally, der })
    }
}

/// A signature algorithm that verifies the copy's signature over the original's signed part.
#[derive(Debug)]
struct OverOriginal<'a> {
    known: &'a dyn SignatureVerificationAlgorithm,
    copy: &'a Copy,
}

impl SignatureVerificationAlgorithm for OverOriginal<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let is_copy = message == self.copy.signed;
        let message = if is_copy { &self.copy.signed_originally } else { message };
        self.known.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.known.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.known.signature_alg_id()
    }
}
