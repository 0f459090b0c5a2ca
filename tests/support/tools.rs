//! The programs other than etcd that `tests/etcd/provision-discovery` puts below
//! `target/etcd/tools`.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Returns the path of a tool. If it is not installed, prints that to the real standard error, or
/// panics if `CI` is set.
pub fn find(name: &str) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd/tools");
    let path = directory.join(name);
    if path.exists() {
        return Some(path);
    }
    let why = std::fs::read_to_string(directory.join(format!("{name}.missing")))
        .unwrap_or_else(|_| "`make generations` brings it".to_owned());
    skip(&format!("{name} is not here: {}", why.trim()));
    None
}

/// Returns whether this process is root and so may make mount namespaces and listen on port 53. If
/// it is not, reports that as [`find`] does.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("a resolver of one's own needs root");
    }
    root
}

fn skip(text: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{text}");
    // libtest would capture the output of `eprintln!` with that of a passing test.
    let _ = writeln!(std::io::stderr(), "skipping a test: {text}");
}
