//! A connection to a registry: plain TCP or TLS, behind one type.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Fault;
use crate::config::WebUrl;
use crate::net::dial::dial;

/// Something to talk over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(super) type Link = Box<dyn Stream>;

/// Connects to the host of `url`, in TLS if it says so. `limit` is for connecting alone.
pub(super) async fn connect(url: &WebUrl, limit: Option<Duration>) -> Result<Link, Fault> {
    let stream = dial(&url.host, url.port, limit).await.map_err(|error| error.reason)?;
    if url.tls { secure(Box::new(stream), url).await } else { Ok(Box::new(stream)) }
}

/// Begins TLS on a connection that is there already.
pub(super) async fn secure(_link: Link, _url: &WebUrl) -> Result<Link, Fault> {
    Err(Fault::TlsFiles("TLS to a registry is not built yet".to_owned()))
}
