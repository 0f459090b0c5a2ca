//! Install, upgrade, remove and purge, with no cluster in reach.

use crate::machine::{Machine, VERSION, inside, package, turn};
use std::time::{Duration, Instant};

/// How long a package manager may take.
const LIMIT: Duration = Duration::from_secs(15);

#[track_caller]
fn within_limit(machine: &Machine, line: &str) {
    let begin = Instant::now();
    machine.ok(line);
    let took = begin.elapsed();
    assert!(took < LIMIT, "`{line}` took {took:?}");
}

fn deb(version: &str) -> String {
    inside(&package("deb", version))
}

/// Every file of the machine that carries our name, or belongs to our user.
fn traces(machine: &Machine) -> String {
    machine.ok(
        r"find / -xdev \( -path /proc -o -path /sys -o -path /packages -o -path /var/log \) -prune -o \( -name '*etcd-proxy*' -o -user etcd-proxy \) -print 2>/dev/null | sort",
    )
}

#[test]
fn install_upgrade_and_removal_end_soon_while_no_cluster_is_in_reach() {
    let Some(machine) = turn() else { return };
    within_limit(&machine, &format!("apt-get install -y {}", deb(VERSION)));
    assert_eq!(machine.state(), "activating");
    assert_eq!(machine.ok("systemctl is-enabled etcd-proxy.service"), "enabled");
    assert_eq!(machine.run("systemctl is-enabled etcd-proxy.socket").out.trim(), "disabled");
    let first = machine.property("MainPID");

    within_limit(&machine, &format!("apt-get install -y {}", deb("99.0.0")));
    assert_eq!(machine.state(), "activating");
    machine.wait_for("the new version runs", || machine.property("MainPID") != first);

    within_limit(&machine, "apt-get remove -y etcd-proxy");
    machine.fails("systemctl is-active etcd-proxy.service");
    machine.ok("test -e /etc/etcd-proxy.toml -a -e /etc/default/etcd-proxy");

    within_limit(&machine, &format!("apt-get install -y {}", deb(VERSION)));
    assert_eq!(machine.state(), "activating", "a removal that was taken back");
    within_limit(&machine, "apt-get purge -y etcd-proxy");
}

#[test]
fn purge_leaves_nothing_but_what_others_have_made() {
    let Some(machine) = turn() else { return };
    let before = traces(&machine);
    machine.install_before_a_cluster("");
    machine.wait_for("the member list is kept", || {
        machine.run("test -s /var/lib/etcd-proxy/proxy/cluster").status == 0
    });
    machine.ok("apt-get purge -y etcd-proxy");
    assert_eq!(traces(&machine), before);

    machine.install();
    machine.ok("mkdir -p /var/lib/etcd-proxy && echo mine > /var/lib/etcd-proxy/notes && apt-get purge -y etcd-proxy");
    assert_eq!(machine.ok("cat /var/lib/etcd-proxy/notes"), "mine");
}

#[test]
fn a_boot_reaches_multi_user_while_no_cluster_is_in_reach() {
    let Some(mut machine) = turn() else { return };
    machine.install();
    let took = Machine::reboot(&mut machine);
    assert!(took < Duration::from_secs(20), "the boot took {took:?}");
    machine.wait_for("it is started at boot", || machine.state() == "activating");
}

#[test]
fn an_upgrade_asks_nothing_and_keeps_what_was_edited_stopped_and_disabled() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.write("/etc/etcd-proxy.toml", "proxy = \"readonly\"\n");
    machine.ok("systemctl disable --now etcd-proxy.service");
    machine.ok(&format!("apt-get install -y {} </dev/null", deb("99.0.0")));
    assert_eq!(machine.ok("cat /etc/etcd-proxy.toml"), "proxy = \"readonly\"");
    assert_eq!(machine.state(), "inactive");
    assert_eq!(machine.run("systemctl is-enabled etcd-proxy.service").out.trim(), "disabled");
}

#[test]
fn a_machine_that_forbids_starts_gets_no_start() {
    let Some(machine) = turn() else { return };
    machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    machine.ok("chmod +x /usr/sbin/policy-rc.d");
    machine.install();
    let state = machine.state();
    machine.ok("rm /usr/sbin/policy-rc.d");
    assert_eq!(state, "inactive");
}

#[test]
fn the_units_have_no_mistake_and_little_exposure() {
    let Some(machine) = turn() else { return };
    machine.install();
    let units = "/lib/systemd/system/etcd-proxy.service /lib/systemd/system/etcd-proxy.socket";
    let said = machine.run(&format!("systemd-analyze verify --man=no {units}"));
    assert_eq!((said.status, said.out + &said.err), (0, String::new()));
    let rating = machine.ok("systemd-analyze security etcd-proxy.service --no-pager");
    eprintln!("{rating}");
    let overall = rating.lines().last().unwrap_or_default();
    let score = overall.split_whitespace().find_map(|word| word.parse::<f32>().ok());
    assert!(score.is_some_and(|score| score <= 1.5), "{overall}");
}
