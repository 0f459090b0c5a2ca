//! Settings and other files whose reading may block: pipes, devices, mounts that hang.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::support::members::{Members, start};
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, eventually, http1, port, process, run, shared};

/// A settings file that can be replaced by a link.
struct Settings {
    scratch: Scratch,
    text: String,
}

impl Settings {
    fn new(members: &Members, listen: &str) -> Self {
        let peers = members.initial_cluster();
        let text = format!(
            "initial-cluster = \"{peers}\"\nlisten-client-urls = \"http://{listen}\"\nhealth-interval = \"0s\"\n"
        );
        let settings = Self { scratch: Scratch::new("blocked"), text };
        std::fs::create_dir(settings.hung()).unwrap();
        settings.write("");
        settings
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("etcd-proxy.toml")
    }

    /// The directory whose file system never answers.
    fn hung(&self) -> PathBuf {
        self.scratch.join("hung")
    }

    fn write(&self, more: &str) {
        let new = self.scratch.join("new");
        std::fs::write(&new, format!("{}{more}", self.text)).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn link_to(&self, target: &Path) {
        let new = self.scratch.join("new");
        symlink(target, &new).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn plan(&self) -> crate::support::proxy::Plan {
        let path = self.path().display().to_string();
        Proxy::with_peers("").bare().arguments(&["--config-file", &path, "--data-dir", "data"])
    }
}

/// Runs a command against the daemon. Returns its exit status and standard error.
fn command(proxy: &Proxy, arguments: &[&str]) -> (i32, String) {
    let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
    let admin = proxy.directory().join("admin.sock");
    command.args(arguments).arg("--admin-socket").arg(admin);
    let output = process::output(command);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn settings_that_are_no_file_are_refused_and_the_old_ones_serve_on() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let listen = format!("127.0.0.1:{}", port::free());
        let settings = Settings::new(&members, &listen);
        let proxy = start(settings.plan()).await;
        let fifo = settings.scratch.join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let kmsg = Path::new("/proc/kmsg");
        for target in [&fifo, Path::new("/dev/zero"), Path::new("/dev/full"), kmsg] {
            settings.link_to(target);
            let (code, said) = command(&proxy, &["reload"]);
            assert_eq!(code, 78, "{}: {said}", target.display());
            let path = settings.path().display().to_string();
            let wanted = format!("{path}: the settings file is not a regular file");
            // /proc/kmsg may be readable at once, or not at all for this user.
            assert!(said.contains(&wanted) || target == kmsg, "{said}");
            let (code, said) = command(&proxy, &["check", "--config-file", &path]);
            assert_eq!(code, 78, "{said}");
            assert_eq!(http1::get(&listen, "/proxy/status").await.status, 200);
        }
        let more = format!("trusted-ca-file = \"{}\"\n", fifo.display());
        settings.write(&more);
        let (code, said) = command(&proxy, &["reload"]);
        assert!(code == 78 && said.contains("not a regular file"), "{said}");
        settings.write("");
        assert_eq!(command(&proxy, &["reload"]).0, 0);
    });
}

#[test]
fn a_mount_that_hangs_is_named_and_a_stop_does_not_wait_for_it() {
    let _machine = shared();
    if !geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: no root, or no FUSE");
        return;
    }
    run(async {
        let members = Members::start(1).await;
        let listen = format!("127.0.0.1:{}", port::free());
        let settings = Settings::new(&members, &listen);
        let proxy = start(settings.plan().hung_mount(&settings.hung())).await;
        // First a TLS file on the mount that hangs.
        let ca = settings.hung().join("ca.pem").display().to_string();
        settings.write(&format!("trusted-ca-file = \"{ca}\"\n"));
        let (code, said) = command(&proxy, &["reload"]);
        assert_eq!(code, 78, "{said}");
        assert!(
            said.contains(&format!("{ca} cannot be read: its file system does not answer")),
            "{said}"
        );
        assert_eq!(http1::get(&listen, "/proxy/status").await.status, 200);
        // Then the settings file itself. The daemon notices the change by itself, without a
        // command.
        settings.link_to(&settings.hung().join("etcd-proxy.toml"));
        let refused = "the settings file cannot be read: its file system does not answer";
        eventually("a refusal", PATIENCE, async || {
            proxy.process.lines().iter().any(|line| line.contains(refused))
        })
        .await;
        for _ in 0..3 {
            proxy.process.signal(Signal::SIGHUP);
        }
        let status = command(&proxy, &["status", "-w", "json"]);
        assert_eq!(status.0, 4, "{}", status.1);
        let ended = proxy.terminate(PATIENCE).expect("it ends");
        assert!(ended.success(), "{ended}");
    });
}
