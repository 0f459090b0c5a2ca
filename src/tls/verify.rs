//! What is demanded of the other side's certificate beyond what rustls checks, and in which words it is refused.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Certificate;
use super::refusal::{Verdict, is_ca_as_leaf, sentence};

/// Judges servers' certificates.
#[derive(Debug)]
pub(super) struct Servers {
    /// `None` when servers are not verified at all.
    pub(super) inner: Option<Arc<dyn ServerCertVerifier>>,
    pub(super) provider: Arc<CryptoProvider>,
    /// The certificates that are trusted as they are, whatever they say of themselves.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    pub(super) allowed_cns: Vec<String>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    /// Who is trusted, in words.
    pub(super) trusted: String,
}

impl Servers {
    /// A self-made certificate that says it is an authority's and is in the CA file itself is what `openssl req -x509`
    /// makes and what Go accepts; rustls does not.
    fn is_pinned(&self, shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        let timely = || Certificate::read(shown).is_some_and(|it| it.untimely(at).is_none());
        self.pinned.iter().any(|pinned| pinned == shown) && timely() && is_good_for(shown, name)
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(inner) = &self.inner {
            let judged = inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            match judged {
                Ok(_) => {}
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
                    if is_ca_as_leaf(&other) && self.is_pinned(end_entity, server_name, now) => {}
                Err(error) => {
                    return Err(Verdict::error(sentence(end_entity, &error, &self.trusted)));
                }
            }
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
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges clients' certificates.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    /// Who is trusted, in words.
    pub(super) trusted: String,
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judged = self.inner.verify_client_cert(end_entity, intermediates, now);
        let verified = judged.map_err(|error| refused(end_entity, error, &self.trusted))?;
        check_hostnames(end_entity, &self.allowed_hostnames)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Keeps the errors that a client is told precisely, by the alert that belongs to them; the sentence is for our log, which
/// makes it from the same error.
fn refused(der: &CertificateDer<'_>, error: Error, trusted: &str) -> Error {
    Verdict::error(sentence(der, &error, trusted))
}

/// Whether a certificate carries a name, by the rules for servers' names.
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
        format!("certificate {title} is for {names}, and allowed is only {}", wanted.join(" or "));
    Err(Verdict::error(sentence))
}

fn check_cn(der: &CertificateDer<'_>, allowed: &[String]) -> Result<(), Error> {
    let cn = || Certificate::read(der)?.common_name;
    if allowed.is_empty() || cn().is_some_and(|cn| allowed.contains(&cn)) {
        return Ok(());
    }
    let (title, _) = title_and_names(der);
    let sentence =
        format!("certificate {title} has not the CN that is allowed, {}", allowed.join(" or "));
    Err(Verdict::error(sentence))
}

fn title_and_names(der: &CertificateDer<'_>) -> (String, String) {
    let Some(certificate) = Certificate::read(der) else {
        return ("(unreadable)".into(), "no name".into());
    };
    let names = certificate.names.join(", ");
    (certificate.title(), if names.is_empty() { "no name".to_owned() } else { names })
}

/// Trusts nobody: for a machine without authorities of its own. Dialling says so, and the daemon runs all the same.
#[derive(Debug)]
pub(super) struct Nobody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
