//! Sends one `GET` to a v2 registry, through an HTTP proxy if one is set, and follows redirects as
//! etcd's client does.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri, header};

use super::error::Fault;
use super::link::{Link, connect, secure};
use crate::config::{RegistryUrl, WebUrl};
use crate::net::dial::{Authority, NamedBy};
use crate::net::http_client::{self, BodyError, TunnelError};
use crate::tls::{Alpn, Connector};

/// Most redirects that are followed; etcd's client follows as many.
const REDIRECTS: usize = 10;

/// Largest body that is read, in bytes; a hundred members need some 20 KiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// Limit for connecting; etcd's is the same.
const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// A response with any status.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Gets the registry's URL with `rest` (path and query) appended. `limit` is for the whole, which
/// includes redirects.
pub(super) async fn get(
    registry: &RegistryUrl,
    tls: &Connector,
    rest: &str,
    limit: Duration,
) -> Result<Page, Fault> {
    let following = follow(registry, tls, rest);
    tokio::time::timeout(limit, following).await.unwrap_or(Err(Fault::NoAnswer(limit)))
}

async fn follow(registry: &RegistryUrl, tls: &Connector, rest: &str) -> Result<Page, Fault> {
    let mut host = WebUrl { path: String::new(), ..registry.url.clone() };
    let mut target = format!("{}{rest}", registry.url.path);
    let mut named_by = NamedBy::Operator;
    for _ in 0..=REDIRECTS {
        let page = exchange((&host, named_by), &target, registry.proxy.as_ref(), tls).await?;
        if page.status / 100 != 3 {
            return Ok(page);
        }
        let from = host;
        (host, target) = redirected(&from, &page.headers)?;
        if host != from {
            named_by = NamedBy::Network;
        }
    }
    Err(Fault::Redirect("it redirects more than ten times"))
}

/// Returns the target of a redirect: exactly the URL in `Location`, as for etcd's client.
fn redirected(from: &WebUrl, headers: &HeaderMap) -> Result<(WebUrl, String), Fault> {
    const NOWHERE: Fault = Fault::Redirect("it redirects to nowhere");
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or(NOWHERE)?;
    let uri: Uri = location.parse().map_err(|_| NOWHERE)?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let host = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            WebUrl::parse(&format!("{scheme}://{authority}")).map_err(|_| NOWHERE)?
        }
        (None, None) if target.starts_with('/') => from.clone(),
        _ => return Err(NOWHERE),
    };
    Ok((host, target))
}

async fn exchange(
    (host, named_by): (&WebUrl, NamedBy),
    target: &str,
    proxy: Option<&WebUrl>,
    tls: &Connector,
) -> Result<Page, Fault> {
    let link = match proxy {
        None => connect((host, named_by), Some(DIAL_LIMIT), tls, Alpn::Http1).await?,
        Some(proxy) if host.tls => {
            secure(tunnel(proxy, host, tls).await?, host, tls, Alpn::Http1).await?
        }
        Some(proxy) => {
            connect((proxy, NamedBy::Operator), Some(DIAL_LIMIT), tls, Alpn::Http1).await?
        }
    };
    // A forwarding proxy needs the absolute URL.
    let uri =
        if proxy.is_some() && !host.tls { format!("{host}{target}") } else { target.to_owned() };
    let request = http_client::get(&uri, &Authority(&host.host, host.port).to_string())
        .map_err(|_| Fault::Broken("its URL does not fit into a request".to_owned()))?;
    let mut reply =
        http_client::send(link, request).await.map_err(|no_reply| broken(&no_reply.error))?;
    let body = reply.read_body(BODY_LIMIT).await.map_err(|error| match error {
        BodyError::TooLarge(_) => Fault::TooLarge,
        BodyError::Broken(_) => {
            Fault::Broken("the connection broke in the middle of its answer".to_owned())
        }
    })?;
    Ok(Page { status: reply.head.status.as_u16(), headers: reply.head.headers, body })
}

/// Opens a tunnel to `host` through an HTTP proxy, for TLS inside it.
async fn tunnel(proxy: &WebUrl, host: &WebUrl, tls: &Connector) -> Result<Link, Fault> {
    let to = (proxy, NamedBy::Operator);
    let link = connect(to, Some(DIAL_LIMIT), tls, Alpn::Http1).await?;
    let target = Authority(&host.host, host.port).to_string();
    match http_client::tunnel(link, &target).await {
        Ok(tunnel) => Ok(Box::new(tunnel)),
        Err(TunnelError::Target(_)) => {
            Err(Fault::Broken("its host does not fit into a request".to_owned()))
        }
        Err(TunnelError::Refused(status)) => Err(Fault::Proxy(proxy.to_string(), status.as_u16())),
        Err(TunnelError::Broken(error)) => Err(broken(&error)),
    }
}

/// Tells an answer in another protocol from a connection that broke.
fn broken(error: &hyper::Error) -> Fault {
    Fault::Broken(if error.is_parse() {
        "it does not answer in HTTP".to_owned()
    } else {
        "the connection broke before its answer".to_owned()
    })
}
