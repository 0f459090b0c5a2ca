//! A connection to a registry: plain TCP or TLS, behind one type.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Fault;
use crate::config::WebUrl;
use crate::net::dial::{NamedBy, dial};
use crate::tls::{Alpn, Connector};

/// A byte stream in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection, with or without TLS.
pub(super) type Link = Box<dyn Stream>;

/// Connects to the host of `url`, with TLS if it is `https`. The `NamedBy` says where the URL came
/// from, which decides which addresses are allowed. `limit` covers only connecting: neither the
/// name lookup nor the handshake.
pub(super) async fn connect(
    (url, named_by): (&WebUrl, NamedBy),
    limit: Option<Duration>,
    tls: &Connector,
    alpn: Alpn,
) -> Result<Link, Fault> {
    let stream = dial(&url.host, url.port, named_by, limit).await;
    let stream = stream.map_err(|error| error.reason)?;
    if url.tls { secure(Box::new(stream), url, tls, alpn).await } else { Ok(Box::new(stream)) }
}

/// Starts TLS on an existing connection.
pub(super) async fn secure(
    link: Link,
    url: &WebUrl,
    tls: &Connector,
    alpn: Alpn,
) -> Result<Link, Fault> {
    Ok(Box::new(tls.connect(link, &url.host, alpn).await?))
}
