//! Restarts, upgrades and crashes, under load.

use crate::load::{Load, Report};
use crate::machine::{CLIENT, inside, package, turn};

#[track_caller]
fn assert_nothing_lost(report: &Report) {
    assert!(report.refused.is_empty(), "{report:#?}");
    assert!(report.broken.is_empty(), "{report:#?}");
}

#[test]
fn twenty_restarts_and_an_upgrade_refuse_no_connection_and_finish_every_read() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.enter_network();
    let load = Load::start(CLIENT);
    let mut processes = vec![machine.property("MainPID")];
    for _ in 0..20 {
        machine.ok("systemctl restart etcd-proxy");
        load.wait_for_reads(20);
        processes.push(machine.property("MainPID"));
    }
    let later = inside(&package("deb", "99.0.0"));
    machine.ok(&format!("dpkg --force-confold --install {later}"));
    machine.wait_for("the upgrade has restarted it", || {
        machine.property("MainPID") != processes[20] && machine.state() == "active"
    });
    load.wait_for_reads(100);
    let report = load.end();
    eprintln!("{} reads, the slowest took {:?}", report.reads, report.slowest);
    assert_nothing_lost(&report);
    processes.dedup();
    assert_eq!(processes.len(), 21, "not every restart made a new process: {processes:?}");
}

#[test]
fn restarts_break_no_read_on_connections_that_are_kept() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.enter_network();
    let load = Load::start_kept(CLIENT);
    for _ in 0..6 {
        machine.ok("systemctl restart etcd-proxy");
        load.wait_for_reads(500);
    }
    assert_nothing_lost(&load.end());
}

#[test]
fn a_change_of_the_number_of_workers_leaves_no_queue_unread() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.enter_network();
    let load = Load::start(CLIENT);
    for workers in [4, 1, 3, 2] {
        machine.write("/etc/default/etcd-proxy", &format!("ETCD_WORKERS={workers}\n"));
        machine.ok("systemctl restart etcd-proxy");
        load.wait_for_reads(200);
        assert!(machine.journal().contains("serving clients"));
    }
    assert_nothing_lost(&load.end());
    assert_eq!(machine.property("NFileDescriptorStore"), "4", "{}", machine.journal());
}

#[test]
fn a_process_that_is_killed_is_replaced_and_no_connection_is_refused() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.enter_network();
    let load = Load::start(CLIENT);
    machine.ok("systemctl kill --signal=KILL etcd-proxy");
    machine.wait_for("the next process", || machine.property("NRestarts") == "1");
    machine.wait_until_active();
    load.wait_for_reads(100);
    let report = load.end();
    assert!(report.refused.is_empty(), "{report:#?}");
    // Only the requests that the killed process was serving are lost.
    assert!(report.broken.len() <= 4, "{report:#?}");
}
