//! Completions for bash, zsh and fish: commands, their flags, and the settings as flags.

use std::fmt::Write as _;

use super::words::value;
use crate::cli::commands::{About, COMMANDS, Value};
use crate::config::schema;

const GENERATED: &str =
    "# Generated from the tables of commands and settings; see src/cli/manual.rs.\n";

/// A flag offered by a completion.
struct Offer {
    typed: String,
    value: Value,
    doc: &'static str,
}

/// Returns the flags of a command, its own first.
fn offers(about: &About) -> Vec<Offer> {
    let own = about.flags.iter();
    let mut offers: Vec<Offer> = own
        .map(|flag| Offer { typed: flag.typed.to_owned(), value: flag.value, doc: flag.doc })
        .collect();
    if about.settings {
        for setting in schema::all() {
            let typed = format!("--{}", setting.name);
            if !offers.iter().any(|offer| offer.typed == typed) {
                offers.push(Offer { typed, value: value(setting), doc: setting.doc });
            }
        }
    }
    offers
}

/// Returns the words that a value can take, separated by blanks; empty for texts and paths.
fn words(value: Value) -> String {
    match value {
        Value::Words(words) => {
            let words = words.iter().filter(|word| !word.is_empty());
            words.copied().collect::<Vec<_>>().join(" ")
        }
        Value::None | Value::Text(_) | Value::Path => String::new(),
    }
}

fn commands() -> impl Iterator<Item = &'static About> {
    COMMANDS.iter().filter(|about| !about.command.word().is_empty())
}

/// Returns the completion for bash.
pub(super) fn bash() -> String {
    let names: Vec<_> = commands().map(|about| about.command.word()).collect();
    let mut out = format!(
        "{GENERATED}\n_etcd_proxy() {{\n    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}\n    local commands='{}' flags\n",
        names.join(" ")
    );
    out.push_str("    case $command in\n");
    for about in commands() {
        bash_command(&mut out, about, about.command.word());
    }
    bash_command(&mut out, &COMMANDS[0], "*");
    out.push_str("    esac\n    [ \"$COMP_CWORD\" -ne 1 ] || flags+=\" $commands\"\n    mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$word\")\n}\n\ncomplete -F _etcd_proxy etcd-proxy\n");
    out
}

fn bash_command(out: &mut String, about: &About, pattern: &str) {
    let offers = offers(about);
    let _ = writeln!(out, "    {pattern})\n        case $before in");
    for offer in offers.iter().filter(|offer| !words(offer.value).is_empty()) {
        let _ = writeln!(
            out,
            "        {}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\"); return ;;",
            offer.typed,
            words(offer.value)
        );
    }
    let of = |wanted: fn(Value) -> bool| {
        let typed = offers.iter().filter(|offer| wanted(offer.value)).map(|offer| &*offer.typed);
        typed.collect::<Vec<_>>().join(" | ")
    };
    let paths = of(|value| value == Value::Path);
    if !paths.is_empty() {
        let _ = writeln!(
            out,
            "        {paths}) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;"
        );
    }
    let texts = of(|value| matches!(value, Value::Text(_)));
    if !texts.is_empty() {
        let _ = writeln!(out, "        {texts}) return ;;");
    }
    let all: Vec<_> = offers.iter().map(|offer| &*offer.typed).collect();
    let _ = writeln!(out, "        esac\n        flags='{}'\n        ;;", all.join(" "));
}

/// Returns the completion for zsh.
pub(super) fn zsh() -> String {
    let mut out = format!("#compdef etcd-proxy\n{GENERATED}\nlocal -a commands\ncommands=(\n");
    for about in commands() {
        let _ = writeln!(out, "    '{}:{}'", about.command.word(), plain(about.summary));
    }
    out.push_str(")\n\n(( CURRENT == 2 )) && [[ $words[2] != -* ]] && _describe command commands\n\ncase $words[2] in\n");
    for about in commands() {
        zsh_command(&mut out, about, about.command.word());
    }
    zsh_command(&mut out, &COMMANDS[0], "*");
    out.push_str("esac\n");
    out
}

fn zsh_command(out: &mut String, about: &About, pattern: &str) {
    let _ = writeln!(out, "{pattern})\n    _arguments \\");
    for offer in offers(about) {
        let value = match offer.value {
            Value::None => String::new(),
            Value::Words(_) => format!(":word:({})", words(offer.value)),
            Value::Path => ":path:_files".to_owned(),
            Value::Text(name) => format!(":{}:", plain(name)),
        };
        let _ = writeln!(out, "        '{}[{}]{value}' \\", offer.typed, plain(offer.doc));
    }
    out.push_str("        '*: :'\n    ;;\n");
}

/// Removes or replaces the characters that are special in zsh's specifications and quotes.
fn plain(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\'' | '\\' => None,
            '[' | ']' => None,
            ':' => Some(','),
            c => Some(c),
        })
        .collect()
}

/// Returns the completion for fish.
pub(super) fn fish() -> String {
    let mut out = format!("{GENERATED}complete -c etcd-proxy -f\n\n");
    for about in commands() {
        let _ = writeln!(
            out,
            "complete -c etcd-proxy -n __fish_is_first_arg -a {} -d '{}'",
            about.command.word(),
            plain(about.summary)
        );
    }
    let own: Vec<_> =
        commands().filter(|about| !about.settings).map(|about| about.command.word()).collect();
    let takes_settings = format!("not __fish_seen_subcommand_from {}", own.join(" "));
    for about in commands().filter(|about| !about.flags.is_empty()) {
        let _ = writeln!(out);
        let condition = format!("__fish_seen_subcommand_from {}", about.command.word());
        for flag in about.flags {
            fish_flag(&mut out, &condition, flag.typed, flag.value, flag.doc);
        }
    }
    let _ = writeln!(out);
    for offer in offers(&COMMANDS[0]) {
        fish_flag(&mut out, &takes_settings, &offer.typed, offer.value, offer.doc);
    }
    out
}

fn fish_flag(out: &mut String, condition: &str, typed: &str, value: Value, doc: &str) {
    let name = match typed.strip_prefix("--") {
        Some(long) => format!("-l {long}"),
        None => format!("-s {}", typed.trim_start_matches('-')),
    };
    let value = match value {
        Value::None => String::new(),
        Value::Words(_) => format!(" -x -a '{}'", words(value)),
        Value::Path => " -r -F".to_owned(),
        Value::Text(_) => " -x".to_owned(),
    };
    let _ =
        writeln!(out, "complete -c etcd-proxy -n '{condition}' {name}{value} -d '{}'", plain(doc));
}
