//! Discovery services (registries): the members of a new cluster register there, and a proxy reads
//! who they are.
//!
//! [`fetch`] reads a registry once, [`changed`] waits for the next entry; neither ever writes. `v2`
//! implements the protocol of `discovery`, `v3` that of `discovery-token`; what they share is here.
//! A registry is not trusted: times and sizes have limits, and its texts are only shown escaped.
//! [`super::peer_discovery`] decides when to ask again.

mod error;
mod http;
mod link;
mod registered;
mod rpc;
mod v2;
mod v3;

use std::time::Duration;

use crate::config::Discovery;
use crate::tls::Connector;

pub use error::RegistryError;
pub use registered::Registered;

/// Reads once who is registered, and registers nobody. `tls` is the connector for `https`: the
/// registry's, of the TLS configs.
///
/// Takes at most about 10 s for v2, and twice the dial and request timeouts for each endpoint of
/// v3. Dropping the future closes the connection.
///
/// # Errors
/// [`RegistryError::is_fatal`] tells whether etcd would give up or try again.
pub async fn fetch(discovery: &Discovery, tls: &Connector) -> Result<Registered, RegistryError> {
    match discovery {
        Discovery::V2(registry) => v2::fetch(registry, tls).await,
        Discovery::V3(registry) => v3::fetch(registry, tls).await,
    }
}

/// Waits until somebody registers after `seen` was read, for at most `limit`. It may also return
/// without a change, when the registry ends the wait.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn changed(
    discovery: &Discovery,
    tls: &Connector,
    seen: &Registered,
    limit: Duration,
) -> Result<(), RegistryError> {
    match discovery {
        Discovery::V2(registry) => v2::changed(registry, tls, seen.position, limit).await,
        Discovery::V3(registry) => v3::changed(registry, tls, seen.position, limit).await,
    }
}

/// Returns the registry's name in messages.
pub fn place(discovery: &Discovery) -> String {
    match discovery {
        Discovery::V2(registry) => registry.url.to_string(),
        Discovery::V3(registry) => v3::place(registry),
    }
}
