//! Promotions with members that speak only v2, and the messages about unexpected answers of
//! members.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::scripted_registry::{Registry, entries, size};
use crate::support::members::Members;
use crate::support::port;
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::run;
use crate::support::scratch::Scratch;
use crate::support::shared;
use crate::support::systemd::{Hook, Host, variables};
use crate::support::tls::{Authority, Leaf};

/// A member of etcd 2. It lists itself, and lists a member that was added to it as started.
struct Old {
    url: String,
    /// The requests that it received, head and body.
    requests: Arc<Mutex<Vec<String>>>,
}

/// The statuses of its answers to adding a member and to the health check.
type Statuses = (u16, u16);

impl Old {
    fn start() -> Self {
        Self::answering((201, 200))
    }

    fn answering(statuses: Statuses) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port::free())).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, own) = (requests.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &own, &kept, statuses);
            }
        });
        Self { url, requests }
    }

    fn posted(&self) -> Vec<String> {
        let requests = self.requests.lock().expect("requests").clone();
        requests.into_iter().filter(|request| request.starts_with("POST /v2/members")).collect()
    }
}

fn answer(
    mut stream: TcpStream,
    url: &str,
    requests: &Mutex<Vec<String>>,
    (post, health): Statuses,
) {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).unwrap_or_default();
    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let mut requests = requests.lock().expect("requests");
    requests.push(request.clone());
    let added = requests.iter().any(|request| request.starts_with("POST /v2/members"));
    let first = format!(
        "{{\"id\":\"a\",\"name\":\"old\",\"peerURLs\":[\"http://h:2380\"],\"clientURLs\":[\"{url}\"]}}"
    );
    let second = format!(
        ",{{\"id\":\"b\",\"name\":\"two\",\"peerURLs\":[\"http://10.0.0.2:2380\"],\"clientURLs\":[\"{url}\"]}}"
    );
    let (status, body) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/v2/members"] => {
            (200, format!("{{\"members\":[{first}{}]}}", if added { &second } else { "" }))
        }
        ["POST", "/v2/members"] => {
            (post, "{\"id\":\"b\",\"name\":\"\",\"peerURLs\":[\"http://10.0.0.2:2380\"],\"clientURLs\":[]}".to_owned())
        }
        ["GET", "/health"] => (health, "{\"health\": \"true\"}".to_owned()),
        ["GET", "/members"] => (200, format!("[{}]", first.replace("\"a\"", "10"))),
        // Everything else, HTTP/2's preface included.
        _ => (400, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} Said\r\nX-Etcd-Cluster-Id: cafe\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn promote(host: &Host, data: &Path, peers: &str, more: &[&str]) -> (bool, String, String) {
    let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
    command.args(["promote", "--yes", "--name", "two", "--peer-url", "http://10.0.0.2:2380"]);
    command.arg("--systemctl").arg(&host.systemctl).arg("--data-dir").arg(data);
    command.args(["--admin-socket", "/nonexistent/admin.sock", "--initial-cluster", peers]);
    let output = process::output(command_with(command, more));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn command_with(mut command: std::process::Command, more: &[&str]) -> std::process::Command {
    command.args(more);
    command
}

#[test]
fn a_cluster_that_speaks_only_v2_takes_a_member() {
    let _machine = shared();
    let old = Old::start();
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    let scratch = Scratch::new("data");
    // Left behind by an etcd that lost the race for the last place of a cluster.
    std::fs::create_dir_all(scratch.join("data/member/snap")).expect("a directory");
    let learner = promote(&host, &scratch.join("data"), &old.url, &["--learner"]);
    assert!(!learner.0 && learner.2.contains("has no learners"), "{learner:?}");
    let user = ["--user", "root:secret"];
    let (ok, out, err) = promote(&host, &scratch.join("data"), &old.url, &user);
    assert!(ok, "{err}");
    assert_eq!(
        out,
        "Member                b added to cluster             cafe\n\nETCD_NAME=\"two\"\n\
         ETCD_INITIAL_CLUSTER=\"old=http://h:2380,two=http://10.0.0.2:2380\"\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://10.0.0.2:2380\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
    );
    let posted = old.posted();
    assert_eq!(posted.len(), 1, "added once");
    assert!(posted[0].contains("uthorization: Basic cm9vdDpzZWNyZXQ="), "{posted:?}");
    let written = variables(&host.environment_file);
    let advertised = ("ETCD_ADVERTISE_CLIENT_URLS".to_owned(), "http://10.0.0.2:2379".to_owned());
    assert!(written.contains(&advertised), "{written:?}");
}

#[test]
fn a_cluster_that_cannot_be_asked_is_left_alone() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        let (peers, host) = (members.initial_cluster(), Host::new(None, proxy));
        let scratch = Scratch::new("data");
        let data = scratch.join("data");
        // The members answer every request with something meaningless.
        let serving = members.serve(async |arrival| match arrival {
            crate::support::members::Arrival::Http1(exchange) => {
                exchange.answer(200, "<html>").await
            }
            crate::support::members::Arrival::Http2(call) => call.answer(b""),
            crate::support::members::Arrival::Raw(..) => {}
        });
        let said = tokio::task::spawn_blocking(move || {
            let said = promote(&host, &data, &peers, &[]);
            assert!(host.asked().is_empty() && host.runs_proxy());
            said
        });
        let (ok, out, err) = said.await.expect("the command");
        drop(serving);
        assert!(!ok && out.is_empty(), "{err}");
        assert!(err.contains("an empty member list"), "{err}");
    });
}

#[test]
fn a_socket_that_would_keep_the_port_is_stopped_before_the_proxy() {
    let _machine = shared();
    let old = Old::start();
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    host.enable_socket();
    host.hook("enable", Hook::Fail);
    let scratch = Scratch::new("data");
    let (ok, _, err) = promote(&host, &scratch.join("data"), &old.url, &[]);
    assert!(!ok, "{err}");
    assert!(err.contains("2. stop and disable etcd-proxy.socket, etcd-proxy.service\n"), "{err}");
    assert!(err.contains("systemctl enable --now etcd-proxy.socket etcd-proxy.service;"), "{err}");
    let asked = host.asked();
    assert_eq!(asked[..2], ["disable --now etcd-proxy.socket", "disable --now etcd-proxy.service"]);
    let (ok, _, err) = promote(&host, &scratch.join("data"), &old.url, &[]);
    assert!(ok, "{err}");
}

#[test]
fn what_etcds_unit_cannot_do_is_refused_before_anything_is_done() {
    let _machine = shared();
    let old = Old::start();
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    let scratch = Scratch::new("data");
    let refused = |line: &str, more: &[&str], words: &str| {
        host.show_of_etcd(line);
        let (ok, out, err) = promote(&host, &scratch.join("data"), &old.url, more);
        assert!(!ok && out.is_empty() && err.contains(words), "{err}");
        assert!(err.ends_with("refused, and nothing was done\n"), "{err}");
    };
    let line = "ExecStart={ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd --name=here $DAEMON_ARGS ; }";
    refused(line, &[], "starts etcd with --name, which ETCD_NAME cannot change");
    // Only the proxy's user can read its key.
    let directory = Scratch::new("keys");
    let authority = Authority::new("peers");
    let files = authority.issue(&Leaf::loopback()).write(directory.path(), "peer");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&files.key, mode).expect("a mode");
    let path = |path: &Path| path.display().to_string();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    let shown = ["--peer-cert-file", &certificate, "--peer-key-file", &key];
    refused("User=54321", &shown, "runs as 54321, who cannot read ETCD_PEER_KEY_FILE: ");
    assert!(old.posted().is_empty() && host.asked().is_empty() && host.runs_proxy());
}

/// Makes a host with the record of a run that was killed while it added the member.
fn half_added(old: &Old) -> (Host, Scratch) {
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    let scratch = Scratch::new("data");
    std::fs::create_dir(scratch.join("data")).expect("a directory");
    let record = format!(
        r#"{{"name":"two","peer_urls":["http://10.0.0.2:2380"],"endpoints":["{}"]}}"#,
        old.url
    );
    std::fs::write(scratch.join("data/promotion.json"), record).expect("a record");
    (host, scratch)
}

#[test]
fn a_member_that_lags_behind_does_not_cost_the_record_of_the_first_run() {
    let _machine = shared();
    // It lists the member only after it has refused to add it again.
    let old = Old::answering((409, 200));
    let (host, scratch) = half_added(&old);
    let data = scratch.join("data");
    let (ok, _, err) = promote(&host, &data, &old.url, &[]);
    assert!(!ok && err.contains("refused: HTTP status 409"), "{err}");
    assert!(data.join("promotion.json").exists() && host.runs_proxy(), "{err}");
    let (ok, _, err) = promote(&host, &data, &old.url, &[]);
    assert!(ok, "{err}");
    assert_eq!(old.posted().len(), 1);
}

#[test]
fn a_second_run_that_has_yet_to_add_the_member_judges_the_cluster_again() {
    let _machine = shared();
    let old = Old::answering((201, 503));
    let (host, scratch) = half_added(&old);
    let (ok, _, err) = promote(&host, &scratch.join("data"), &old.url, &[]);
    assert!(!ok && err.contains("quorum would be at risk"), "{err}");
    assert!(old.posted().is_empty() && host.runs_proxy(), "{err}");
}

#[test]
fn what_a_v2_member_refuses_has_certainly_not_been_done() {
    let _machine = shared();
    let scratch = Scratch::new("data");
    let data = scratch.join("data");
    for (status, words) in [
        (401, "refused: HTTP status 401"),
        (500, "HTTP status 500; it is unknown whether the member was added"),
    ] {
        let old = Old::answering((status, 200));
        let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
        let (ok, _, err) = promote(&host, &data, &old.url, &[]);
        assert!(!ok && err.contains(words), "{err}");
        assert_eq!(data.join("promotion.json").exists(), status == 500, "{err}");
    }
}

#[test]
fn a_registry_that_is_not_complete_says_so() {
    let _machine = shared();
    let old = Old::start();
    let registry = Registry::start(|target| match target {
        target if target.contains("_config") => size("2"),
        _ => entries(&["a=http://127.0.0.1:1"]),
    });
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    let scratch = Scratch::new("data");
    let flags = ["--discovery", registry.url.as_str()];
    let (ok, _, err) = promote(&host, &scratch.join("data"), &old.url, &flags);
    let words = "the cluster is not complete: 1 of 2 members registered at ";
    assert!(!ok && err.contains(words), "{err}");
}

#[test]
fn a_cluster_that_was_not_served_before_is_not_joined() {
    let _machine = shared();
    let old = Old::start();
    let host = Host::new(None, Proxy::with_peers(&old.url).spawn());
    let scratch = Scratch::new("data");
    let data = scratch.join("data");
    std::fs::create_dir_all(data.join("proxy")).expect("a directory");
    let kept = |id: &str| {
        let (url, file) = (&old.url, data.join("proxy/cluster"));
        let text = format!(
            r#"{{"PeerURLs":["{url}"],"clusterID":"{id}","source":"initial-cluster {url}"}}"#
        );
        std::fs::write(file, text).expect("a cluster file");
    };
    kept("beef");
    let (ok, _, err) = promote(&host, &data, &old.url, &[]);
    assert!(!ok && err.contains("no member can be found: ") && err.contains("cafe"), "{err}");
    assert!(old.posted().is_empty());
    kept("cafe");
    let (ok, _, err) = promote(&host, &data, &old.url, &[]);
    assert!(ok, "{err}");
}
