//! A port that is taken: the daemon does not start, and says by whom it is taken.

use crate::support::members::Members;
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, beside_others, run};

#[test]
fn a_second_proxy_on_the_same_address_does_not_start_and_names_the_first() {
    let _beside = beside_others();
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
        let said = second.process.lines().join("\n");
        assert!(said.contains(&first.address), "{said}");
        let by_whom = first.process.pid().to_string();
        assert!(said.contains(&by_whom) && said.contains("etcd-proxy"), "{said}");
        assert_eq!(first.process.ended(), None);
    });
}
