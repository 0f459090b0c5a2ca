//! The packages as files: their checkers, the same bytes twice, and the RPM where there is only rpm.

use crate::machine::{VERSION, inside, package, turn};
use std::process::Command;

fn repository(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

#[track_caller]
fn says(mut command: Command) -> String {
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?} said:\n{text}");
    text
}

#[test]
fn lintian_finds_nothing_that_is_not_explained() {
    let Some(_machine) = turn() else { return };
    let mut lintian = repository("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(package("deb", VERSION));
    eprintln!("{}", says(lintian));
}

#[test]
fn rpmlint_finds_no_error() {
    let Some(_machine) = turn() else { return };
    let mut rpmlint = repository("rpmlint");
    rpmlint.args(["--config", "packaging/rpm/rpmlint.toml"]).arg(package("rpm", VERSION));
    let said = says(rpmlint);
    assert!(said.contains(" 0 errors"), "{said}");
}

#[test]
fn a_package_that_is_built_again_has_the_same_bytes() {
    let Some(_machine) = turn() else { return };
    let binary = std::env::var("BINARY").unwrap_or_else(|_| "target/release/etcd-proxy".into());
    for kind in ["deb", "rpm"] {
        let build = || {
            let mut build = repository(&format!("packaging/{kind}/build"));
            build.arg(&binary);
            says(build);
            std::fs::read(package(kind, VERSION)).expect("a package")
        };
        assert!(build() == build(), "{kind} differs");
    }
}

#[test]
fn the_rpm_is_installed_upgraded_and_removed_by_rpm() {
    let Some(machine) = turn() else { return };
    let rpm = |version| inside(&package("rpm", version));
    // Debian's rpm wants to be told that it is meant, and its database knows nothing of libc.
    let install = "rpm --install --force-debian --nodeps";
    machine.ok(&format!("{install} {}", rpm(VERSION)));
    machine.ok("getent passwd etcd-proxy");
    assert_eq!(
        machine.ok("rpm --query etcd-proxy"),
        "etcd-proxy-0.1.0-1.x86_64".replace("0.1.0", VERSION)
    );
    assert_eq!(machine.state(), "inactive", "nothing is started by an installation");
    machine.ok("systemctl --no-block start etcd-proxy.service");
    machine.wait_for("it is started", || machine.state() == "activating");
    let first = machine.property("MainPID");

    machine.ok(&format!("rpm --upgrade --force-debian --nodeps {}", rpm("99.0.0")));
    machine.wait_for("the new version runs", || machine.property("MainPID") != first);
    machine.ok("rpm --erase --force-debian etcd-proxy");
    machine.fails("systemctl is-active etcd-proxy.service");
    machine.fails("ls /etc/etcd-proxy.toml /usr/bin/etcd-proxy");
}
