//! The service when something else fails.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::machine::turn;

#[test]
fn a_worker_that_hangs_is_noticed_and_the_process_replaced() {
    let Some(machine) = turn() else { return };
    machine.write(
        "/etc/systemd/system/etcd-proxy.service.d/watchdog.conf",
        "[Service]\nWatchdogSec=2s\n",
    );
    machine.install_before_a_cluster("");
    // Only this one thread stops, as if it were in an endless loop.
    let worker = machine.ok("grep --files-with-matches worker-1 /proc/$(systemctl show -p MainPID --value etcd-proxy)/task/*/comm");
    let thread = machine.outside_pid(worker.split('/').nth(4).expect("a thread ID"));
    ptrace::attach(thread).expect("the worker can be stopped");
    waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it has stopped");
    machine.wait_for("the watchdog", || machine.journal().contains("Watchdog timeout"));
    // The process ends only after its stopped thread was reaped here.
    waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it has ended");
    machine.wait_for("the next process", || machine.property("NRestarts") == "1");
    machine.wait_until_active();
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");
}

#[test]
fn a_full_disk_costs_only_the_kept_member_list() {
    let Some(machine) = turn() else { return };
    machine.ok("mkdir -p /var/lib/etcd-proxy; mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs /var/lib/etcd-proxy");
    machine.install_before_a_cluster("");
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");
    let journal = machine.journal();
    assert!(journal.contains("the cluster file cannot be written"), "{journal}");
    machine.ok("systemctl restart etcd-proxy; systemctl reload etcd-proxy");
    machine.ok("systemctl stop etcd-proxy; umount /var/lib/etcd-proxy");
}

#[test]
fn a_disk_that_fills_up_leaves_no_half_file_and_the_list_is_kept_once_there_is_room() {
    let Some(machine) = turn() else { return };
    machine
        .ok("mkdir -p /var/lib/etcd-proxy; mount -t tmpfs -o size=64k tmpfs /var/lib/etcd-proxy");
    machine.fails("cat /dev/zero >/var/lib/etcd-proxy/full");
    machine.install_before_a_cluster("");
    assert_eq!(machine.etcdctl("put greeting hello").out, "OK\n");
    let status = machine.property("StatusText");
    assert!(status.contains("cluster cannot be written: No space left on device"), "{status}");
    assert_eq!(machine.ok("ls -A /var/lib/etcd-proxy/proxy"), "");

    machine.ok("rm /var/lib/etcd-proxy/full; sed -i '$aproxy-refresh-interval = \"1s\"' /etc/etcd-proxy.toml");
    machine.wait_for("the list is kept", || {
        machine.run("test -s /var/lib/etcd-proxy/proxy/cluster").status == 0
    });
    machine.ok("systemctl stop etcd-proxy; umount /var/lib/etcd-proxy");
}

#[test]
fn a_read_only_etc_is_served_from_as_it_is() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    machine.ok("mount --bind /etc /etc && mount -o remount,bind,ro /etc");
    let edit = "sed -i '$aproxy = \"readonly\"' /etc/etcd-proxy.toml";
    let refused = machine.run(edit);
    let restarted = machine.run("systemctl restart etcd-proxy && systemctl reload etcd-proxy");
    let said = machine.etcdctl("put greeting hello");
    machine.ok("umount /etc");
    assert!(refused.err.contains("Read-only file system"), "{refused:?}");
    assert_eq!(restarted.status, 0, "{restarted:?}");
    assert_eq!(said.out, "OK\n", "{said:?}");

    // The process that was started meanwhile still watches the file.
    machine.ok(edit);
    machine.wait_for("writes are refused", || {
        machine.etcdctl("put other value").err.contains("readonly")
    });
}
