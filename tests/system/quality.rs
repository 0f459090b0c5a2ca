//! The package files: their checkers, reproducible builds, and the RPM installed with rpm alone.

use std::process::Command;

use crate::machine::{VERSION, inside, package, turn};

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
    // Debian's rpm refuses to install without `--force-debian`, and its database does not know
    // libc.
    let install = "rpm --install --force-debian --nodeps";
    machine.ok(&format!("{install} {}", rpm(VERSION)));
    machine.ok("getent passwd etcd-proxy");
    assert_eq!(
        machine.ok("rpm --query etcd-proxy"),
        "etcd-proxy-0.1.0-1.x86_64".replace("0.1.0", VERSION)
    );
    assert_eq!(machine.state(), "inactive", "nothing is started by an installation");
    assert_eq!(machine.run("systemctl is-enabled etcd-proxy.socket").out.trim(), "disabled");
    let needs = machine.ok("rpm --query --requires etcd-proxy");
    for needed in ["libc.so.6(GLIBC_", "libgcc_s.so.1", "systemd", "shadow-utils"] {
        assert!(needs.contains(needed), "{needed} in {needs}");
    }
    machine.ok("systemctl --no-block start etcd-proxy.service");
    machine.wait_for("it is started", || machine.state() == "activating");
    let first = machine.property("MainPID");

    machine.write("/etc/etcd-proxy.toml", "proxy = \"readonly\"\n");
    machine.ok(&format!("rpm --upgrade --force-debian --nodeps {}", rpm("99.0.0")));
    machine.wait_for("the new version runs", || machine.property("MainPID") != first);
    assert_eq!(machine.ok("cat /etc/etcd-proxy.toml"), "proxy = \"readonly\"");
    assert!(machine.ok("cat /etc/etcd-proxy.toml.rpmnew").contains("a later version"));
    machine.ok("rpm --erase --force-debian etcd-proxy");
    machine.fails("systemctl is-active etcd-proxy.service");
    machine.fails("ls /etc/etcd-proxy.toml /usr/bin/etcd-proxy");
}

#[test]
fn the_packaged_binary_has_no_path_of_the_machine_that_built_it() {
    let Some(_machine) = turn() else { return };
    let mut unpack = repository("sh");
    let deb = package("deb", VERSION);
    unpack
        .args(["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -xO ./usr/bin/etcd-proxy", "sh"])
        .arg(deb);
    let binary = unpack.output().expect("dpkg-deb").stdout;
    assert!(binary.len() > 1 << 20, "{} bytes", binary.len());
    let home = std::env::var("HOME").unwrap_or_default() + "/";
    let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| home.clone() + ".cargo");
    for path in [env!("CARGO_MANIFEST_DIR"), &cargo, &home, "/.cargo/registry/"] {
        let found = binary.windows(path.len()).filter(|bytes| *bytes == path.as_bytes()).count();
        assert!(found == 0 || path.len() < 4, "{path} is in it {found} times");
    }
}

#[test]
fn the_shells_accept_their_completions() {
    let Some(_machine) = turn() else { return };
    for (shell, file) in
        [("bash", "etcd-proxy.bash"), ("zsh", "_etcd-proxy"), ("fish", "etcd-proxy.fish")]
    {
        let mut parse = repository(shell);
        parse.arg("-n").arg(format!("packaging/completions/{file}"));
        assert_eq!(says(parse), "", "{shell}");
    }
}
