//! Builds a [`Generation`] from settings and endpoints.

use std::sync::Arc;

use crate::config::Settings;
use crate::proxy::advertised::Advertised;
use crate::proxy::generation::Generation;
use crate::tls::TlsConfigs;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::Timeouts;

impl Generation {
    /// Builds generation `number`.
    pub fn build(
        number: u64,
        settings: &Settings,
        tls_configs: &TlsConfigs,
        endpoints: Vec<Arc<Endpoint>>,
    ) -> Generation {
        Generation {
            settings_revision: number,
            mode: settings.mode,
            balance: settings.balance,
            timeouts: timeouts(settings),
            failure_wait: settings.failure_wait,
            health_interval: settings.health_interval,
            health_timeout: settings.health_timeout,
            cors: unless_all(&settings.cors),
            host_whitelist: unless_all(&settings.host_whitelist),
            page_hosts: page_hosts(settings),
            advertised: settings
                .rewrite_members
                .then(|| Advertised::new(&settings.advertise_client_urls)),
            acceptor: tls_configs.acceptor.clone(),
            connector: Some(tls_configs.upstream.clone()),
            endpoints,
        }
    }
}

/// Returns the timeouts of connections to members.
pub fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts {
        dial: settings.dial_timeout,
        read: settings.read_timeout,
        write: settings.write_timeout,
        proof: settings.health_timeout,
        proof_required: settings.require_cluster_proof,
    }
}

/// Returns the names of this host: its hostname, and the hosts of the URLs that it advertises.
fn page_hosts(settings: &Settings) -> Vec<String> {
    let advertised = settings.advertise_client_urls.iter().filter_map(|url| {
        let uri = http::Uri::try_from(url).ok()?;
        uri.host().map(str::to_owned)
    });
    let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    advertised.chain(own).collect()
}

/// Returns the list, or `None` when it allows everything: in etcd an empty list does, and one with
/// `*`.
fn unless_all(list: &[String]) -> Option<Vec<String>> {
    let all = list.is_empty() || list.iter().any(|entry| entry == "*");
    (!all).then(|| list.to_vec())
}
