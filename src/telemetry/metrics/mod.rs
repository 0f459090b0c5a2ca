//! The metrics page, rendered at each scrape from the snapshot and the workers' counters.
//!
//! Nothing is registered and nothing is kept: a scrape reads the counters without stopping a
//! worker, and the state comes from the snapshot that status and systemd's STATUS are rendered from
//! too. Names begin with `etcd_proxy_`. Four of them are those of etcd's own proxy, with its labels
//! and buckets, and none would be mistaken for a member's by etcd's dashboards and alerts. Label
//! values are bounded: methods, statuses, names of calls, members; never a key, a client or a path.

mod family;
mod format;
mod process;
mod state;
mod traffic;

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::counters::WorkerCounters;
use super::snapshot::Snapshot;
use family::Page;
pub use family::{Family, Group, Samples};
pub use format::Format;
use traffic::Counted;

/// Returns every family in the order of the page, under the headings of docs/metrics.md. The
/// parameters are those of [`render`].
pub fn groups(
    snapshot: &Snapshot,
    counters: &[Arc<WorkerCounters>],
    rpcs: &[&'static str],
) -> Vec<Group> {
    let process = ("The process", process::families(snapshot.started_ms));
    let traffic = Counted { counters, rpcs }.groups();
    traffic.into_iter().chain(state::groups(snapshot)).chain([process]).collect()
}

/// Renders the page in the given format. `rpcs` has the names of the gRPC calls, such as
/// `KV/Range`, by their index in the counters. Numbers in flight come from `snapshot.traffic`.
pub fn render(
    snapshot: &Snapshot,
    counters: &[Arc<WorkerCounters>],
    rpcs: &[&'static str],
    format: Format,
) -> String {
    let families = groups(snapshot, counters, rpcs).into_iter().flat_map(|(_, families)| families);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { format, families: families.collect() }));
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a string cannot fail, and neither does encoding our values.
    let _ = match format {
        Format::OpenMetrics => text::encode(&mut page, &registry),
        Format::Text => text::encode_registry(&mut page, &registry),
    };
    page
}

#[cfg(test)]
mod tests;
