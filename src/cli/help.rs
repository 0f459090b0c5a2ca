//! `etcd-proxy help`: the commands, and every flag from the table of settings.

use std::fmt::Write as _;

use super::commands::{About, COMMANDS};
use super::manual::words::wrapped;
use crate::config::schema::{self, Group, Kind, Setting};

const SPELLINGS: &str = "
Each flag is also a key of the settings file (/etc/etcd-proxy.toml) and a variable: --proxy-dial-timeout is
proxy-dial-timeout and ETCD_PROXY_DIAL_TIMEOUT. Later wins: default, file, variable, flag. Times are milliseconds
(5000) or durations (5s).

Without settings as flags, check, print-config, status and reload apply to the systemd unit's daemon: they also read
its environment files (/etc/default/etcd-proxy, /etc/sysconfig/etcd-proxy), and their own environment wins over these.
";

/// Widest line of a description, in bytes.
const WIDTH: usize = 108;

/// Returns the whole help.
pub(super) fn text() -> String {
    let mut out =
        "etcd-proxy makes an etcd cluster look like a local service.\n\nUsage:\n".to_owned();
    COMMANDS.iter().for_each(|about| command(&mut out, about));
    out.push_str(SPELLINGS);
    for group in Group::ALL {
        let _ = writeln!(out, "\n{}:", group.title());
        for setting in schema::all().filter(|setting| setting.group == group) {
            entry(&mut out, setting);
        }
    }
    out
}

fn command(out: &mut String, about: &About) {
    let _ = writeln!(out, "  {:32}  {}", about.usage(), about.summary);
    for flag in about.flags {
        let _ = writeln!(out, "      {:28}  {}", flag.usage(), flag.doc);
    }
}

fn entry(out: &mut String, setting: &Setting) {
    let shown = if setting.default.is_empty() { "''" } else { setting.default };
    let value = if setting.kind == Kind::Bool { format!("={shown}") } else { format!(" {shown}") };
    let _ = writeln!(out, "  --{}{value}", setting.name);
    let ours = if setting.ours { " (Not in etcd.)" } else { "" };
    for line in wrapped(&format!("{}{ours}", setting.doc), WIDTH) {
        let _ = writeln!(out, "      {line}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn help_names_every_setting_and_no_line_is_too_wide() {
        let text = super::text();
        for setting in crate::config::schema::all() {
            assert!(text.contains(&format!("\n  --{}", setting.name)), "{}", setting.name);
        }
        assert!(text.lines().all(|line| line.len() <= 120));
    }
}
