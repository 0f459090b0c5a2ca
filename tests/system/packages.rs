//! Install, upgrade, remove and purge while no cluster can be reached.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::machine::{Machine, PEERS, VERSION, inside, package, turn};

/// The longest time that a package manager may take.
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

/// Returns every file of the machine that has our name or belongs to our user.
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
    assert_eq!(machine.state(), "activating", "installed again after a removal");
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
    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\nlisten-client-urls = \"https://127.0.0.1:2379\"\nauto-tls = true\n"));
    machine.ok(
        "systemctl restart etcd-proxy && test -s /var/lib/etcd-proxy/proxy/clientCerts/key.pem",
    );
    // Left behind by a loss of power in the middle of writing.
    machine.ok("cd /var/lib/etcd-proxy && touch proxy/cluster.tmp proxy/clientCerts/key.pem.new promotion.json");
    machine.ok("systemctl enable etcd-proxy.socket");
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
    // The new version has another settings file. dpkg would ask about it, unless it is told not to
    // with the usual options.
    let usual = "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold";
    machine.ok(&format!("apt-get install -y {usual} {} </dev/null", deb("99.0.0")));
    assert_eq!(machine.ok("cat /etc/etcd-proxy.toml"), "proxy = \"readonly\"");
    assert!(machine.ok("cat /etc/etcd-proxy.toml.dpkg-dist").contains("a later version"));
    assert_eq!(machine.state(), "inactive");
    assert_eq!(machine.run("systemctl is-enabled etcd-proxy.service").out.trim(), "disabled");
}

#[test]
fn an_upgrade_brings_its_settings_file_where_nobody_has_edited_it() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.ok(&format!("apt-get install -y {} </dev/null", deb("99.0.0")));
    assert!(machine.ok("cat /etc/etcd-proxy.toml").contains("a later version"));
    machine.ok("test ! -e /etc/etcd-proxy.toml.dpkg-dist");
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
    // Written so that it also appears in the log of a successful run, where libtest captures
    // `eprintln`.
    let _ = writeln!(std::io::stderr(), "systemd-analyze security etcd-proxy.service\n{rating}");
    let overall = rating.lines().last().unwrap_or_default();
    let score = overall.split_whitespace().find_map(|word| word.parse::<f32>().ok());
    assert!(score.is_some_and(|score| score <= 1.5), "{overall}");
}

#[test]
fn the_examples_of_drop_ins_have_no_mistake() {
    let Some(machine) = turn() else { return };
    machine.install();
    let examples = "/usr/share/doc/etcd-proxy/examples/systemd";
    let verify = |unit: &str, example: &str| {
        let directory = format!("/etc/systemd/system/{unit}.d");
        machine.ok(&format!("mkdir -p {directory} && cp {examples}/{example} {directory}/"));
        let said = machine.run(&format!("systemd-analyze verify --man=no {unit}"));
        machine.ok(&format!("rm -r {directory}"));
        said.out + &said.err
    };
    for example in ["low-port.conf", "beside-etcd.conf"] {
        assert_eq!(verify("etcd-proxy.service", example), "", "{example}");
    }
    assert_eq!(verify("etcd.service", "wait-at-boot.conf"), "");
    let said = verify("etcd-proxy.service", "notify-reload.conf");
    // An older systemd does not know this type, but reads the rest of the file.
    let version = machine.ok("systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p'");
    let complaints: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    if version.parse::<u32>().is_ok_and(|version| version < 253) {
        let [one] = complaints[..] else { panic!("{said}") };
        assert!(one.contains("notify-reload.conf:4:") && one.contains("notify-reload"), "{one}");
    } else {
        assert!(complaints.is_empty(), "{said}");
    }
}
