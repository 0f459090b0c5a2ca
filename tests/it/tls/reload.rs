//! TLS files that change while clients are served: good ones apply at once, and bad ones change
//! nothing.

use std::cell::Cell;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::fixture::{Fixture, address, page};
use crate::support::tls::{Leaf, replace};
use crate::support::{PATIENCE, eventually, run};

impl Fixture {
    /// Returns the certificate that a new connection is shown.
    async fn shown(&self, address: &str) -> Vec<u8> {
        let stream = self.client().connect(address, &[]).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
    }

    /// Returns the problems in `status`.
    fn problems(&self) -> String {
        let status = self.proxy.as_ref().unwrap().command(&["status", "-w", "json"]).0;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["problems"].to_string()
    }
}

#[test]
fn a_new_certificate_is_shown_at_once_and_open_connections_live_on() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "").await;
        let before = fixture.shown(&address).await;
        let mut open = fixture.client().connect(&address, &[]).await.unwrap();

        let next = fixture.authority.issue(&Leaf::loopback());
        replace(&fixture.path("server.pem"), &next.certificate);
        // Long enough for the watcher to see the new certificate without its key, as with every
        // tool that renews both.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(fixture.shown(&address).await, before);
        replace(&fixture.path("server.key"), &next.key);
        eventually("the new certificate is shown", PATIENCE, async || {
            fixture.shown(&address).await != before
        })
        .await;

        assert!(page(&mut open).await.unwrap().starts_with("HTTP/1.1 200"));
        let proxy = fixture.proxy.as_ref().unwrap();
        let line = proxy.process.wait_for_line("settings reloaded", PATIENCE).unwrap();
        assert!(line.contains("cert-file: O=etcd-proxy tests, valid until 2096-02-03"), "{line}");
        assert!(line.contains("key-file: new content"), "{line}");
        assert!(!fixture.problems().contains("settings refused"));
    });
}

/// The old files stay in force, whatever is wrong with the new ones.
#[test]
fn a_bad_file_is_refused_by_a_reload_and_the_old_one_serves_on() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture
            .serve(
                &format!("https://{address}"),
                "trusted-ca-file = \"DIR/ca.pem\"\nupstream-trusted-ca-file = \"DIR/ca.pem\"\n",
            )
            .await;
        let me = fixture.authority.issue(&Leaf::client());
        let client = super::fixture::Client { shows: Some(&me), ..fixture.client() };
        let good = std::fs::read_to_string(fixture.path("server.pem")).unwrap();
        let old = fixture.authority.issue(&Leaf::loopback().expired());
        let cases = [
            ("server.pem", String::new(), "is empty"),
            ("server.pem", good[..good.len() / 2].to_owned(), "may be half written"),
            ("server.pem", old.certificate.clone(), "expired on 2001-02-03"),
            ("server.key", old.key.clone(), "is not the key of the certificate"),
            ("ca.pem", old.certificate.clone(), "has no CA in it"),
        ];
        for (name, content, sentence) in cases {
            let path = fixture.path(name);
            let whole = std::fs::read_to_string(&path).unwrap();
            replace(&path, &content);
            let (said, fine) = fixture.proxy.as_ref().unwrap().command(&["reload"]);
            assert!(!fine && said.contains(sentence), "{name}: {said}");
            assert!(fixture.problems().contains(sentence), "{}", fixture.problems());
            assert!(client.ask(&address).await.is_ok(), "{name}: {sentence}");
            replace(&path, &whole);
            let (said, fine) = fixture.proxy.as_ref().unwrap().command(&["reload"]);
            assert!(fine, "{said}");
        }
        std::fs::remove_file(fixture.path("server.key")).unwrap();
        std::fs::create_dir(fixture.path("server.key")).unwrap();
        let (said, fine) = fixture.proxy.as_ref().unwrap().command(&["reload"]);
        assert!(!fine && said.contains("server.key is a directory"), "{said}");
        assert!(client.ask(&address).await.is_ok());
    });
}

#[test]
fn files_that_do_not_fit_are_waited_for_and_then_reported_until_they_do() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "").await;
        let good = std::fs::read_to_string(fixture.path("server.key")).unwrap();
        replace(&fixture.path("server.key"), &fixture.authority.issue(&Leaf::loopback()).key);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!fixture.problems().contains("is not the key"), "its certificate may still come");
        let process = &fixture.proxy.as_ref().unwrap().process;
        let line = process.wait_for_line("is not the key of the certificate", PATIENCE);
        assert!(line.is_some_and(|line| line.contains("certificates")), "{}", process.tail());
        assert!(fixture.problems().contains("is not the key"));
        assert!(fixture.client().ask(&address).await.is_ok());
        replace(&fixture.path("server.key"), &good);
        eventually("all is well again", PATIENCE, async || {
            !fixture.problems().contains("is not the key")
        })
        .await;
    });
}

#[test]
fn no_connection_fails_while_certificate_and_authority_change_again_and_again() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "trusted-ca-file = \"DIR/ca.pem\"\n").await;
        let me = fixture.authority.issue(&Leaf::client());
        let client = super::fixture::Client { shows: Some(&me), ..fixture.client() };
        let (stop, asked) = (Cell::new(false), Cell::new(0));
        // One client makes a new connection for each request, and one resumes its sessions.
        let connector = client.connector(&["http/1.1"]);
        let asking = async {
            while !stop.get() {
                client.ask(&address).await.expect("a new connection");
                let stream = TcpStream::connect(&address).await.expect("a connection");
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let mut stream = connector.connect(name, stream).await.expect("a resumed session");
                page(&mut stream).await.expect("a page");
                asked.set(asked.get() + 1);
            }
        };
        let changing = async {
            let other = crate::support::tls::Authority::new("other");
            for change in 0..20 {
                let next = fixture.authority.issue(&Leaf::loopback());
                replace(&fixture.path("server.pem"), &next.certificate);
                replace(&fixture.path("server.key"), &next.key);
                let more = if change % 2 == 0 { other.pem() } else { "" };
                replace(&fixture.path("ca.pem"), &format!("{}{more}", fixture.authority.pem()));
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            stop.set(true);
        };
        tokio::join!(asking, changing);
        let status = fixture.proxy.as_ref().unwrap().command(&["status", "-w", "json"]).0;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert!(status["reloads_applied"].as_u64().unwrap() >= 10, "{status}");
        assert_eq!(status["reloads_refused"], 0, "{status}");
        assert!(asked.get() > 100, "{} rounds", asked.get());
    });
}

/// A deployment may write the settings before the files.
#[test]
fn settings_that_were_refused_for_their_files_get_a_second_chance() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let url = format!("https://{address}");
        fixture.serve(&url, "").await;
        let before = fixture.shown(&address).await;
        fixture.put_settings(
            &url,
            "tls-min-version = \"TLS1.3\"\ntrusted-ca-file = \"DIR/late.pem\"\n",
        );
        let process = &fixture.proxy.as_ref().unwrap().process;
        assert!(process.wait_for_line("late.pem does not exist", PATIENCE).is_some());
        assert!(fixture.client().ask(&address).await.is_ok());
        replace(&fixture.path("late.pem"), fixture.authority.pem());
        eventually("clients must show a certificate", PATIENCE, async || {
            fixture.client().ask(&address).await.is_err()
        })
        .await;
        assert_eq!(fixture.shown(&address).await, before);
        assert!(!fixture.problems().contains("settings refused"));
    });
}

#[test]
fn a_renewed_certificate_leaves_a_refused_settings_file_refused() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let url = format!("https://{address}");
        fixture.serve(&url, "").await;
        fixture.put_settings(&url, "proxxy = 1\n");
        let process = &fixture.proxy.as_ref().unwrap().process;
        assert!(process.wait_for_line("unknown key `proxxy`", PATIENCE).is_some());
        let next = fixture.authority.issue(&Leaf::loopback());
        replace(&fixture.path("server.pem"), &next.certificate);
        replace(&fixture.path("server.key"), &next.key);
        assert!(
            process.wait_for_line("settings reloaded trigger=certificates", PATIENCE).is_some()
        );
        assert!(fixture.problems().contains("unknown key `proxxy`"), "{}", fixture.problems());
        let (_, fine) = fixture.proxy.as_ref().unwrap().command(&["status", "--quiet"]);
        assert!(!fine);
        fixture.put_settings(&url, "");
        eventually("all is well again", PATIENCE, async || !fixture.problems().contains("proxxy"))
            .await;
    });
}
