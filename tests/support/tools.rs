//! The programs beside etcd that `tests/etcd/provision-discovery` puts below `target/etcd/tools`.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a tool is. If it is not there, says so on the real standard error, or fails when `CI` is
/// set.
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

/// Whether this process may make mount namespaces and listen on port 53. If not, says so as
/// [`find`] does.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("a resolver of one's own needs root");
    }
    root
}

fn skip(text: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{text}");
    // The macros would be captured with a passing test's output.
    let _ = writeln!(std::io::stderr(), "skipping a test: {text}");
}
