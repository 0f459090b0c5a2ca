//! Environment files: this program reads them as systemd does.

#[path = "../../src/config/environment_file/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use etcd_proxy::config::environment_file::{Systemd, parse};

use crate::machine::{Machine, turn};
use corpus::{CORPUS, REFUSED};

/// Returns a command line that runs `command` in a unit with this environment file.
fn unit(file: &str, command: &str) -> String {
    format!("systemd-run --quiet --wait --pipe --property=EnvironmentFile=-{file} {command}")
}

/// Returns the environment that systemd gives to a unit with each of these files.
fn environments(machine: &Machine, files: &[&[u8]]) -> Vec<BTreeMap<String, String>> {
    let mut script = String::from("mkdir -p /run/corpus\n");
    for (number, bytes) in files.iter().enumerate() {
        let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        let file = format!("/run/corpus/{number}");
        let _ =
            writeln!(script, "printf '{octal}' >{file}\n{}\nprintf '\\001'", unit(&file, "env -0"));
    }
    let said = machine.run(&format!("set -e\n{script}"));
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let environments = said.out.split_terminator('\x01').map(|environment| {
        let pairs = environment.split_terminator('\0').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    });
    environments.collect()
}

#[test]
fn systemd_reads_every_file_as_we_do() {
    let Some(machine) = turn() else { return };
    let texts = CORPUS.iter().map(|(text, _)| text.as_bytes());
    // The last file is empty and shows the variables that systemd itself sets.
    let files: Vec<&[u8]> = texts.chain(REFUSED.iter().copied()).chain([&b""[..]]).collect();
    let mut found = environments(&machine, &files);
    assert_eq!(found.len(), files.len());
    let own = found.pop().expect("the empty file's");
    let said = machine.ok("systemctl --version");
    let version: u32 =
        said.split([' ', '~', '-', '.']).nth(1).and_then(|it| it.parse().ok()).expect(&said);
    let systemd = if version < 254 { Systemd::Before254 } else { Systemd::Since254 };
    let mut compared = 0;
    for (text, mut theirs) in files.iter().zip(found) {
        theirs.retain(|name, _| !own.contains_key(name));
        let ours = parse(text, systemd).map(|file| file.assignments).unwrap_or_default();
        let ours = ours.into_iter().map(|it| (it.name, it.value)).collect::<BTreeMap<_, _>>();
        assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(text));
        compared += ours.len();
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn print_config_shows_what_the_daemon_would_get() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.write(
        "/etc/default/etcd-proxy",
        "# a comment that ends in a backslash, which hides the next line until systemd 253 \\\n\
         ETCD_BALANCE=p2c\n\
         ETCD_PROXY = readonly\n\
         ETCD_INITIAL_CLUSTER=a=http://127.0.0.1:12380,\\\n  b=http://127.0.0.1:22380\n\
         ETCD_NAME='one '\"name\" # no comment\n\
         export ETCD_LOG_LEVEL=debug\n",
    );
    let settings = |said: String| {
        let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let rows = json["settings"].as_array().expect("settings").clone();
        let row = |row: serde_json::Value| (row["name"].to_string(), row["value"].to_string());
        rows.into_iter().map(row).collect::<BTreeMap<_, _>>()
    };
    let typed = settings(machine.run("etcd-proxy print-config -w json").out);
    let command = "--property=StateDirectory=etcd-proxy --property=RuntimeDirectory=etcd-proxy \
                   --property=RuntimeDirectoryPreserve=yes etcd-proxy print-config -w json";
    let started = settings(machine.ok(&unit("/etc/default/etcd-proxy", command)));
    for name in ["\"proxy\"", "\"initial-cluster\"", "\"name\"", "\"balance\"", "\"log-level\""] {
        assert_eq!(typed[name], started[name], "{name}");
    }
    assert_eq!(typed["\"proxy\""], "\"readonly\"");
}
