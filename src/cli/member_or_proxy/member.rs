//! The flags and variables for etcd: those that this program was started with, as far as they are
//! etcd's.
//!
//! Flags stay flags and variables stay variables. Settings from the file become variables: etcd
//! cannot read that file, and a secret must not appear on a command line. etcd refuses a flag
//! together with the variable of the same name, so the variable is removed. Settings that are only
//! for a proxy, and those that etcd would refuse as a second source of members, are left out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use crate::config::{Discovery, Inputs, Loaded, Location, MemberSettings, PeerSource};

/// Settings not passed to etcd: the file is not in etcd's format, and etcd up to 3.5 would fall
/// back to a proxy of its own.
const NOT_ETCDS: [&str; 2] = ["config-file", "discovery-fallback"];
/// Member sources that discovery takes precedence over; etcd accepts only one source.
const LATER_SOURCES: [&str; 3] = ["initial-cluster", "discovery-srv", "discovery-srv-name"];
/// Variables that systemd sets for this program alone.
const OURS: [&str; 5] =
    ["WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The etcd command that replaces this process.
pub(super) struct Member(Command);

impl Member {
    /// Executes etcd. Returns only on failure, with the error.
    pub(super) fn exec(mut self) -> std::io::Error {
        std::os::unix::process::CommandExt::exec(&mut self.0)
    }
}

/// Returns the member's command.
pub(super) fn command(inputs: &Inputs, loaded: &Loaded, settings: &MemberSettings) -> Member {
    let (flags, variables) = split(inputs, loaded);
    let mut command = Command::new(&settings.binary);
    command.args(flags).env_clear().envs(variables).current_dir(&inputs.cwd);
    Member(command)
}

/// Returns `wal-dir` from the source with the highest precedence.
pub(super) fn wal_dir(inputs: &Inputs, loaded: &Loaded) -> Option<PathBuf> {
    let written = loaded.member_only.iter().rev().find(|setting| setting.name == "wal-dir")?;
    Some(inputs.cwd.join(&written.value))
}

/// Returns etcd's flags and its whole environment.
fn split(inputs: &Inputs, loaded: &Loaded) -> (Vec<String>, BTreeMap<OsString, OsString>) {
    let mut flags = Vec::new();
    let mut variables: BTreeMap<OsString, OsString> = inputs
        .env
        .iter()
        .filter(|(name, _)| !OURS.iter().any(|ours| name == ours))
        .cloned()
        .collect();
    let mut put = |name: &str, value: String, is_flag: bool| {
        if is_flag {
            variables.remove(OsStr::new(&variable(name)));
            flags.push(format!("--{name}={value}"));
        } else {
            variables.insert(variable(name).into(), value.into());
        }
    };
    for effective in loaded.origins.iter().filter(|effective| is_etcds(loaded, effective.setting)) {
        let name = effective.setting.name;
        match effective.location {
            Location::Default | Location::Variable(_) | Location::Line(..) => {}
            Location::Flag(_) => put(name, loaded.origins.written(name), true),
            Location::File(_) | Location::Span(..) => {
                put(name, loaded.origins.written(name), false)
            }
        }
    }
    for setting in &loaded.member_only {
        put(&setting.name, setting.value.clone(), setting.is_flag);
    }
    if !flags.iter().any(|flag| flag.starts_with("--data-dir=")) {
        let data_dir = loaded.settings.data_dir.clone();
        variables.insert("ETCD_DATA_DIR".into(), data_dir.into());
    }
    let ours = crate::config::schema::all().filter(|setting| !is_etcds(loaded, setting));
    for setting in ours {
        variables.remove(OsStr::new(&setting.variable()));
    }
    if matches!(&loaded.settings.peers, PeerSource::Discovery(Discovery::V2(_))) {
        variables.insert("ETCD_DISCOVERY_FALLBACK".into(), "exit".into());
    }
    (flags, variables)
}

/// Returns whether the setting is passed to etcd.
fn is_etcds(loaded: &Loaded, setting: &crate::config::schema::Setting) -> bool {
    let name = setting.name;
    let by_v2 = matches!(&loaded.settings.peers, PeerSource::Discovery(Discovery::V2(_)));
    let other_registry = by_v2 && matches!(name, "discovery-token" | "discovery-endpoints");
    let is_proxys = name == "proxy" || name.starts_with("proxy-");
    !setting.ours
        && !is_proxys
        && !other_registry
        && !NOT_ETCDS.contains(&name)
        && !LATER_SOURCES.contains(&name)
}

fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn read(file: &str, env: &[(&str, &str)], args: &str) -> (Inputs, Loaded) {
        let directory = tempfile::tempdir().unwrap();
        let default_file = directory.path().join("etcd-proxy.toml");
        std::fs::write(&default_file, file).unwrap();
        let inputs = Inputs {
            args: args.split_whitespace().map(OsString::from).collect(),
            env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: "/w".into(),
            default_file,
        };
        let loaded = load(&inputs).unwrap_or_else(|problems| panic!("{problems:?}"));
        (inputs, loaded)
    }

    fn split(file: &str, env: &[(&str, &str)], args: &str) -> (Vec<String>, Vec<String>) {
        let (inputs, loaded) = read(file, env, args);
        let (flags, variables) = super::split(&inputs, &loaded);
        let text = |text: OsString| text.into_string().unwrap();
        let pair = |(name, value)| format!("{}={}", text(name), text(value));
        (flags, variables.into_iter().map(pair).collect())
    }

    #[test]
    fn flags_stay_flags_and_the_file_becomes_variables() {
        let (flags, variables) = split(
            "proxy = \"off\"\nname = \"n1\"\nbalance = \"p2c\"\nlisten-peer-urls = [\"http://10.0.0.1:2380\"]\n\
             snapshot-count = 1000\n",
            &[
                ("ETCD_ENABLE_V2", "true"),
                ("PATH", "/bin"),
                ("ETCD_WORKERS", "3"),
                ("WATCHDOG_USEC", "1"),
            ],
            "--discovery http://d/t --initial-advertise-peer-urls=http://10.0.0.1:2380 --heartbeat-interval 200 \
             --pre-vote --data-dir /d",
        );
        assert_eq!(
            flags,
            [
                "--initial-advertise-peer-urls=http://10.0.0.1:2380",
                "--data-dir=/d",
                "--discovery=http://d/t",
                "--heartbeat-interval=200",
                "--pre-vote=true",
            ]
        );
        assert_eq!(
            variables,
            [
                "ETCD_DISCOVERY_FALLBACK=exit",
                "ETCD_ENABLE_V2=true",
                "ETCD_LISTEN_PEER_URLS=http://10.0.0.1:2380",
                "ETCD_NAME=n1",
                "ETCD_SNAPSHOT_COUNT=1000",
                "PATH=/bin",
            ]
        );
    }

    #[test]
    fn the_file_yields_to_variables_and_these_to_flags() {
        let file = "proxy = \"off\"\ndiscovery = \"http://d/t\"\nsnapshot-count = 1\nwal-dir = \"/file\"\nquota-backend-bytes = 1\n";
        let env = [("ETCD_SNAPSHOT_COUNT", "2"), ("ETCD_WAL_DIR", "/env"), ("ETCD_DATA_DIR", "/d")];
        let member_only = |(_, variables): (Vec<String>, Vec<String>)| -> Vec<String> {
            let told = |line: &String| !line.contains("DISCOVERY") && !line.contains("DATA");
            variables.into_iter().filter(told).collect()
        };
        let (flags, variables) = split(file, &env, "");
        assert!(flags.is_empty(), "{flags:?}");
        assert_eq!(
            member_only((flags, variables)),
            ["ETCD_QUOTA_BACKEND_BYTES=1", "ETCD_SNAPSHOT_COUNT=2", "ETCD_WAL_DIR=/env"]
        );
        let (flags, variables) = split(file, &env, "--snapshot-count 3 --wal-dir /flag");
        assert_eq!(flags, ["--snapshot-count=3", "--wal-dir=/flag"]);
        assert_eq!(member_only((flags, variables)), ["ETCD_QUOTA_BACKEND_BYTES=1"]);
        for (args, winner) in [("", "/env"), ("--wal-dir /flag", "/flag")] {
            let (inputs, loaded) = read(file, &env, args);
            assert_eq!(wal_dir(&inputs, &loaded), Some(winner.into()));
        }
    }

    #[test]
    fn a_secret_goes_by_the_environment_and_nothing_is_said_twice() {
        let (flags, variables) = split(
            "discovery-token = \"t\"\ndiscovery-endpoints = \"http://r:2379\"\ndiscovery-user = \"u\"\n\
             discovery-password = \"s3cret\"\ninitial-cluster = \"http://a:2380\"\n",
            &[("ETCD_NAME", "env"), ("ETCD_PROXY", "on"), ("ETCD_INITIAL_CLUSTER", "x=http://b:1")],
            "--proxy off --name flag",
        );
        assert_eq!(flags, ["--name=flag"]);
        assert_eq!(
            variables,
            [
                "ETCD_DATA_DIR=/w/flag.etcd",
                "ETCD_DISCOVERY_ENDPOINTS=http://r:2379",
                "ETCD_DISCOVERY_PASSWORD=s3cret",
                "ETCD_DISCOVERY_TOKEN=t",
                "ETCD_DISCOVERY_USER=u",
            ]
        );
    }
}
