//! Parses the part of the command line that is not settings: the command and its own flags.

use std::ffi::OsString;

use crate::config::{Location, Problem, schema};

/// A command of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Run the daemon.
    Run,
    /// Report problems in the settings.
    Check,
    /// Show the effective settings.
    PrintConfig,
    /// Show the state of a running daemon.
    Status,
    /// Make a running daemon reload.
    Reload,
    /// Turn this host into a member.
    Promote,
    /// Print the version.
    Version,
    /// Print the help.
    Help,
}

/// A command and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The command; [`Command::Run`] when there is none.
    pub command: Command,
    /// The flags, without the command.
    pub rest: Vec<OsString>,
}

const COMMANDS: [Command; 7] = [
    Command::Check,
    Command::PrintConfig,
    Command::Status,
    Command::Reload,
    Command::Promote,
    Command::Version,
    Command::Help,
];

impl Command {
    /// Returns the word that selects the command; empty for [`Command::Run`].
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "",
            Self::Check => "check",
            Self::PrintConfig => "print-config",
            Self::Status => "status",
            Self::Reload => "reload",
            Self::Promote => "promote",
            Self::Version => "version",
            Self::Help => "help",
        }
    }
}

/// Splits the command from the flags. `--help` and `--version` win over everything else at any
/// position.
pub fn parse(mut args: Vec<OsString>) -> Result<Line, Problem> {
    let asks = |words: &[&str]| args.iter().any(|arg| words.iter().any(|word| arg == word));
    if asks(&["-h", "-help", "--help"]) {
        return Ok(Line { command: Command::Help, rest: Vec::new() });
    }
    if asks(&["-version", "--version"]) {
        return Ok(Line { command: Command::Version, rest: Vec::new() });
    }
    let first = args.first().filter(|first| !first.as_encoded_bytes().starts_with(b"-"));
    let Some(first) = first else { return Ok(Line { command: Command::Run, rest: args }) };
    let command = COMMANDS.into_iter().find(|command| first == command.word());
    let command = command.ok_or_else(|| unknown(&first.to_string_lossy()))?;
    args.remove(0);
    Ok(Line { command, rest: args })
}

fn unknown(word: &str) -> Problem {
    let problem = |message| Problem::error(message, Location::Flag(word.to_owned()));
    if word == "gateway" || word == "grpc-proxy" {
        let hint = "etcd-proxy serves all of etcd's APIs without a command";
        return problem(format!("`{word}` is a command of etcd")).hint(hint);
    }
    let distance = |command: &Command| strsim::damerau_levenshtein(word, command.word());
    let nearest = COMMANDS.into_iter().min_by_key(distance).filter(|near| distance(near) <= 2);
    let problem = problem(format!("unknown command `{word}`"));
    match nearest {
        Some(nearest) => problem.hint(format!("did you mean `{}`?", nearest.word())),
        None => problem.hint("settings are flags and start with --"),
    }
}

/// Removes a switch of the command from `rest`, and returns whether it was present.
pub fn take_switch(rest: &mut Vec<OsString>, name: &str) -> bool {
    let before = rest.len();
    rest.retain(|arg| !is_flag(arg, name));
    rest.len() < before
}

/// Removes a flag of the command and its value from `rest`. The value must be one of `words`.
/// Returns the last value, or the first of `words` when the flag is absent. `names` have no dashes.
pub fn take_word(
    rest: &mut Vec<OsString>,
    names: &[&str],
    words: &[&'static str],
) -> Result<&'static str, Problem> {
    let mut found = words[0];
    while let Some((at, name, inline)) = position(rest, names) {
        rest.remove(at);
        let value = match inline {
            Some(value) => value,
            None if at < rest.len() => rest.remove(at).to_string_lossy().into_owned(),
            None => String::new(),
        };
        found = words.iter().copied().find(|word| *word == value).ok_or_else(|| {
            let location =
                Location::Flag(format!("{}{name}", if name.len() == 1 { "-" } else { "--" }));
            Problem::error(format!("`{name}` is \"{value}\""), location)
                .hint(format!("want {}", words.join(" or ")))
        })?;
    }
    Ok(found)
}

/// Removes a flag of the command and its value from `rest`. Returns the last value; `None` when the
/// flag is absent.
pub fn take_value(rest: &mut Vec<OsString>, names: &[&str]) -> Result<Option<String>, Problem> {
    let mut found = None;
    while let Some((at, name, inline)) = position(rest, names) {
        rest.remove(at);
        found = Some(match inline {
            Some(value) => value,
            None if at < rest.len() => rest.remove(at).to_string_lossy().into_owned(),
            None => {
                let location = Location::Flag(format!("--{name}"));
                let problem = Problem::error(format!("`--{name}` has no value"), location);
                return Err(problem.hint(format!("write `--{name} VALUE`")));
            }
        });
    }
    Ok(found)
}

/// Returns the position of one of the flags, its name, and the value after its `=`.
fn position<'a>(rest: &[OsString], names: &[&'a str]) -> Option<(usize, &'a str, Option<String>)> {
    rest.iter().enumerate().find_map(|(at, arg)| {
        let arg = arg.to_str()?;
        let (flag, value) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg, None),
        };
        match names.iter().find(|name| is_flag(flag.as_ref(), name)) {
            Some(name) => Some((at, *name, value)),
            None => glued(arg, names).map(|(name, value)| (at, name, Some(value))),
        }
    })
}

/// Splits `-wjson`, which etcdctl accepts, unless it is the name of a setting.
fn glued<'a>(arg: &str, names: &[&'a str]) -> Option<(&'a str, String)> {
    let rest = arg.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let setting = rest.split_once('=').map_or(rest, |(name, _)| name);
    let letter =
        names.iter().filter(|name| name.len() == 1).find(|name| rest.starts_with(*name))?;
    schema::find(setting).is_none().then(|| (*letter, rest[letter.len()..].to_owned()))
}

fn is_flag(arg: &std::ffi::OsStr, name: &str) -> bool {
    let arg = arg.to_str().and_then(|arg| arg.strip_prefix('-'));
    arg.is_some_and(|arg| arg == name || arg.strip_prefix('-') == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_documented() {
        let documented = crate::cli::commands::COMMANDS.iter().map(|about| about.command);
        let known = [Command::Run].into_iter().chain(COMMANDS);
        assert_eq!(documented.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_alone_run_the_daemon() {
        let line = parse(words("-proxy on")).unwrap();
        assert_eq!(line, Line { command: Command::Run, rest: words("-proxy on") });
    }

    #[test]
    fn a_command_comes_first() {
        let line = parse(words("check --proxy on")).unwrap();
        assert_eq!(line, Line { command: Command::Check, rest: words("--proxy on") });
    }

    #[test]
    fn help_wins_wherever_it_stands() {
        assert_eq!(parse(words("check --proxy -h")).unwrap().command, Command::Help);
        assert_eq!(parse(words("--version")).unwrap().command, Command::Version);
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        let problem = parse(words("relaod")).unwrap_err();
        assert_eq!(problem.sentence(), "unknown command `relaod`; did you mean `reload`?");
    }

    #[test]
    fn a_flag_of_the_command_is_taken_out_in_every_spelling() {
        for line in [
            "-w json --proxy on",
            "--proxy on -w=json",
            "-wjson --proxy on",
            "--write-out json --proxy on",
        ] {
            let mut rest = words(line);
            assert_eq!(take_word(&mut rest, &["w", "write-out"], &["table", "json"]), Ok("json"));
            assert_eq!(rest, words("--proxy on"));
        }
    }

    #[test]
    fn a_flag_of_the_command_has_a_default_and_refuses_other_words() {
        assert_eq!(take_word(&mut words("--debug"), &["w"], &["table", "json"]), Ok("table"));
        let problem = take_word(&mut words("-w yaml"), &["w"], &["table", "json"]).unwrap_err();
        assert_eq!(problem.one_line(), "command line: -w: `w` is \"yaml\"; want table or json");
    }

    #[test]
    fn a_setting_that_begins_with_the_letter_is_no_flag_of_the_command() {
        let mut rest = words("-workers=3 -workers 3");
        assert_eq!(take_word(&mut rest, &["w"], &["table", "json"]), Ok("table"));
        assert_eq!(rest, words("-workers=3 -workers 3"));
    }

    #[test]
    fn a_switch_is_taken_out() {
        let mut rest = words("--strict --debug");
        assert!(take_switch(&mut rest, "strict"));
        assert!(!take_switch(&mut rest, "strict"));
        assert_eq!(rest, words("--debug"));
    }
}
