//! A sample metrics page: every family has a sample, and every label with a list has each of its
//! values.

use std::sync::Arc;
use std::time::Duration;

use crate::message::rpc::Rpc;
use crate::telemetry::counters::{Dropped, HttpMethod, WorkerCounters};
use crate::telemetry::metrics::{self, Group};
use crate::telemetry::snapshot::{
    CertificateKind, CertificateStatus, EndpointStatus, MemberStatus, MemoryStatus, RefreshStatus,
    Snapshot,
};

/// Returns the families of the page.
pub(super) fn groups() -> Vec<Group> {
    metrics::groups(&snapshot(), &[Arc::new(counters())], &[Rpc::Range.name()])
}

/// Returns counters in which everything that the page omits while zero has counted one.
fn counters() -> WorkerCounters {
    let counters = WorkerCounters::new(1);
    for method in HttpMethod::ALL {
        counters.http_started(method);
        counters.http_finished(method, 200, Duration::ZERO);
        Dropped::ALL.into_iter().for_each(|reason| counters.http_dropped(method, reason));
    }
    counters.rpc_started(0);
    counters.rpc_finished(0, 0, Duration::ZERO);
    counters
}

/// Returns the snapshot of a daemon with TLS, a memory limit and one member.
fn snapshot() -> Snapshot {
    let endpoint = EndpointStatus { usable: true, ..Default::default() };
    let certificate = |kind| CertificateStatus { kind, ..Default::default() };
    Snapshot {
        cluster_id: Some(String::new()),
        members: vec![MemberStatus { endpoints: vec![endpoint], ..Default::default() }],
        memory: Some(MemoryStatus::default()),
        refresh: RefreshStatus { last_success_ms: Some(0), ..Default::default() },
        certificates: vec![
            certificate(CertificateKind::Certificate),
            certificate(CertificateKind::RevocationList),
        ],
        ..Default::default()
    }
}
