//! Registries: where the members of a cluster that is being built enter themselves, and a proxy
//! reads who they are.
//!
//! [`fetch`] asks a registry once, [`changed`] waits for the next entry; neither ever writes. `v2`
//! speaks the protocol of `discovery`, `v3` that of `discovery-token`; what they have in common is
//! here. A registry is not trusted: times and sizes have limits, and what it says is only shown
//! escaped. [`super::peer_discovery`] decides when to ask again.

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

/// Asks the registry once who is registered. Registers nobody. `tls` is for `https` (the registry
/// connector of the TLS configs).
///
/// Takes at most some 10 s for v2, and twice the dial and request timeouts for each endpoint of v3.
/// Dropping the future closes the connection.
///
/// # Errors
/// [`RegistryError::is_fatal`] tells what etcd gives up at from what it tries again.
pub async fn fetch(discovery: &Discovery, tls: &Connector) -> Result<Registered, RegistryError> {
    match discovery {
        Discovery::V2(registry) => v2::fetch(registry, tls).await,
        Discovery::V3(registry) => v3::fetch(registry, tls).await,
    }
}

/// Waits until somebody registers after `seen` was had, for at most `limit`. May also return when
/// nothing has changed: then the registry ended the wait.
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

/// What people call the registry.
pub fn place(discovery: &Discovery) -> String {
    match discovery {
        Discovery::V2(registry) => registry.url.to_string(),
        Discovery::V3(registry) => v3::place(registry),
    }
}
