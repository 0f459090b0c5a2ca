//! etcdctl's leases through the daemon.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::process::Process;
use crate::support::{PATIENCE, eventually, run, shared};

on_each_generation!(
    a_lease_carries_its_keys_until_it_is_revoked,
    a_lease_lives_as_long_as_it_is_kept_alive,
);

fn a_lease_carries_its_keys_until_it_is_revoked(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let lease = grant(&etcdctl, 100);
    etcdctl.run(&["put", "lease/revoked", "x", &format!("--lease={lease}")]);
    let left = etcdctl.run(&["lease", "timetolive", &lease, "--keys"]);
    assert!(left.contains("lease/revoked") && left.contains("granted with TTL(100s)"), "{left}");
    assert!(etcdctl.run(&["lease", "list"]).contains(&lease));
    let once = etcdctl.run(&["lease", "keep-alive", "--once", &lease]);
    assert_eq!(once, format!("lease {lease} keepalived with TTL(100)\n"));
    assert_eq!(etcdctl.run(&["lease", "revoke", &lease]), format!("lease {lease} revoked\n"));
    assert_eq!(etcdctl.run(&["get", "lease/revoked"]), "");
}

fn a_lease_lives_as_long_as_it_is_kept_alive(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let lease = grant(&etcdctl, 2);
    etcdctl.run(&["put", "lease/kept", "x", &format!("--lease={lease}")]);
    let keeper = etcdctl.start(&["lease", "keep-alive", &lease]);
    // The client renews after a third of the TTL, so four renewals take longer than one TTL.
    wait_for_renewals(&keeper, 4);
    assert_eq!(etcdctl.run(&["get", "--print-value-only", "lease/kept"]), "x\n");
    keeper.kill();
    run(eventually("the key goes with its lease", PATIENCE, async || {
        etcdctl.run(&["get", "lease/kept"]).is_empty()
    }));
}

fn wait_for_renewals(keeper: &Process, wanted: usize) {
    for _ in 0..wanted {
        let mark = keeper.mark();
        assert!(
            keeper.wait_for_line_after(mark, "keepalived", PATIENCE).is_some(),
            "{}",
            keeper.tail()
        );
    }
}

fn grant(etcdctl: &Etcdctl, seconds: u32) -> String {
    let granted = etcdctl.run(&["lease", "grant", &seconds.to_string()]);
    granted.split(' ').nth(1).expect("lease ID granted with ...").to_owned()
}
