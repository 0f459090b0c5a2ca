//! Promotions on real etcd, from one member and one proxy to two members: successes, refusals and
//! interruptions.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::shared;
use crate::support::systemd::{Hook, Host, variables};
use crate::support::tls::Authority;
use crate::support::{http1, port, run};
use crate::tls::towards_flags;

on_each_generation!(
    a_proxy_becomes_a_member,
    a_run_that_was_killed_or_failed_anywhere_is_finished_by_the_next,
    a_learner_joins_with_credentials,
    what_would_harm_the_cluster_or_the_host_is_refused,
    a_cluster_with_a_dead_member_does_not_grow,
);

/// A cluster, and a host on which the proxy runs.
struct Fixture {
    cluster: Cluster,
    host: Host,
    address: String,
    proxy_data: PathBuf,
    admin: PathBuf,
    peer_url: String,
    flags: Vec<String>,
    _scratch: Scratch,
}

impl Fixture {
    fn new(generation: Generation, members: usize) -> Self {
        Self::of(Cluster::start(generation, members))
    }

    fn of(cluster: Cluster) -> Self {
        Self::with_flags(cluster, Vec::new())
    }

    /// Starts a proxy that needs these flags to reach the members.
    fn with_flags(cluster: Cluster, flags: Vec<String>) -> Self {
        // The proxy's data directory outlives it, as on a real host.
        let scratch = Scratch::new("promoted");
        let proxy_data = scratch.join("data");
        let data_dir = proxy_data.display().to_string();
        let proxy = Proxy::before(&cluster).arguments(&["--data-dir", &data_dir]);
        let more: Vec<_> = flags.iter().map(String::as_str).collect();
        let proxy = proxy.arguments(&more).start();
        let address = proxy.address.clone();
        let admin = proxy.directory().join("admin.sock");
        let peer_url = format!("http://127.0.0.1:{}", port::free());
        let host = Host::new(Some(cluster.generation), proxy);
        Self { cluster, host, address, proxy_data, admin, peer_url, flags, _scratch: scratch }
    }

    fn promote(&self, more: &[&str]) -> Said {
        self.promote_as("two", &self.peer_url, more)
    }

    fn promote_as(&self, name: &str, peer_url: &str, more: &[&str]) -> Said {
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.args(["promote", "--name", name, "--peer-url", peer_url]);
        command.arg("--systemctl").arg(&self.host.systemctl);
        command.arg("--data-dir").arg(&self.proxy_data);
        command.arg("--admin-socket").arg(&self.admin);
        command.args(["--initial-cluster", &self.cluster.initial_cluster()]);
        command.args(["--listen-client-urls", &format!("http://{}", self.address)]);
        command.args(&self.flags).args(more);
        Said::from(process::output(command))
    }

    /// Returns an etcdctl that talks to the new member alone.
    fn new_member(&self) -> Etcdctl {
        Etcdctl::v3(self.cluster.generation, &self.address)
    }

    fn member_list(&self) -> String {
        self.cluster.etcdctl().run(&["member", "list"])
    }

    #[track_caller]
    fn assert_promoted(&self, said: &Said) {
        assert!(said.ok, "{said:?}\n{}", self.host.etcd_said());
        let written = variables(&self.host.environment_file);
        let printed: Vec<_> = said.out.lines().filter_map(|line| line.split_once('=')).collect();
        assert_eq!(printed.len(), 4, "{}", said.out);
        for (name, value) in printed {
            let pair = (name.to_owned(), value.trim_matches('"').to_owned());
            assert!(written.contains(&pair), "{pair:?} is not in {written:?}");
        }
        assert!(!self.proxy_data.join("proxy").exists());
        assert!(!self.proxy_data.join("promotion.json").exists());
        assert!(!self.host.runs_proxy());
        assert_eq!(self.member_list().matches(", two, ").count(), 1, "{}", self.member_list());
        assert_eq!(self.member_list().lines().count(), self.cluster.len() + 1);
    }
}

/// The result of a command.
#[derive(Debug)]
struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn a_proxy_becomes_a_member(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::new(generation, 1);
    fixture.new_member().run(&["put", "before", "through the proxy"]);

    let shown = fixture.promote(&["--dry-run"]);
    assert!(shown.ok && shown.err.contains("1. add member two"), "{shown:?}");
    assert!(shown.err.contains("cluster of one cannot write"), "{shown:?}");
    let held = fixture.promote(&[]);
    assert!(!held.ok && held.err.contains("--yes runs this plan"), "{held:?}");
    assert_eq!(fixture.member_list().lines().count(), 1);
    assert!(fixture.host.asked().is_empty() && fixture.host.runs_proxy());

    let said = fixture.promote(&["--yes"]);
    fixture.assert_promoted(&said);
    // Exactly the output of `etcdctl member add`.
    let list = fixture.member_list();
    let id =
        list.lines().find(|line| line.contains(", two, ")).and_then(|line| line.split(',').next());
    let lines: Vec<_> = said.out.lines().collect();
    assert!(
        lines[0].starts_with(&format!("Member {:>16} added to cluster ", id.expect("an ID"))),
        "{}",
        said.out
    );
    assert_eq!((lines[1], lines[2]), ("", "ETCD_NAME=\"two\""));
    assert!(lines[3].starts_with("ETCD_INITIAL_CLUSTER=\""), "{}", said.out);
    assert!(lines[3].contains(&format!("two={}", fixture.peer_url)), "{}", said.out);
    assert_eq!(lines[4], format!("ETCD_INITIAL_ADVERTISE_PEER_URLS=\"{}\"", fixture.peer_url));
    assert_eq!(lines[5..], ["ETCD_INITIAL_CLUSTER_STATE=\"existing\""]);
    assert_eq!(
        fixture.host.asked(),
        ["disable --now etcd-proxy.service", "enable --now etcd.service"]
    );

    let member = fixture.new_member();
    assert_eq!(member.run(&["get", "--print-value-only", "before"]), "through the proxy\n");
    member.run(&["put", "after", "through the member"]);
    let first = Etcdctl::v3(generation, &fixture.cluster.client(0));
    assert_eq!(first.run(&["get", "--print-value-only", "after"]), "through the member\n");
    let backup = format!("{}.before-promotion", fixture.host.environment_file.display());
    assert!(std::fs::read_to_string(backup).expect("a backup").starts_with("# etcd\n"));

    let again = fixture.promote(&["--yes"]);
    assert!(!again.ok && again.err.contains("is already a member: two"), "{again:?}");
    assert!(again.err.contains("etcd.service is active already"), "{again:?}");
    assert!(again.err.contains("member exists, so this host is or was a member"), "{again:?}");
}

fn a_run_that_was_killed_or_failed_anywhere_is_finished_by_the_next(generation: Generation) {
    let _machine = shared();
    let cases: &[Case] = &[
        ("disable", |_| Hook::Kill, ""),
        ("disable", |_| Hook::Fail, "step 2 of 5"),
        ("disable", |_| Hook::DoAndKill, ""),
        ("disable", |fixture| Hook::Spoil(fixture.proxy_data.join("proxy")), "step 3 of 5"),
        ("disable", |fixture| Hook::Spoil(fixture.host.path("default")), "step 4 of 5"),
        ("enable", |_| Hook::Fail, "step 5 of 5"),
        ("enable", |_| Hook::Kill, ""),
        ("enable", |_| Hook::DoAndKill, ""),
    ];
    std::thread::scope(|threads| {
        for (verb, hook, words) in cases {
            threads.spawn(move || interrupted(generation, verb, *hook, words));
        }
    });
}

/// The verb of systemctl at which a fault happens, the fault, and words of the failure's message.
type Case = (&'static str, fn(&Fixture) -> Hook, &'static str);

fn interrupted(
    generation: Generation,
    verb: &'static str,
    hook: fn(&Fixture) -> Hook,
    words: &str,
) {
    let fixture = Fixture::new(generation, 1);
    fixture.new_member().run(&["put", "before", "kept"]);
    let hook = hook(&fixture);
    fixture.host.hook(verb, hook.clone());
    let first = fixture.promote(&["--yes"]);
    assert!(!first.ok, "{hook:?}: {first:?}");
    assert!(first.err.contains(words), "{hook:?}: {first:?}");
    if !words.is_empty() {
        let id = first.out.split_whitespace().nth(1).expect("the member's ID");
        assert!(first.err.contains("run the same command again"), "{first:?}");
        assert!(first.err.contains(&format!("member remove {id}")), "{first:?}");
    }
    if let Hook::Spoil(path) = &hook {
        std::fs::remove_file(path).expect("the obstacle");
        std::fs::create_dir(path).expect("a directory");
    }
    let other = fixture.promote_as("three", &fixture.peer_url, &["--yes"]);
    assert!(!other.ok && other.err.contains("a promotion with `--name two"), "{other:?}");
    let second = fixture.promote(&["--yes"]);
    fixture.assert_promoted(&second);
    assert_eq!(fixture.new_member().run(&["get", "--print-value-only", "before"]), "kept\n");
    // Both runs print the same member's ID, and no other member was added.
    let list = fixture.member_list();
    let line = list.lines().find(|line| line.contains(", two, ")).expect("the member");
    let id = line.split(',').next().expect("its ID");
    for out in [&first.out, &second.out] {
        let named = format!("Member {id:>16} added to cluster ");
        assert!(out.starts_with(&named), "{hook:?}: {out} {list}");
    }
}

fn a_learner_joins_with_credentials(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::new(generation, 1);
    let etcdctl = fixture.cluster.etcdctl();
    for line in ["user add root:secret", "user grant-role root root", "role list", "auth enable"] {
        let words: Vec<_> = line.split(' ').collect();
        let _ = etcdctl.try_run(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let refused = fixture.promote(&["--yes", "--learner"]);
    assert!(!refused.ok && refused.out.is_empty(), "{refused:?}");
    let wrong = fixture.promote(&["--yes", "--learner", "--user", "root:guess"]);
    assert!(!wrong.ok && wrong.err.contains("authentication failed"), "{wrong:?}");
    let said = fixture.promote(&["--yes", "--learner", "--user", "root:secret"]);
    assert!(said.ok, "{said:?}\n{}", fixture.host.etcd_said());
    assert!(said.out.contains("added as learner to cluster"), "{}", said.out);
    let list = fixture.cluster.etcdctl().with("--user=root:secret").run(&["member", "list"]);
    let line = list.lines().find(|line| line.contains(", two, ")).expect("the learner");
    assert!(line.ends_with(", true"), "{list}");
}

#[test]
fn a_cluster_with_tls_takes_a_member_with_the_proxys_certificates() {
    let generation = Generation::V3_7;
    if !generation.is_here() {
        return;
    }
    let _machine = shared();
    let cluster = Cluster::planned(generation, 1).secured(&Authority::new("cluster"));
    cluster.start_all();
    let flags = towards_flags(&cluster);
    let mut fixture = Fixture::with_flags(cluster, flags);
    fixture.new_member().run(&["put", "before", "by TLS"]);
    fixture.peer_url = fixture.peer_url.replace("http:", "https:");
    let said = fixture.promote(&["--yes"]);
    fixture.assert_promoted(&said);
    assert_eq!(fixture.new_member().run(&["get", "--print-value-only", "before"]), "by TLS\n");
}

fn what_would_harm_the_cluster_or_the_host_is_refused(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::new(generation, 3);
    let refused = |said: Said, words: &str| {
        assert!(!said.ok && said.err.contains(words), "{words}: {said:?}");
        assert!(said.err.ends_with("refused, and nothing was done\n"), "{said:?}");
        assert!(said.out.is_empty() && fixture.host.runs_proxy(), "{said:?}");
    };
    let taken = fixture.cluster.peer_url(1);
    refused(fixture.promote_as("two", &taken, &["--yes"]), "is already a member: m1");
    refused(fixture.promote_as("m2", &fixture.peer_url, &["--yes"]), "is already called m2");
    refused(fixture.promote(&["--yes", "--etcd-unit", "no.service"]), "there is no no.service");
    for directory in [&fixture.host.data_dir, &fixture.proxy_data] {
        std::fs::create_dir_all(directory.join("member/wal")).expect("a directory");
        std::fs::write(directory.join("member/wal/0.wal"), "").expect("a log");
        refused(fixture.promote(&["--yes"]), "this host is or was a member");
        std::fs::remove_dir_all(directory.join("member")).expect("a directory");
    }
    // The member was added by hand, perhaps not for this host.
    let added = fixture.added_by_hand();
    let id = added.split_whitespace().nth(1).expect("an ID").to_owned();
    refused(fixture.promote(&["--yes"]), "was not added by a promotion here");
    refused(
        fixture.promote_as("two", "http://127.0.0.1:1", &["--yes"]),
        &format!("`etcdctl member remove {id}`"),
    );
    // A member that a killed run added before it got the answer, however, is taken over.
    std::fs::write(
        fixture.proxy_data.join("promotion.json"),
        format!(
            "{{\"name\":\"two\",\"peer_urls\":[\"{}\"],\"endpoints\":[\"http://{}\"]}}",
            fixture.peer_url,
            fixture.cluster.client(0)
        ),
    )
    .expect("a record");
    let taken_up = fixture.promote(&["--yes"]);
    fixture.assert_promoted(&taken_up);
    assert!(taken_up.out.contains(&id), "{taken_up:?}");
}

fn a_cluster_with_a_dead_member_does_not_grow(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::new(generation, 3);
    fixture.cluster.kill(2);
    let said = fixture.promote(&["--yes"]);
    assert!(
        !said.ok && said.err.contains("quorum would be at risk: of 3 voters 2 are healthy"),
        "{said:?}"
    );
    assert!(fixture.host.runs_proxy() && fixture.member_list_of_the_living().lines().count() == 3);
    // The proxy goes on serving.
    let version = run(http1::get(&fixture.address, "/version"));
    assert_eq!(version.status, 200);
}

impl Fixture {
    /// Adds a member. etcd refuses that until its members have been connected for five seconds.
    fn added_by_hand(&self) -> String {
        let peer_url = format!("--peer-urls={}", self.peer_url);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.cluster.etcdctl().try_run(&["member", "add", "two", &peer_url]) {
                Ok(added) => return added,
                Err(error) => {
                    assert!(error.contains("unhealthy cluster"), "{error}");
                    assert!(Instant::now() < deadline, "{error}");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn member_list_of_the_living(&self) -> String {
        Etcdctl::v3(self.cluster.generation, &self.cluster.client(0)).run(&["member", "list"])
    }
}
