//! The daemon under test, as a process.
//!
//! `ETCD_PROXY_TESTS_STAND_IN=gateway` runs `etcd gateway` in its place and `=old` runs `etcd
//! --proxy`. That shows which tests really test the daemon, and that the fixtures work.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::PATIENCE;
use super::cluster::Cluster;
use super::etcdctl::Etcdctl;
use super::generation::Generation;
use super::notify::Notify;
use super::process::{self, Process};
use super::scratch::Scratch;
use super::settings_file::SettingsFile;
use super::tls::Dialer;
use super::{http1, port};

/// A running daemon; dropping it kills it.
pub struct Proxy {
    /// The process and its log.
    pub process: Process,
    /// The messages that it sent to its notification socket.
    pub notify: Notify,
    /// The address that clients connect to, `127.0.0.1:PORT`.
    pub address: String,
    /// Its settings file, if it was given one.
    pub file: Option<SettingsFile>,
    /// The time of its start.
    pub started: Instant,
    dialer: Dialer,
    admin: PathBuf,
    scratch: Scratch,
}

/// The configuration that the daemon will be started with.
pub struct Plan {
    mode: String,
    initial_cluster: String,
    endpoints: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    file: Option<String>,
    bare: bool,
    resolver: Option<PathBuf>,
    hung: Option<PathBuf>,
    port: u16,
    scheme: &'static str,
    dialer: Dialer,
    minds_modes: bool,
}

/// Returns the text of a settings file with these two settings.
pub fn settings(mode: &str, initial_cluster: &str) -> String {
    format!("proxy = \"{mode}\"\ninitial-cluster = \"{initial_cluster}\"\n")
}

impl Proxy {
    /// Plans a daemon in front of a cluster, configured by flags, with `--proxy on`.
    pub fn before(cluster: &Cluster) -> Plan {
        Plan { endpoints: cluster.endpoints(), ..Self::with_peers(&cluster.initial_cluster()) }
    }

    /// Plans a daemon with these peers, configured by flags, with `--proxy on`.
    pub fn with_peers(initial_cluster: &str) -> Plan {
        Plan {
            mode: "on".to_owned(),
            initial_cluster: initial_cluster.to_owned(),
            endpoints: String::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            file: None,
            bare: false,
            resolver: None,
            hung: None,
            port: port::free(),
            scheme: "http",
            dialer: Dialer::plain(),
            minds_modes: false,
        }
    }

    /// Returns its working directory.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns an etcdctl of the v3 API that talks to the daemon.
    pub fn etcdctl(&self, generation: Generation) -> Etcdctl {
        Etcdctl::v3(generation, &self.address)
    }

    /// Returns an etcdctl of the v2 API that talks to the daemon.
    pub fn etcdctl_v2(&self, generation: Generation) -> Etcdctl {
        Etcdctl::v2(generation, &self.address)
    }

    /// Runs one of the daemon's own commands against it, such as `status -w json`. Returns its
    /// output and whether it succeeded.
    pub fn command(&self, arguments: &[&str]) -> (String, bool) {
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.args(arguments).arg("--admin-socket").arg(&self.admin);
        let output = process::output(command);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.success())
    }

    /// Like [`Self::command`], but returns the exit status and the output.
    pub fn exit_status(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
        command.args(arguments).arg("--admin-socket").arg(&self.admin);
        let output = process::output(command);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns the answer of its `/proxy/status`.
    pub fn status(&self) -> serde_json::Value {
        super::run(async {
            let mut connection = http1::Connection::open_by(&self.dialer, &self.address).await?;
            connection.exchange("GET", "/proxy/status", &[], "").await
        })
        .unwrap_or_else(|error| panic!("no status: {error}; {}", self.process.tail()))
        .json()
    }

    /// Waits for `READY=1` and returns the time of its arrival.
    pub fn wait_until_ready(&self) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.notify.wait_for("READY=1", Duration::from_millis(50)) {
                return at;
            }
            let ended = self.process.ended();
            assert!(ended.is_none() && Instant::now() < deadline, "no READY=1; {}", self.story());
        }
    }

    /// Returns its state and its last messages, for a failing test's message.
    pub fn story(&self) -> String {
        let ended = self.process.ended();
        format!(
            "ended: {ended:?}; status lines: {:?}; {}",
            self.notify.statuses(),
            self.process.tail()
        )
    }

    /// Waits until its address accepts connections, which is long before it is ready.
    pub async fn wait_until_open(&self) {
        super::eventually("the listener is open", PATIENCE, async || {
            http1::Connection::open(&self.address).await.is_ok()
        })
        .await;
    }

    /// Writes the settings file and waits until the daemon has reloaded it, with whatever result.
    pub fn edit(&self, way: super::settings_file::Way, content: &str) {
        let before = self.reloads();
        self.write_settings(way, content);
        let deadline = Instant::now() + PATIENCE;
        while self.reloads() == before {
            assert!(Instant::now() < deadline, "the edit was not noticed; {}", self.process.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the path of the settings file.
    pub fn settings(&self) -> std::path::PathBuf {
        self.file.as_ref().expect("a settings file").path()
    }

    /// Writes the settings file without waiting.
    pub fn write_settings(&self, way: super::settings_file::Way, content: &str) {
        self.file.as_ref().expect("a settings file").write(way, content);
    }

    /// Returns how many reloads it has done, with whatever result.
    pub fn reloads(&self) -> u64 {
        let status = self.status();
        let count =
            |key: &str| status[key].as_u64().unwrap_or_else(|| panic!("no {key} in {status}"));
        count("reloads_applied") + count("reloads_unchanged") + count("reloads_refused")
    }

    /// Sends SIGTERM and waits until it ends.
    pub fn terminate(&self, within: Duration) -> Option<ExitStatus> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(within)
    }
}

impl Plan {
    /// Sets the mode: `on` or `readonly`.
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = mode.to_owned();
        self
    }

    /// Adds arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Adds an environment variable; the environment is otherwise empty.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts mode and peers into a settings file with this text instead of flags.
    pub fn file(mut self, content: &str) -> Self {
        self.file = Some(content.to_owned());
        self
    }

    /// Passes only the arguments that were given, as an old command line does. [`Plan::address`] is
    /// the address to put into them.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Makes it listen with https. The fixture's own requests use this dialer.
    pub fn https(mut self, dialer: &Dialer) -> Self {
        self.scheme = "https";
        self.dialer = dialer.clone();
        self
    }

    /// Shows it this file as `/etc/resolv.conf` (needs root).
    pub fn resolver(mut self, file: &Path) -> Self {
        self.resolver = Some(file.to_owned());
        self
    }

    /// Mounts a file system that never answers on this directory, for it alone (needs root and
    /// FUSE).
    pub fn hung_mount(mut self, directory: &Path) -> Self {
        self.hung = Some(directory.to_owned());
        self
    }

    /// Takes away root's capability to read files against their modes.
    pub fn minding_modes(mut self) -> Self {
        self.minds_modes = nix::unistd::geteuid().is_root();
        self
    }

    /// Returns the address that it will listen on.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it and waits for `READY=1`.
    pub fn start(self) -> Proxy {
        let proxy = self.spawn();
        proxy.wait_until_ready();
        proxy
    }

    /// Starts it without waiting.
    pub fn spawn(self) -> Proxy {
        let scratch = Scratch::new("proxy");
        let notify = Notify::listen(scratch.path());
        let admin = scratch.join("admin.sock");
        let address = self.address();
        let file = self.file.as_ref().map(|text| SettingsFile::create(&scratch.join("etc"), text));
        let mut command = match std::env::var("ETCD_PROXY_TESTS_STAND_IN").as_deref() {
            Ok("gateway") => self.gateway(),
            Ok("old") => self.old_proxy(),
            _ => self.daemon(file.as_ref()),
        };
        command.current_dir(scratch.path()).env("NOTIFY_SOCKET", notify.path());
        command.env("ETCD_ADMIN_SOCKET", &admin);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let process = Process::start("etcd-proxy", command);
        Proxy {
            process,
            notify,
            address,
            file,
            started: Instant::now(),
            dialer: self.dialer,
            admin,
            scratch,
        }
    }

    /// Returns the command for `binary`, in the environment that was asked for.
    fn wrapped(&self, binary: &str) -> Command {
        if let Some(resolver) = &self.resolver {
            // Only the mount namespace is new: the network stays that of the tests.
            let mut command = process::command("unshare");
            let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
            command.args(["--mount", "sh", "-c", mount]).arg(resolver).arg(binary);
            return command;
        }
        if let Some(directory) = &self.hung {
            let mut command = process::command("unshare");
            // Nobody reads the kernel's requests from descriptor 9, which the daemon inherits.
            let mount = "exec 9<>/dev/fuse && \
                mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 hung \"$0\" && exec \"$@\"";
            command.args(["--mount", "sh", "-c", mount]).arg(directory).arg(binary);
            return command;
        }
        if self.minds_modes {
            let mut command = process::command("setpriv");
            command.args(["--bounding-set", "-dac_override,-dac_read_search", "--", binary]);
            return command;
        }
        process::command(binary)
    }

    fn daemon(&self, file: Option<&SettingsFile>) -> Command {
        let mut command = self.wrapped(env!("CARGO_BIN_EXE_etcd-proxy"));
        if let Some(file) = file {
            command.arg("--config-file").arg(file.path());
        }
        if !self.bare {
            let listen = format!("{}://{}", self.scheme, self.address());
            command.args(["--listen-client-urls", &listen, "--data-dir", "data"]);
        }
        if !self.bare && file.is_none() {
            command.args(["--proxy", &self.mode, "--initial-cluster", &self.initial_cluster]);
        }
        command.args(&self.arguments);
        command
    }

    fn gateway(&self) -> Command {
        let mut command = process::command(Generation::V3_4.etcd());
        command.args([
            "gateway",
            "start",
            "--listen-addr",
            &self.address(),
            "--endpoints",
            &self.endpoints,
        ]);
        command
    }

    fn old_proxy(&self) -> Command {
        let mut command = process::command(Generation::V3_4.etcd());
        command.args([
            "--listen-client-urls",
            &format!("http://{}", self.address()),
            "--data-dir",
            "data",
        ]);
        command.args(["--proxy", &self.mode, "--initial-cluster", &self.initial_cluster]);
        command
    }
}
