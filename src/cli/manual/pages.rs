//! The man pages etcd-proxy(8) and etcd-proxy.toml(5).

use std::fmt::Write as _;

use super::words::{noun, settings};
use crate::cli::commands::{About, COMMANDS};
use crate::config::schema::{Group, Kind, Setting};

const PROGRAM: &str = "\
.SH NAME
etcd-proxy - makes an etcd cluster look like a local service
";

const DESCRIPTION: &str = "\
.SH DESCRIPTION
Applications talk to 127.0.0.1:2379, and etcd-proxy knows where the cluster is. It finds and follows the members, fails
over without sending a write twice, and carries the v2, JSON and gRPC interfaces of etcd on one port, with writes or
without. It runs in the foreground; its service is etcd-proxy.service.
.PP
Every setting of
.BR etcd-proxy.toml (5)
is also a flag, with one dash or two, and with its value after a space or an equals sign:
.BR --proxy=readonly .
A command line of etcd's own proxy works after replacing the word.
";

const PROGRAM_END: &str = "\
.SH SIGNALS
.TP
.B SIGHUP
reload the settings, as
.B etcd-proxy reload
does
.TP
.BR SIGTERM \", \" SIGINT
stop: new connections are refused (under systemd they wait for the next start), open exchanges finish within
.BR drain-timeout ;
a second one ends it at once
.SH EXIT STATUS
.TP
.B 0
fine
.TP
.B 1
anything else, such as a port that is taken
.TP
.B 3
.B status
found no running daemon
.TP
.B 4
.B status
found a problem in a daemon that serves
.TP
.B 5
.B status
found a daemon that serves nobody: no member is healthy, none is known yet, or it is stopping
.TP
.B 64
a command line that cannot be used
.TP
.B 69
.B proxy = \"off\"
with
.BR discovery-fallback \" = \" exit ,
and the cluster is full; or
.B check --connect
found no healthy member
.TP
.B 78
settings that cannot be used; or
.B check
found an address that somebody else listens on
.SH FILES
.TP
.I /etc/etcd-proxy.toml
the settings; changes are taken over by themselves
.TP
.IR /etc/default/etcd-proxy \", \" /etc/sysconfig/etcd-proxy
variables of the service; a change takes a restart. Without settings as flags,
.BR check ,
.BR print-config ,
.B status
and
.B reload
apply to the service's daemon and read these files too; their own environment wins. With settings as flags, or with
.BR ETCD_CONFIG_FILE ,
they do not
.TP
.I /run/etcd-proxy/admin.sock
where
.BR status \" and \" reload
ask
.TP
.I /var/lib/etcd-proxy/proxy/cluster
the last good member list
.TP
.I /var/lib/etcd-proxy/proxy/clientCerts
the certificate of
.B auto-tls
.SH SECURITY
The service runs as user etcd-proxy and must be able to read certificates and keys: 0640 and root:etcd-proxy is right for a
key. It sees nothing below /root and /home. The files of unix:// and unixs:// listeners are for every user of the machine,
as 127.0.0.1 is; put them into a directory that only some may enter to have it otherwise.
.SH SEE ALSO
.BR etcd-proxy.toml (5),
.BR systemctl (1),
.BR journalctl (1)
";

const FILE: &str = "\
.SH NAME
etcd-proxy.toml - settings of etcd-proxy
.SH SYNOPSIS
.I /etc/etcd-proxy.toml
.SH DESCRIPTION
A TOML file of keys and values, without tables but for
.BR initial-cluster .
A missing file is the same as an empty one. The running daemon watches it: what is changed is read, checked and built
whole, and then put in force at once, without losing a request. A file with a mistake changes nothing;
.B systemctl status
and the log name file, line and column.
.B etcd-proxy check
finds every mistake beforehand. Only
.BR data-dir ,
.B workers
and
.B admin-socket
take a restart.
.PP
The key
.B proxy-failure-wait
is also the flag
.B --proxy-failure-wait
and the variable
.BR ETCD_PROXY_FAILURE_WAIT .
Later wins: default, file, variable, flag. An empty variable is the same as none. Lists are arrays, or texts with
commas. Times are milliseconds (5000) or durations (\"5s\").
";

const FILE_END: &str = "\
.SH EXAMPLE
.EX
initial-cluster = [\"http://10.0.1.10:2380\", \"http://10.0.1.11:2380\"]
proxy = \"readonly\"
.EE
.SH SEE ALSO
.BR etcd-proxy (8)
";

/// Returns etcd-proxy(8).
pub(super) fn program() -> String {
    let mut out = head("etcd-proxy", 8);
    out.push_str(&escaped(PROGRAM));
    out.push_str(".SH SYNOPSIS\n");
    for about in COMMANDS {
        let _ = write!(out, ".B {}\n.br\n", escaped(&about.usage()));
    }
    out.push_str(&escaped(DESCRIPTION));
    out.push_str(".SH COMMANDS\n");
    COMMANDS.iter().for_each(|about| command(&mut out, about));
    out.push_str(&escaped(PROGRAM_END));
    out
}

fn command(out: &mut String, about: &About) {
    let _ = writeln!(out, ".TP\n.B {}\n{}", escaped(&about.usage()), escaped(about.summary));
    if about.flags.is_empty() {
        return;
    }
    out.push_str(".RS\n");
    for flag in about.flags {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escaped(&flag.usage()), escaped(flag.doc));
    }
    out.push_str(".RE\n");
}

/// Returns etcd-proxy.toml(5).
pub(super) fn file() -> String {
    let mut out = head("etcd-proxy.toml", 5);
    out.push_str(&escaped(FILE));
    out.push_str(".SH SETTINGS\n");
    for group in Group::ALL {
        let _ = writeln!(out, ".SS {}", escaped(group.title()));
        settings(group).for_each(|setting| entry(&mut out, setting));
    }
    out.push_str(&escaped(FILE_END));
    out
}

fn entry(out: &mut String, setting: &Setting) {
    let what = match setting.kind {
        Kind::Word(words) => {
            words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
        }
        kind => noun(kind).to_owned(),
    };
    let default = match setting.default {
        "" => String::new(),
        default => format!("; {default} when not given"),
    };
    let _ = writeln!(out, ".TP\n.B {}\n({what}{default})", escaped(setting.name));
    let ours = if setting.ours { " Not in etcd." } else { "" };
    let _ = writeln!(out, ".br\n{}{ours}", escaped(setting.doc));
}

fn head(name: &str, section: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".\\\" Generated from the tables of commands and settings; see src/cli/manual.rs.\n.TH {} {section} \"\" \"etcd\\-proxy {version}\"\n",
        escaped(name)
    )
}

/// Escapes `-` so that troff prints ASCII hyphens. The tables contain no backslash and no line that
/// begins with a dot (tested).
fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold_nothing_that_troff_would_take_for_its_own() {
        let of_commands = COMMANDS
            .iter()
            .flat_map(|about| about.flags.iter().map(|flag| flag.doc).chain([about.summary]));
        let of_settings = Group::ALL.into_iter().flat_map(settings).map(|setting| setting.doc);
        for text in of_commands.chain(of_settings) {
            assert!(!text.contains('\\') && !text.starts_with(['.', '\'']), "{text}");
        }
    }
}
