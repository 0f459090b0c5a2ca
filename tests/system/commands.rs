//! Commands that people run beside the service: they refer to the daemon that systemd runs, with
//! the environment that systemd gives it.

use crate::machine::{PEERS, turn};

#[test]
fn what_the_environment_file_says_is_shown_with_its_line_and_checked() {
    let Some(machine) = turn() else { return };
    machine.start_members();
    // The steps of README.
    machine.install();
    machine.ok(&format!("echo ETCD_INITIAL_CLUSTER={PEERS} >>/etc/default/etcd-proxy"));
    machine.ok("systemctl restart etcd-proxy");
    let line = machine.ok("grep --count '' /etc/default/etcd-proxy");
    let said = machine.ok("etcd-proxy print-config");
    let row = |name: &str| {
        let start = format!("{name} ");
        said.lines().find(|line| line.starts_with(&start)).unwrap_or_default().to_owned()
    };
    let peers = row("initial-cluster");
    assert!(peers.contains("http://127.0.0.1:12380"), "{said}");
    assert!(
        peers.ends_with(&format!("/etc/default/etcd-proxy:{line} (ETCD_INITIAL_CLUSTER)")),
        "{peers}"
    );
    assert!(row("data-dir").contains("/var/lib/etcd-proxy"), "{said}");

    machine.write("/etc/sysconfig/etcd-proxy", "\nETCD_PROXY=sometimes\n");
    let said = machine.fails("etcd-proxy check");
    assert!(said.contains("/etc/sysconfig/etcd-proxy:2 (ETCD_PROXY)"), "{said}");
    // With settings of its own, a command refers to another daemon.
    machine
        .ok("etcd-proxy check --proxy on; ETCD_CONFIG_FILE=/etc/etcd-proxy.toml etcd-proxy check");
    machine.ok("rm /etc/sysconfig/etcd-proxy");

    // Commands that ask the daemon use the environment file too.
    machine.ok("echo ETCD_ADMIN_SOCKET=/run/etcd-proxy/other.sock >>/etc/default/etcd-proxy");
    machine.ok("systemctl restart etcd-proxy && test -S /run/etcd-proxy/other.sock");
    machine.ok("etcd-proxy status && etcd-proxy reload");
}

#[test]
fn a_socket_that_was_changed_in_the_file_is_refused_by_the_daemon_itself() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("echo 'admin-socket = \"/run/etcd-proxy/new.sock\"' >>/etc/etcd-proxy.toml");
    machine.fails("systemctl reload etcd-proxy");
    let journal = machine.journal();
    assert!(!journal.contains("not running"), "{journal}");
    assert!(journal.contains("admin-socket"), "{journal}");
    machine.run("etcd-proxy status").out.find("serving").expect("an answer");
    machine.ok("systemctl restart etcd-proxy && systemctl reload etcd-proxy");
}
