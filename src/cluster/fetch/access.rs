//! Connects to a peer over TCP or TLS, as its URL says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::error::FetchError;
use crate::config::{PeerSource, PeerUrl, Settings};
use crate::net::coalesce::CoalescingWriter;
use crate::net::dial::{NamedBy, dial, resolve};
use crate::net::maybe_tls::MaybeTlsStream;
use crate::tls::{Alpn, Connector, TlsConfigs};

/// Limit of a TLS handshake when `proxy-dial-timeout` is off; etcd uses the same.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// The settings for connections to peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Limit for connecting, which includes the TLS handshake but not the name lookup. `None` means
    /// no limit for TCP, and [`HANDSHAKE_MOST`] for TLS.
    pub dial_timeout: Option<Duration>,
    /// The TLS connector; without it no `https` peer can be reached.
    pub tls: Option<Connector>,
    /// The peers that the settings name. Others come from the network, and `dial` refuses them some
    /// addresses.
    pub written: Arc<[PeerUrl]>,
}

impl Access {
    /// Takes them from the settings and TLS configs of one generation.
    pub fn new(settings: &Settings, tls_configs: &TlsConfigs) -> Self {
        let written = match &settings.peers {
            PeerSource::Static(peers) => peers.as_slice().into(),
            PeerSource::Discovery(_) | PeerSource::Srv(_) => Arc::default(),
        };
        let tls = Some(tls_configs.peer.clone());
        Self { dial_timeout: settings.dial_timeout, tls, written }
    }

    fn named_by(&self, peer: &PeerUrl) -> NamedBy {
        let is_same = |written: &PeerUrl| (&written.host, written.port) == (&peer.host, peer.port);
        if self.written.iter().any(is_same) { NamedBy::Operator } else { NamedBy::Network }
    }

    /// Connects to `peer`, over TLS if its URL says so.
    ///
    /// # Errors
    /// When the peer cannot be reached, or the TLS handshake fails.
    pub(super) async fn connect(&self, peer: &PeerUrl) -> Result<MaybeTlsStream, FetchError> {
        let (host, port, named_by) = (&peer.host, peer.port, self.named_by(peer));
        resolve(host, port, named_by).await.map_err(|error| error.reason)?;
        let begin = Instant::now();
        let stream = dial(host, port, named_by, self.dial_timeout).await;
        let stream = stream.map_err(|error| error.reason)?;
        if !peer.tls {
            return Ok(MaybeTlsStream::Tcp(stream));
        }
        let tls = self.tls.as_ref().ok_or(FetchError::NoTls)?;
        let most = self.dial_timeout.map(|most| most.saturating_sub(begin.elapsed()));
        let most = most.unwrap_or(HANDSHAKE_MOST);
        match timeout(most, tls.connect(CoalescingWriter(stream), &peer.host, Alpn::Http1)).await {
            Ok(Ok(stream)) => Ok(MaybeTlsStream::Tls(Box::new(stream))),
            Ok(Err(why)) => Err(why.into()),
            Err(_) => Err(FetchError::NoHandshake(most)),
        }
    }

    /// Returns a more precise error for an exchange that failed with `error` before the response
    /// head came, if `source` or a TLS handshake with the peer tells more.
    pub(super) async fn explain(
        &self,
        peer: &PeerUrl,
        source: &hyper::Error,
        error: FetchError,
    ) -> FetchError {
        let Some(tls) = &self.tls else { return error };
        if !peer.tls {
            let secret = PeerUrl { tls: true, ..peer.clone() };
            let silent = matches!(error, FetchError::Hung | FetchError::NotHttp);
            return if silent && self.speaks_tls(&secret).await { FetchError::Tls } else { error };
        }
        let mut cause = std::error::Error::source(source);
        while let Some(it) = cause {
            if let Some(why) = it.downcast_ref().and_then(|io| tls.explain(io)) {
                return why.into();
            }
            cause = it.source();
        }
        match (error, tls.san_rule()) {
            (FetchError::Hung, Some(rule)) => {
                FetchError::HungAfterTls(format!("{}; {rule}", tls.mute_rule()))
            }
            (FetchError::Hung, None) => FetchError::HungAfterTls(tls.mute_rule()),
            (other, _) => other,
        }
    }

    /// Tries a TLS handshake; returns whether `peer` answers it in TLS, a refusal included.
    async fn speaks_tls(&self, peer: &PeerUrl) -> bool {
        match self.connect(peer).await {
            Ok(_) => true,
            Err(FetchError::Handshake(why)) => why.comes_of_tls(),
            Err(_) => false,
        }
    }
}
