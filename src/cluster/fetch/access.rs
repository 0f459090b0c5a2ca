//! How a peer is reached: by TCP, or by TLS on top of it, as its URL says.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::FetchError;
use crate::config::{PeerUrl, Settings};
use crate::net::dial::dial;
use crate::net::gather::Gather;
use crate::net::line::Line;
use crate::tls::{Alpn, Connector, Material};

/// Limit of a TLS handshake when `proxy-dial-timeout` is off; etcd's own.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// How peers are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Limit for connecting, the TLS handshake included; `None` means none of its own.
    pub dial_timeout: Option<Duration>,
    /// What speaks TLS; `None` reaches no `https` peer.
    pub tls: Option<Connector>,
}

impl Access {
    /// As settings and TLS material of one generation have it.
    pub fn new(settings: &Settings, material: &Material) -> Self {
        Self { dial_timeout: settings.dial_timeout, tls: Some(material.peer.clone()) }
    }

    /// Connects to `peer`, by TLS if its URL says so.
    ///
    /// # Errors
    /// When there is no connection, or no TLS on it.
    pub(super) async fn connect(&self, peer: &PeerUrl) -> Result<Line, FetchError> {
        let begin = Instant::now();
        let stream =
            dial(&peer.host, peer.port, self.dial_timeout).await.map_err(|error| error.reason)?;
        if !peer.tls {
            return Ok(Line::Tcp(stream));
        }
        let tls = self.tls.as_ref().ok_or(FetchError::NoTls)?;
        let most = self.dial_timeout.map(|most| most.saturating_sub(begin.elapsed()));
        let most = most.unwrap_or(HANDSHAKE_MOST);
        match timeout(most, tls.connect(Gather(stream), &peer.host, Alpn::Http1)).await {
            Ok(Ok(stream)) => Ok(Line::Tls(Box::new(stream))),
            Ok(Err(why)) => Err(why.into()),
            Err(_) => Err(FetchError::NoHandshake(most)),
        }
    }

    /// Says more of an exchange that failed with `error` before its head was there, if `source` or the state of TLS tells more.
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
