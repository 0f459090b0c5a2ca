//! The server side of TLS, for `https` and `unixs` listeners.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::VerifierBuilderError;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{Error, HandshakeKind, InvalidMessage, RootCertStore, ServerConfig};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::anchors::Anchored;
use super::authorities::Authorities;
use super::connector::Sources;
use super::crl::{Crl, CrlSet};
use super::handshake_error::{Verdict, incompatible};
use super::identity::Identity;
use super::protocol::Protocol;
use super::verify::ClientVerifier;

/// Accepts TLS connections. Cheap to clone and shared by all workers. Two are equal if they were
/// made from the same files and settings.
///
/// Each acceptor encrypts session tickets with a key of its own and does not take its
/// predecessor's, so that a client whose certificate has been revoked meanwhile needs a full
/// handshake.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    any: TlsAcceptor,
    http1: TlsAcceptor,
    /// The verifier of clients' certificates; `None` if clients need no certificate.
    clients: Option<Arc<ClientVerifier>>,
    title: String,
    sources: Sources,
}

/// The validated parts of an acceptor.
pub(super) struct Parts {
    pub(super) identity: Identity,
    /// The authorities of clients' certificates; `None` if clients need no certificate.
    pub(super) clients: Option<Authorities>,
    pub(super) crls: Vec<Crl>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    pub(super) sources: Sources,
}

impl Acceptor {
    /// Creates an acceptor.
    ///
    /// # Errors
    /// rustls' message, if the parts do not fit together.
    pub(super) fn new(parts: Parts, protocol: &Protocol) -> Result<Self, String> {
        let said = |error: Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(protocol.provider.clone())
            .with_protocol_versions(&protocol.versions)
            .map_err(said)?;
        let clients = match parts.clients {
            None => None,
            Some(authorities) => Some(Arc::new(ClientVerifier {
                hints: authorities.names(),
                pinned: authorities.ders,
                trusted: Anchored::new(authorities.anchors, protocol.provider.clone(), verifier)
                    .map_err(|error| error.to_string())?,
                crls: CrlSet::new(parts.crls, protocol.provider.clone()),
                allowed_hostnames: parts.allowed_hostnames,
            })),
        };
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
        };
        let title = parts.identity.leaf().map(super::certificate::Certificate::title);
        let key = Arc::new(SingleCertAndKey::from(parts.identity.key));
        let mut config = builder.with_cert_resolver(key);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(said)?;
        // As many as Go sends. A session store, for clients without tickets, would be a lock shared
        // by all workers.
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Inner {
            any: Arc::new(config).into(),
            http1: Arc::new(http1).into(),
            clients,
            title: title.unwrap_or_default(),
            sources: parts.sources,
        })))
    }

    /// Performs the handshake with a client, offering HTTP/2 and HTTP/1.1. The caller has to limit
    /// the time; dropping the future closes the stream.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.any.accept(stream)
    }

    /// Like [`Acceptor::accept`], but offers HTTP/1.1 only.
    pub fn accept_http1<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.http1.accept(stream)
    }

    /// Verifies the certificate of a client again after it has resumed a session. rustls takes the
    /// certificate from the ticket unverified and puts it into the next ticket, so that a client
    /// could resume for ever with an expired certificate.
    ///
    /// # Errors
    /// A sentence with the reason, if the certificate is refused.
    pub fn judge_again<S>(&self, stream: &TlsStream<S>) -> Result<(), String> {
        let session = stream.get_ref().1;
        let Some(clients) = &self.0.clients else { return Ok(()) };
        if session.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        match session.peer_certificates() {
            Some([end_entity, intermediates @ ..]) => clients
                .verify_client_cert(end_entity, intermediates, UnixTime::now())
                .map(|_| ())
                .map_err(|error| words(&error)),
            _ => Err(words(&Error::NoCertificatesPresented)),
        }
    }

    /// Returns the title of the certificate that clients are shown, such as `CN=server`.
    pub fn title(&self) -> &str {
        &self.0.title
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> Option<&ClientVerifier> {
        self.0.clients.as_deref()
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.0.sources
    }
}

/// Explains in words, for the log, why a handshake with a client failed.
pub fn explain(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the client left during the TLS handshake".to_owned(),
            _ => error.to_string(),
        };
    };
    words(tls)
}

fn words(tls: &Error) -> String {
    match tls {
        Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<Verdict>().map_or_else(|| tls.to_string(), ToString::to_string)
        }
        Error::NoCertificatesPresented => "the client showed no certificate".to_owned(),
        Error::AlertReceived(alert) => format!("the client sent the TLS alert {alert:?}"),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the client does not speak TLS".to_owned()
        }
        other => other.to_string(),
    }
}

/// Returns the protocol negotiated by ALPN; `None` if the client does not use ALPN.
pub fn agreed<S>(stream: &TlsStream<S>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

fn verifier(
    roots: Arc<RootCertStore>,
    anchored: &Anchored<dyn ClientCertVerifier>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    WebPkiClientVerifier::builder_with_provider(roots, anchored.provider.clone()).build()
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sources == other.0.sources
    }
}

impl Eq for Acceptor {}

/// Prints no key.
impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("shows", &self.0.title).finish_non_exhaustive()
    }
}
