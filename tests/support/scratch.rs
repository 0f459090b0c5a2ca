//! Directories for data, sockets and settings that are removed when the test process ends, even if
//! it is killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The directory of this test process. A small shell outlives the process and removes it: the shell
/// waits for EOF on its standard input, whose other end only this process holds.
static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("etcd-proxy-test-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory for the tests");
    let wait_and_sweep = "trap '' INT TERM HUP; cat >/dev/null; for i in 1 2 3 4 5; do rm -rf \"$0\" && exit; sleep 1; done";
    let mut broom = Command::new("sh");
    broom.args(["-c", wait_and_sweep]).arg(&path);
    broom.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut broom, 0);
    #[expect(clippy::zombie_processes, reason = "it outlives this process")]
    let mut broom = broom.spawn().expect("sh");
    std::mem::forget(broom.stdin.take());
    path
});

/// A directory for one fixture; dropping it removes it.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty directory; the name is only for people who look at it.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = RUN.join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path below it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
