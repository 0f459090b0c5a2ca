//! A start in the middle of a renewal of TLS files: a service waits for its end, and a start by
//! hand fails at once.

use std::time::Duration;

use super::fixture::{Fixture, address};
use crate::support::proxy::{Plan, Proxy};
use crate::support::tls::{Leaf, replace};
use crate::support::{PATIENCE, run};

impl Fixture {
    /// Plans a daemon whose certificate and key do not belong together.
    fn mismatched(&self, url: &str) -> Plan {
        self.put_settings(url, "");
        replace(&self.path("server.pem"), &self.authority.issue(&Leaf::loopback()).certificate);
        let file = self.path("p.toml").display().to_string();
        Proxy::with_peers("").bare().arguments(&["--config-file", &file, "--data-dir", "data"])
    }
}

#[test]
fn a_service_waits_for_files_that_do_not_fit_yet() {
    run(async {
        let (fixture, address) = (Fixture::new(), address());
        let proxy = fixture.mismatched(&format!("https://{address}")).spawn();
        let waits = |status: &String| {
            status.starts_with("not started yet, waiting 10 s for files: ")
                && status.contains("this is not the key of")
        };
        while !proxy.notify.statuses().iter().any(waits) {
            assert!(proxy.process.ended().is_none(), "{}", proxy.story());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fixture.authority.issue(&Leaf::loopback()).write(fixture.directory(), "server");
        assert!(
            proxy.process.wait_for_line("serving clients", PATIENCE).is_some(),
            "{}",
            proxy.story()
        );
        assert!(fixture.client().ask(&address).await.is_ok());
    });
}

#[test]
fn a_service_waits_ten_seconds_and_a_person_not_at_all() {
    let fixture = Fixture::new();
    let url = format!("https://{}", address());
    let person = fixture.mismatched(&url).variable("NOTIFY_SOCKET", "").spawn();
    let ended = person.process.wait(PATIENCE).expect("an end");
    assert_eq!(ended.code(), Some(78), "{}", person.story());
    assert!(person.started.elapsed() < Duration::from_secs(8));
    let service = fixture.mismatched(&url).spawn();
    let ended = service.process.wait(PATIENCE).expect("an end");
    assert_eq!(ended.code(), Some(78), "{}", service.story());
    assert!(service.started.elapsed() >= Duration::from_secs(10));
    assert!(service.process.wait_for_line("this is not the key of", PATIENCE).is_some());
}
