//! `check --connect`: what a start would find, reported before anything depends on it.

use serde_json::Value;

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::port;
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::tls::Authority;
use crate::support::{shared, wait_until};

on_each_generation!(
    a_check_that_connects_tells_what_a_start_would_find,
    a_check_that_connects_tells_what_would_change_in_the_running_daemon,
    a_check_that_connects_names_what_tls_lacks,
    a_check_that_connects_knows_the_peers_of_the_cluster_file,
);

/// A member on a busy machine must not count as unhealthy.
const PATIENT: [&str; 2] = ["--health-timeout", "20s"];

/// Runs `check --connect`. Returns its table, its JSON and its exit status.
fn check(arguments: &[&str]) -> (String, Value, i32) {
    let scratch = Scratch::new("check");
    let run = |form: &str| {
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.args(["check", "--connect", "--format", form]).args(arguments);
        command.arg("--data-dir").arg(scratch.join("data"));
        command.arg("--admin-socket").arg(scratch.join("admin.sock"));
        let output = process::output(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, output.status.code().expect("an exit status"))
    };
    let (table, status) = run("text");
    let (json, same) = run("json");
    assert_eq!(status, same);
    assert!(!scratch.join("data").exists(), "a check writes nothing");
    (table, serde_json::from_str(&json).expect("JSON"), status)
}

fn a_check_that_connects_tells_what_a_start_would_find(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 3);
    let client_port = cluster.client(0);
    let listen = format!("http://127.0.0.1:{}", port::free());
    let nobody = format!("http://127.0.0.1:{}", port::free());
    let peers = format!("{},x=http://{client_port},y={nobody}", cluster.initial_cluster());
    let settings = ["--listen-client-urls", &listen, "--initial-cluster", &peers];
    let settings = [&settings[..], &PATIENT].concat();

    let (table, json, status) = check(&settings);
    assert_eq!(status, 0, "{table}");
    assert!(table.contains("this looks like a client port"), "{table}");
    assert!(table.contains("connection refused"), "{table}");
    assert!(table.ends_with("would serve: 3 of 3 client URLs are healthy\n"), "{table}");
    let found = &json["connect"];
    let members = found["members"].as_array().expect("members");
    assert!(members.len() == 3 && members.iter().all(|member| member["healthy"] == true), "{json}");
    let id = found["peers"][0]["cluster_id"].as_str().expect("a cluster ID");
    assert!(table.contains(id) && found["peers"][1]["cluster_id"] == id, "{json}");
    assert_eq!(check(&[&settings[..], &["--strict"]].concat()).2, 69, "two peers are none");

    cluster.kill(1);
    cluster.leader();
    let (table, json, status) = check(&settings);
    assert_eq!((status, &json["connect"]["serves"]), (0, &Value::Bool(true)), "{table}");
    assert!(table.ends_with("would serve: 2 of 3 client URLs are healthy\n"), "{table}");

    // Without a quorum the members still list each other, but none of them is healthy.
    cluster.kill(2);
    let (table, json, status) = check(&settings[..4]);
    assert_eq!((status, &json["connect"]["serves"]), (69, &Value::Bool(false)), "{table}");
    assert!(table.ends_with("would not serve well: 0 of 3 client URLs are healthy\n"), "{table}");

    let (table, _, status) =
        check(&["--listen-client-urls", &listen, "--initial-cluster", &nobody]);
    assert_eq!(status, 69);
    assert!(table.ends_with("would wait: no peer gives a member list\n"), "{table}");
}

fn a_check_that_connects_tells_what_would_change_in_the_running_daemon(generation: Generation) {
    let _machine = shared();
    let (cluster, other) = (Cluster::start(generation, 1), Cluster::start(generation, 1));
    let proxy = Proxy::before(&cluster).start();
    let listen = format!("http://{}", proxy.address);
    let asked = |cluster: &Cluster, mode: &str| {
        let peers = cluster.initial_cluster();
        let flags = ["check", "--connect", "--proxy", mode, "--initial-cluster", &peers];
        let listen = ["--listen-client-urls", &listen];
        let (text, well) = proxy.command(&[&flags[..], &listen, &PATIENT].concat());
        assert!(well, "{text}");
        text.lines()
            .filter(|line| line.starts_with("running daemon: "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(asked(&cluster, "on"), "");
    assert_eq!(
        asked(&cluster, "readonly"),
        "running daemon: mode would change from readwrite to readonly"
    );
    let changes = asked(&other, "on");
    for expected in [
        "cluster would change from ".to_owned(),
        format!("http://{} would be added", other.client(0)),
        format!("http://{} would get no requests any more", cluster.client(0)),
    ] {
        assert!(changes.contains(&expected), "{expected:?} in {changes}");
    }
    assert_eq!(proxy.reloads(), 0, "nothing was changed");
}

fn a_check_that_connects_names_what_tls_lacks(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::planned(generation, 1).secured(&Authority::new("cluster"));
    cluster.start_all();
    let peers = cluster.initial_cluster();
    let listen = format!("http://127.0.0.1:{}", port::free());
    let settings = ["--listen-client-urls", &listen, "--initial-cluster", &peers];
    let settings = [&settings[..], &PATIENT].concat();
    let (table, json, status) = check(&settings);
    assert_eq!(status, 69, "{table}");
    let error = json["connect"]["peers"][0]["error"].as_str().expect("an error");
    assert!(error.contains("unknown") || error.contains("authority"), "{error}");

    let files = cluster.client_files();
    let identity = cluster.client_identity();
    let path = |path: &std::path::Path| path.display().to_string();
    let (authority, certificate, key) =
        (path(&files.authority), path(&identity.certificate), path(&identity.key));
    let peer = ["--peer-trusted-ca-file", &authority, "--peer-cert-file", &certificate];
    let peer = [&peer[..], &["--peer-key-file", &key]].concat();
    let member = ["--upstream-trusted-ca-file", authority.as_str(), "--upstream-cert-file"];
    let member = [&member[..], &[&certificate, "--upstream-key-file", &key]].concat();
    let (table, _, status) =
        check(&[&settings[..], &peer, &member, &["--allow-upstream-cn"]].concat());
    assert_eq!(status, 0, "{table}");
    assert!(table.ends_with("would serve: 1 of 1 client URLs are healthy\n"), "{table}");
}

fn a_check_that_connects_knows_the_peers_of_the_cluster_file(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 3);
    let peers = cluster.initial_cluster_of(&[0]);
    let scratch = Scratch::new("kept");
    let data = scratch.path().display().to_string();
    let proxy = Proxy::with_peers(&peers).arguments(&["--data-dir", &data]).start();
    let listen = format!("http://{}", proxy.address);
    let check = || {
        let flags = ["check", "--connect", "--data-dir", &data, "--initial-cluster", &peers];
        proxy.command(&[&flags[..], &["--listen-client-urls", &listen], &PATIENT].concat())
    };
    let file = scratch.join("proxy/cluster");
    wait_until("the cluster file is there", || file.exists());
    cluster.kill(0);
    cluster.leader();
    let (text, well) = check();
    assert!(well, "{text}");
    assert_eq!(text.matches("good (from the cluster file)").count(), 2, "{text}");
    assert!(text.contains("would serve: 2 of 3 client URLs are healthy\n"), "{text}");
    // The file gets another ID, as if the cluster had been rebuilt since it was written.
    let kept = std::fs::read_to_string(&file).expect("the cluster file");
    let mut kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    kept["clusterID"] = "abc".into();
    std::fs::write(&file, kept.to_string()).expect("the cluster file");
    let (text, well) = check();
    assert!(!well, "{text}");
    assert!(text.contains("but this proxy serves cluster abc"), "{text}");
}
