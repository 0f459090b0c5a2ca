//! The commands and the flags that belong to them, as `help`, the man pages and the completions
//! tell of them.
//!
//! Settings are flags as well, of the commands that take settings; those have a table of their own,
//! [`schema`](crate::config::schema).

use super::args::Command;

/// A command, as documented.
pub(super) struct About {
    /// The command.
    pub(super) command: Command,
    /// What it does, in one sentence without a subject.
    pub(super) summary: &'static str,
    /// Whether settings may follow it as flags.
    pub(super) settings: bool,
    /// Its own flags.
    pub(super) flags: &'static [Flag],
}

/// A flag of a command.
pub(super) struct Flag {
    /// How it is typed, dashes included.
    pub(super) typed: &'static str,
    /// What must follow it.
    pub(super) value: Value,
    /// What it does.
    pub(super) doc: &'static str,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing: it is a switch.
    None,
    /// One of these.
    Words(&'static [&'static str]),
    /// Something that is called this.
    Text(&'static str),
    /// A path of a file or a directory.
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

const WRITE_OUT: &str = "the form of what is printed";

/// Every command, in the order of `help`.
pub(super) const COMMANDS: &[About] = &[
    about(Command::Run, "runs the daemon", true, &[]),
    about(
        Command::Check,
        "looks for problems in the settings, all at once, without binding anything",
        true,
        &[
            flag(
                "--strict",
                Value::None,
                "fail on warnings too, and on a peer or member that is not well",
            ),
            flag(
                "--connect",
                Value::None,
                "ask the peers and probe the members as well; 69 if none is healthy",
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
            flag("--quiet", Value::None, "print nothing, the exit status tells"),
        ],
    ),
    about(Command::Reload, "makes the running daemon reload, and waits for the result", false, &[]),
    about(
        Command::Promote,
        "turns this host into a member of the cluster: shows a plan, and runs it with --yes",
        true,
        &[
            flag("--name", Value::Text("NAME"), "the new member's name"),
            flag("--peer-url", Value::Text("URL[,URL]"), "where the other members will reach it"),
            flag("--yes", Value::None, "run the plan"),
            flag("--dry-run", Value::None, "only show the plan"),
            flag("--learner", Value::None, "join without a vote"),
            flag("--user", Value::Text("NAME:PASSWORD"), "who asks, where the cluster has auth on"),
            flag("--user-file", Value::Path, "a file with that; else $ETCDCTL_USER"),
            flag("--etcd-environment-file", Value::Path, "etcd's environment file"),
            flag("--etcd-data-dir", Value::Path, "etcd's data directory"),
            flag("--etcd-unit", Value::Text("UNIT"), "etcd's unit, etcd.service when not given"),
            flag(
                "--proxy-unit",
                Value::Text("UNIT"),
                "the proxy's, etcd-proxy.service when not given",
            ),
            flag("--systemctl", Value::Path, "what is run as systemctl"),
        ],
    ),
    about(Command::Version, "prints the version", false, &[]),
    about(Command::Help, "prints the commands and every setting", false, &[]),
];

impl About {
    /// Returns how the command is called: `etcd-proxy check [FLAGS]`.
    pub(super) fn usage(&self) -> String {
        let word = self.command.word();
        let space = if word.is_empty() { "" } else { " " };
        let flags = if self.settings || !self.flags.is_empty() { " [FLAGS]" } else { "" };
        format!("etcd-proxy{space}{word}{flags}")
    }
}

impl Flag {
    /// Returns the flag with what follows it: `--format text|json`.
    pub(super) fn usage(&self) -> String {
        match self.value {
            Value::None => self.typed.to_owned(),
            Value::Words(words) => format!("{} {}", self.typed, words.join("|")),
            Value::Text(name) => format!("{} {name}", self.typed),
            Value::Path => format!("{} PATH", self.typed),
        }
    }
}
