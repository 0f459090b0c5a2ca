//! Starts without a cluster, with settings that cannot be used, and on ports that are taken or low.

use std::time::Duration;

use crate::machine::{Machine, PEERS, turn};

#[test]
fn without_a_cluster_it_says_what_it_waits_for_and_becomes_active_when_the_cluster_comes() {
    let Some(machine) = turn() else { return };
    shorten_starts(&machine);
    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\n"));
    machine.ok("dpkg --force-confold --install /packages/etcd-proxy_[0-8]*.deb");
    assert_eq!(machine.property("TimeoutStartUSec"), "2s");
    std::thread::sleep(3 * LIMIT);
    assert_eq!(machine.state(), "activating");
    assert_eq!(machine.property("NRestarts"), "0");
    let status = machine.run("systemctl status --no-pager --full etcd-proxy").out;
    assert!(status.contains("waiting for members: "), "{status}");
    assert!(status.contains("127.0.0.1:12380"), "{status}");
    machine.fails("curl --silent --fail http://127.0.0.1:2379/version");

    machine.start_members();
    machine.wait_until_active();
    let members = machine.ok("ETCDCTL_API=3 etcdctl member list");
    assert_eq!(members.lines().count(), 3, "{members}");
}

/// systemd's time limit for a start, instead of 90 s.
const LIMIT: Duration = Duration::from_secs(2);

/// Makes systemd end a start after [`LIMIT`].
fn shorten_starts(machine: &Machine) {
    let short = format!("[Manager]\nDefaultTimeoutStartSec={}s\n", LIMIT.as_secs());
    machine.write("/etc/systemd/system.conf.d/short.conf", &short);
    machine.ok("systemctl daemon-reexec");
}

#[test]
fn peers_that_hang_do_not_end_the_start_and_are_named() {
    let Some(machine) = turn() else { return };
    shorten_starts(&machine);
    // A peer that accepts connections and never answers.
    machine.ok("systemd-run --quiet --collect --unit=member-mute --socket-property=ListenStream=127.0.0.1:12380 sleep infinity");
    machine.write("/etc/etcd-proxy.toml", "initial-cluster = \"m0=http://127.0.0.1:12380\"\n");
    machine.ok("dpkg --force-confold --install /packages/etcd-proxy_[0-8]*.deb");
    machine.wait_for("it says whom it asks", || {
        machine.property("StatusText") == "waiting for members: asking 127.0.0.1:12380"
    });
    std::thread::sleep(3 * LIMIT);
    assert_eq!(machine.state(), "activating");
    assert_eq!(machine.property("NRestarts"), "0");
    machine.ok("systemctl stop member-mute.socket member-mute.service");
}

#[test]
fn as_installed_it_serves_a_member_on_this_host() {
    let Some(machine) = turn() else { return };
    // The member's peer port is the default one, and 2379 belongs to the proxy.
    machine.ok(
        "systemd-run --quiet --collect --service-type=notify --unit=member-local etcd --data-dir=/var/lib/members/local \
         --listen-client-urls=http://127.0.0.1:12379 --advertise-client-urls=http://127.0.0.1:12379",
    );
    machine.install();
    machine.wait_until_active();
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");
    let settings = machine.ok("etcd-proxy print-config");
    let peers = settings.lines().find(|line| line.starts_with("initial-cluster ")).expect("a row");
    assert!(peers.contains("http://localhost:2380") && peers.ends_with("  default"), "{peers}");
}

#[test]
fn the_journal_has_our_fields() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    let json = machine.ok("journalctl --no-pager -u etcd-proxy.service -o json");
    let entries: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ready = entries.iter().rfind(|entry| entry["MESSAGE"] == "ready");
    let ready = ready.unwrap_or_else(|| panic!("no `ready` in {json}"));
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "etcd-proxy");
    assert_eq!(ready["_SYSTEMD_UNIT"], "etcd-proxy.service");
    assert_eq!(ready["PRIORITY"], "6");
    assert_eq!(ready["ETCD_PROXY_MEMBERS"], "3", "{ready}");
}

#[test]
fn settings_that_cannot_be_used_end_the_start_at_once_and_for_good() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.ok("systemctl stop etcd-proxy");
    machine
        .write("/etc/etcd-proxy.toml", "proxy = \"on\"\nlisten-client-urls = \"http://0.0.0.0\n");
    machine.fails("systemctl start etcd-proxy");
    assert_eq!(machine.state(), "failed");
    assert_eq!(machine.property("ExecMainStatus"), "78");
    let status = machine.run("systemctl status --no-pager --full etcd-proxy").out;
    assert!(status.contains("status=78/CONFIG"), "{status}");
    assert!(status.contains("/etc/etcd-proxy.toml:2:"), "{status}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.property("NRestarts"), "0");
}

#[test]
fn a_command_line_that_cannot_be_used_ends_the_start_at_once_and_for_good() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.ok("systemctl stop etcd-proxy");
    machine.write(
        "/etc/systemd/system/etcd-proxy.service.d/flags.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/etcd-proxy --proxxy on\n",
    );
    machine.ok("systemctl daemon-reload");
    machine.fails("systemctl start etcd-proxy");
    assert_eq!(
        (machine.state(), machine.property("ExecMainStatus")),
        ("failed".into(), "64".into())
    );
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.property("NRestarts"), "0");
}

#[test]
fn a_port_that_is_taken_is_named_and_the_start_given_up_after_a_while() {
    let Some(machine) = turn() else { return };
    // A member on the same host has the port.
    machine.ok("systemctl start etcd.service");
    machine.install();
    machine.wait_for("it has given up", || machine.state() == "failed");
    let journal = machine.journal();
    // The unit's sandbox hides which process has it.
    let words = "cannot listen on http://127.0.0.1:2379: in use by another process; `ss -ltnp` as root names it";
    assert!(journal.contains(words), "{journal}");
    assert!(machine.ok("ss -ltnp").contains("\"etcd\""));
    assert!(journal.contains("Start request repeated too quickly"), "{journal}");

    machine.ok(
        "mkdir -p /etc/systemd/system/etcd-proxy.service.d; systemctl reset-failed etcd-proxy; \
         cp /usr/share/doc/etcd-proxy/examples/systemd/beside-etcd.conf /etc/systemd/system/etcd-proxy.service.d/; \
         systemctl daemon-reload; systemctl start etcd-proxy",
    );
    assert_eq!(machine.ok("curl --silent http://127.0.0.1:23790/health"), r#"{"health":"true"}"#);
}

#[test]
fn the_example_for_a_low_port_works() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("listen-client-urls = \"http://127.0.0.1:2379\"\n");
    machine.write("/etc/default/etcd-proxy", "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:279\n");
    machine.ok(
        "mkdir -p /etc/systemd/system/etcd-proxy.service.d; \
         cp /usr/share/doc/etcd-proxy/examples/systemd/low-port.conf /etc/systemd/system/etcd-proxy.service.d/; \
         systemctl daemon-reload; systemctl restart etcd-proxy",
    );
    assert_eq!(machine.ok("curl --silent http://127.0.0.1:279/health"), r#"{"health":"true"}"#);
}
