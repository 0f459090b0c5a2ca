//! Accepting TLS: what `https` and `unixs` listeners show and demand.

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

/// Accepts TLS connections. Cheap to clone and shared by all workers; two are equal when they were
/// made from the same files and settings.
///
/// Session tickets are under a key of its own: what one acceptor issued, its successor does not
/// take, so that a client whose certificate was revoked meanwhile has to show it again.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    any: TlsAcceptor,
    http1: TlsAcceptor,
    /// What judges clients' certificates; `None` when they need not show one.
    clients: Option<Arc<ClientVerifier>>,
    title: String,
    sources: Sources,
}

/// The parts of an acceptor, all of them good.
pub(super) struct Parts {
    pub(super) identity: Identity,
    /// `None` when clients need not show a certificate.
    pub(super) clients: Option<Authorities>,
    pub(super) crls: Vec<Crl>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    pub(super) sources: Sources,
}

impl Acceptor {
    /// Makes one.
    ///
    /// # Errors
    /// rustls' sentence, when the parts do not go together.
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
        // As many as Go sends. The store for clients without tickets would be a lock that workers
        // share.
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

    /// Does the handshake with a client that may speak HTTP/2 or HTTP/1.1. Limit it in time;
    /// dropping the future closes the stream.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.any.accept(stream)
    }

    /// Like [`Acceptor::accept`], for listeners that speak HTTP/1.1 only.
    pub fn accept_http1<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.http1.accept(stream)
    }

    /// Judges the certificate of a client that has resumed a session again. rustls takes it as it
    /// is in the ticket and puts it into a new one, so that a client could come back for ever with
    /// a certificate that has expired.
    ///
    /// # Errors
    /// A sentence, when the client may not stay.
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

    /// What the certificate that clients see is known by.
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

/// Says why a handshake with a client failed, for the log.
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

/// Which protocol was agreed on; `None` when the client knows no ALPN.
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

/// Keys are not shown.
impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("shows", &self.0.title).finish_non_exhaustive()
    }
}
