//! How a peer is reached: by TCP, or by TLS on top of it, as its URL says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::error::FetchError;
use crate::config::{PeerSource, PeerUrl, Settings};
use crate::net::coalesce::CoalescingWriter;
use crate::net::dial::{NamedBy, dial, resolve};
use crate::net::maybe_tls::MaybeTlsStream;
use crate::tls::{Alpn, Connector, TlsConfigs};

/// Limit of a TLS handshake when `proxy-dial-timeout` is off; etcd's own.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// How peers are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Limit for connecting, the TLS handshake included and the lookup of a name not; `None` means
    /// none of its own.
    pub dial_timeout: Option<Duration>,
    /// What speaks TLS; `None` reaches no `https` peer.
    pub tls: Option<Connector>,
    /// The peers that the settings name. Others come from the network, and may not lead to every
    /// address.
    pub written: Arc<[PeerUrl]>,
}

impl Access {
    /// As settings and TLS configs of one generation have it.
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

    /// Connects to `peer`, by TLS if its URL says so.
    ///
    /// # Errors
    /// When there is no connection, or no TLS on it.
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

    /// Says more of an exchange that failed with `error` before its head was there, if `source` or
    /// the state of TLS tells more.
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

    /// Whether a port of which the URL says something else answers in TLS.
    async fn speaks_tls(&self, peer: &PeerUrl) -> bool {
        match self.connect(peer).await {
            Ok(_) => true,
            Err(FetchError::Handshake(why)) => why.comes_of_tls(),
            Err(_) => false,
        }
    }
}
