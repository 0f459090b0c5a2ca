//! `proxy = "off"` with discovery: hosts become members while there is room, and then proxies, or
//! they end.

use std::time::{Duration, Instant};

use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::notify::Notify;
use crate::support::process::{self, Process};
use crate::support::registry::{self, Service};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, cluster::Cluster, port, shared, wait_until};

/// The daemon's exit status when the cluster is full and it may not become a proxy.
const FULL: i32 = 69;

/// A host with its own loopback address that runs the daemon as a service and restarts it by the
/// rules of the unit.
struct Host {
    name: String,
    client: String,
    arguments: Vec<String>,
    generation: Generation,
    scratch: Scratch,
    starts: u32,
    running: Option<(Process, Notify)>,
    /// The exit status after which the service is not started again.
    ended: Option<i32>,
}

impl Host {
    fn new(number: usize, generation: Generation, discovery: &[String]) -> Self {
        let (client, peer) = (port::free(), port::free());
        let name = format!("host{number}");
        let scratch = Scratch::new(&name);
        let client = format!("http://127.0.0.{number}:{client}");
        let peer = format!("http://127.0.0.{number}:{peer}");
        let etcd = generation.etcd().display().to_string();
        let pairs = [
            ("--proxy", "off"),
            ("--name", &name),
            ("--member-binary", &etcd),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--data-dir", "data"),
            ("--logger", "zap"),
            ("--log-outputs", "stderr"),
        ];
        let mut arguments: Vec<String> = pairs
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
            .collect();
        if generation != Generation::V3_4 {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        arguments.extend_from_slice(discovery);
        Self { name, client, arguments, generation, scratch, starts: 0, running: None, ended: None }
    }

    fn start(&mut self) {
        self.starts += 1;
        let sockets = self.scratch.join(&format!("start{}", self.starts));
        std::fs::create_dir(&sockets).expect("a directory");
        let notify = Notify::listen(&sockets);
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.current_dir(self.scratch.path()).args(&self.arguments);
        command.env("NOTIFY_SOCKET", notify.path());
        command.env("ETCD_ADMIN_SOCKET", self.scratch.join("admin.sock"));
        self.running = Some((Process::start(&self.name, command), notify));
    }

    /// `Restart=on-failure` with `RestartPreventExitStatus=69`.
    fn supervise(&mut self) {
        let Some((process, _)) = &self.running else { return };
        let Some(status) = process.ended() else { return };
        if status.code() == Some(FULL) {
            self.ended = Some(FULL);
            return;
        }
        assert!(self.starts < 30, "{} never stays; {}", self.name, process.tail());
        self.start();
    }

    fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|(process, notify)| {
            process.ended().is_none() && notify.heard().contains(&"READY=1".to_owned())
        })
    }

    /// Returns whether the service's process is now etcd.
    fn is_member(&self) -> bool {
        let pid = self.running.as_ref().map(|(process, _)| process.pid()).unwrap_or_default();
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.file_name().is_some_and(|name| name == "etcd")
    }

    fn etcdctl(&self) -> Etcdctl {
        Etcdctl::v3(self.generation, &self.client)
    }

    fn said(&self) -> String {
        self.running.as_ref().map(|(process, _)| process.lines().join("\n")).unwrap_or_default()
    }

    fn kill(&mut self) {
        if let Some((process, _)) = &self.running {
            process.kill();
        }
    }
}

/// Starts five hosts at once.
fn five(generation: Generation, discovery: &[String]) -> Vec<Host> {
    let mut hosts: Vec<_> =
        (1..=5).map(|number| Host::new(number, generation, discovery)).collect();
    hosts.iter_mut().for_each(Host::start);
    settle(&mut hosts);
    hosts
}

/// Waits until each host serves or has ended for good.
fn settle(hosts: &mut [Host]) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !hosts.iter().all(|host| host.ended.is_some() || host.is_ready()) {
        for host in hosts.iter_mut() {
            if host.ended.is_none() {
                host.supervise();
            }
        }
        assert!(Instant::now() < deadline, "{}", story(hosts));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn story(hosts: &[Host]) -> String {
    let tell = |host: &Host| {
        let tail = host.running.as_ref().map(|(process, _)| process.tail()).unwrap_or_default();
        format!(
            "{}: {} starts, ready {}, ended {:?}\n{tail}\n",
            host.name,
            host.starts,
            host.is_ready(),
            host.ended
        )
    };
    hosts.iter().map(tell).collect()
}

/// Asserts that three hosts are members, two are proxies, and all give access to the same data.
fn assert_three_and_two(hosts: &[Host]) {
    let members: Vec<_> = hosts.iter().filter(|host| host.is_member()).collect();
    assert_eq!(members.len(), 3, "{}", story(hosts));
    let proxy = hosts.iter().find(|host| !host.is_member()).expect("a proxy");
    assert!(
        proxy.said().contains("the cluster is full (3 of 3 members registered at "),
        "{}",
        proxy.said()
    );
    proxy.etcdctl().run(&["put", "through", "a proxy"]);
    for host in hosts {
        let found = host.etcdctl().run(&["get", "--print-value-only", "through"]);
        assert_eq!(found, "a proxy\n", "{}", host.name);
    }
    assert_eq!(proxy.etcdctl().run(&["member", "list"]).lines().count(), 3);
}

#[test]
fn three_of_five_become_members_and_two_proxies() {
    let _machine = shared();
    if !Generation::V3_4.is_here() {
        return;
    }
    let Some(service) = Service::start() else { return };
    let mut hosts = five(Generation::V3_4, &[format!("--discovery={}", service.token(3))]);
    assert_three_and_two(&hosts);

    // Each host keeps its role over a restart; a member does not even ask the registry.
    let before: Vec<_> = hosts.iter().map(Host::is_member).collect();
    let member = before.iter().position(|is_member| *is_member).expect("a member");
    let proxy = before.iter().position(|is_member| !is_member).expect("a proxy");
    for index in [member, proxy] {
        hosts[index].kill();
        hosts[index].start();
    }
    settle(&mut hosts);
    assert_eq!(hosts.iter().map(Host::is_member).collect::<Vec<_>>(), before, "{}", story(&hosts));
    assert_three_and_two(&hosts);
    // etcd does not send watchdog keep-alives, so the daemon has switched the watchdog off before.
    let (_, notify) = hosts[member].running.as_ref().expect("a process");
    wait_until("no watchdog", || notify.heard().contains(&"WATCHDOG_USEC=0".to_owned()));
    let (process, _) = hosts[member].running.as_ref().expect("a process");
    assert!(
        process.wait_for_line("this host has a member's data: running etcd", PATIENCE).is_some()
    );
}

#[test]
fn without_fallback_the_two_end_with_their_own_status() {
    let _machine = shared();
    if !Generation::V3_5.is_here() || !Generation::V3_4.is_here() {
        return;
    }
    let discovery =
        [format!("--discovery={}", registry::plain("3")), "--discovery-fallback=exit".to_owned()];
    let hosts = five(Generation::V3_5, &discovery);
    let ended: Vec<_> = hosts.iter().filter(|host| host.ended.is_some()).collect();
    assert_eq!(ended.len(), 2, "{}", story(&hosts));
    for host in ended {
        let (process, _) = host.running.as_ref().expect("a process");
        let said = process.wait_for_line("error: not started: ", PATIENCE).expect("a sentence");
        assert!(
            said.contains("error: not started: the cluster is full (3 of 3 members registered at "),
            "{said}"
        );
        assert!(said.contains("`discovery-fallback` is \"exit\""), "{said}");
    }
    let members = hosts.iter().filter(|host| host.is_member());
    assert_eq!(members.count(), 3);
}

#[test]
fn the_same_by_v3_discovery() {
    let _machine = shared();
    if !Generation::V3_7.is_here() {
        return;
    }
    let registry = Cluster::start(Generation::V3_7, 1);
    registry.etcdctl().run(&["put", "/_etcd/registry/five/_config/size", "3"]);
    let discovery = [
        "--discovery-token=five".to_owned(),
        format!("--discovery-endpoints=http://{}", registry.client(0)),
    ];
    assert_three_and_two(&five(Generation::V3_7, &discovery));

    // The cluster is full before this host comes, and it may not become a proxy.
    registry.etcdctl().run(&["put", "/_etcd/registry/full/_config/size", "1"]);
    registry.etcdctl().run(&["put", "/_etcd/registry/full/members/1", "a=http://127.0.0.1:1"]);
    let discovery = [
        "--discovery-token=full".to_owned(),
        format!("--discovery-endpoints=http://{}", registry.client(0)),
        "--discovery-fallback=exit".to_owned(),
    ];
    let mut host = Host::new(1, Generation::V3_7, &discovery);
    host.start();
    let (process, _) = host.running.as_ref().expect("a process");
    assert_eq!(process.wait(PATIENCE).expect("an end").code(), Some(FULL), "{}", process.tail());
    let said = process.wait_for_line("error: not started: ", PATIENCE).expect("a sentence");
    assert!(said.contains("the cluster is full (1 of 1 members registered at "), "{said}");
}

#[test]
fn a_registry_that_does_not_answer_is_waited_for_and_one_that_says_no_is_not() {
    let _machine = shared();
    if !Generation::V3_4.is_here() {
        return;
    }
    let nowhere = format!("--discovery=http://127.0.0.1:{}/v2/keys/token", port::free());
    let mut host = Host::new(1, Generation::V3_4, &[nowhere]);
    host.start();
    let (process, notify) = host.running.as_ref().expect("a process");
    let said = process.wait_for_line("asking again in 2s", PATIENCE).expect("a warning");
    assert!(said.starts_with("warning: cannot tell yet whether this host is a member: "), "{said}");
    let extended = |line: &String| line.starts_with("EXTEND_TIMEOUT_USEC=");
    wait_until("more time", || notify.heard().iter().any(extended));
    wait_until("a status", || {
        notify.statuses().iter().any(|status| status.contains("asking again in 2s"))
    });
    assert!(process.ended().is_none());

    let unknown = format!("--discovery=http://{}/v2/keys/never-made", registry::etcd().client(0));
    let mut host = Host::new(1, Generation::V3_4, &[unknown]);
    host.start();
    let (process, _) = host.running.as_ref().expect("a process");
    assert_eq!(process.wait(PATIENCE).expect("an end").code(), Some(1), "{}", process.tail());
    assert!(process.wait_for_line("error: not started: ", PATIENCE).is_some(), "{}", host.said());
}

#[test]
fn an_etcd_that_cannot_be_run_is_named() {
    let _machine = shared();
    if !Generation::V3_4.is_here() {
        return;
    }
    let discovery = [
        format!("--discovery={}", registry::plain("3")),
        "--member-binary=/nonexistent/etcd".to_owned(),
    ];
    let mut host = Host::new(1, Generation::V3_4, &discovery);
    host.start();
    let (process, _) = host.running.as_ref().expect("a process");
    let status = process.wait(PATIENCE).expect("an end");
    assert_eq!(status.code(), Some(1));
    let said = process.wait_for_line("cannot run `/nonexistent/etcd`", PATIENCE);
    assert!(said.is_some(), "{}", host.said());
}
