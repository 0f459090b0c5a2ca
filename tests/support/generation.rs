//! The four versions of real etcd that `tests/etcd/provision` puts below `target/etcd`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A minor version of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 3.4, Debian's package; has the v2 API and the old proxy.
    V3_4,
    /// 3.5, from PyPI; has the v2 API and the old proxy.
    V3_5,
    /// 3.6, built from its Go module.
    V3_6,
    /// 3.7, built from its Go module.
    V3_7,
}

impl Generation {
    /// Returns the version as etcd writes it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_4 => "3.4",
            Self::V3_5 => "3.5",
            Self::V3_6 => "3.6",
            Self::V3_7 => "3.7",
        }
    }

    /// Returns whether its members can serve the v2 API.
    pub fn has_v2(self) -> bool {
        matches!(self, Self::V3_4 | Self::V3_5)
    }

    /// Returns the path of its server.
    pub fn etcd(self) -> PathBuf {
        self.directory().join("etcd")
    }

    /// Returns the path of its client.
    pub fn etcdctl(self) -> PathBuf {
        self.directory().join("etcdctl")
    }

    fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd").join(self.number())
    }

    /// Returns whether its programs are installed. If they are not, prints that once to the real
    /// standard error, or panics if `CI` is set.
    pub fn is_here(self) -> bool {
        static SAID: Mutex<Vec<Generation>> = Mutex::new(Vec::new());
        if self.etcd().exists() && self.etcdctl().exists() {
            return true;
        }
        let why = std::fs::read_to_string(format!("{}.missing", self.directory().display()))
            .unwrap_or_else(|_| "`make generations` brings it".to_owned());
        let text = format!("etcd {} is not here: {}", self.number(), why.trim());
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{text}");
        let mut said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !said.contains(&self) {
            said.push(self);
            // libtest would capture the output of `eprintln!` with that of a passing test.
            let _ = writeln!(std::io::stderr(), "skipping tests: {text}");
        }
        false
    }
}
