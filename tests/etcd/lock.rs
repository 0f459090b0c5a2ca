//! etcdctl's locks and elections through the daemon.

use nix::sys::signal::Signal;

use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::{PATIENCE, shared};

on_each_generation!(
    a_lock_is_held_by_one_and_then_by_the_next,
    an_election_is_won_watched_and_passed_on,
);

fn a_lock_is_held_by_one_and_then_by_the_next(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let first = etcdctl.start(&["lock", "lock/one"]);
    assert!(first.wait_for_line("lock/one/", PATIENCE).is_some());
    let second = etcdctl.start(&["lock", "lock/one", "echo", "the second has it"]);
    // Both contenders have created their key before the first gives up its lock.
    let contenders = || {
        etcdctl.run(&["get", "--prefix", "--keys-only", "lock/one/"]).matches("lock/one/").count()
    };
    while contenders() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(second.lines(), [""; 0]);
    first.signal(Signal::SIGINT);
    assert!(second.wait_for_line("the second has it", PATIENCE).is_some(), "{}", second.tail());
    assert!(second.wait(PATIENCE).is_some_and(|status| status.success()));
}

fn an_election_is_won_watched_and_passed_on(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let first = etcdctl.start(&["elect", "elect/one", "first"]);
    assert!(first.wait_for_line("first", PATIENCE).is_some());
    let observer = etcdctl.start(&["elect", "--listen", "elect/one"]);
    assert!(observer.wait_for_line("first", PATIENCE).is_some());
    let second = etcdctl.start(&["elect", "elect/one", "second"]);
    first.signal(Signal::SIGINT);
    assert!(second.wait_for_line("second", PATIENCE).is_some());
    assert!(observer.wait_for_line("second", PATIENCE).is_some());
}
