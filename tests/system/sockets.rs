//! Where listening sockets come from and where they go: the descriptor store, the socket unit, unix
//! socket files.

use crate::load::Load;
use crate::machine::{CLIENT, Machine, PEERS, turn};

fn stored(machine: &Machine) -> String {
    machine.property("NFileDescriptorStore")
}

fn listen_on(machine: &Machine, urls: &str) {
    let text = format!("initial-cluster = \"{PEERS}\"\nlisten-client-urls = \"{urls}\"\n");
    machine.write("/etc/etcd-proxy.toml", &text);
}

#[test]
fn a_listener_that_is_not_configured_any_more_leaves_the_store() {
    let Some(machine) = turn() else { return };
    machine.write("/etc/default/etcd-proxy", "ETCD_WORKERS=2\n");
    machine.install_before_a_cluster("");
    assert_eq!(stored(&machine), "2");

    listen_on(&machine, "http://127.0.0.1:2379,http://127.0.0.1:2390,http://[::1]:2379");
    machine.ok("systemctl reload etcd-proxy");
    machine.wait_for("three listeners in the store", || stored(&machine) == "6");
    machine.ok("systemctl restart etcd-proxy; curl --silent --fail http://[::1]:2379/version");

    listen_on(&machine, "http://127.0.0.1:2379,http://127.0.0.1:2390");
    machine.ok("systemctl reload etcd-proxy");
    machine.wait_for("a reload that removes one", || stored(&machine) == "4");
    machine.fails("curl --silent --max-time 5 http://[::1]:2379/version");

    // While it is down, the address is removed and its port given to one that covers the other
    // address.
    machine.ok("systemctl kill --signal=STOP etcd-proxy");
    listen_on(&machine, "http://0.0.0.0:2379");
    machine.ok("systemctl kill --signal=KILL etcd-proxy");
    machine.wait_for("the next process", || machine.property("NRestarts") == "1");
    machine.wait_until_active();
    machine.wait_for("a restart that replaces both", || stored(&machine) == "2");
    machine.ok("curl --silent --fail --max-time 5 http://127.0.0.1:2379/version");
    machine.fails("curl --silent --max-time 5 http://127.0.0.1:2390/version");
}

#[test]
fn the_store_is_empty_once_the_service_is_stopped() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("systemctl stop etcd-proxy");
    assert_eq!(stored(&machine), "0");
    machine.fails("curl --silent --max-time 5 http://127.0.0.1:2379/version");
}

#[test]
fn a_unix_socket_is_for_every_user_and_outlives_restarts() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    listen_on(&machine, "unix:///run/etcd-proxy/etcd.sock");
    machine.ok("systemctl reload etcd-proxy");
    let inode = || machine.ok("stat --format=%i /run/etcd-proxy/etcd.sock");
    let before = inode();
    let serves_on_the_same = || {
        machine.ok(
            "curl --silent --fail --unix-socket /run/etcd-proxy/etcd.sock http://proxy/version",
        );
        assert_eq!(inode(), before);
    };
    serves_on_the_same();
    machine.ok(
        "runuser -u nobody -- curl --silent --fail --unix-socket /run/etcd-proxy/etcd.sock http://proxy/version",
    );
    machine.ok("systemctl restart etcd-proxy");
    serves_on_the_same();
    machine.ok("systemctl kill --signal=KILL etcd-proxy");
    machine.wait_for("the next process", || machine.property("NRestarts") == "1");
    serves_on_the_same();
    machine.ok("systemctl stop etcd-proxy");
    machine.fails("test -e /run/etcd-proxy");
}

#[test]
fn the_socket_unit_starts_the_service_and_holds_the_port_over_restarts_and_stops() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("systemctl stop etcd-proxy; systemctl enable --now etcd-proxy.socket");
    machine.enter_network();
    assert_eq!(machine.state(), "inactive");
    let load = Load::start(CLIENT);
    machine.wait_until_active();
    assert_eq!(stored(&machine), "0", "the socket unit holds it");
    for _ in 0..3 {
        machine.ok("systemctl restart etcd-proxy");
        load.wait_for_reads(20);
    }
    machine.ok("systemctl stop etcd-proxy");
    load.wait_for_reads(20);
    let report = load.end();
    assert!(report.refused.is_empty() && report.broken.is_empty(), "{report:#?}");
}

#[test]
fn a_socket_unit_before_settings_that_cannot_be_used_fails_and_is_restarted_after_mending() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("systemctl stop etcd-proxy; systemctl start etcd-proxy.socket");
    machine.write("/etc/etcd-proxy.toml", "proxxy = 1\n");
    machine.fails("curl --silent --max-time 5 http://127.0.0.1:2379/version");
    // Each failed start leaves the client in the queue, which triggers the next start, until
    // systemd gives up.
    let socket = || machine.run("systemctl is-active etcd-proxy.socket").out.trim().to_owned();
    machine.wait_for("the socket unit has given up", || socket() == "failed");
    assert_eq!(machine.property("ExecMainStatus"), "78");
    machine.fails("curl --silent --max-time 5 http://127.0.0.1:2379/version");

    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\n"));
    // systemd counts triggers over two seconds, and a restart does not reset the count. People need
    // longer than that to mend the settings.
    std::thread::sleep(std::time::Duration::from_secs(3));
    machine.ok("systemctl reset-failed etcd-proxy.service; systemctl restart etcd-proxy.socket");
    machine.ok("curl --silent --fail --max-time 20 http://127.0.0.1:2379/version");
    machine.wait_until_active();
}

#[test]
fn a_socket_unit_that_no_setting_names_is_complained_about() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("systemctl stop etcd-proxy");
    machine.write(
        "/etc/systemd/system/etcd-proxy.socket.d/port.conf",
        "[Socket]\nListenStream=127.0.0.1:2400\n",
    );
    machine.ok("systemctl daemon-reload; systemctl start etcd-proxy.socket etcd-proxy.service");
    let journal = machine.journal();
    assert!(journal.contains("a socket unit holds an address that no setting names"), "{journal}");
}
