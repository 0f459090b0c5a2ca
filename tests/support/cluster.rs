//! A real etcd cluster on loopback whose members can be killed, stopped, restarted, added and
//! removed.

use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::PATIENCE;
use super::etcdctl::Etcdctl;
use super::generation::Generation;
use super::notify::Notify;
use super::port;
use super::process::{self, Process};
use super::scratch::Scratch;
use super::tls::{Authority, ClientFiles, Files, Leaf};

/// The members of one cluster. Dropping it ends them and removes their data.
pub struct Cluster {
    /// The etcd version of all members.
    pub generation: Generation,
    members: Mutex<Vec<Member>>,
    flags: Vec<String>,
    /// Discovery flags, which replace `--initial-cluster` when there are any.
    found_by: Vec<String>,
    /// Files for a client of the members; `None` while they speak plain HTTP.
    secured: Option<ClientFiles>,
    scratch: Scratch,
}

/// One member, running or not.
struct Member {
    name: String,
    client: u16,
    peer: u16,
    /// The port for HTTP, if the member serves HTTP and gRPC on two ports.
    http: Option<u16>,
    /// `--advertise-client-urls`, if it is not the member's own address.
    advertised: Option<String>,
    /// `--initial-cluster`, if the member joined a running cluster.
    joined: Option<String>,
    starts: u32,
    running: Option<Process>,
}

impl Member {
    fn planned(index: usize) -> Self {
        Self {
            name: format!("m{index}"),
            client: port::free(),
            peer: port::free(),
            http: None,
            advertised: None,
            joined: None,
            starts: 0,
            running: None,
        }
    }

    fn initial(&self, scheme: &str) -> String {
        format!("{}={scheme}://127.0.0.1:{}", self.name, self.peer)
    }
}

impl Cluster {
    /// Starts a cluster of `members` members and waits until each serves clients.
    pub fn start(generation: Generation, members: usize) -> Self {
        let cluster = Self::planned(generation, members);
        cluster.start_all();
        cluster
    }

    /// Chooses the addresses of a cluster and starts nothing.
    pub fn planned(generation: Generation, members: usize) -> Self {
        let members = (0..members).map(Member::planned).collect();
        let scratch = Scratch::new(&format!("etcd-{}", generation.number()));
        let members = Mutex::new(members);
        Self {
            generation,
            members,
            flags: Vec::new(),
            found_by: Vec::new(),
            secured: None,
            scratch,
        }
    }

    /// Gives the members the addresses of those of `another` cluster.
    pub fn in_place_of(self, another: &Self) -> Self {
        for (member, other) in self.lock().iter_mut().zip(another.lock().iter()) {
            (member.client, member.peer) = (other.client, other.peer);
        }
        self
    }

    /// Gives the first member this client address, `127.0.0.1:PORT`.
    pub fn with_client(self, address: &str) -> Self {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        self.lock()[0].client = port.expect("a port");
        self
    }

    /// Makes the members find each other by discovery, with these flags, and not by a list.
    pub fn found_by(mut self, flags: &[String]) -> Self {
        self.found_by = flags.to_vec();
        self
    }

    /// Adds a flag to every member's command line.
    pub fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Gives every member TLS on both ports, with certificates of `authority`, and has both ask for
    /// client certificates.
    pub fn secured(mut self, authority: &Authority) -> Self {
        let directory = self.scratch.path();
        let trusted = self.scratch.join("authority.pem");
        std::fs::write(&trusted, authority.pem()).expect("the authority's file");
        let member = authority.issue(&Leaf::loopback()).write(directory, "member");
        let client = authority.issue(&Leaf::loopback()).write(directory, "client");
        for (side, auth) in [("", "--client-cert-auth"), ("peer-", "--peer-client-cert-auth")] {
            self.flags.push(auth.to_owned());
            self.flags.push(format!("--{side}trusted-ca-file={}", trusted.display()));
            self.flags.push(format!("--{side}cert-file={}", member.certificate.display()));
            self.flags.push(format!("--{side}key-file={}", member.key.display()));
        }
        self.secured = Some(ClientFiles { authority: trusted, identity: Some(client) });
        self
    }

    /// Returns the files for a client of members with TLS: an authority, and a certificate that
    /// both ports accept.
    pub fn client_files(&self) -> &ClientFiles {
        self.secured.as_ref().expect("a cluster with TLS")
    }

    /// Returns the certificate that a client shows to the members.
    pub fn client_identity(&self) -> &Files {
        self.client_files().identity.as_ref().expect("an identity")
    }

    /// `http` or `https`.
    fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// Returns an etcdctl with the certificates that the members ask for.
    fn etcdctl_for(&self, endpoints: &str) -> Etcdctl {
        let etcdctl = Etcdctl::v3(self.generation, endpoints);
        match &self.secured {
            Some(files) => etcdctl.secured(files),
            None => etcdctl,
        }
    }

    /// Makes a member advertise client URLs that are not its own.
    pub fn advertising(self, index: usize, urls: &str) -> Self {
        self.lock()[index].advertised = Some(urls.to_owned());
        self
    }

    /// Gives each member a second port for HTTP, so that the first one speaks gRPC alone. The
    /// members advertise both ports, or only gRPC's.
    pub fn split(self, both_urls: bool) -> Self {
        let scheme = self.scheme();
        for member in self.lock().iter_mut() {
            let http = port::free();
            member.http = Some(http);
            let client = format!("{scheme}://127.0.0.1:{}", member.client);
            let both = format!("{client},{scheme}://127.0.0.1:{http}");
            member.advertised = Some(if both_urls { both } else { client });
        }
        self
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Starts all members that do not run and waits until each serves clients.
    pub fn start_all(&self) {
        let mut members = self.lock();
        let initial: Vec<_> = members.iter().map(|member| member.initial(self.scheme())).collect();
        let started: Vec<_> = members
            .iter_mut()
            .filter(|member| member.running.is_none())
            .map(|member| self.spawn(member, &initial.join(",")))
            .collect();
        for (index, ready) in started.iter().enumerate() {
            assert!(
                ready.wait_for("READY=1", PATIENCE).is_some(),
                "member {index} did not get ready"
            );
        }
    }

    /// Starts one member and does not wait for it, since alone it has no quorum. The result
    /// receives its `READY=1`.
    pub fn start_member(&self, index: usize) -> Notify {
        let mut members = self.lock();
        let initial: Vec<_> = members.iter().map(|member| member.initial(self.scheme())).collect();
        self.spawn(&mut members[index], &initial.join(","))
    }

    fn spawn(&self, member: &mut Member, initial: &str) -> Notify {
        member.starts += 1;
        let sockets = self.scratch.join(&format!("{}-start-{}", member.name, member.starts));
        std::fs::create_dir(&sockets).expect("a directory for the member's socket");
        let notify = Notify::listen(&sockets);
        let mut command = self.command(member, initial);
        command.env("NOTIFY_SOCKET", notify.path());
        member.running = Some(Process::start(
            &format!("etcd {} {}", self.generation.number(), member.name),
            command,
        ));
        notify
    }

    fn command(&self, member: &Member, initial: &str) -> Command {
        let client = format!("{}://127.0.0.1:{}", self.scheme(), member.client);
        let peer = format!("{}://127.0.0.1:{}", self.scheme(), member.peer);
        let mut command = process::command(self.generation.etcd());
        command.current_dir(self.scratch.path());
        command
            .arg("--name")
            .arg(&member.name)
            .arg("--data-dir")
            .arg(self.scratch.join(&member.name));
        command.args(["--listen-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--advertise-client-urls", member.advertised.as_ref().unwrap_or(&client)]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        if let Some(http) = member.http {
            let http = format!("{}://127.0.0.1:{http}", self.scheme());
            command.args(["--listen-client-http-urls", &http]);
        }
        if self.found_by.is_empty() {
            command.args(["--initial-cluster", member.joined.as_deref().unwrap_or(initial)]);
        }
        command.args(&self.found_by);
        command.args([
            "--initial-cluster-state",
            if member.joined.is_some() { "existing" } else { "new" },
        ]);
        command.args(["--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"]);
        if self.generation.has_v2() {
            command.arg("--enable-v2");
        }
        if self.generation != Generation::V3_4 {
            // The page cache survives a killed process; only a power cut would lose data.
            command.arg("--unsafe-no-fsync");
        }
        command.args(&self.flags);
        command
    }

    /// Returns the cluster's ID in hexadecimal, as etcd's peers write it.
    pub fn id(&self) -> String {
        let text = self.etcdctl().run(&["endpoint", "status", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        format!("{:x}", status[0]["Status"]["header"]["cluster_id"].as_u64().expect("an ID"))
    }

    /// Returns the number of members, running or not.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns the value for `--initial-cluster`.
    pub fn initial_cluster(&self) -> String {
        let initial: Vec<_> =
            self.lock().iter().map(|member| member.initial(self.scheme())).collect();
        initial.join(",")
    }

    /// Returns the value for `--initial-cluster` with only these members.
    pub fn initial_cluster_of(&self, indexes: &[usize]) -> String {
        let members = self.lock();
        let initial: Vec<_> =
            indexes.iter().map(|index| members[*index].initial(self.scheme())).collect();
        initial.join(",")
    }

    /// Returns a member's client address, `127.0.0.1:PORT`.
    pub fn client(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.lock()[index].client)
    }

    /// Returns all members' client addresses, separated by commas as for `--endpoints`.
    pub fn endpoints(&self) -> String {
        let clients: Vec<_> = (0..self.len()).map(|index| self.client(index)).collect();
        clients.join(",")
    }

    pub fn peer_url(&self, index: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.lock()[index].peer)
    }

    pub fn pid(&self, index: usize) -> u32 {
        self.lock()[index].running.as_ref().expect("the member runs").pid()
    }

    /// Returns an etcdctl that talks to the members directly.
    pub fn etcdctl(&self) -> Etcdctl {
        self.etcdctl_for(&self.endpoints())
    }

    /// Returns an etcdctl that talks to one member directly.
    pub fn etcdctl_of(&self, index: usize) -> Etcdctl {
        self.etcdctl_for(&self.client(index))
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&self, index: usize) {
        if let Some(process) = self.lock()[index].running.take() {
            process.kill();
        }
    }

    /// Stops a member with SIGSTOP: its connections stay open and it answers nothing. Signals are
    /// delivered asynchronously, so this returns when every thread has stopped.
    pub fn pause(&self, index: usize) {
        self.signal(index, Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid(index));
        let is_stopped = |task: std::fs::DirEntry| {
            // `PID (NAME) STATE ...`; empty if the thread has ended meanwhile.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        super::wait_until("the member has stopped", || {
            let mut tasks = std::fs::read_dir(&tasks).expect("a running member").flatten();
            tasks.all(is_stopped)
        });
    }

    /// Resumes a stopped member with SIGCONT.
    pub fn resume(&self, index: usize) {
        self.signal(index, Signal::SIGCONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        self.lock()[index].running.as_ref().expect("the member runs").signal(signal);
    }

    /// Starts a killed member again and waits until it serves clients.
    pub fn restart(&self, index: usize) {
        let ready = self.start_member(index);
        assert!(ready.wait_for("READY=1", PATIENCE).is_some(), "member {index} did not come back");
    }

    /// Adds a member to the running cluster and waits until it serves clients. It gets the last
    /// index.
    pub fn add(&self) -> usize {
        let index = self.add_as(&[]);
        self.restart(index);
        index
    }

    /// Adds a learner and waits until the others know its client URLs.
    pub fn add_learner(&self) -> usize {
        let index = self.add_as(&["--learner"]);
        // A learner sends `READY=1` as well.
        self.restart(index);
        index
    }

    fn add_as(&self, flags: &[&str]) -> usize {
        let index = self.len();
        let mut member = Member::planned(index);
        member.name = format!("added{index}");
        let peer = format!("--peer-urls={}://127.0.0.1:{}", self.scheme(), member.peer);
        let arguments = [&["member", "add", &member.name, &peer], flags].concat();
        self.etcdctl_of_running().run(&arguments);
        let mut members = self.lock();
        let running = members.iter().filter(|other| other.running.is_some());
        let mut initial: Vec<_> = running.map(|member| member.initial(self.scheme())).collect();
        initial.push(member.initial(self.scheme()));
        member.joined = Some(initial.join(","));
        members.push(member);
        index
    }

    /// Removes a member from the cluster and kills it. Its index stays and stands for a member that
    /// does not run.
    pub fn remove(&self, index: usize) {
        let name = self.lock()[index].name.clone();
        // Another member is asked: the one that is removed stops, whether it has answered or not.
        let another = (0..self.len()).find(|other| *other != index && self.runs(*other));
        let etcdctl = self.etcdctl_for(&self.client(another.expect("another member")));
        let list = etcdctl.run(&["member", "list"]);
        let line = list.lines().find(|line| line.contains(&format!(", {name}, ")));
        let id = line.and_then(|line| line.split(',').next()).expect("a listed member");
        etcdctl.run(&["member", "remove", id]);
        self.kill(index);
    }

    fn runs(&self, index: usize) -> bool {
        self.lock()[index].running.is_some()
    }

    fn etcdctl_of_running(&self) -> Etcdctl {
        let members = self.lock();
        let running = members.iter().filter(|member| member.running.is_some());
        let clients: Vec<_> =
            running.map(|member| format!("127.0.0.1:{}", member.client)).collect();
        self.etcdctl_for(&clients.join(","))
    }

    /// Returns the index of the running member that leads.
    pub fn leader(&self) -> usize {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let running: Vec<_> =
                (0..self.len()).filter(|index| self.lock()[*index].running.is_some()).collect();
            if let Some(leader) = running.into_iter().find(|index| self.leads(*index)) {
                return leader;
            }
            assert!(std::time::Instant::now() < deadline, "no member leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn leads(&self, index: usize) -> bool {
        let etcdctl = self.etcdctl_for(&self.client(index));
        let Ok(text) = etcdctl.try_run(&["endpoint", "status", "-w", "json"]) else { return false };
        let Ok(status) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
        let status = &status[0]["Status"];
        status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
    }
}
