//! The client side of TLS: connections to members, peers and the discovery service.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::anchors::Anchored;
use super::authorities::Authorities;
use super::certificate::Certificate;
use super::crl::{Crl, CrlSet};
use super::handshake_error::{self, HandshakeError, OwnCert};
use super::identity::Identity;
use super::protocol::Protocol;
use super::verify::ServerVerifier;
use crate::config::zone::without_zone;

/// The protocol to negotiate for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1. A server without ALPN is fine.
    Http1,
    /// HTTP/2, for gRPC. The server must select it by ALPN.
    H2,
}

/// Makes TLS connections. Cheap to clone. Two are equal if they were made from the same files and
/// settings.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    http1: TlsConnector,
    h2: TlsConnector,
    /// The name to verify in place of the host that was dialled.
    server_name: Option<ServerName<'static>>,
    own_cert: OwnCert,
    leaf: Option<Certificate>,
    /// The settings and files that it was made from.
    sources: Sources,
}

/// The sources of an acceptor or a connector: its settings as text, and the contents of its files
/// by the settings that name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) words: String,
    pub(super) files: Vec<(&'static str, Option<Arc<[u8]>>)>,
}

impl Sources {
    /// Tells whether they have this content for a setting's file.
    pub(super) fn has(&self, setting: &str, content: &Arc<[u8]>) -> bool {
        let same = |it: &Option<Arc<[u8]>>| it.as_ref() == Some(content);
        self.files.iter().any(|(name, it)| *name == setting && same(it))
    }

    /// Tells whether these differ from `before` only in that the file of `setting` is now missing
    /// or empty.
    pub(super) fn has_lost(&self, setting: &str, before: &Self) -> bool {
        let is_there = |files: &Self| {
            let mut named = files.files.iter().filter(|(name, _)| *name == setting);
            named.any(|(_, it)| it.as_ref().is_some_and(|it| !it.trim_ascii().is_empty()))
        };
        let others = |files: &Self| -> Vec<_> {
            files.files.iter().filter(|(name, _)| *name != setting).cloned().collect()
        };
        self.words == before.words
            && others(self) == others(before)
            && is_there(before)
            && !is_there(self)
    }

    /// Returns the settings whose files have other contents than in `before`.
    pub(super) fn changed(&self, before: &Self) -> impl Iterator<Item = &'static str> {
        let files = self.files.iter().filter(|file| !before.files.contains(file));
        files.map(|(setting, _)| *setting)
    }
}

/// The validated parts of a connector.
pub(super) struct Parts {
    pub(super) identity: Option<Identity>,
    pub(super) authorities: Authorities,
    pub(super) crls: Vec<Crl>,
    pub(super) verify: bool,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) allowed_cns: Vec<String>,
    pub(super) allowed_hostnames: Vec<ServerName<'static>>,
    /// The advice if a server demands a certificate and we show none.
    pub(super) advice: String,
    pub(super) sources: Sources,
}

impl Connector {
    /// Creates a connector.
    ///
    /// # Errors
    /// rustls' message, if the parts do not fit together.
    pub(super) fn new(parts: Parts, protocol: &Protocol) -> Result<Self, String> {
        let words = |error: rustls::Error| error.to_string();
        let provider = &protocol.provider;
        let trusted = Anchored::new(parts.authorities.anchors, provider.clone(), verifier)
            .map_err(|error| error.to_string())?;
        let servers = ServerVerifier {
            trusted,
            verify: parts.verify,
            crls: CrlSet::new(parts.crls, provider.clone()),
            pinned: parts.authorities.ders,
            allowed_cns: parts.allowed_cns,
            allowed_hostnames: parts.allowed_hostnames,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&protocol.versions)
            .map_err(words)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers));
        let leaf = parts.identity.as_ref().and_then(|identity| identity.leaf().cloned());
        let mut http1 = match parts.identity {
            Some(identity) => {
                let key = Arc::new(SingleCertAndKey::from(identity.key));
                builder.with_client_cert_resolver(key)
            }
            None => builder.with_no_client_auth(),
        };
        // A resumed session is not verified again, so it could outlive the certificate that it
        // began with.
        http1.resumption = Resumption::disabled();
        let mut h2 = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        h2.alpn_protocols = vec![b"h2".to_vec()];
        let own_cert =
            OwnCert { title: leaf.as_ref().map(Certificate::title), advice: parts.advice };
        Ok(Self(Arc::new(Inner {
            http1: Arc::new(http1).into(),
            h2: Arc::new(h2).into(),
            server_name: parts.server_name,
            own_cert,
            leaf,
            sources: parts.sources,
        })))
    }

    /// Performs the handshake over `stream` with the server at `host`, a name or an IP literal
    /// without brackets. The server's certificate must be valid for `host`, or for the name that
    /// the settings give in its place. The caller has to limit the time; dropping the future closes
    /// the stream.
    ///
    /// In TLS 1.3 a server refuses our certificate only after this returns: see
    /// [`Connector::explain`].
    ///
    /// # Errors
    /// The reason why the handshake failed.
    pub async fn connect<S>(
        &self,
        stream: S,
        host: &str,
        alpn: Alpn,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.0.server_name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        let connector = match alpn {
            Alpn::Http1 => &self.0.http1,
            Alpn::H2 => &self.0.h2,
        };
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| handshake_error::in_handshake(&error, &self.0.own_cert))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if alpn == Alpn::H2 && agreed != Some(b"h2") {
            return Err(HandshakeError::NoHttp2);
        }
        Ok(stream)
    }

    /// Explains an error of a stream that this connector made; `None` if it has nothing to do with
    /// TLS. In TLS 1.3, a refusal of our certificate arrives with the first read.
    pub fn explain(&self, error: &io::Error) -> Option<HandshakeError> {
        handshake_error::explain(error, &self.0.own_cert)
    }

    /// Returns the likely reason why a peer port closed a connection silently after the handshake:
    /// etcd checks whether the names in our certificate lead to the address that we connect from,
    /// and closes without an alert if they do not. `None` if we show no certificate with names.
    pub fn san_rule(&self) -> Option<String> {
        let leaf = self.0.leaf.as_ref().filter(|leaf| !leaf.names.is_empty())?;
        Some(format!(
            "a peer port does this when none of the names in our certificate {} leads to this host's address: {}",
            leaf.title(),
            leaf.names.join(", ")
        ))
    }

    /// Returns the likely reason why a client port closed a connection silently after the
    /// handshake: etcd checks its revocation list and its allowed names only then, and closes
    /// without an alert if it refuses.
    pub fn mute_rule(&self) -> String {
        let closed = "it closed the connection right after the TLS handshake without a word";
        match &self.0.own_cert.title {
            Some(title) => format!(
                "{closed}; etcd does this if our certificate, {title}, is revoked or has names that it does not allow"
            ),
            None => closed.to_owned(),
        }
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Returns the certificate that it shows to servers that ask for one, if any.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.0.leaf.as_ref()
    }
}

fn verifier(
    roots: Arc<RootCertStore>,
    anchored: &Anchored<dyn ServerCertVerifier>,
) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let provider = anchored.provider.clone();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
    Ok(verifier)
}

/// Parses a host as a name to verify.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, HandshakeError> {
    let host = without_zone(host.strip_suffix('.').unwrap_or(host));
    ServerName::try_from(host.to_owned()).map_err(|_| HandshakeError::Host(host.to_owned()))
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sources == other.0.sources
    }
}

impl Eq for Connector {}

/// Prints no key.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("shows", &self.0.own_cert.title).finish_non_exhaustive()
    }
}
