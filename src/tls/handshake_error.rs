//! Handshake errors, with messages that say what to do.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use rustls_pki_types::UnixTime;

use super::anchors::{Anchors, moment};
use super::certificate::{Certificate, day};

/// Why a TLS connection failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// We refuse the server's certificate. The field is the reason, a sentence.
    #[error("{0}")]
    Certificate(String),
    /// The server demands a certificate and we show none. The field is advice.
    #[error("it demands a client certificate; {0}")]
    CertificateDemanded(String),
    /// The server refuses our certificate. The fields are its title and the server's reason.
    #[error("it refuses our certificate {0}: {1}")]
    Refused(String, String),
    /// The server does not speak TLS.
    #[error("it does not speak TLS; write http:// for it, or give it a certificate")]
    NotTls,
    /// The server does not speak HTTP/2 over TLS.
    #[error("it does not offer HTTP/2")]
    NoHttp2,
    /// The two sides have no version, cipher suite, key exchange or signature scheme in common.
    #[error("{0}")]
    NothingInCommon(String),
    /// The connection was closed during the handshake.
    #[error("it closed the connection during the TLS handshake; does it speak TLS at all?")]
    Closed,
    /// The host to verify is neither a name nor an address.
    #[error("\"{0}\" is not a host that a certificate could be for")]
    Host(String),
    /// Any other error.
    #[error("{0}")]
    Other(String),
}

impl HandshakeError {
    /// Tells whether the server refused us because of our certificate, or for lack of one. The
    /// server does so before it processes any request, even in TLS 1.3, where its alert arrives
    /// only after our first bytes (RFC 8446 section 4.4.2.4).
    pub fn turns_us_away(&self) -> bool {
        matches!(self, Self::CertificateDemanded(_) | Self::Refused(..))
    }

    /// Tells whether the error shows that the server speaks TLS.
    pub fn comes_of_tls(&self) -> bool {
        match self {
            Self::Certificate(_)
            | Self::CertificateDemanded(_)
            | Self::Refused(..)
            | Self::NoHttp2
            | Self::NothingInCommon(_) => true,
            Self::NotTls | Self::Closed | Self::Host(_) | Self::Other(_) => false,
        }
    }
}

/// Our reason for refusing a certificate, carried through rustls.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Verdict(pub(super) String);

impl Verdict {
    /// Wraps a sentence in the error that a verifier returns.
    pub(super) fn error(sentence: String) -> Error {
        let other = rustls::OtherError(std::sync::Arc::new(Self(sentence)));
        Error::InvalidCertificate(CertificateError::Other(other))
    }
}

/// A connector's own certificate, for its errors.
#[derive(Debug, Clone)]
pub(super) struct OwnCert {
    /// The certificate's title; `None` if none is shown.
    pub(super) title: Option<String>,
    /// The advice if a certificate is demanded and none is shown.
    pub(super) advice: String,
}

/// Explains an error of a TLS stream, from the handshake or, as for refusals in TLS 1.3, from the
/// first read after it. Returns `None` if it has nothing to do with TLS.
pub(super) fn explain(error: &io::Error, own_cert: &OwnCert) -> Option<HandshakeError> {
    let tls = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match tls {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            let sentence = other.0.downcast_ref::<Verdict>().map(ToString::to_string);
            HandshakeError::Certificate(sentence.unwrap_or_else(|| tls.to_string()))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeError::NotTls,
        Error::AlertReceived(alert) => alerted(*alert, own_cert),
        Error::PeerIncompatible(why) => HandshakeError::NothingInCommon(incompatible(why)),
        Error::NoApplicationProtocol => HandshakeError::NoHttp2,
        other => HandshakeError::Other(other.to_string()),
    })
}

/// Explains an error of the handshake itself.
pub(super) fn in_handshake(error: &io::Error, own_cert: &OwnCert) -> HandshakeError {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    explain(error, own_cert).unwrap_or_else(|| match error.kind() {
        UnexpectedEof | ConnectionReset | BrokenPipe => HandshakeError::Closed,
        _ => HandshakeError::Other(error.to_string()),
    })
}

fn alerted(alert: AlertDescription, own_cert: &OwnCert) -> HandshakeError {
    use AlertDescription as Alert;
    let about_us = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => "it requires a certificate",
        Alert::BadCertificate | Alert::AccessDenied => "bad certificate",
        Alert::UnknownCA => "its authority is unknown there",
        Alert::CertificateExpired => "it has expired",
        Alert::CertificateRevoked => "it is revoked",
        Alert::UnsupportedCertificate => "unsupported certificate",
        Alert::CertificateUnknown => "certificate unknown",
        Alert::HandshakeFailure if own_cert.title.is_none() => {
            let set = format!(
                "no common parameters, or a client certificate is demanded ({})",
                own_cert.advice
            );
            return HandshakeError::NothingInCommon(set);
        }
        Alert::ProtocolVersion => {
            return HandshakeError::NothingInCommon("no version of TLS in common".to_owned());
        }
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            return HandshakeError::NothingInCommon("no cipher suite in common".to_owned());
        }
        Alert::NoApplicationProtocol => return HandshakeError::NoHttp2,
        other => {
            return HandshakeError::Other(format!("it ended the connection: TLS alert {other:?}"));
        }
    };
    match &own_cert.title {
        Some(title) => HandshakeError::Refused(title.clone(), about_us.to_owned()),
        None => HandshakeError::CertificateDemanded(own_cert.advice.clone()),
    }
}

/// Describes what the two sides do not have in common.
pub(super) fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common".to_owned(),
        PeerIncompatible::NoKxGroupsInCommon => "no key exchange in common".to_owned(),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature scheme in common".to_owned()
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "no version of TLS in common".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Explains in a sentence why rustls refuses the certificate `der` with `error` at `now`; `trusted`
/// has the authorities.
pub(super) fn sentence(der: &[u8], error: &Error, trusted: &Anchors, now: UnixTime) -> String {
    let certificate = Certificate::read(der);
    let title = certificate.as_ref().map_or_else(|| "(unreadable)".to_owned(), Certificate::title);
    let issuer = certificate.as_ref().map_or("an unknown one", |it| it.issuer.as_str());
    let Error::InvalidCertificate(reason) = error else {
        return format!("certificate {title}: {error}");
    };
    let at = |time: &UnixTime| day(moment(*time));
    let described = &trusted.described;
    let bits = trusted.unusable_rsa(issuer);
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature if bits.is_some() => {
            let bits = bits.unwrap_or_default();
            format!(
                "certificate {title} is from {issuer}, which has an RSA key of {bits} bits in {described}; want 2048 to 8192"
            )
        }
        CertificateError::UnknownIssuer => match trusted.untimely(issuer, now) {
            Some(untimely) => {
                format!(
                    "certificate {title} is from {issuer}, an authority in {described} that {untimely}"
                )
            }
            None => format!(
                "certificate {title} is from an unknown authority, {issuer}; the trusted ones are in {described}"
            ),
        },
        CertificateError::BadSignature => format!(
            "certificate {title} is from {issuer}, but it or an intermediate is signed with another key than the \
             authority of that name has in {described}"
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate {title} (or an intermediate) expired on {}", at(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate {title} is not valid before {}", at(not_before))
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            let names = certificate.as_ref().map(|it| it.names.join(", ")).unwrap_or_default();
            let names =
                if names.is_empty() { "no name at all (a CN does not count)" } else { &names };
            let expected = expected.to_str();
            let is_misplaced = certificate
                .as_ref()
                .is_some_and(|it| it.misplaced.iter().any(|name| *name == expected));
            if is_misplaced {
                return format!(
                    "certificate {title} has {expected} as a DNS name, where an address does not count; want it as IP"
                );
            }
            format!("certificate {title} is for {names}, and not for {expected}")
        }
        CertificateError::InvalidPurposeContext { required, .. } => {
            format!(
                "certificate {title} is not for this purpose: its extended key usage lacks {required}"
            )
        }
        CertificateError::Other(other) if is_ca_as_leaf(other) => {
            let untimely = certificate.as_ref().and_then(|it| it.untimely(moment(now)));
            if let Some(untimely) = untimely {
                return format!("certificate {title} {untimely}");
            }
            if certificate.as_ref().is_some_and(|it| it.is_self_issued) {
                return format!(
                    "certificate {title} is self-signed, like those of auto-tls, and is not itself in {described}"
                );
            }
            format!(
                "certificate {title} is a CA certificate, and not from an authority in {described}"
            )
        }
        _ if certificate.is_some_and(|it| !it.is_v3) => {
            format!(
                "certificate {title} is not of version 3; older versions are accepted for authorities only"
            )
        }
        other => format!("certificate {title} cannot be used: {other}"),
    }
}

/// Tells whether a certificate was refused as a leaf because it is a CA certificate.
pub(super) fn is_ca_as_leaf(other: &rustls::OtherError) -> bool {
    // The type of webpki's error is not public through rustls, so its text is compared.
    other.0.to_string() == "CaUsedAsEndEntity"
        || other.source().is_some_and(|it| it.to_string() == "CaUsedAsEndEntity")
}
