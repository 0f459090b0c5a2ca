//! `make run` where it cannot work: it ends and prints the reason.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::scratch::Scratch;
use crate::support::{port, process, shared};

/// Runs a copy of the demonstration on a free port. Its PATH has only the programs that it needs,
/// and `etcd` if that is given. Returns its exit status and standard error.
fn demo(etcd: Option<&str>) -> (i32, String) {
    let scratch = Scratch::new("demo");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["tests/run", "target/demo", "target/etcd", "etc", "bin"] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    let script = fs::read_to_string(repository.join("tests/run/demo")).unwrap();
    let listen = format!("127.0.0.1:{}", port::free());
    fs::write(scratch.join("demo"), script.replace("127.0.0.1:2379", &listen)).unwrap();
    fs::rename(scratch.join("demo"), scratch.join("tests/run/demo")).unwrap();
    fs::copy(repository.join("etc/etcd-proxy.toml"), scratch.join("etc/etcd-proxy.toml")).unwrap();
    symlink(env!("CARGO_BIN_EXE_etcd-proxy"), scratch.join("target/demo/etcd-proxy")).unwrap();
    fs::write(scratch.join("target/etcd/3.4.missing"), "there is no mirror\n").unwrap();
    for program in [
        "cat", "dirname", "grep", "head", "mktemp", "rm", "sed", "setpriv", "setsid", "sleep",
        "ss", "tail", "tr",
    ] {
        let found = ["/usr/bin", "/bin"].map(|bin| Path::new(bin).join(program));
        let found = found.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{program}"));
        symlink(found, scratch.join("bin").join(program)).unwrap();
    }
    if let Some(etcd) = etcd {
        let path = scratch.join("bin/etcd");
        fs::write(&path, format!("#!/bin/sh\n{etcd}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = process::command("/bin/bash");
    command.arg(scratch.join("tests/run/demo")).env("PATH", scratch.join("bin"));
    command.env("TMPDIR", scratch.path());
    let output = process::output(command);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_an_etcd_it_says_why_there_is_none() {
    let (status, said) = demo(None);
    assert_eq!(status, 1);
    assert!(said.contains("make run: there is no etcd: there is no mirror; install one"), "{said}");
}

#[test]
fn an_etcd_that_is_too_old_is_named_with_its_version() {
    let (status, said) = demo(Some("echo 'etcd Version: 3.3.25'"));
    assert_eq!(status, 1);
    assert!(said.contains("bin/etcd is 3.3; 3.4 or later is needed"), "{said}");
}

#[test]
fn a_member_that_ends_ends_it_with_the_members_last_words() {
    let _machine = shared();
    let (status, said) = demo(Some(
        "[ \"$1\" = --version ] && echo 'etcd Version: 3.5.16' && exit\necho 'no disk' >&2; exit 1",
    ));
    assert_eq!(status, 1);
    // Lines of the daemon may come between, and each of the three members may be the first to end.
    let (_, behind) = said.split_once("no disk\n").unwrap_or_else(|| panic!("{said}"));
    let ended =
        |line: &str| line.starts_with("make run: the member infra") && line.ends_with(" ended");
    assert_eq!(behind.lines().filter(|line| ended(line)).count(), 1, "{said}");
}
