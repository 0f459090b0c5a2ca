//! An immutable snapshot of the proxy's settings and members, as the control plane publishes it.
//!
//! A request loads the generation once and keeps it to its end, so it sees the old settings and
//! members or the new ones, never a mix. Generations are immutable, except for the health that
//! their endpoints record.

use std::sync::Arc;
use std::time::Duration;

use super::advertised::Advertised;
use crate::config::{Balance, Mode};
use crate::tls::{Acceptor, Connector};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::Timeouts;

/// The settings and members that are in force together.
#[derive(Debug)]
pub struct Generation {
    /// Number of this set of settings, from 1; each applied reload adds one, refreshes of the
    /// members do not.
    pub settings_revision: u64,
    /// Whether writes pass (readwrite) or are refused (readonly).
    pub mode: Mode,
    /// Policy by which a member is chosen for a request.
    pub balance: Balance,
    /// Time limits of connections to members.
    pub timeouts: Timeouts,
    /// How long an endpoint that failed is avoided.
    pub failure_wait: Duration,
    /// Pause between two probes of an endpoint, or `None` for no probes.
    pub health_interval: Option<Duration>,
    /// Deadline of a probe.
    pub health_timeout: Duration,
    /// Origins allowed by CORS, or `None` when the answer is left to the members.
    pub cors: Option<Vec<String>>,
    /// Hosts that plaintext HTTP/1 requests may name, or `None` for all.
    pub host_whitelist: Option<Vec<String>>,
    /// Host names, beside `localhost` and IP addresses, under which plaintext clients may ask for
    /// our own pages.
    pub page_hosts: Vec<String>,
    /// URLs that member lists name in place of the members' client URLs, or `None` when the lists
    /// pass unchanged.
    pub advertised: Option<Advertised>,
    /// TLS configuration of the listeners: their certificate, and the client certificates they
    /// demand; `None` when no certificate is set.
    pub acceptor: Option<Acceptor>,
    /// TLS connector to members; `None` reaches no `https` member.
    pub connector: Option<Connector>,
    /// The endpoints that may get traffic, in order of preference.
    pub endpoints: Vec<Arc<Endpoint>>,
}
