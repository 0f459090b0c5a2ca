//! Certificate verifiers: checks beyond those of rustls, and readable reasons for refusals.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::KeyUsage;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::anchors::{Anchored, moment};
use super::ca_leaf;
use super::certificate::Certificate;
use super::crl::CrlSet;
use super::handshake_error::{Verdict, is_ca_as_leaf, sentence};

/// Verifies servers' certificates.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// The verifier of rustls.
    pub(super) trusted: Anchored<dyn ServerCertVerifier>,
    /// Whether certificates are verified at all. The allowed CNs and hostnames are checked in any
    /// case.
    pub(super) verify: bool,
    pub(super) crls: CrlSet,
    /// The certificates of the CA file, which are trusted as leaves too.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    pub(super) allowed_cns: Vec<String>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
}

/// Tells whether a certificate that rustls refuses for `why` is trusted all the same, as in Go,
/// because it is itself in the CA file. Reasons that can be overridden: it is a CA certificate, as
/// every one that `openssl req -x509` makes, or its issuer is unknown. It must still be valid at
/// `now` and have the right extended key usage.
fn is_pinned(
    pinned: &[CertificateDer<'_>],
    why: &CertificateError,
    shown: &CertificateDer<'_>,
    purpose: fn(&ExtendedKeyUsage<'_>) -> bool,
    now: UnixTime,
) -> bool {
    let may_be = match why {
        CertificateError::UnknownIssuer => true,
        CertificateError::Other(other) => is_ca_as_leaf(other),
        _ => false,
    };
    let is_timely =
        || Certificate::read(shown).is_some_and(|it| it.untimely(moment(now)).is_none());
    let is_for_it = || match X509Certificate::from_der(shown) {
        Ok((_, read)) => match read.extended_key_usage() {
            Ok(Some(usage)) => usage.value.any || purpose(usage.value),
            Ok(None) => true,
            Err(_) => false,
        },
        Err(_) => false,
    };
    may_be && pinned.iter().any(|pinned| pinned == shown) && is_timely() && is_for_it()
}

impl<V: ?Sized> Anchored<V> {
    /// Tells whether rustls refuses a certificate only because it is a CA certificate, which Go
    /// accepts.
    fn vouches_for(
        &self,
        why: &CertificateError,
        (shown, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        usage: KeyUsage,
        now: UnixTime,
    ) -> bool {
        let CertificateError::Other(other) = why else { return false };
        is_ca_as_leaf(other)
            && ca_leaf::is_vouched_for(
                shown,
                intermediates,
                &self.roots_at(now),
                &self.provider,
                usage,
                now,
            )
    }
}

/// Replaces rustls' error by a sentence for the log and the status. The other side only learns that
/// its certificate is refused, as with Go.
fn refused<V: ?Sized>(
    der: &CertificateDer<'_>,
    error: &Error,
    trusted: &Anchored<V>,
    now: UnixTime,
) -> Error {
    Verdict::error(sentence(der, error, &trusted.anchors, now))
}

/// Explains a failed check of a handshake signature if the RSA key has an unsupported size;
/// otherwise returns `error` unchanged.
fn unsigned(der: &CertificateDer<'_>, error: Error) -> Error {
    let certificate = Certificate::read(der);
    match certificate.as_ref().and_then(|it| Some((it.title(), it.unusable_rsa()?))) {
        Some((title, bits)) => Verdict::error(format!(
            "certificate {title} has an RSA key of {bits} bits; want 2048 to 8192"
        )),
        None => error,
    }
}

fn check_revoked(
    crls: &CrlSet,
    der: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), Error> {
    crls.check(der, intermediates).map_err(|what| {
        let (title, _) = title_and_names(der);
        Verdict::error(format!("certificate {title} {what}"))
    })
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify {
            let judged = self.trusted.at(now).and_then(|verifier| {
                let (leaf, between) = (end_entity, intermediates);
                verifier.verify_server_cert(leaf, between, server_name, ocsp_response, now)
            });
            match judged {
                Ok(_) => {}
                Err(Error::InvalidCertificate(why))
                    if is_pinned(
                        &self.pinned,
                        &why,
                        end_entity,
                        |usage| usage.server_auth,
                        now,
                    ) && is_good_for(end_entity, server_name) => {}
                Err(Error::InvalidCertificate(why))
                    if self.trusted.vouches_for(
                        &why,
                        (end_entity, intermediates),
                        KeyUsage::server_auth(),
                        now,
                    ) =>
                {
                    ParsedCertificate::try_from(end_entity)
                        .and_then(|parsed| verify_server_name(&parsed, server_name))
                        .map_err(|error| refused(end_entity, &error, &self.trusted, now))?;
                }
                Err(error) => return Err(refused(end_entity, &error, &self.trusted, now)),
            }
            check_revoked(&self.crls, end_entity, intermediates)?;
        }
        check_cn(end_entity, &self.allowed_cns)?;
        check_hostnames(end_entity, &self.allowed_hostnames)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trusted.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
            .map_err(|error| unsigned(cert, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trusted.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
            .map_err(|error| unsigned(cert, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// The verifier of rustls.
    pub(super) trusted: Anchored<dyn ClientCertVerifier>,
    pub(super) crls: CrlSet,
    /// The certificates of the CA file, which are trusted as leaves too.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    /// The names of trusted issuers that clients are sent as hints.
    pub(super) hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trusted = self.trusted.at(now);
        let judged = trusted.and_then(|it| it.verify_client_cert(end_entity, intermediates, now));
        match judged {
            Ok(_) => {}
            Err(Error::InvalidCertificate(why))
                if is_pinned(&self.pinned, &why, end_entity, |usage| usage.client_auth, now)
                    || self.trusted.vouches_for(
                        &why,
                        (end_entity, intermediates),
                        KeyUsage::client_auth(),
                        now,
                    ) => {}
            Err(error) => return Err(refused(end_entity, &error, &self.trusted, now)),
        }
        check_revoked(&self.crls, end_entity, intermediates)?;
        check_hostnames(end_entity, &self.allowed_hostnames)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trusted.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
            .map_err(|error| unsigned(cert, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trusted.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
            .map_err(|error| unsigned(cert, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Tells whether a certificate is valid for a name, by the rules for servers' names.
fn is_good_for(der: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(der).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

fn check_hostnames(der: &CertificateDer<'_>, allowed: &[ServerName<'static>]) -> Result<(), Error> {
    if allowed.is_empty() || allowed.iter().any(|name| is_good_for(der, name)) {
        return Ok(());
    }
    let wanted = allowed.iter().map(|name| name.to_str().into_owned()).collect::<Vec<_>>();
    let (title, names) = title_and_names(der);
    let sentence =
        format!("certificate {title} is for {names}, but only {} is allowed", wanted.join(" or "));
    Err(Verdict::error(sentence))
}

fn check_cn(der: &CertificateDer<'_>, allowed: &[String]) -> Result<(), Error> {
    let cn = || Certificate::read(der)?.common_name;
    if allowed.is_empty() || cn().is_some_and(|cn| allowed.contains(&cn)) {
        return Ok(());
    }
    let (title, _) = title_and_names(der);
    let sentence =
        format!("certificate {title} does not have the allowed CN, {}", allowed.join(" or "));
    Err(Verdict::error(sentence))
}

fn title_and_names(der: &CertificateDer<'_>) -> (String, String) {
    let Some(certificate) = Certificate::read(der) else {
        return ("(unreadable)".into(), "no name".into());
    };
    let names = certificate.names.join(", ");
    (certificate.title(), if names.is_empty() { "no name".to_owned() } else { names })
}
