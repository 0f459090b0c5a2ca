//! A connection to a registry: plain TCP or TLS, behind one type.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Fault;
use crate::config::WebUrl;
use crate::net::dial::{NamedBy, dial};
use crate::tls::{Alpn, Connector};

/// Something to talk over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(super) type Link = Box<dyn Stream>;

/// Connects to the host of `url`, which was named by somebody, in TLS if it says so. `limit` is for
/// connecting alone.
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

/// Begins TLS on a connection that is there already.
pub(super) async fn secure(
    link: Link,
    url: &WebUrl,
    tls: &Connector,
    alpn: Alpn,
) -> Result<Link, Fault> {
    Ok(Box::new(tls.connect(link, &url.host, alpn).await?))
}
