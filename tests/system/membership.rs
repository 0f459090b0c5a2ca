//! Hosts that are or become members: `proxy = "off"` in the unit's own sandbox, and `promote` with
//! the real systemctl and Debian's etcd.service.

use crate::machine::{CLIENT, VERSION, inside, package, turn};

const REGISTRY: &str = "http://127.0.0.1:12379";

#[test]
fn a_host_with_room_in_its_cluster_runs_etcd_as_this_service() {
    let Some(machine) = turn() else { return };
    machine.ok(&format!(
        "systemd-run --quiet --collect --service-type=notify --unit=member-registry etcd --enable-v2 \
         --data-dir=/var/lib/members/registry --initial-cluster=default=http://127.0.0.1:12380 \
         --listen-peer-urls=http://127.0.0.1:12380 --initial-advertise-peer-urls=http://127.0.0.1:12380 \
         --listen-client-urls={REGISTRY} --advertise-client-urls={REGISTRY}"
    ));
    let token = format!("{REGISTRY}/v2/keys/token");
    machine.ok(&format!("curl --silent --fail -X PUT {token}/_config/size -d value=1"));
    let settings = |name: &str| {
        format!(
            "proxy = \"off\"\ndiscovery = \"{token}\"\nname = \"{name}\"\n\
             advertise-client-urls = \"http://{CLIENT}\"\nlisten-peer-urls = \"http://127.0.0.1:2380\"\n\
             initial-advertise-peer-urls = \"http://127.0.0.1:2380\"\n"
        )
    };
    // etcd does not send watchdog keep-alives, so the daemon must have switched the watchdog off.
    machine.write(
        "/etc/systemd/system/etcd-proxy.service.d/watchdog.conf",
        "[Service]\nWatchdogSec=2s\n",
    );
    machine.write("/etc/etcd-proxy.toml", &settings("first"));
    machine.ok(&format!("dpkg --force-confold --install {}", inside(&package("deb", VERSION))));
    machine.wait_until_active();
    let program = || {
        let pid = machine.property("MainPID");
        machine.ok(&format!("basename $(readlink /proc/{pid}/exe)"))
    };
    assert_eq!(program(), "etcd", "{}", machine.journal());
    machine.ok("ETCDCTL_API=3 etcdctl put kept here");
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(machine.property("NRestarts"), "0", "{}", machine.journal());
    machine.ok("systemctl restart etcd-proxy");
    assert_eq!(program(), "etcd");
    assert_eq!(machine.ok("ETCDCTL_API=3 etcdctl get --print-value-only kept"), "here");
    assert!(machine.journal().contains("this host has a member's data: running etcd"));

    // Another host finds the cluster full. The cluster's one member is gone, so this host never
    // becomes ready.
    machine.ok("systemctl stop etcd-proxy && rm -rf /var/lib/etcd-proxy/member");
    machine.write("/etc/etcd-proxy.toml", &settings("second"));
    machine.ok("systemctl --no-block start etcd-proxy");
    machine.wait_for("a proxy", || machine.journal().contains("serving as a proxy"));
    assert_eq!(program(), "etcd-proxy");
    machine.ok("systemctl stop etcd-proxy");
    machine
        .write("/etc/etcd-proxy.toml", &(settings("second") + "discovery-fallback = \"exit\"\n"));
    machine.fails("systemctl start etcd-proxy");
    assert_eq!(machine.property("ExecMainStatus"), "69");
    assert_eq!(machine.property("NRestarts"), "0");
}

#[test]
fn a_promotion_replaces_this_service_by_etcds_own() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("ETCDCTL_API=3 etcdctl put before here");
    // A socket unit would keep the port that the new member needs.
    machine.ok("systemctl stop etcd-proxy && systemctl enable --now etcd-proxy.socket");
    machine.ok("systemctl start etcd-proxy");
    machine.wait_until_active();
    let promote = "etcd-proxy promote --yes --name machine --peer-url http://127.0.0.1:2380";
    // etcd accepts no new member until its members have been connected for five seconds.
    machine.wait_for("the promotion", || {
        let said = machine.run(promote);
        assert!(said.status == 0 || said.err.contains("unhealthy cluster"), "{said:?}");
        if said.status == 0 {
            assert!(said.out.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{said:?}");
        }
        said.status == 0
    });
    assert_eq!(machine.state(), "inactive");
    assert_eq!(machine.ok("systemctl is-active etcd.service"), "active");
    assert_eq!(machine.ok("systemctl is-enabled etcd.service"), "enabled");
    machine.fails("systemctl is-enabled etcd-proxy.service");
    machine.fails("systemctl is-enabled etcd-proxy.socket");
    machine.fails("systemctl is-active etcd-proxy.socket");
    assert_eq!(machine.ok("ETCDCTL_API=3 etcdctl get --print-value-only before"), "here");
    let members = machine.ok("ETCDCTL_API=3 etcdctl member list");
    assert!(members.lines().count() == 4 && members.contains(", machine, "), "{members}");
    machine
        .ok("test ! -e /var/lib/etcd-proxy/proxy && test ! -e /var/lib/etcd-proxy/promotion.json");
    machine.ok("systemctl disable --now etcd.service");
    machine.ok("mv /etc/default/etcd.before-promotion /etc/default/etcd");
}
