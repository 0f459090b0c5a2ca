//! Settings that change while clients are served: no request fails, no change is applied in part,
//! and the command that asked for it reports the result.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::grpc::Channel;
use crate::support::members::{Members, start};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::{Plan, Proxy};
use crate::support::rpc::{PUT, WATCH};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, eventually, http1, port, process, run, shared};

/// A daemon that takes every setting from a file.
struct Fixture {
    scratch: Scratch,
}

impl Fixture {
    fn new(settings: &str) -> Self {
        let fixture = Self { scratch: Scratch::new("reload") };
        fixture.write(settings);
        fixture
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("etcd-proxy.toml")
    }

    /// Replaces the file by a rename, so that it is never seen half written.
    fn write(&self, settings: &str) {
        let new = self.scratch.join("new");
        std::fs::write(&new, settings).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn plan(&self) -> Plan {
        let path = self.path().display().to_string();
        Proxy::with_peers("").bare().arguments(&["--config-file", &path, "--data-dir", "data"])
    }
}

fn settings(members: &Members, mode: &str, listen: &[&str], more: &str) -> String {
    let listen: Vec<String> =
        listen.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!(
        "proxy = \"{mode}\"\ninitial-cluster = \"{}\"\nlisten-client-urls = [{}]\nhealth-interval = \"0s\"\nworkers = 2\n{more}",
        members.initial_cluster(),
        listen.join(", ")
    )
}

/// Runs one of the daemon's commands against it. Returns exit status, standard output and standard
/// error.
fn command(proxy: &Proxy, arguments: &[&str]) -> (i32, String, String) {
    let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
    let admin = proxy.directory().join("admin.sock");
    command.args(arguments).arg("--admin-socket").arg(admin);
    let output = process::output(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn address() -> String {
    format!("127.0.0.1:{}", port::free())
}

#[test]
fn the_reload_command_tells_by_its_exit_status_what_became_of_it() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let listen = address();
        let fixture = Fixture::new(&settings(&members, "on", &[&listen], ""));
        let proxy = start(fixture.plan()).await;
        let (code, out, err) = command(&proxy, &["reload"]);
        assert_eq!((code, out.trim(), err.as_str()), (0, "unchanged", ""));
        assert_eq!(command(&proxy, &["status"]).0, 0);

        fixture.write(&settings(&members, "readonly", &[&listen], ""));
        let (code, out, _) = command(&proxy, &["reload"]);
        assert_eq!(code, 0, "{out}");
        // The daemon may have noticed the new file before the command.
        assert!(out.contains("readonly") || out.trim() == "unchanged", "{out}");
        let mut client = http1::Connection::open(&listen).await.unwrap();
        assert_eq!(client.exchange("PUT", "/v2/keys/a", &[], "x").await.unwrap().status, 501);

        fixture.write(&settings(&members, "reedonly", &[&listen], ""));
        let (code, out, err) = command(&proxy, &["reload"]);
        assert_eq!((code, out.as_str()), (78, ""));
        assert!(err.contains("reedonly"), "{err}");
        assert!(err.contains("serves on"), "{err}");
        let (code, out, _) = command(&proxy, &["status"]);
        assert_eq!(code, 4, "{out}");
        assert!(out.contains("settings refused"), "{out}");
        assert_eq!(client.exchange("PUT", "/v2/keys/a", &[], "x").await.unwrap().status, 501);

        fixture.write(&settings(&members, "readonly", &[&listen], "workers = 3\n").replacen(
            "workers = 2\n",
            "",
            1,
        ));
        let (code, _, err) = command(&proxy, &["reload"]);
        assert_eq!(code, 78);
        assert!(err.contains("workers"), "{err}");

        proxy.terminate(PATIENCE);
        assert_eq!(command(&proxy, &["status"]).0, 3);
        assert_eq!(command(&proxy, &["reload"]).0, 3);
    });
}

#[test]
fn many_reload_commands_leave_status_its_room_and_one_reload_answers_many() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let fixture = Fixture::new(&settings(&members, "on", &[&address()], ""));
        let proxy = start(fixture.plan()).await;
        let admin = proxy.directory().join("admin.sock");
        let ask = async |what: &str| {
            let mut client = UnixStream::connect(&admin).await.unwrap();
            let request = format!("{what} HTTP/1.1\r\nHost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            client
        };
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(ask("POST /reload").await);
        }
        let answer = async |mut client: UnixStream| {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let begin = Instant::now();
        assert!(answer(ask("GET /status").await).await.starts_with("HTTP/1.1 200 "));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        let mut done = 0;
        for client in clients {
            let answer = answer(client).await;
            match answer.starts_with("HTTP/1.1 200 ") {
                true => done += 1,
                false => assert!(answer.contains("reloads already wait"), "{answer}"),
            }
        }
        assert!(done > 1, "{done}");
    });
}

#[test]
fn a_hangup_reloads() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let listen = address();
        let fixture = Fixture::new(&settings(&members, "on", &[&listen], ""));
        let proxy = start(fixture.plan()).await;
        proxy.process.signal(Signal::SIGHUP);
        assert!(proxy.process.wait_for_line("settings are unchanged", PATIENCE).is_some());
        assert!(proxy.notify.wait_for("RELOADING=1", PATIENCE).is_some());
    });
}

#[test]
fn a_reload_leaves_listeners_on_any_port_alone() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let any =
            ["--listen-client-urls=http://127.0.0.1:0", "--listen-metrics-urls=http://127.0.0.1:0"];
        let peers = format!("--initial-cluster={}", members.initial_cluster());
        let plan = Proxy::with_peers("").bare().arguments(&any).arguments(&[&peers]);
        let proxy = start(plan.arguments(&["--data-dir", "data"])).await;
        proxy.process.signal(Signal::SIGHUP);
        assert!(proxy.process.wait_for_line("settings are unchanged", PATIENCE).is_some());
    });
}

#[test]
fn a_hangup_opens_log_files_anew_while_the_settings_are_refused() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let listen = address();
        let log = Scratch::new("log");
        let outputs = format!("log-outputs = [\"stderr\", \"{}\"]\n", log.join("log").display());
        let fixture = Fixture::new(&settings(&members, "on", &[&listen], &outputs));
        let proxy = start(fixture.plan()).await;
        fixture.write(&settings(&members, "onn", &[&listen], &outputs));
        assert_eq!(command(&proxy, &["reload"]).0, 78);
        std::fs::rename(log.join("log"), log.join("log.1")).unwrap();
        proxy.process.signal(Signal::SIGHUP);
        eventually("a new log file with the refusal", PATIENCE, async || {
            let text = std::fs::read_to_string(log.join("log")).unwrap_or_default();
            text.contains("settings refused")
        })
        .await;
    });
}

#[test]
fn everything_that_keeps_settings_from_being_in_force_is_told_with_its_place() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let occupant = std::net::TcpListener::bind(("127.0.0.1", port::free())).unwrap();
        let listen = address();
        let fixture = Fixture::new(&settings(&members, "on", &[&listen], ""));
        let proxy = start(fixture.plan()).await;
        let occupied = occupant.local_addr().unwrap().to_string();
        let more = "log-outputs = \"/nowhere/x.log\"\ntrusted-ca-file = \"/nowhere/ca.pem\"\n";
        let text = settings(&members, "on", &[&listen, &occupied], more);
        fixture.write(&text.replace("workers = 2", "workers = 3"));
        let (code, _, err) = command(&proxy, &["reload"]);
        assert_eq!(code, 78, "{err}");
        for (line, sentence) in [
            (5, "`workers` cannot change".to_owned()),
            (7, "`trusted-ca-file`: /nowhere/ca.pem does not exist".to_owned()),
            (6, "cannot open the log file /nowhere/x.log".to_owned()),
            (3, format!("cannot listen on http://{occupied}")),
        ] {
            let wanted = format!("{}:{line}:1: {sentence}", fixture.path().display());
            assert!(err.contains(&wanted), "{wanted} in\n{err}");
        }
    });
}

#[test]
fn a_wrong_file_in_place_of_the_settings_is_refused_soon_and_in_few_words() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let listen = address();
        let good = settings(&members, "on", &[&listen], "");
        let fixture = Fixture::new(&good);
        let proxy = start(fixture.plan()).await;
        for wrong in ["no settings\n".repeat(80_000), "x".repeat(3 << 20)] {
            fixture.write(&wrong);
            let begun = std::time::Instant::now();
            assert_eq!(command(&proxy, &["reload"]).0, 78);
            assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        }
        let status = http1::get(&listen, "/proxy/status").await;
        assert!(status.body.len() < 100_000, "{} bytes", status.body.len());
        assert!(proxy.process.lines().len() < 200);
        fixture.write(&good);
        assert_eq!(command(&proxy, &["reload"]).0, 0);
    });
}

#[test]
fn an_occupied_address_is_refused_and_leaves_the_old_listeners_open() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let (old, new) = (address(), address());
        let occupant = std::net::TcpListener::bind(("127.0.0.1", port::free())).unwrap();
        let occupied = occupant.local_addr().unwrap().to_string();
        let fixture = Fixture::new(&settings(&members, "on", &[&old], ""));
        let proxy = start(fixture.plan()).await;
        fixture.write(&settings(&members, "readonly", &[&new, &occupied], ""));
        let (code, _, err) = command(&proxy, &["reload"]);
        assert_eq!(code, 78, "{err}");
        assert!(err.contains(&occupied), "{err}");
        let asked = tokio::spawn({
            let old = old.clone();
            async move { http1::request(&old, "PUT", "/v2/keys/a", "x").await.unwrap() }
        });
        let exchange = members.exchange().await;
        exchange.answer(200, "fine").await;
        assert_eq!(asked.await.unwrap().status, 200, "the old mode is in force");
        assert!(http1::Connection::open(&new).await.is_err(), "no part of it is in force");

        drop(occupant);
        let (code, _, err) = command(&proxy, &["reload"]);
        assert_eq!(code, 0, "{err}");
        for address in [&new, &occupied] {
            assert_eq!(
                http1::request(address, "PUT", "/v2/keys/a", "x").await.unwrap().status,
                501
            );
        }
        eventually("the old listener is closed", PATIENCE, async || {
            http1::Connection::open(&old).await.is_err()
        })
        .await;
    });
}

#[test]
fn an_address_that_would_go_over_to_metrics_is_refused_with_the_way_to_do_it() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let (stays, moves) = (address(), address());
        let metrics = format!("listen-metrics-urls = \"http://{moves}\"\n");
        let fixture = Fixture::new(&settings(&members, "on", &[&stays, &moves], ""));
        let proxy = start(fixture.plan()).await;
        fixture.write(&settings(&members, "on", &[&stays], &metrics));
        let (code, _, err) = command(&proxy, &["reload"]);
        assert_eq!(code, 78, "{err}");
        assert!(
            err.contains(&format!(
                "cannot listen on http://{moves}: it serves clients; to make it serve metrics, restart, or reload twice, the first time without it"
            )),
            "{err}"
        );
        http1::get(&moves, "/v2/config/local/proxy").await;

        fixture.write(&settings(&members, "on", &[&stays], ""));
        assert_eq!(command(&proxy, &["reload"]).0, 0);
        fixture.write(&settings(&members, "on", &[&stays], &metrics));
        eventually("it serves metrics", PATIENCE, async || {
            command(&proxy, &["reload"]);
            let Ok(answer) = http1::request(&moves, "GET", "/livez", "").await else {
                return false;
            };
            answer.status == 200
        })
        .await;
        fixture.write(&settings(&members, "on", &[&stays, &moves], ""));
        let (code, _, err) = command(&proxy, &["reload"]);
        assert!(code == 78 && err.contains("it serves metrics; to make it serve clients"), "{err}");
    });
}

#[test]
fn what_is_in_flight_is_served_by_the_settings_it_began_with() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let (old, new) = (address(), address());
        let fixture = Fixture::new(&settings(&members, "on", &[&old], ""));
        let proxy = start(fixture.plan()).await;
        let mut client = http1::Connection::open(&old).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let mut put = members.exchange().await;
        let channel = Channel::open(&old).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        watch.head().await.unwrap();

        fixture.write(&settings(&members, "readonly", &[&new], ""));
        assert_eq!(command(&proxy, &["reload"]).0, 0);
        put.body().await.unwrap();
        put.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
        assert!(client.is_closed().await, "its listener is gone");
        reply.message(b"event");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "event");
        let failure = Channel::open(&new).await.unwrap().unary_bytes(PUT, b"").await.unwrap_err();
        assert_eq!(failure.code(), Some(12), "{failure}");
    });
}

#[test]
fn new_peers_bring_new_members_at_once() {
    let _machine = shared();
    run(async {
        let mut before = Members::start(1).await;
        let mut after = Members::start(1).await;
        let listen = address();
        let fixture = Fixture::new(&settings(&before, "on", &[&listen], ""));
        let proxy = start(fixture.plan()).await;
        let mut client = http1::Connection::open(&listen).await.unwrap();
        client.send_request("GET", "/version", &[], "").await.unwrap();
        before.exchange().await.answer(200, "").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        fixture.write(&settings(&after, "on", &[&listen], ""));
        assert_eq!(command(&proxy, &["reload"]).0, 0);
        client.send_request("GET", "/version", &[], "").await.unwrap();
        after.exchange().await.answer(200, "").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        assert!(before.is_quiet());
    });
}

#[test]
fn before_the_first_list_clients_are_told_there_is_no_endpoint() {
    let _machine = shared();
    run(async {
        let peer = Peer::start(Reply::Answer {
            status: 500,
            cluster_id: String::new(),
            body: "no".to_owned(),
        });
        let members = Members::start(1).await;
        let proxy = Proxy::with_peers(&format!("a={}", peer.url)).spawn();
        proxy.wait_until_open().await;
        let answer = http1::get(&proxy.address, "/v2/keys/a").await;
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.text(),
            "{\"message\":\"httpproxy: zero endpoints currently available\"}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = http1::post(&proxy.address, "/v3/kv/put", "{}").await;
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (503, Some(14)));
        let channel = Channel::open(&proxy.address).await.unwrap();
        for path in [PUT, WATCH] {
            let failure = channel.unary_bytes(path, b"").await.unwrap_err();
            assert_eq!(failure.to_string(), "status 14: there is no connection available");
        }
        assert_eq!(command(&proxy, &["status"]).0, 5);
        assert!(proxy.notify.statuses().iter().all(|line| !line.is_empty()));
        peer.set(Reply::members("cafe", &members.list()));
        proxy.wait_until_ready();
    });
}
