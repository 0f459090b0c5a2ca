//! Families of the daemon's state, from the snapshot that status is rendered from too.

use std::collections::{BTreeMap, HashSet};

use super::family::{Family, Group, Labels, Number, Samples};
use crate::telemetry::snapshot::{
    CertificateKind, EndpointStatus, MemberStatus, ServingMode, Snapshot,
};

/// Returns every family that comes from the snapshot.
pub fn groups(snapshot: &Snapshot) -> [Group; 6] {
    [
        ("The daemon and its clients", gauges(snapshot)),
        ("Memory", memory(snapshot)),
        ("Cluster and members", members(snapshot)),
        ("Settings", reloads(snapshot)),
        ("Member list", refreshes(snapshot)),
        ("Certificates", certificates(snapshot)),
    ]
}

fn gauges(snapshot: &Snapshot) -> Vec<Family> {
    let traffic = &snapshot.traffic;
    let build = vec![
        ("version", snapshot.daemon_version.clone().into()),
        ("arch", std::env::consts::ARCH.into()),
    ];
    vec![
        info("etcd_proxy_build_info", "The daemon's version and architecture.", build),
        Family::gauge(
            "etcd_proxy_ready",
            "Whether a member list has been fetched since the start.",
            snapshot.ready,
        ),
        Family::gauge(
            "etcd_proxy_draining",
            "Whether the daemon is stopping and only finishes what is open.",
            snapshot.draining,
        ),
        Family::gauge(
            "etcd_proxy_readonly",
            "Whether writes are refused.",
            snapshot.mode == ServingMode::Readonly,
        ),
        Family::gauge("etcd_proxy_connections", "Open client connections.", traffic.connections),
        Family::gauge(
            "etcd_proxy_connections_limit",
            "Client connections that may be open, by the limit of open files; further ones wait.",
            traffic.connections_limit,
        ),
        Family::gauge(
            "etcd_proxy_requests_in_flight",
            "HTTP requests in flight.",
            traffic.requests_in_flight,
        ),
        Family::gauge(
            "etcd_proxy_rpcs_in_flight",
            "gRPC calls in flight, long streams included.",
            traffic.rpcs_in_flight,
        ),
    ]
}

/// Returns the families of the memory limit with the least memory left; none if there is no limit.
fn memory(snapshot: &Snapshot) -> Vec<Family> {
    let Some(memory) = &snapshot.memory else { return Vec::new() };
    vec![
        Family::gauge(
            "etcd_proxy_memory_limit_bytes",
            "The memory limit with the least memory left: RLIMIT_AS or the cgroup's.",
            memory.limit_bytes,
        ),
        Family::gauge(
            "etcd_proxy_memory_used_bytes",
            "Memory in use that counts towards that limit.",
            memory.used_bytes,
        ),
        Family::gauge(
            "etcd_proxy_memory_short",
            "Whether new clients wait because that limit is near.",
            memory.short_since_ms.is_some(),
        ),
    ]
}

fn members(snapshot: &Snapshot) -> Vec<Family> {
    let cluster = snapshot.cluster_id.iter().map(|id| vec![("cluster_id", id.clone().into())]);
    vec![
        Family {
            name: "etcd_proxy_cluster_info",
            help: "The ID of the cluster that this proxy is pinned to.",
            samples: Samples::Gauge(cluster.map(|labels| (labels, 1.into())).collect()),
        },
        Family::gauge(
            "etcd_proxy_members",
            "Members as last listed, learners and members that have not started included.",
            snapshot.members.len() as u64,
        ),
        Family {
            name: "etcd_proxy_member_healthy",
            help: "Whether an endpoint that may get traffic is healthy.",
            samples: Samples::Gauge(each_endpoint(snapshot, |e| e.healthy.into())),
        },
        Family {
            name: "etcd_proxy_member_in_flight",
            help: "Requests and streams on an endpoint.",
            samples: Samples::Gauge(each_endpoint(snapshot, |e| e.in_flight.into())),
        },
        Family {
            name: "etcd_proxy_member_failures",
            help: "Failures of an endpoint.",
            samples: Samples::Counter(each_endpoint(snapshot, |e| e.failures.into())),
        },
    ]
}

/// Makes a sample for each endpoint that may get traffic. Member names come from the cluster and
/// may be missing or duplicated. A duplicate sample would make the scraper reject the whole page,
/// so only the first one is kept.
fn each_endpoint(
    snapshot: &Snapshot,
    value: impl Fn(&EndpointStatus) -> Number,
) -> Vec<(Labels, Number)> {
    let mut seen = HashSet::new();
    let members = snapshot.members.iter().filter(|member| member.left_out.is_none());
    let endpoints = members.flat_map(|member| member.endpoints.iter().map(move |e| (member, e)));
    endpoints
        .filter(|(_, endpoint)| endpoint.usable)
        .filter(|(member, endpoint)| seen.insert((label_of(member), endpoint.url.as_str())))
        .map(|(member, endpoint)| {
            let member = label_of(member).to_owned().into();
            let labels = vec![("member", member), ("endpoint", endpoint.url.clone().into())];
            (labels, value(endpoint))
        })
        .collect()
}

fn label_of(member: &MemberStatus) -> &str {
    if member.name.is_empty() { &member.id } else { &member.name }
}

fn reloads(snapshot: &Snapshot) -> Vec<Family> {
    let results = [
        ("applied", snapshot.reloads_applied),
        ("unchanged", snapshot.reloads_unchanged),
        ("refused", snapshot.reloads_refused),
    ];
    let refused = snapshot.refusals().next().is_some();
    vec![
        Family {
            name: "etcd_proxy_config_reloads",
            help: "Reloads of the settings, by result.",
            samples: Samples::Counter(by_result(&results)),
        },
        Family::gauge(
            "etcd_proxy_config_last_reload_successful",
            "Whether no refused settings or TLS files wait to be corrected.",
            !refused,
        ),
        Family::gauge(
            "etcd_proxy_config_last_reload_success_timestamp_seconds",
            "When settings were last accepted, at the start or by a reload.",
            seconds(snapshot.settings_accepted_ms.max(snapshot.started_ms)),
        ),
        Family::gauge(
            "etcd_proxy_config_generation",
            "Generation of the settings in force; the first is 1.",
            snapshot.generation,
        ),
    ]
}

fn refreshes(snapshot: &Snapshot) -> Vec<Family> {
    let refresh = &snapshot.refresh;
    let last = refresh.last_success_ms.map(|at| (Vec::new(), seconds(at).into()));
    vec![
        Family {
            name: "etcd_proxy_member_refreshes",
            help: "Fetches of the member list, by result.",
            samples: Samples::Counter(by_result(&[
                ("success", refresh.succeeded),
                ("failure", refresh.failed),
            ])),
        },
        Family {
            name: "etcd_proxy_members_last_refresh_success_timestamp_seconds",
            help: "When a member list was last fetched from a peer.",
            samples: Samples::Gauge(last.into_iter().collect()),
        },
    ]
}

/// Returns the expiry families, with one sample for each file of an identity.
fn certificates(snapshot: &Snapshot) -> Vec<Family> {
    let samples = |are_lists: bool| {
        let all = snapshot.certificates.iter();
        let wanted = all.filter(|it| (it.kind == CertificateKind::RevocationList) == are_lists);
        // A file may contain both a certificate and its authority: the one that expires first
        // counts.
        let mut first = BTreeMap::new();
        for it in wanted {
            let end = first.entry((&it.identity, &it.file)).or_insert(it.not_after_ms);
            *end = it.not_after_ms.min(*end);
        }
        let samples = first.into_iter().map(|((identity, file), end_ms)| {
            let labels = vec![("identity", identity.clone().into()), ("file", file.clone().into())];
            (labels, seconds(end_ms).into())
        });
        Samples::Gauge(samples.collect())
    };
    vec![
        Family {
            name: "etcd_proxy_certificate_expiry_timestamp_seconds",
            help: "Expiry of the certificate presented to clients (listener), members (upstream), peers or the \
                   discovery service (registry), or of the authority that verifies them and expires first; see the \
                   file.",
            samples: samples(false),
        },
        Family {
            name: "etcd_proxy_revocation_list_expiry_timestamp_seconds",
            help: "When the first revocation list of the file is due to be replaced (nextUpdate).",
            samples: samples(true),
        },
    ]
}

fn by_result(results: &[(&'static str, u64)]) -> Vec<(Labels, Number)> {
    results.iter().map(|(result, n)| (vec![("result", (*result).into())], (*n).into())).collect()
}

fn info(name: &'static str, help: &'static str, labels: Labels) -> Family {
    Family { name, help, samples: Samples::Gauge(vec![(labels, 1.into())]) }
}

/// Converts milliseconds since 1970 to seconds.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
