use super::super::ask::tests::{daemon, http};
use super::*;
use crate::telemetry::snapshot::{Problem, RefreshStatus, ReloadResult, ServingMode};

fn endpoint(url: &str, reason: Option<&str>) -> EndpointStatus {
    EndpointStatus {
        url: url.to_owned(),
        usable: true,
        healthy: reason.is_none(),
        reason: reason.map(str::to_owned),
        since_ms: now_ms(),
        ..Default::default()
    }
}

fn healthy() -> Snapshot {
    Snapshot {
        version: 1,
        daemon_version: "0.1.0".to_owned(),
        pid: 812,
        started_ms: now_ms(),
        mode: ServingMode::Readwrite,
        generation: 7,
        cluster_id: Some("cdf818194e3a8c32".to_owned()),
        ready: true,
        listeners: vec!["http://127.0.0.1:2379".to_owned()],
        workers: 2,
        members: vec![MemberStatus {
            id: "8211f1d0f64f3269".to_owned(),
            name: "infra0".to_owned(),
            endpoints: vec![endpoint("http://10.0.1.10:2379", None)],
            ..Default::default()
        }],
        refresh: RefreshStatus { last_success_ms: Some(now_ms()), ..Default::default() },
        ..Default::default()
    }
}

fn troubled() -> Snapshot {
    let mut snapshot = healthy();
    snapshot.problems =
        vec![Problem { since_ms: None, text: "infra0 does not answer\u{1b}[2J".to_owned() }];
    snapshot.members[0].endpoints[0] = endpoint("http://10.0.1.10:2379", Some("no answer"));
    snapshot
}

/// Runs against a daemon in this state; returns the exit status and what was printed.
fn run_against(snapshot: &Snapshot, write_out: WriteOut, quiet: bool) -> (u8, String) {
    let (_dir, socket) = daemon(&http("200 OK", &serde_json::to_string(snapshot).unwrap()));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&socket, write_out, quiet, &mut out, &mut err);
    assert!(err.is_empty(), "{}", String::from_utf8_lossy(&err));
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn all_well_is_exit_0_and_few_lines() {
    let (code, out) = run_against(&healthy(), WriteOut::Table, false);
    assert_eq!(code, 0);
    assert!(out.lines().count() <= 20, "{out}");
    for wanted in [
        "serving, readwrite, generation 7\n",
        "clients:  http://127.0.0.1:2379 (2 workers)\n",
        "cluster:  cdf818194e3a8c32, member list of 0 s ago\n",
        "|        ID        |  NAME  |      CLIENT ADDR      | HEALTH  |",
        "| 8211f1d0f64f3269 | infra0 | http://10.0.1.10:2379 | healthy |",
    ] {
        assert!(out.contains(wanted), "{wanted} in\n{out}");
    }
}

#[test]
fn a_problem_stands_first_harmless_and_makes_exit_4() {
    let (code, out) = run_against(&troubled(), WriteOut::Table, false);
    assert_eq!(code, 4);
    assert!(out.starts_with("PROBLEM: infra0 does not answer?[2J\n"), "{out}");
    assert!(out.contains("| unhealthy: no answer |"), "{out}");
}

#[test]
fn a_refused_file_is_a_problem_too() {
    let refused = ReloadRecord { result: ReloadResult::Refused, ..Default::default() };
    let snapshot = Snapshot { settings_refused: Some(refused), ..healthy() };
    assert_eq!(run_against(&snapshot, WriteOut::Table, true).0, 4);
}

#[test]
fn a_daemon_that_serves_nobody_is_exit_5_and_says_why() {
    let why = Some("not serving: 0 of 1 members healthy".to_owned());
    for (snapshot, words) in [
        (Snapshot { ready: false, ..healthy() }, "waiting for members, readwrite"),
        (Snapshot { draining: true, ..healthy() }, "stopping, readwrite"),
        (Snapshot { not_serving: why, ..troubled() }, "not serving: 0 of 1 members healthy, "),
    ] {
        let (code, out) = run_against(&snapshot, WriteOut::Table, false);
        assert_eq!(code, 5);
        assert!(out.contains(&format!("\n{words}")), "{out}");
    }
}

#[test]
fn quiet_only_exits() {
    for (snapshot, code) in [(healthy(), 0), (troubled(), 4)] {
        assert_eq!(run_against(&snapshot, WriteOut::Json, true), (code, String::new()));
    }
}

#[test]
fn json_is_the_snapshot_with_its_version() {
    let (code, out) = run_against(&troubled(), WriteOut::Json, false);
    assert_eq!(code, 4);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["members"][0]["name"], "infra0");
}

#[test]
fn simple_rows_have_no_boxes() {
    let (_, out) = run_against(&healthy(), WriteOut::Simple, false);
    assert!(out.contains("\n8211f1d0f64f3269, infra0, http://10.0.1.10:2379, healthy, "), "{out}");
    assert!(!out.contains('+'), "{out}");
}

#[test]
fn left_out_members_say_why() {
    let mut snapshot = healthy();
    snapshot.members.push(MemberStatus {
        id: "1".to_owned(),
        left_out: Some("not started".to_owned()),
        ..Default::default()
    });
    let (_, out) = run_against(&snapshot, WriteOut::Simple, false);
    assert!(out.contains("\n1, , , not started, , , , \n"), "{out}");
}

#[test]
fn the_last_reloads_are_shown_with_what_they_did() {
    let mut snapshot = healthy();
    let record = |result: ReloadResult, changes: &[&str], messages: &[&str]| ReloadRecord {
        trigger: "file".to_owned(),
        result,
        generation: 7,
        changes: changes.iter().map(|&c| c.to_owned()).collect(),
        messages: messages.iter().map(|&m| m.to_owned()).collect(),
        at_ms: now_ms(),
    };
    snapshot.reloads = vec![
        record(ReloadResult::Applied, &["proxy: on -> readonly"], &["a warning"]),
        record(ReloadResult::Refused, &[], &["/etc/p.toml:1:1: no", "second", "third"]),
    ];
    let (code, out) = run_against(&snapshot, WriteOut::Simple, false);
    assert_eq!(code, 0, "the refused one is no longer the newest");
    assert!(out.contains("file, applied, 7, proxy: on -> readonly\n"), "{out}");
    assert!(out.contains("file, refused, 7, /etc/p.toml:1:1: no (and 2 more)\n"), "{out}");
}

#[test]
fn a_daemon_of_another_version_is_understood() {
    let body = r#"{"version":1,"ready":true,"of_the_future":{"x":1}}"#;
    let (_dir, socket) = daemon(&http("200 OK", body));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(run(&socket, WriteOut::Json, false, &mut out, &mut err), 0);
    assert_eq!(out, format!("{body}\n").as_bytes());
}

#[test]
fn what_is_not_our_daemon_is_an_error() {
    let (_dir, socket) = daemon(&http("404 Not Found", r#"{"message":"no such page"}"#));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(run(&socket, WriteOut::Table, false, &mut out, &mut err), 1);
    assert!(String::from_utf8(err).unwrap().ends_with(": no such page\n"));
}

#[test]
fn no_daemon_is_exit_3() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let socket = Path::new("/nonexistent/admin.sock");
    assert_eq!(run(socket, WriteOut::Table, false, &mut out, &mut err), 3);
    assert!(out.is_empty());
}

#[test]
fn the_evidence_of_a_members_health_is_shown_with_its_age() {
    let mut snapshot = healthy();
    let (_, out) = run_against(&snapshot, WriteOut::Table, false);
    assert!(!out.contains(" s ago |"), "{out}");
    let endpoint = &mut snapshot.members[0].endpoints[0];
    (endpoint.evidence, endpoint.evidence_ms) = (EvidenceKind::Probed, now_ms() - 12_000);
    let (_, out) = run_against(&snapshot, WriteOut::Table, false);
    assert!(out.contains("| probed 12 s ago |") || out.contains("| probed 13 s ago |"), "{out}");
}
