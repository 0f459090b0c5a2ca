//! Changes of the settings while the service runs.

use crate::machine::{PEERS, turn};

#[test]
fn editing_the_file_changes_mode_and_peers_without_a_command() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("proxy = \"on\"\n");
    let process = machine.property("MainPID");
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");

    machine.ok("sed -i 's/^proxy = .*/proxy = \"readonly\"/' /etc/etcd-proxy.toml");
    machine.wait_for("writes are refused", || {
        machine.etcdctl("put other value").err.contains("readonly")
    });
    assert_eq!(machine.etcdctl("get greeting").out, "greeting\nhello\n");

    machine.ok("sed -i 's/m0=[^,]*,//' /etc/etcd-proxy.toml");
    machine.wait_for("the peers have changed", || {
        machine.ok("etcd-proxy status -w json").contains("initial-cluster")
    });
    assert_eq!(machine.property("MainPID"), process);
}

#[test]
fn a_broken_file_fails_the_reload_by_name_line_and_column_and_changes_nothing() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("systemctl reload etcd-proxy");
    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\nproxxy = 1\n"));
    machine.fails("systemctl reload etcd-proxy");
    let journal = machine.journal();
    assert!(journal.contains("/etc/etcd-proxy.toml:2:1"), "{journal}");
    assert!(machine.property("StatusText").contains("/etc/etcd-proxy.toml:2:1"));
    assert_eq!(machine.state(), "active");
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");

    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\n"));
    machine.ok("systemctl reload etcd-proxy");
}

#[test]
fn variables_win_after_a_restart() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("proxy = \"on\"\n");
    machine.write("/etc/default/etcd-proxy", "ETCD_PROXY=readonly\n");
    machine.ok("systemctl restart etcd-proxy");
    let said = machine.etcdctl("put greeting hello");
    assert!(said.err.contains("readonly"), "{said:?}");
    machine.write("/etc/sysconfig/etcd-proxy", "ETCD_PROXY=on\n");
    machine.ok("systemctl restart etcd-proxy; rm /etc/sysconfig/etcd-proxy");
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");
}
