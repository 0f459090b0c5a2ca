//! One whole state of the proxy, as the control plane publishes it.
//!
//! A request loads the generation once and is served by it to its end, so it sees the old settings
//! and members or the new ones and never a mix. Generations are immutable; only what endpoints know
//! of their health changes.

use std::sync::Arc;
use std::time::Duration;

use super::advertised::Advertised;
use crate::config::{Balance, Mode};
use crate::tls::{Acceptor, Connector};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::Timeouts;

/// Settings and members that are in force together.
#[derive(Debug)]
pub struct Generation {
    /// Counts up from 1 with each reload that was applied; refreshes of the members do not count.
    pub settings_revision: u64,
    /// Whether writes pass.
    pub mode: Mode,
    /// How a member is chosen.
    pub balance: Balance,
    /// Limits of connections to members.
    pub timeouts: Timeouts,
    /// How long an endpoint that failed is avoided.
    pub failure_wait: Duration,
    /// Pause between two probes of an endpoint, or `None` for no probes.
    pub health_interval: Option<Duration>,
    /// Deadline of a probe.
    pub health_timeout: Duration,
    /// Allowed origins, or `None` when the members answer for that themselves.
    pub cors: Option<Vec<String>>,
    /// Hosts that plaintext HTTP/1 requests may name, or `None` for all.
    pub host_whitelist: Option<Vec<String>>,
    /// Host names, beside `localhost` and IP addresses, under which plaintext clients may ask for
    /// our own pages.
    pub page_hosts: Vec<String>,
    /// What member lists name in place of the members' client URLs, or `None` when they pass as
    /// they are.
    pub advertised: Option<Advertised>,
    /// What listeners with TLS show and demand; `None` when no certificate is set.
    pub acceptor: Option<Acceptor>,
    /// What speaks TLS to members; `None` reaches no `https` member.
    pub connector: Option<Connector>,
    /// The endpoints that may get traffic, in the order in which they are preferred.
    pub endpoints: Vec<Arc<Endpoint>>,
}
