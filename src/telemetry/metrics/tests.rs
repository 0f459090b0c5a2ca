use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::telemetry::counters::{Dropped, HttpMethod, RetryReason, traffic};
use crate::telemetry::snapshot::{
    CertificateKind, CertificateStatus, EndpointStatus, MemberStatus, ReloadRecord, ReloadResult,
    ServingMode,
};

const RPCS: &[&str] = &["KV/Range", "Watch/Watch"];

fn counters() -> Vec<Arc<WorkerCounters>> {
    let counters =
        vec![Arc::new(WorkerCounters::new(RPCS.len())), Arc::new(WorkerCounters::new(RPCS.len()))];
    for counters in &counters {
        counters.connection_opened();
        counters.http_started(HttpMethod::Get);
        counters.http_finished(HttpMethod::Get, 200, Duration::from_micros(600));
        counters.http_started(HttpMethod::Put);
        counters.http_dropped(HttpMethod::Put, Dropped::FailedSendingRequest);
        counters.rpc_started(0);
        counters.rpc_finished(0, 14, Duration::from_millis(3));
        counters.rpc_started(1);
    }
    counters[0].retried(RetryReason::ConnectFailed);
    counters
}

fn endpoint(url: &str, healthy: bool) -> EndpointStatus {
    EndpointStatus { url: url.into(), usable: true, healthy, ..Default::default() }
}

fn member(name: &str, endpoints: Vec<EndpointStatus>) -> MemberStatus {
    MemberStatus { id: "1f".into(), name: name.into(), endpoints, ..Default::default() }
}

fn snapshot() -> Snapshot {
    Snapshot {
        daemon_version: "0.1.0".into(),
        started_ms: 1_795_380_425_500,
        mode: ServingMode::Readonly,
        generation: 7,
        cluster_id: Some("cdf818194e3a8c32".into()),
        members: vec![
            member("infra0", vec![endpoint("http://10.0.1.10:2379", true)]),
            member("infra\"1\n", vec![endpoint("http://10.0.1.11:2379", false)]),
        ],
        ..Default::default()
    }
}

fn page(format: Format) -> String {
    let counters = counters();
    let snapshot = Snapshot { traffic: traffic(&counters), ..snapshot() };
    render(&snapshot, &counters, RPCS, format)
}

#[track_caller]
fn assert_has(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|l| l == *line), "{line} is not in\n{page}");
    }
}

#[test]
fn etcds_own_families_have_its_names_labels_and_buckets() {
    let page = page(Format::Text);
    assert_has(
        &page,
        &[
            "# TYPE etcd_proxy_requests_total counter",
            r#"etcd_proxy_requests_total{method="GET"} 2"#,
            "# TYPE etcd_proxy_handled_total counter",
            r#"etcd_proxy_handled_total{method="GET",code="200"} 2"#,
            "# TYPE etcd_proxy_dropped_total counter",
            r#"etcd_proxy_dropped_total{method="PUT",proxying_error="failed_sending_request"} 2"#,
            "# TYPE etcd_proxy_handling_duration_seconds histogram",
            r#"etcd_proxy_handling_duration_seconds_sum{method="GET"} 0.0012"#,
            r#"etcd_proxy_handling_duration_seconds_count{method="GET"} 2"#,
        ],
    );
    let buckets: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("etcd_proxy_handling_duration_seconds_bucket{le=\""))
        .filter_map(|line| line.split_once('"'))
        .collect();
    let bounds: Vec<_> = buckets.iter().map(|(bound, _)| *bound).collect();
    assert_eq!(
        bounds,
        [
            "0.0005", "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128",
            "0.256", "0.512", "1.024", "2.048", "+Inf"
        ]
    );
    assert_eq!(buckets[0].1, r#",method="GET"} 0"#);
    assert_eq!(buckets[1].1, r#",method="GET"} 2"#);
}

#[test]
fn grpc_has_families_of_its_own() {
    assert_has(
        &page(Format::Text),
        &[
            r#"etcd_proxy_rpc_started_total{rpc="KV/Range"} 2"#,
            r#"etcd_proxy_rpc_handled_total{rpc="KV/Range",code="Unavailable"} 2"#,
            r#"etcd_proxy_rpc_handling_duration_seconds_bucket{le="0.005",rpc="KV/Range"} 2"#,
            "etcd_proxy_rpcs_in_flight 2",
            "etcd_proxy_requests_in_flight 2",
            "etcd_proxy_connections 2",
            r#"etcd_proxy_retries_total{reason="connect_failed"} 1"#,
            r#"etcd_proxy_retries_total{reason="not_sent"} 0"#,
            "etcd_proxy_refused_writes_total 0",
            "etcd_proxy_loop_refused_total 0",
        ],
    );
}

#[test]
fn the_state_is_the_snapshots() {
    assert_has(
        &page(Format::Text),
        &[
            &format!(
                r#"etcd_proxy_build_info{{version="0.1.0",arch="{}"}} 1"#,
                std::env::consts::ARCH
            ),
            "etcd_proxy_readonly 1",
            "etcd_proxy_draining 0",
            r#"etcd_proxy_cluster_info{cluster_id="cdf818194e3a8c32"} 1"#,
            "etcd_proxy_members 2",
            r#"etcd_proxy_member_healthy{member="infra0",endpoint="http://10.0.1.10:2379"} 1"#,
            "etcd_proxy_config_generation 7",
            "etcd_proxy_config_last_reload_successful 1",
            "etcd_proxy_config_last_reload_success_timestamp_seconds 1795380425.5",
            r#"etcd_proxy_config_reloads_total{result="refused"} 0"#,
            r#"etcd_proxy_member_refreshes_total{result="failure"} 0"#,
            "process_start_time_seconds 1795380425.5",
            "# TYPE process_cpu_seconds_total counter",
        ],
    );
}

#[test]
fn a_members_name_cannot_break_the_page() {
    let line =
        r#"etcd_proxy_member_healthy{member="infra\"1\n",endpoint="http://10.0.1.11:2379"} 0"#;
    assert_has(&page(Format::Text), &[line]);
}

#[test]
fn members_without_traffic_have_no_health() {
    let mut snapshot = snapshot();
    snapshot.members[0].left_out = Some("learner".into());
    snapshot.members[1].endpoints[0].usable = false;
    let page = render(&snapshot, &[], RPCS, Format::Text);
    assert!(!page.contains("etcd_proxy_member_healthy"), "{page}");
}

#[test]
fn the_first_of_two_members_with_one_name_and_url_counts() {
    let mut snapshot = snapshot();
    let twin = member("infra0", vec![endpoint("http://10.0.1.10:2379", false)]);
    snapshot.members.push(twin);
    let page = render(&snapshot, &[], RPCS, Format::Text);
    let healthy = r#"etcd_proxy_member_healthy{member="infra0",endpoint="http://10.0.1.10:2379"} "#;
    assert_eq!(page.matches(healthy).count(), 1);
    assert_has(&page, &[&format!("{healthy}1")]);
}

#[test]
fn a_refused_reload_shows_until_one_is_accepted() {
    let mut snapshot = snapshot();
    let refused = ReloadRecord { result: ReloadResult::Refused, ..Default::default() };
    snapshot.settings_refused = Some(refused);
    let refused = render(&snapshot, &[], RPCS, Format::Text);
    assert_has(&refused, &["etcd_proxy_config_last_reload_successful 0"]);

    // A renewed certificate does not end the refusal of the settings.
    snapshot
        .reloads
        .insert(0, ReloadRecord { result: ReloadResult::Applied, ..Default::default() });
    let refused = render(&snapshot, &[], RPCS, Format::Text);
    assert_has(&refused, &["etcd_proxy_config_last_reload_successful 0"]);

    snapshot.settings_refused = None;
    snapshot.settings_accepted_ms = 1_795_380_426_000;
    assert_has(
        &render(&snapshot, &[], RPCS, Format::Text),
        &[
            "etcd_proxy_config_last_reload_successful 1",
            "etcd_proxy_config_last_reload_success_timestamp_seconds 1795380426.0",
        ],
    );
}

#[test]
fn a_file_with_a_certificate_and_its_authority_has_one_end() {
    let shown = |kind, not_after_ms| CertificateStatus {
        kind,
        identity: "listener".into(),
        file: "/one.pem".into(),
        not_after_ms,
        ..Default::default()
    };
    let certificates =
        vec![shown(CertificateKind::Certificate, 9_000), shown(CertificateKind::Authority, 7_000)];
    let page = render(&Snapshot { certificates, ..Default::default() }, &[], RPCS, Format::Text);
    let family = "etcd_proxy_certificate_expiry_timestamp_seconds{";
    let ends: Vec<_> = page.lines().filter(|line| line.starts_with(family)).collect();
    assert_eq!(ends, [format!("{family}identity=\"listener\",file=\"/one.pem\"}} 7.0")]);
}

#[test]
fn openmetrics_has_the_same_samples_and_its_own_types() {
    let [text, open] = [Format::Text, Format::OpenMetrics].map(page);
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert_has(&open, &["# TYPE etcd_proxy_requests counter"]);
    let samples = |page: &str| -> HashSet<String> {
        let names =
            page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(samples(&text), samples(&open));
}

#[test]
fn every_name_is_ours_and_none_is_a_members() {
    for line in page(Format::Text).lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("etcd_proxy_") || line.starts_with("process_"), "{line}");
    }
}

#[test]
fn nothing_counted_yet_is_a_page_too() {
    let page = render(&Snapshot::default(), &[], &[], Format::Text);
    assert_has(&page, &["etcd_proxy_members 0"]);
    assert!(!page.contains("etcd_proxy_handled_total"), "{page}");
}
