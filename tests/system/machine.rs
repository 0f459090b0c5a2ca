//! The booted machine: commands and files in it, its package, its cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::support::process::{Process, command, output};

/// A generous limit for anything that should be quick, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The proxy's default address for clients.
pub const CLIENT: &str = "127.0.0.1:2379";

/// The peer ports of the members.
pub const PEERS: &str =
    "m0=http://127.0.0.1:12380,m1=http://127.0.0.1:22380,m2=http://127.0.0.1:32380";

/// Mounts a tmpfs over the root and boots that, in control groups of its own. It is the first
/// process of a PID namespace, so that nothing of the machine outlives it.
const BOOT: &str = r#"
set -e
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    find "$hierarchy" -depth -type d -path '*/etcd-proxy-test-*' -exec rmdir {} + 2>/dev/null || true # of earlier runs
    mkdir "$hierarchy/$3" && echo 0 >"$hierarchy/$3/cgroup.procs"
done
mount -t tmpfs tmpfs "$1/run"
mkdir "$1/run/upper" "$1/run/work" "$1/run/merged"
mount -t overlay overlay -o "lowerdir=$1/root,upperdir=$1/run/upper,workdir=$1/run/work" "$1/run/merged"
status=133
while [ "$status" = 133 ]; do # the status of a reboot
    status=0
    systemd-nspawn --quiet --keep-unit --register=no --private-network --machine=etcd-proxy-test --hostname=machine \
        --bind-ro="$2:/packages" --directory="$1/run/merged" --boot </dev/null || status=$?
done
"#;

/// A booted machine.
pub struct Machine {
    container: Process,
    leader: u32,
    /// The end of the journal when this test began.
    cursor: String,
}

/// The output and exit status of a command.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);

/// The machine, for one test. At the start nothing of etcd or the proxy is in it.
pub struct Turn(MutexGuard<'static, Option<Machine>>);

impl std::ops::Deref for Turn {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        self.0.as_ref().expect("it was booted")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status =
                self.run("systemctl --no-pager --full --lines=0 status 'etcd-proxy.*'").out;
            eprintln!("--- the service:\n{status}{}---", self.journal());
        }
    }
}

/// Waits for this test's turn and tidies the machine. Returns `None`, with a line on standard
/// error, if there is no machine to boot: the test must then return. Panics instead if `CI` is set.
pub fn turn() -> Option<Turn> {
    let mut guard = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Err(why) = is_possible() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "no machine to boot: {why}");
        let _ = writeln!(std::io::stderr(), "skipped: no machine to boot: {why}");
        return None;
    }
    guard.get_or_insert_with(Machine::boot).tidy();
    Some(Turn(guard))
}

fn is_possible() -> Result<(), String> {
    if let Ok(why) = std::fs::read_to_string(target().join("system.missing")) {
        return Err(why.trim().to_owned());
    }
    let made = target().join("system/root.made-of").exists() && package("deb", "99.0.0").exists();
    if made { Ok(()) } else { Err("`make machine` brings it".to_owned()) }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// Returns the path of a package of this version, built by `provision`.
pub fn package(kind: &str, version: &str) -> PathBuf {
    let found = std::fs::read_dir(target().join("package")).into_iter().flatten().flatten();
    let mut paths = found.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.contains(&format!("-proxy_{version}-")) && name.ends_with(kind)
            || name.contains(&format!("-proxy-{version}-")) && name.ends_with(kind)
    });
    paths.next().unwrap_or_else(|| target().join(format!("package/no-{version}.{kind}")))
}

/// The version under test.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Machine {
    fn boot() -> Self {
        let directory = target().join("system");
        std::fs::create_dir_all(directory.join("run")).expect("a mount point");
        let mut boot = command("unshare");
        boot.args(["--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child"]);
        boot.args(["--mount-proc", "--", "sh", "-c", BOOT, "boot"]);
        boot.arg(&directory)
            .arg(target().join("package"))
            .arg(format!("etcd-proxy-test-{}", std::process::id()));
        let container = Process::start("the machine", boot);
        let mut machine = Self { container, leader: 0, cursor: String::new() };
        machine.find_leader();
        machine.wait_for("multi-user.target", || machine.has_booted());
        machine
    }

    /// Restarts the machine and waits until it has reached multi-user.target again. Returns how
    /// long that took.
    pub fn reboot(turn: &mut Turn) -> Duration {
        let machine = turn.0.as_mut().expect("it was booted");
        let before = machine.leader;
        let begin = Instant::now();
        machine.run("systemctl --no-block reboot");
        while Path::new(&format!("/proc/{before}/root/etc")).exists() {
            assert!(begin.elapsed() < PATIENCE, "the machine does not go down");
            std::thread::sleep(Duration::from_millis(50));
        }
        machine.find_leader();
        machine.wait_for("multi-user.target", || machine.has_booted());
        begin.elapsed()
    }

    fn has_booted(&self) -> bool {
        self.run("systemctl is-active multi-user.target").status == 0
    }

    /// Finds the container's first process. It is a child of systemd-nspawn, which is a child of
    /// the shell that boots the machine, which is a child of the process that made the namespaces.
    fn find_leader(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shells = children(self.container.pid());
            let inside = shells.into_iter().flat_map(children).flat_map(children);
            let is_first = |pid: &u32| {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
                name.is_ok_and(|name| name.trim() == "systemd")
            };
            if let Some(first) = inside.into_iter().find(is_first) {
                self.leader = first;
                return;
            }
            assert!(self.container.ended().is_none(), "not booted: {}", self.container.tail());
            assert!(Instant::now() < deadline, "no first process: {}", self.container.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a shell command in the machine.
    pub fn run(&self, line: &str) -> Said {
        let mut nsenter = command("nsenter");
        nsenter.args(["--all", "--target", &self.leader.to_string(), "--", "env", "-i"]);
        nsenter.args([
            "PATH=/usr/sbin:/usr/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        nsenter.args(["sh", "-c", line]);
        let output = output(nsenter);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code().unwrap_or(-1);
        Said { status, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a shell command that must succeed, and returns its standard output, trimmed.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.status, 0, "`{line}` said:\n{}{}", said.out, said.err);
        said.out.trim().to_owned()
    }

    /// Runs a shell command that must fail, and returns its whole output.
    #[track_caller]
    pub fn fails(&self, line: &str) -> String {
        let said = self.run(line);
        assert_ne!(said.status, 0, "`{line}` succeeded and said:\n{}{}", said.out, said.err);
        said.out + &said.err
    }

    /// Writes a file in place, as some editors do.
    pub fn write(&self, path: &str, text: &str) {
        let outside = format!("/proc/{}/root{path}", self.leader);
        std::fs::create_dir_all(Path::new(&outside).parent().expect("a directory")).expect(path);
        std::fs::write(outside, text).expect(path);
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Moves this thread, and all threads that it starts later, into the machine's network
    /// namespace.
    pub fn enter_network(&self) {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.leader)).expect("netns");
        setns(network, CloneFlags::CLONE_NEWNET).expect("the machine's network");
    }

    /// Removes everything that a test may have left.
    fn tidy(&mut self) {
        self.ok(
            "umount -q /var/lib/etcd-proxy; umount -q /etc; \
             systemctl stop etcd-proxy.socket etcd-proxy.service 'member-*' etcd.service 2>/dev/null; \
             dpkg --purge etcd-proxy >/dev/null 2>&1; rpm --erase --force-debian etcd-proxy >/dev/null 2>&1; \
             rm -rf /etc/systemd/system/etcd-proxy.* /etc/systemd/system.conf.d /etc/systemd/system/*.wants/etcd-proxy.* \
                    /etc/etcd-proxy.toml* /etc/default/etcd-proxy* /var/lib/etcd-proxy /var/lib/members /var/lib/etcd/* /run/etcd-proxy; \
             systemctl daemon-reload && systemctl reset-failed",
        );
        let last = self.ok("journalctl --no-pager --lines=0 --show-cursor");
        self.cursor = last.rsplit("cursor: ").next().unwrap_or_default().to_owned();
    }

    /// Installs the package of this commit. The service is started, but not waited for.
    pub fn install(&self) {
        self.ok(&format!("dpkg --install {}", inside(&package("deb", VERSION))));
    }

    /// Starts a cluster of three members, installs the package with these settings, and waits until
    /// the service is active.
    pub fn install_before_a_cluster(&self, settings: &str) {
        self.start_members();
        self.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\n{settings}"));
        self.ok(&format!("dpkg --force-confold --install {}", inside(&package("deb", VERSION))));
        self.wait_until_active();
    }

    /// Starts three members as units and waits until all have joined.
    pub fn start_members(&self) {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let start = STARTS.fetch_add(1, Relaxed);
        for number in 0..3 {
            let (name, port) = (format!("m{number}"), number + 1);
            self.ok(&format!(
                "systemd-run --quiet --collect --no-block --service-type=notify --unit=member-{number}-{start} --property=TimeoutStartSec=60s \
                 etcd --name={name} --data-dir=/var/lib/members/{name} --enable-v2 --initial-cluster={PEERS} \
                 --listen-peer-urls=http://127.0.0.1:{port}2380 --initial-advertise-peer-urls=http://127.0.0.1:{port}2380 \
                 --listen-client-urls=http://127.0.0.1:{port}2379 --advertise-client-urls=http://127.0.0.1:{port}2379"
            ));
        }
        self.wait_for("three members", || {
            self.run(&format!(
                "systemctl is-active member-0-{start} member-1-{start} member-2-{start}"
            ))
            .status
                == 0
        });
    }

    /// Waits until the service is active.
    #[track_caller]
    pub fn wait_until_active(&self) {
        self.wait_for("the service is active", || self.state() == "active");
    }

    /// Returns the state of the service as systemd calls it: `active`, `activating`, `failed`, ...
    pub fn state(&self) -> String {
        self.run("systemctl is-active etcd-proxy.service").out.trim().to_owned()
    }

    /// Returns a property of the service.
    pub fn property(&self, name: &str) -> String {
        self.ok(&format!("systemctl show --property={name} --value etcd-proxy.service"))
    }

    /// Returns the service's messages in the journal since the beginning of the test.
    pub fn journal(&self) -> String {
        self.run(&format!(
            "journalctl --no-pager --output=short-precise --unit=etcd-proxy.service --after-cursor='{}'",
            self.cursor
        ))
        .out
    }

    /// Returns the PID, outside the machine, of a process or thread of the service.
    pub fn outside_pid(&self, inside: &str) -> nix::unistd::Pid {
        let is_it = |status: &str| {
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().next_back() == Some(inside))
        };
        let namespace = |pid: &Path| std::fs::read_link(pid.join("ns/pid")).ok();
        let ours = namespace(Path::new(&format!("/proc/{}", self.leader)));
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        for process in processes.filter(|process| namespace(&process.path()) == ours) {
            for task in
                std::fs::read_dir(process.path().join("task")).into_iter().flatten().flatten()
            {
                let status = std::fs::read_to_string(task.path().join("status"));
                if status.is_ok_and(|status| is_it(&status)) {
                    let id = task.file_name().to_string_lossy().parse().expect("a number");
                    return nix::unistd::Pid::from_raw(id);
                }
            }
        }
        panic!("no thread {inside}")
    }

    /// Runs etcdctl (v3) against the proxy.
    pub fn etcdctl(&self, arguments: &str) -> Said {
        self.run(&format!("ETCDCTL_API=3 etcdctl --command-timeout=5s {arguments}"))
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Returns the path in the machine of a file in `target/package`.
pub fn inside(package: &Path) -> String {
    let name = package.file_name().expect("a file");
    format!("/packages/{}", name.to_string_lossy())
}
