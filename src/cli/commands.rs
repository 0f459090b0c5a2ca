//! The commands and their flags, as documented by `help`, the man pages and the completions.
//!
//! Settings are flags too, of the commands that take settings; their table is
//! [`schema`](crate::config::schema).

use super::args::Command;

/// A command, as documented.
pub(super) struct About {
    /// The command.
    pub(super) command: Command,
    /// What it does, as a phrase that starts with a verb.
    pub(super) summary: &'static str,
    /// Whether it takes settings as flags.
    pub(super) settings: bool,
    /// Its own flags.
    pub(super) flags: &'static [Flag],
}

/// A flag of a command.
pub(super) struct Flag {
    /// The flag as typed, dashes included.
    pub(super) typed: &'static str,
    /// Its value.
    pub(super) value: Value,
    /// What it does.
    pub(super) doc: &'static str,
}

/// The value of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing: it is a switch.
    None,
    /// One of these.
    Words(&'static [&'static str]),
    /// Free text; the name to show for it.
    Text(&'static str),
    /// The path of a file or directory.
    Path,
}

const fn flag(typed: &'static str, value: Value, doc: &'static str) -> Flag {
    Flag { typed, value, doc }
}

const fn about(
    command: Command,
    summary: &'static str,
    settings: bool,
    flags: &'static [Flag],
) -> About {
    About { command, summary, settings, flags }
}

const WRITE_OUT: &str = "the output format";

/// Every command, in the order of `help`.
pub(super) const COMMANDS: &[About] = &[
    about(Command::Run, "runs the daemon", true, &[]),
    about(
        Command::Check,
        "reports every problem in the settings, without binding anything",
        true,
        &[
            flag(
                "--strict",
                Value::None,
                "also fail on warnings, and on an unhealthy peer or member",
            ),
            flag(
                "--connect",
                Value::None,
                "also query the peers and probe the members; exit status 69 if no member is healthy",
            ),
            flag("--format", Value::Words(&["text", "json"]), WRITE_OUT),
        ],
    ),
    about(
        Command::PrintConfig,
        "shows every effective setting and where it was written",
        true,
        &[flag("-w", Value::Words(&["table", "json"]), WRITE_OUT)],
    ),
    about(
        Command::Status,
        "shows what the running daemon does, problems first",
        false,
        &[
            flag("-w", Value::Words(&["table", "simple", "json"]), WRITE_OUT),
            flag("--quiet", Value::None, "print nothing; only set the exit status"),
        ],
    ),
    about(Command::Reload, "makes the running daemon reload, and waits for the result", false, &[]),
    about(
        Command::Promote,
        "turns this host into a member of the cluster: shows a plan, and runs it with --yes",
        true,
        &[
            flag("--name", Value::Text("NAME"), "the new member's name"),
            flag(
                "--peer-url",
                Value::Text("URL[,URL]"),
                "the URL at which the other members will reach it",
            ),
            flag("--yes", Value::None, "run the plan"),
            flag("--dry-run", Value::None, "only show the plan"),
            flag("--learner", Value::None, "join without a vote"),
            flag(
                "--user",
                Value::Text("NAME:PASSWORD"),
                "the user to log in as, if the cluster has auth enabled",
            ),
            flag(
                "--user-file",
                Value::Path,
                "a file with NAME:PASSWORD; without both flags, $ETCDCTL_USER",
            ),
            flag("--etcd-environment-file", Value::Path, "etcd's environment file"),
            flag("--etcd-data-dir", Value::Path, "etcd's data directory"),
            flag("--etcd-unit", Value::Text("UNIT"), "etcd's unit, etcd.service by default"),
            flag(
                "--proxy-unit",
                Value::Text("UNIT"),
                "the proxy's unit, etcd-proxy.service by default",
            ),
            flag("--systemctl", Value::Path, "the systemctl program to run"),
        ],
    ),
    about(Command::Version, "prints the version", false, &[]),
    about(Command::Help, "prints the commands and every setting", false, &[]),
];

impl About {
    /// Returns the usage line: `etcd-proxy check [FLAGS]`.
    pub(super) fn usage(&self) -> String {
        let word = self.command.word();
        let space = if word.is_empty() { "" } else { " " };
        let flags = if self.settings || !self.flags.is_empty() { " [FLAGS]" } else { "" };
        format!("etcd-proxy{space}{word}{flags}")
    }
}

impl Flag {
    /// Returns the flag with its value: `--format text|json`.
    pub(super) fn usage(&self) -> String {
        match self.value {
            Value::None => self.typed.to_owned(),
            Value::Words(words) => format!("{} {}", self.typed, words.join("|")),
            Value::Text(name) => format!("{} {name}", self.typed),
            Value::Path => format!("{} PATH", self.typed),
        }
    }
}
