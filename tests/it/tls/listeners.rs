//! Listeners that speak TLS: protocols with and without ALPN, versions, clients' certificates, and
//! clients that mistake the scheme.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{Client, Fixture, address, agreed, page};
use crate::support::http1;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Leaf, replace};
use crate::support::{PATIENCE, eventually, run};

/// Sends an HTTP/2 preface and returns whether the server's first frame is SETTINGS.
async fn is_http2(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.is_ok() && head[3] == 4
}

#[test]
fn protocols_are_agreed_on_by_alpn_and_found_out_without() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "").await;
        let client = fixture.client();

        let mut both = client.connect(&address, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(agreed(&both), Some("h2"));
        assert!(is_http2(&mut both).await);

        let mut old = client.connect(&address, &["http/1.1"]).await.unwrap();
        assert_eq!(agreed(&old), Some("http/1.1"));
        assert!(page(&mut old).await.unwrap().starts_with("HTTP/1.1 200"));

        let mut none = client.connect(&address, &[]).await.unwrap();
        assert_eq!(agreed(&none), None);
        assert!(page(&mut none).await.unwrap().starts_with("HTTP/1.1 200"));

        let mut prior = client.connect(&address, &[]).await.unwrap();
        assert!(is_http2(&mut prior).await, "HTTP/2 by prior knowledge under TLS");
    });
}

#[test]
fn both_versions_are_spoken_unless_one_is_ruled_out() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let url = format!("https://{address}");
        fixture.serve(&url, "").await;
        let versions: [(&[_], _); 2] = [
            (&[&version::TLS12], ProtocolVersion::TLSv1_2),
            (&[&version::TLS13], ProtocolVersion::TLSv1_3),
        ];
        for (versions, spoken) in versions {
            let stream =
                Client { versions, ..fixture.client() }.connect(&address, &[]).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        }

        // Other settings on the same address apply to new connections at once.
        fixture.put_settings(&url, "tls-min-version = \"TLS1.3\"\n");
        let old = Client { versions: &[&version::TLS12], ..fixture.client() };
        eventually("TLS 1.2 is refused", PATIENCE, async || old.ask(&address).await.is_err()).await;
        assert!(fixture.client().ask(&address).await.is_ok());

        let suites = "tls-max-version = \"TLS1.2\"\ncipher-suites = \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"\n";
        fixture.put_settings(&url, suites);
        eventually("TLS 1.2 is spoken", PATIENCE, async || old.ask(&address).await.is_ok()).await;
        let stream = fixture.client().connect(&address, &[]).await.unwrap();
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    });
}

#[test]
fn clients_of_the_wrong_scheme_are_told_the_right_one() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let proxy = fixture.serve(&format!("https://{address}"), "").await;
        let mut plain = TcpStream::connect(&address).await.unwrap();
        let answer = page(&mut plain).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("this port speaks TLS; use https://\r\n"), "{answer}");

        let mut grpc = TcpStream::connect(&address).await.unwrap();
        grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut answer = Vec::new();
        grpc.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"this port speaks TLS; use https:// for it."), "{answer:?}");
        let line =
            proxy.process.wait_for_line("a client speaks plain HTTP to a port with TLS", PATIENCE);
        assert!(line.expect("a line").contains(&format!("listener={address}")));
        drop((plain, grpc));
        let metrics = async || {
            let mut stream = fixture.client().connect(&address, &["http/1.1"]).await.unwrap();
            let get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(get).await.unwrap();
            let mut metrics = String::new();
            stream.read_to_string(&mut metrics).await.unwrap();
            metrics.contains("etcd_proxy_client_tls_errors_total{reason=\"plain_to_tls\"} 2")
        };
        eventually("both are counted", PATIENCE, metrics).await;
    });
}

#[test]
fn both_schemes_are_served_on_one_port_and_clients_certificates_are_asked_for_under_tls() {
    run(async {
        let (mut fixture, address, metrics) = (Fixture::new(), address(), address());
        let known = fixture.authority.issue(&Leaf::client().common_name("me"));
        let more = "client-cert-auth = true\ntrusted-ca-file = \"DIR/ca.pem\"\n\
                    upstream-trusted-ca-file = \"DIR/ca.pem\"\n";
        let also = format!("{more}listen-metrics-urls = \"https://{metrics},http://{metrics}\"\n");
        let both = format!("http://{address},https://{address}");
        fixture.serve(&both, &also).await;
        let plain = async |address: &str| page(&mut TcpStream::connect(address).await?).await;
        let fine =
            |answer: std::io::Result<String>| answer.is_ok_and(|it| it.starts_with("HTTP/1.1 200"));
        let shows = |identity| Client { shows: identity, ..fixture.client() };
        for address in [&address, &metrics] {
            assert!(fine(plain(address).await), "{address}");
            assert!(fine(shows(Some(&known)).ask(address).await), "{address}");
            assert!(!fine(shows(None).ask(address).await), "{address}");
        }
        // HTTP/2 is recognised with TLS and without.
        let mut tls = shows(Some(&known)).connect(&address, &["h2"]).await.unwrap();
        assert!(is_http2(&mut tls).await);
        let mut prior = TcpStream::connect(&address).await.unwrap();
        prior.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        prior.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS");
        let status = plain_status(&address).await;
        assert!(
            status.contains(&format!("[\"http://{address}\",\"https://{address}\"]")),
            "{status}"
        );

        // A reload removes one of the two and adds it again.
        fixture.put_settings(&format!("https://{address}"), &also);
        eventually("http is gone", PATIENCE, async || !fine(plain(&address).await)).await;
        assert!(fine(shows(Some(&known)).ask(&address).await));
        fixture.put_settings(&both, &also);
        eventually("http is back", PATIENCE, async || fine(plain(&address).await)).await;
        fixture.put_settings(&format!("http://{address}"), more);
        eventually("https is gone", PATIENCE, async || {
            !fine(shows(Some(&known)).ask(&address).await)
        })
        .await;
        assert!(fine(plain(&address).await));
    });
}

async fn plain_status(address: &str) -> String {
    String::from_utf8(http1::get(address, "/proxy/status").await.body).unwrap()
}

#[test]
fn tls_to_a_plain_port_is_closed_and_said_in_the_log() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("http://{address}"), "").await;
        assert!(fixture.client().ask(&address).await.is_err());
        let proxy = fixture.proxy.as_ref().unwrap();
        let line =
            proxy.process.wait_for_line("a client speaks TLS to a port that does not", PATIENCE);
        let line = line.unwrap_or_else(|| panic!("{}", proxy.story()));
        assert!(line.contains(&format!("listener={address}")), "{line}");
        let metrics = http1::get(&address, "/metrics").await.text();
        assert!(
            metrics.contains("etcd_proxy_client_tls_errors_total{reason=\"tls_to_plain\"} 1"),
            "{metrics}"
        );
    });
}

#[test]
fn an_address_changes_its_scheme_without_being_closed() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("http://{address}"), "").await;
        let mut open = TcpStream::connect(&address).await.unwrap();
        open.write_all(b"GET /proxy/health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Bytes of the answer show that the connection was accepted. The answer is small, so this
        // reads all of it.
        assert!(open.read(&mut [0; 4096]).await.unwrap() > 0);
        fixture.put_settings(&format!("https://{address}"), "");
        let client = fixture.client();
        eventually("TLS is spoken", PATIENCE, async || client.ask(&address).await.is_ok()).await;
        let listeners = fixture.proxy.as_ref().unwrap().command(&["status", "-w", "json"]).0;
        assert!(listeners.contains(&format!("https://{address}")), "{listeners}");
        // Open connections stay open.
        assert!(page(&mut open).await.unwrap().starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn clients_show_certificates_that_are_good_and_not_revoked() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let leaf = |name: &str| fixture.authority.issue(&Leaf::of(&[name]));
        let (alice, bob) = (leaf("alice.example"), leaf("bob.example"));
        let stranger = Authority::new("other").issue(&Leaf::of(&["alice.example"]));
        replace(&fixture.path("crl.pem"), &fixture.authority.revoke(&[]));
        let more = "trusted-ca-file = \"DIR/ca.pem\"\nclient-crl-file = \"DIR/crl.pem\"\n";
        let url = format!("https://{address}");
        fixture.serve(&url, more).await;
        let shows = |identity| Client { shows: Some(identity), ..fixture.client() };

        assert!(fixture.client().ask(&address).await.is_err(), "a certificate is demanded");
        assert!(shows(&stranger).ask(&address).await.is_err());
        assert!(shows(&alice).ask(&address).await.is_ok());
        let process = &fixture.proxy.as_ref().unwrap().process;
        assert!(process.wait_for_line("the client showed no certificate", PATIENCE).is_some());
        assert!(
            process.wait_for_line("is from an unknown authority, CN=other", PATIENCE).is_some()
        );

        // A client that keeps its session tickets must show its certificate again as well.
        let bobs = shows(&bob).connector(&["http/1.1"]);
        let bob_asks = async || {
            let stream = TcpStream::connect(&address).await?;
            let name = ServerName::try_from("127.0.0.1").unwrap();
            page(&mut bobs.connect(name, stream).await?).await
        };
        assert!(bob_asks().await.is_ok());
        assert!(bob_asks().await.is_ok());
        replace(&fixture.path("crl.pem"), &fixture.authority.revoke(&[&bob]));
        eventually("bob is refused", PATIENCE, async || bob_asks().await.is_err()).await;
        assert!(process.wait_for_line("is revoked", PATIENCE).is_some());
        assert!(shows(&alice).ask(&address).await.is_ok());

        fixture.put_settings(
            &url,
            &format!("{more}client-cert-allowed-hostname = \"carol.example,dave.example\"\n"),
        );
        eventually("alice is refused", PATIENCE, async || {
            shows(&alice).ask(&address).await.is_err()
        })
        .await;
        let reason = "is for alice.example, but only carol.example or dave.example is allowed";
        assert!(process.wait_for_line(reason, PATIENCE).is_some());
    });
}

/// rustls resumes a session without checking the certificate in the ticket.
#[test]
fn a_client_that_has_expired_does_not_come_back_by_its_ticket() {
    run(async {
        let mut fixture = Fixture::new();
        let (address, metrics) = (address(), address());
        let more = format!(
            "trusted-ca-file = \"DIR/ca.pem\"\nlisten-metrics-urls = \"https://{metrics}\"\n"
        );
        fixture.serve(&format!("https://{address}"), &more).await;
        let me = fixture.authority.issue(&Leaf::client().for_only(Duration::from_secs(4)));
        let client = Client { shows: Some(&me), ..fixture.client() };
        let mut ways = Vec::new();
        for port in [&address, &metrics] {
            for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
                ways.push((port, Client { versions, ..client }.connector(&["http/1.1"])));
            }
        }
        for (port, connector) in &ways {
            let first = resume(connector, port).await.expect("an answer");
            let second = resume(connector, port).await.expect("an answer");
            assert_eq!((first, second), (HandshakeKind::Full, HandshakeKind::Resumed));
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        for (port, connector) in &ways {
            resume(connector, port).await.expect_err("it has expired");
        }
        let process = &fixture.proxy.as_ref().unwrap().process;
        assert!(process.wait_for_line("expired on", PATIENCE).is_some(), "{}", process.tail());
    });
}

/// Fetches a page with a connector that keeps its tickets, and returns the kind of handshake.
async fn resume(connector: &TlsConnector, address: &str) -> std::io::Result<HandshakeKind> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await?;
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let answer = page(&mut stream).await?;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    Ok(kind)
}

#[test]
fn unix_sockets_speak_tls_too() {
    run(async {
        let mut fixture = Fixture::new();
        let socket = fixture.path("client.sock");
        fixture.serve(&format!("unixs://{}", socket.display()), "").await;
        let stream = UnixStream::connect(&socket).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = fixture.client().connector(&[]).connect(name, stream).await.unwrap();
        assert!(page(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn metrics_are_served_under_tls_with_the_days_of_expiry() {
    run(async {
        let mut fixture = Fixture::new();
        let (address, metrics) = (address(), address());
        replace(&fixture.path("crl.pem"), &fixture.authority.revoke(&[]));
        let more = format!(
            "listen-metrics-urls = \"https://{metrics}\"\npeer-trusted-ca-file = \"DIR/ca.pem\"\npeer-crl-file = \"DIR/crl.pem\"\n"
        );
        fixture.serve(&format!("https://{address}"), &more).await;
        let mut stream = fixture.client().connect(&metrics, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(agreed(&stream), Some("http/1.1"));
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        for (what, identity, file) in [
            ("certificate", "listener", "server.pem"),
            ("certificate", "peer", "ca.pem"),
            ("revocation_list", "peer", "crl.pem"),
        ] {
            let file = fixture.path(file).display().to_string();
            let sample = format!(
                "etcd_proxy_{what}_expiry_timestamp_seconds{{identity=\"{identity}\",file=\"{file}\"}} "
            );
            assert!(text.contains(&sample), "{sample} is not in {text}");
        }
    });
}

#[test]
fn a_metrics_port_tells_clients_of_the_wrong_scheme_too() {
    run(async {
        let mut fixture = Fixture::new();
        let (address, secure, plain) = (address(), address(), address());
        let more = format!("listen-metrics-urls = \"https://{secure},http://{plain}\"\n");
        fixture.serve(&format!("https://{address}"), &more).await;
        let mut client = TcpStream::connect(&secure).await.unwrap();
        let answer = page(&mut client).await.unwrap();
        assert!(answer.ends_with("this port speaks TLS; use https://\r\n"), "{answer}");
        assert!(fixture.client().ask(&plain).await.is_err());
        let proxy = fixture.proxy.as_ref().unwrap();
        let line =
            proxy.process.wait_for_line("a client speaks TLS to a port that does not", PATIENCE);
        assert!(line.is_some(), "{}", proxy.story());
        let mut client = TcpStream::connect(&plain).await.unwrap();
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
    });
}

#[test]
fn a_silent_client_does_not_hold_its_connection() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "").await;
        let mut silent = TcpStream::connect(&address).await.unwrap();
        silent.write_all(b"\x16\x03\x01").await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the handshake has no deadline");
    });
}

#[test]
fn a_self_made_certificate_is_kept_over_a_restart() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let url = format!("https://{address}");
        let settings = format!(
            "listen-client-urls = \"{url}\"\ninitial-cluster = \"http://127.0.0.1:1\"\nauto-tls = true\n"
        );
        replace(&fixture.path("auto.toml"), &settings);
        let file = fixture.path("auto.toml").display().to_string();
        let data = fixture.path("data").display().to_string();
        let made = Path::new(&data).join("proxy/clientCerts/cert.pem");
        let mut seen = Vec::new();
        for _ in 0..2 {
            let plan = Proxy::with_peers("").bare();
            let proxy = plan.arguments(&["--config-file", &file, "--data-dir", &data]).spawn();
            assert!(
                proxy.process.wait_for_line("serving clients", PATIENCE).is_some(),
                "{}",
                proxy.story()
            );
            let certificate = std::fs::read_to_string(&made).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let stream = TcpStream::connect(&address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream =
                TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
            assert!(page(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
            seen.push(certificate);
            fixture.proxy = Some(proxy);
            fixture.proxy.take().unwrap().terminate(PATIENCE);
        }
        assert_eq!(seen[0], seen[1]);
        use std::os::unix::fs::PermissionsExt;
        let key = std::fs::metadata(made.with_file_name("key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn garbage_in_place_of_a_handshake_harms_nobody_else() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        fixture.serve(&format!("https://{address}"), "").await;
        for round in 0..200_u64 {
            let mut garbage: Vec<u8> =
                (0..64 + round * 7).map(|at| (at * round * 31) as u8).collect();
            // Half of them get a handshake record's header with some length.
            if round % 2 == 0 {
                garbage[..5].copy_from_slice(&[22, 3, 1, (round % 80) as u8, round as u8]);
            }
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let _ = stream.write_all(&garbage).await;
        }
        assert!(fixture.client().ask(&address).await.unwrap().starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_certificate_that_expires_soon_is_a_problem_in_log_and_status() {
    run(async {
        let (mut fixture, address) = (Fixture::new(), address());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let now = std::time::SystemTime::now();
        params.not_after = (now + std::time::Duration::from_secs(10 * 86_400 + 3600)).into();
        replace(&fixture.path("server.pem"), &params.self_signed(&key).unwrap().pem());
        replace(&fixture.path("server.key"), &key.serialize_pem());
        let proxy = fixture.serve(&format!("https://{address}"), "").await;
        let line = proxy.process.wait_for_line("in 10 days; renew it", PATIENCE);
        assert!(line.is_some_and(|line| line.contains("the certificate 127.0.0.1 expires on")));
        let (status, _) = proxy.command(&["status"]);
        assert!(status.contains("in 10 days; renew it"), "{status}");
        assert!(status.contains("TLS:      listener 127.0.0.1 until "), "{status}");
    });
}
