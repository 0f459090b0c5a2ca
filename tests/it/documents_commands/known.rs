//! The known commands and names: those of this program from its `help`, those of other programs
//! from the tests that run them.

use std::collections::HashMap;
use std::process::{Command, Output};
use std::sync::LazyLock;

use super::text::read;

/// Commands of other programs in the documents, and where a test or script runs them: the words
/// they begin with, the file, and the text to find in it.
pub(super) const RUN_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("apt install", "tests/system/packages.rs", "apt-get install -y {}"),
    ("echo ETCD_INITIAL_CLUSTER=", "tests/system/commands.rs", "echo ETCD_INITIAL_CLUSTER="),
    ("systemctl restart etcd-proxy.socket", "tests/system/sockets.rs", "restart etcd-proxy.socket"),
    ("systemctl restart etcd-proxy", "tests/system/commands.rs", "systemctl restart etcd-proxy"),
    ("systemctl reload etcd-proxy", "tests/system/sockets.rs", "systemctl reload etcd-proxy"),
    ("systemctl status", "tests/system/start.rs", "systemctl status --no-pager --full etcd-proxy"),
    ("systemctl stop", "tests/system/sockets.rs", "systemctl stop etcd-proxy"),
    ("journalctl -u etcd-proxy", "tests/system/start.rs", "-u etcd-proxy.service"),
    (
        "curl --silent --fail http://127.0.0.1:2379/proxy/health",
        "tests/it/pages.rs",
        "/proxy/health",
    ),
    ("etcdctl put", "tests/etcd/command_line.rs", r#"["put", "old", "works"]"#),
    ("etcdctl get", "tests/etcd/command_line.rs", r#"["get", "--print-value-only", "old"]"#),
    ("etcdctl set", "tests/etcd/v2.rs", r#"["set", "/v2/a", "one"]"#),
    ("sed -i 's/^proxy = .*/proxy = \"readonly\"/'", "tests/run/demo", r"s/^proxy = .*/proxy = "),
    ("jq", "tests/it/status_json.rs", r#"Command::new("jq")"#),
];

/// Flags of other programs that appear in the documents.
pub(super) const FLAGS_ELSEWHERE: &[&str] = &[
    "cacert",
    "cert",
    "cert-file",
    "cluster",
    "enable-v2",
    "endpoints",
    "force-confold",
    "key",
    "key-file",
    "namespace",
    "no-sync",
    "trusted-ca-file",
];

/// Words with dashes in backticks that are not settings of ours: etcd's own, and `log-output`,
/// which is accepted with a warning.
pub(super) const WORDS_ELSEWHERE: &[&str] = &["listen-peer-urls", "log-output", "snapshot-count"];

/// Variables in backticks that are not settings: fields of journal entries.
pub(super) const FIELDS: &[&str] = &["ETCD_PROXY_MEMBER"];

/// Runs the program with only this environment.
pub(super) fn program(args: &[String], env: &[(String, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-proxy"));
    command.env_clear().envs(env.iter().cloned()).args(args).output().expect("etcd-proxy")
}

/// Panics unless settings with these flags and this environment are valid and give no warning.
#[track_caller]
pub(super) fn assert_usable(place: &str, args: &[String], env: &[(String, String)]) {
    let args: Vec<_> =
        ["print-config".to_owned()].into_iter().chain(args.iter().cloned()).collect();
    let said = program(&args, env);
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaint.is_empty(), "{place}: {complaint}");
}

/// The commands and flags that `help` lists.
pub(super) struct Help {
    /// The flags of each command and whether they take a value. The daemon itself has the empty
    /// name.
    pub(super) commands: HashMap<String, HashMap<String, bool>>,
    /// The settings and whether they take a value.
    pub(super) settings: HashMap<String, bool>,
}

pub(super) static HELP: LazyLock<Help> = LazyLock::new(|| {
    let text = String::from_utf8(program(&["help".to_owned()], &[]).stdout).expect("help");
    let (usage, settings) =
        text.split_once("Usage:\n").expect("usage").1.split_once("\n\n").unwrap();
    let mut help = Help { commands: HashMap::new(), settings: HashMap::new() };
    let mut command = String::new();
    for line in usage.lines() {
        if let Some(rest) = line.strip_prefix("  etcd-proxy ") {
            let word = rest.split_whitespace().next().unwrap_or_default();
            command = if word.starts_with('[') { String::new() } else { word.to_owned() };
            help.commands.insert(command.clone(), HashMap::new());
        } else if let Some(flag) = line.strip_prefix("      -") {
            let usage = flag.split("  ").next().unwrap_or_default();
            let (name, value) = usage.split_once(' ').unwrap_or((usage, ""));
            let flags = help.commands.get_mut(&command).expect("a command before its flags");
            flags.insert(name.trim_start_matches('-').to_owned(), !value.is_empty());
        }
    }
    for line in settings.lines() {
        let Some(rest) = line.strip_prefix("  --") else { continue };
        let name = rest.split([' ', '=']).next().unwrap_or_default();
        // `help` shows a switch as `--debug=false`.
        help.settings.insert(name.to_owned(), rest[name.len()..].starts_with(' '));
    }
    assert!(help.commands.len() > 6 && help.settings.len() > 60, "the form of `help` has changed");
    help
});

/// Checks the words behind `etcd-proxy`. Returns the command and the settings among the words.
pub(super) fn own_command(place: &str, args: &[String]) -> (String, Vec<String>) {
    let mut args = args.iter().peekable();
    let word = args.next_if(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    let flags = HELP.commands.get(&word);
    let flags = flags.unwrap_or_else(|| panic!("{place}: there is no command `{word}`"));
    let mut settings = Vec::new();
    while let Some(arg) = args.next() {
        let name = arg.trim_start_matches('-').split('=').next().unwrap_or_default();
        assert!(arg.starts_with('-'), "{place}: what is `{arg}`?");
        let (is_own, takes_value) = match (flags.get(name), HELP.settings.get(name)) {
            (Some(takes_value), _) => (true, *takes_value),
            (None, Some(takes_value)) => (false, *takes_value),
            (None, None) => panic!("{place}: there is no flag `{arg}`"),
        };
        let value = if takes_value && !arg.contains('=') { args.next() } else { None };
        // The file in a document's `--config-file` need not exist.
        if !is_own && name != "config-file" {
            settings.extend([Some(arg), value].into_iter().flatten().cloned());
        }
    }
    (word, settings)
}

/// Asserts that a test or script runs a command that begins like this.
#[track_caller]
pub(super) fn assert_run_elsewhere(place: &str, words: &[String]) {
    let mut words = words.to_vec();
    if words[0] == "etcdctl" {
        let support = read("tests/support/etcdctl.rs");
        for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
            let name = flag.split('=').next().unwrap_or_default();
            assert!(support.contains(name), "{place}: no test gives etcdctl `--{name}`");
        }
        words.retain(|word| !word.starts_with("--"));
    }
    let line = words.join(" ");
    let unquoted = |words: &str| words.replace('\'', "");
    // Prose may name only the beginning, such as `systemctl reload`.
    let fits = |begin: &str| line.starts_with(begin) || begin.starts_with(&line);
    let known = RUN_ELSEWHERE.iter().find(|(begin, ..)| fits(&unquoted(begin)));
    let (_, file, text) = known.unwrap_or_else(|| panic!("{place}: no test runs `{line}`"));
    assert!(read(file).contains(text), "{place}: {file} has no `{text}` any more");
}
