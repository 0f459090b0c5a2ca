//! The example settings file: every setting at its default, commented out.

use std::fmt::Write as _;

use super::words::{noun, settings, wrapped};
use crate::config::schema::{Group, Kind, Setting, names};

/// Widest comment.
const WIDTH: usize = 96;

const HEAD: &str = "\
# Every setting of etcd-proxy, at its default. This file is only to be read: the one in force is /etc/etcd-proxy.toml,
# and needs nothing but what differs from here.
#
# A list may also be one text, with commas in it. Times are milliseconds, or durations in quotes (\"5s\").
";

/// Returns the file.
pub(super) fn file() -> String {
    let mut out = HEAD.to_owned();
    for group in Group::ALL {
        let _ = write!(out, "\n\n# {}\n", group.title());
        for setting in settings(group) {
            entry(&mut out, setting);
        }
    }
    out
}

fn entry(out: &mut String, setting: &Setting) {
    out.push('\n');
    for line in wrapped(&remark(setting), WIDTH) {
        let _ = writeln!(out, "# {line}");
    }
    // A settings file cannot name another one.
    if setting.name != names::CONFIG_FILE {
        let _ = writeln!(out, "#{} = {}", setting.name, toml(setting));
    }
}

/// Returns what the setting does, and its possible values if the default does not show them.
fn remark(setting: &Setting) -> String {
    let mut text = setting.doc.to_owned();
    match setting.kind {
        Kind::Word(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            let _ = write!(text, " One of {}.", words.join(", "));
        }
        Kind::Bool | Kind::Text | Kind::Login => {}
        kind if setting.default.is_empty() => {
            let _ = write!(text, " ({})", noun(kind));
        }
        _ => {}
    }
    if setting.ours {
        text.push_str(" Not in etcd.");
    }
    text
}

/// Returns the default as TOML.
fn toml(setting: &Setting) -> String {
    let default = setting.default;
    let quoted = |text: &str| format!("\"{text}\"");
    let is_bare = match setting.kind {
        Kind::Bool => true,
        Kind::Time | Kind::PositiveTime | Kind::Number(_) => {
            default.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    };
    match setting.kind {
        _ if is_bare && !default.is_empty() => default.to_owned(),
        Kind::List | Kind::ListenUrls | Kind::Urls(_) | Kind::Peers | Kind::Origins => {
            let items = default.split(',').filter(|item| !item.is_empty()).map(quoted);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        _ => quoted(default),
    }
}
