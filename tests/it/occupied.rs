//! A port that is taken: the daemon does not start, and names the process that has it.

use crate::support::members::{Members, start};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, http1, run, shared};

#[test]
fn a_second_proxy_on_the_same_address_does_not_start_and_names_the_first() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let first = members.proxy().await;
        let listen = format!("http://{}", first.address);
        let peers = members.initial_cluster();
        let arguments = ["--proxy", "on", "--data-dir", "data", "--initial-cluster", &peers];
        let second = Proxy::with_peers("")
            .bare()
            .arguments(&arguments)
            .arguments(&["--listen-client-urls", &listen])
            .spawn();
        let status = second.process.wait(PATIENCE).expect("it ends by itself");
        assert_eq!(status.code(), Some(1), "{}", second.story());
        assert!(second.process.wait_for_line("not started", PATIENCE).is_some());
        let said = second.process.lines().join("\n");
        assert!(said.contains(&first.address), "{said}");
        let by_whom = first.process.pid().to_string();
        assert!(said.contains(&by_whom) && said.contains("etcd-proxy"), "{said}");
        assert_eq!(first.process.ended(), None);
    });
}

#[test]
fn check_tells_a_taken_address_from_the_running_daemons_own() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = format!("http://{}", stranger.local_addr().unwrap());
        let own = format!("http://{}", proxy.address);
        let peers = format!("--initial-cluster={}", members.initial_cluster());
        let check = |listen: &str, more: &[&str]| {
            let listen = format!("--listen-client-urls={listen}");
            proxy.exit_status(&[&["check", "--proxy=on", &peers, &listen], more].concat())
        };
        let (status, said) = check(&own, &[]);
        assert_eq!(status, 0, "{said}");
        let (status, said) = check(&format!("{own},{taken}"), &[]);
        let pid = std::process::id();
        assert_eq!(status, 78, "{said}");
        assert!(
            said.contains(&format!("cannot listen on {taken}: in use by pid {pid} (")),
            "{said}"
        );
        assert!(!said.contains(&own), "{said}");
        // The members live on this thread and cannot answer now. A peer that refuses is enough to
        // show that `--connect` is carried out all the same.
        let (status, said) =
            check(&taken, &["--connect", "--initial-cluster=a=http://127.0.0.1:1"]);
        assert_eq!(status, 78, "{said}");
        assert!(said.contains("in use by pid") && said.contains("127.0.0.1:1"), "{said}");
        // The same holds for the address of another daemon of ours.
        let other = members.proxy().await;
        let (status, said) = check(&format!("http://{}", other.address), &[]);
        assert_eq!(status, 78, "{said}");
    });
}

#[test]
fn a_daemon_without_a_healthy_member_says_that_it_does_not_serve() {
    let _machine = shared();
    run(async {
        let members = Members::start(3).await;
        let proxy = start(members.probing_plan()).await;
        eventually("all is well", PATIENCE, async || proxy.exit_status(&["status"]).0 == 0).await;
        (0..3).for_each(|member| members.refuse(member));
        eventually("it does not serve", PATIENCE, async || {
            let _ = http1::get(&proxy.address, "/version").await;
            let (status, said) = proxy.exit_status(&["status"]);
            status == 5 && said.contains("not serving: 0 of 3 members healthy, readwrite")
        })
        .await;
        eventually("systemd knows it", PATIENCE, async || {
            proxy.notify.statuses().iter().any(|text| text.starts_with("not serving, 0 of 3"))
        })
        .await;
    });
}
