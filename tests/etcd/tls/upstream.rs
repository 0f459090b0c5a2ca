//! The files for members and peers, changed under load.

use std::time::Duration;

use super::reload::finish;
use crate::fixture::when_here;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::load::{Load, Plan};
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf, replace};
use crate::support::{PATIENCE, exclusive};

const CHANGES: usize = 50;

/// Each change replaces all of them: the certificates, the authorities and, for peers, the
/// revocation list.
#[test]
fn fifty_changes_of_what_members_and_peers_are_shown_and_held_to_fail_no_request() {
    when_here(Generation::V3_7, |generation| {
        let _machine = exclusive();
        let authority = Authority::new("cluster");
        let cluster = Cluster::planned(generation, 3).secured(&authority);
        cluster.start_all();
        cluster.etcdctl().run(&["put", "load/r", "v"]);
        let files = Scratch::new("upstream");
        let mut flags = Vec::new();
        let put = |number: usize| {
            // The other authority has another name and the same name by turns.
            let other =
                Authority::new(if number.is_multiple_of(2) { "cluster" } else { "another" });
            let lists = [authority.revoke(&[]), other.revoke(&[])].concat();
            for side in ["upstream", "peer"] {
                let shown = authority.issue(&Leaf::loopback());
                shown.write(files.path(), side);
                let trusted = [other.pem(), authority.pem()].concat();
                replace(&files.join(&format!("{side}.ca")), &trusted);
            }
            replace(&files.join("peer.crl"), &lists);
        };
        put(0);
        let mut flag = |name: &str, file: &str| {
            flags.push(format!("--{name}={}", files.join(file).display()));
        };
        for side in ["upstream", "peer"] {
            flag(&format!("{side}-cert-file"), &format!("{side}.pem"));
            flag(&format!("{side}-key-file"), &format!("{side}.key"));
            flag(&format!("{side}-trusted-ca-file"), &format!("{side}.ca"));
        }
        flag("peer-crl-file", "peer.crl");
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let proxy = Proxy::before(&cluster)
            .arguments(&flags)
            .arguments(&["--proxy-refresh-interval", "200"])
            .start();
        let loads = [false, true].map(|fresh| {
            Load::start(Plan {
                fresh,
                watchers: if fresh { 0 } else { 3 },
                pause: Duration::from_millis(5),
                ..Plan::new(&proxy.address, "load")
            })
        });
        loads.iter().for_each(|load| load.wait_for_reads(5));
        for number in 1..=CHANGES {
            let mark = proxy.process.mark();
            put(number);
            let said = proxy.process.wait_for_line_after(mark, "settings reloaded", PATIENCE);
            assert!(said.is_some(), "{}", proxy.story());
        }
        loads.into_iter().for_each(finish);
        let told = proxy.process.lines().join("\n");
        assert!(!told.contains("member does not answer"), "{}", proxy.story());
    });
}
