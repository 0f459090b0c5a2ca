//! A scripted systemctl, served by a thread of the test instead of systemd. It stops the daemon,
//! starts a real etcd with the variables of its environment file, and lets a test interfere before
//! any command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_proxy::config::environment_file::{Systemd, parse};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;
use super::generation::Generation;
use super::notify::Notify;
use super::process::{self, Process};
use super::proxy::Proxy;
use super::scratch::Scratch;

/// How a test interferes with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The command fails and changes nothing.
    Fail,
    /// The process that ran systemctl is killed, and the command changes nothing.
    Kill,
    /// The command is executed, and the process that ran systemctl is killed before it gets the
    /// result.
    DoAndKill,
    /// The directory is replaced by a file, so that it can be neither removed nor written to. The
    /// command is then executed.
    Spoil(PathBuf),
}

/// A host: its services and their files.
pub struct Host {
    /// The program that stands in for systemctl.
    pub systemctl: PathBuf,
    /// etcd's environment file.
    pub environment_file: PathBuf,
    /// etcd's data directory.
    pub data_dir: PathBuf,
    inner: Arc<Inner>,
}

struct Inner {
    generation: Option<Generation>,
    scratch: Scratch,
    proxy: Mutex<Option<Proxy>>,
    /// Whether etcd-proxy.socket listens; `None` if it is not installed.
    socket: Mutex<Option<bool>>,
    /// Further properties of etcd's unit, as `systemctl show` prints them.
    more: Mutex<String>,
    etcd: Mutex<Option<Process>>,
    /// A verb, and the interference at its next use.
    hooks: Mutex<Vec<(&'static str, Hook)>>,
    asked: Mutex<Vec<String>>,
}

/// Writes a request file for the thread and waits for the answer file.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$PPID $*" >.new.$$ && mv .new.$$ request.$$
until [ -e answer.$$ ]; do sleep 0.01; done
tail -n +2 answer.$$
[ "$(head -n 1 answer.$$)" = 0 ] || { echo "Job failed. See journalctl." >&2; exit 1; }
"#;

impl Host {
    /// Makes a host on which `proxy` runs. It has an etcd of this version installed, or with `None`
    /// a unit that starts nothing.
    pub fn new(generation: Option<Generation>, proxy: Proxy) -> Self {
        let scratch = Scratch::new("host");
        let systemctl = scratch.join("systemctl");
        fs::write(&systemctl, SCRIPT).expect("a script");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::create_dir(scratch.join("default")).expect("a directory");
        let (environment_file, data_dir) = (scratch.join("default/etcd"), scratch.join("var"));
        fs::write(
            &environment_file,
            "# etcd\nETCD_LOG_LEVEL=warn\nETCD_LOG_OUTPUTS=stderr\nETCD_LOGGER=zap\n",
        )
        .expect("a file");
        let inner = Arc::new(Inner {
            generation,
            scratch,
            proxy: Mutex::new(Some(proxy)),
            socket: Mutex::default(),
            more: Mutex::default(),
            etcd: Mutex::default(),
            hooks: Mutex::default(),
            asked: Mutex::default(),
        });
        let served = Arc::downgrade(&inner);
        std::thread::spawn(move || {
            while let Some(inner) = served.upgrade() {
                inner.serve();
                drop(inner);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { systemctl, environment_file, data_dir, inner }
    }

    /// Runs a hook at the next use of a verb: `show`, `disable`, `enable`.
    pub fn hook(&self, verb: &'static str, hook: Hook) {
        self.inner.hooks.lock().expect("hooks").push((verb, hook));
    }

    /// Adds a line to what `systemctl show` prints of etcd's unit.
    pub fn show_of_etcd(&self, line: &str) {
        *self.inner.more.lock().expect("more") = format!("{line}\n");
    }

    /// Enables etcd-proxy.socket.
    pub fn enable_socket(&self) {
        *self.inner.socket.lock().expect("socket") = Some(true);
    }

    /// Returns all systemctl command lines so far, except those of `show`.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.inner.asked.lock().expect("asked").clone();
        asked.into_iter().filter(|line| !line.starts_with("show")).collect()
    }

    /// Starts etcd without systemctl.
    pub fn start_etcd(&self) {
        self.inner.start_etcd();
    }

    /// Returns whether the proxy runs.
    pub fn runs_proxy(&self) -> bool {
        self.inner.proxy.lock().expect("proxy").is_some()
    }

    /// Returns etcd's last log lines, for a failing test's message.
    pub fn etcd_said(&self) -> String {
        let etcd = self.inner.etcd.lock().expect("etcd");
        etcd.as_ref().map(Process::tail).unwrap_or_default()
    }

    /// Returns the path of a file in the host's scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.inner.scratch.join(name)
    }
}

impl Inner {
    fn serve(&self) {
        let Ok(entries) = fs::read_dir(self.scratch.path()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(number) = name.strip_prefix("request.") else { continue };
            let request = fs::read_to_string(entry.path()).expect("a request");
            let _ = fs::remove_file(entry.path());
            let (pid, line) = request.trim().split_once(' ').expect("a process ID and a command");
            let (code, text) = self.answer(line, pid.parse().expect("a process ID"));
            let made = self.scratch.join(&format!(".answer.{number}"));
            fs::write(&made, format!("{code}\n{text}")).expect("an answer");
            fs::rename(made, self.scratch.join(&format!("answer.{number}"))).expect("an answer");
        }
    }

    fn answer(&self, line: &str, asker: i32) -> (u8, String) {
        self.asked.lock().expect("asked").push(line.to_owned());
        let verb = line.split(' ').next().unwrap_or_default();
        let hook = {
            let mut hooks = self.hooks.lock().expect("hooks");
            let at = hooks.iter().position(|(on, _)| *on == verb);
            at.map(|at| hooks.remove(at).1)
        };
        let end = || {
            let _ = kill(Pid::from_raw(asker), Signal::SIGKILL);
        };
        match hook {
            Some(Hook::Fail) => return (1, String::new()),
            Some(Hook::Kill) => {
                end();
                return (1, String::new());
            }
            Some(Hook::Spoil(directory)) => spoil(&directory),
            Some(Hook::DoAndKill) => {
                let answer = self.carry_out(line);
                end();
                return answer;
            }
            None => {}
        }
        self.carry_out(line)
    }

    fn carry_out(&self, line: &str) -> (u8, String) {
        let unit = line.rsplit(' ').next().unwrap_or_default();
        match (line.split(' ').next().unwrap_or_default(), unit) {
            ("show", "etcd.service") => (0, self.show_etcd()),
            ("show", "etcd-proxy.service") => {
                let there = self.socket.lock().expect("socket").is_some();
                let trigger = if there { "TriggeredBy=etcd-proxy.socket\n" } else { "" };
                (0, state(self.proxy.lock().expect("proxy").is_some()) + trigger)
            }
            ("show", "etcd-proxy.socket") => {
                (0, state(self.socket.lock().expect("socket").unwrap_or(false)))
            }
            ("disable", "etcd-proxy.socket") => {
                *self.socket.lock().expect("socket") = Some(false);
                (0, String::new())
            }
            ("show", _) => (0, "LoadState=not-found\nActiveState=inactive\n".to_owned()),
            ("disable", "etcd-proxy.service") => {
                if let Some(proxy) = self.proxy.lock().expect("proxy").take() {
                    proxy.terminate(PATIENCE);
                }
                (0, String::new())
            }
            ("enable", "etcd.service") => (self.start_etcd(), String::new()),
            _ => (1, String::new()),
        }
    }

    fn show_etcd(&self) -> String {
        format!(
            "{}{}Environment=DAEMON_ARGS= ETCD_NAME=host ETCD_DATA_DIR={}\nEnvironmentFiles={} (ignore_errors=yes)\n",
            state(
                self.etcd.lock().expect("etcd").as_ref().is_some_and(|etcd| etcd.ended().is_none())
            ),
            self.more.lock().expect("more"),
            self.scratch.join("var").display(),
            self.scratch.join("default/etcd").display()
        )
    }

    /// Starts etcd and waits for `READY=1`, as for a unit of `Type=notify`. Returns systemctl's
    /// exit status.
    fn start_etcd(&self) -> u8 {
        let mut running = self.etcd.lock().expect("etcd");
        if running.as_ref().is_some_and(|etcd| etcd.ended().is_none()) {
            return 0;
        }
        let Some(generation) = self.generation else {
            *running = Some(Process::start("a unit", sleeping()));
            return 0;
        };
        let sockets = self.scratch.join(&format!("start.{}", fastrand::u32(..)));
        fs::create_dir(&sockets).expect("a directory");
        let notify = Notify::listen(&sockets);
        let mut command = process::command(generation.etcd());
        command.current_dir(self.scratch.path()).env("NOTIFY_SOCKET", notify.path());
        command.env("ETCD_DATA_DIR", self.scratch.join("var"));
        command.envs(variables(&self.scratch.join("default/etcd")));
        *running = Some(Process::start("etcd.service", command));
        if notify.wait_for("READY=1", PATIENCE).is_some() { 0 } else { 1 }
    }
}

fn sleeping() -> std::process::Command {
    let mut command = process::command("sleep");
    command.arg("60");
    command
}

fn state(active: bool) -> String {
    let state = if active { "active" } else { "inactive" };
    format!("LoadState=loaded\nActiveState={state}\n")
}

fn spoil(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::write(directory, "in the way").expect("a file in its place");
}

/// Reads the variables of an environment file.
pub fn variables(file: &Path) -> Vec<(String, String)> {
    let text = fs::read(file).unwrap_or_default();
    let read = parse(&text, Systemd::Since254).expect("systemd would use it");
    read.assignments.into_iter().map(|it| (it.name, it.value)).collect()
}
